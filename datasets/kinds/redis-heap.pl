#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# Reads a process's anonymous writable memory, in the order of addresses, as a
# checkpoint takes it: only pages that are present (or swapped out), so that
# address space which was reserved and never touched does not pass for data.
# The stack is left out. The maps come on stdin, the pagemap on descriptor 5,
# the memory on descriptor 6.
#
#   redis-heap.pl count         bytes present
#   redis-heap.pl read BYTES    exactly the first BYTES of them, to stdout

use strict;
use warnings;

use constant { PAGE => 4096, PIECE => 512 };

my ($command, $left) = @ARGV;
my $count = 0;

open my $map, '<&=5' or die "pagemap: $!\n";
open my $mem, '<&=6' or die "memory: $!\n";

sub copy {
	my ($at, $want) = @_;

	$want = $left if $want > $left;
	sysseek $mem, $at, 0 or die sprintf "seek to %x: %s\n", $at, $!;
	my $got = sysread $mem, my $bytes, $want;
	defined $got && $got == $want
	    or die sprintf "memory at %x could not be read\n", $at;
	print $bytes or die "cannot write: $!\n";
	$left -= $want;
}

# Present pages that follow one another are read at once.
sub piece {
	my ($at, $pages) = @_;

	sysseek $map, $at / PAGE * 8, 0 or die "pagemap: $!\n";
	my $got = sysread $map, my $bits, $pages * 8;
	defined $got && $got == $pages * 8 or die "pagemap: short read\n";
	my ($start, $i) = (undef, 0);
	for my $entry (unpack 'Q<*', $bits) {
		my $present = $entry >> 62;
		$count++ if $present;
		if ($command eq 'read') {
			$start = $i if $present && !defined $start;
			if (!$present && defined $start) {
				copy($at + $start * PAGE, ($i - $start) * PAGE);
				$start = undef;
			}
		}
		$i++;
	}
	copy($at + $start * PAGE, ($i - $start) * PAGE) if defined $start;
}

no warnings 'portable';    # addresses have 64 bits
my @maps = <STDIN>;
for (@maps) {
	my ($from, $to, $perms, $inode, $name) =
	    /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+)\s*(.*)$/
	    or die "maps: cannot understand '$_'\n";
	next unless $perms eq 'rw-p' && $inode == 0;
	next unless $name eq '' || $name eq '[heap]' || $name =~ /^\[anon:/;
	my ($at, $end) = (hex $from, hex $to);
	while ($at < $end && ($command ne 'read' || $left > 0)) {
		my $pages = ($end - $at) / PAGE;
		$pages = PIECE if $pages > PIECE;
		piece($at, $pages);
		$at += $pages * PAGE;
	}
}
if ($command eq 'count') {
	print $count * PAGE, "\n";
} else {
	die "only part of the size is resident ($left bytes short)\n" if $left > 0;
	close STDOUT or die "cannot write: $!\n";
}

#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# Chooses from a list of names (each ended by a zero byte) the ELF files whose
# tar archive reaches a size: from a seeded place in the list onwards, round
# its end, a file with several names once.
#
#   elf-tree.pl SEED BYTES <NAMES >CHOSEN

use strict;
use warnings;
use Rng;

my ($seed, $bytes) = @ARGV;
my (@files, %seen);

local $/ = "\0";
while (my $name = <STDIN>) {
	chomp $name;
	open my $file, '<:raw', $name or next;
	my $got = sysread $file, my $magic, 4;
	next unless $got && $magic eq "\x7fELF";
	my ($device, $inode, $size) = (stat $file)[0, 1, 7];
	push @files, [$name, $size] unless $seen{"$device:$inode"}++;
}
@files or die "no ELF files found\n";

my $sum = 0;
my $start = Rng->new($seed)->below(scalar @files);
for my $file (@files[$start .. $#files], @files[0 .. $start - 1]) {
	last if $sum >= $bytes;
	# Contents are padded to 512 bytes behind a header of 512.
	$sum += 512 + int(($file->[1] + 511) / 512) * 512;
	print "$file->[0]\0" or die "cannot write: $!\n";
}
$sum >= $bytes
    or die "the ELF files of this system make only $sum bytes\n";
close STDOUT or die "cannot write: $!\n";

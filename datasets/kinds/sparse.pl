#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# Lays the data of stdin out in runs with holes between them. All counts are
# pages of 4 KiB: exactly DATA of the file's PAGES are written.
#
#   sparse.pl FILE SEED PAGES DATA RUN

use strict;
use warnings;
use Rng;

use constant { PAGE => 4096, BLOCK => 1 << 20 };

# Splits a number into so many random parts, each at least a minimum.
sub parts {
	my ($rng, $total, $count, $least) = @_;
	my $free = $total - $count * $least;
	my @cuts = sort { $a <=> $b } map { $rng->below($free + 1) } 2 .. $count;
	my ($last, @out) = (0);

	for my $cut (@cuts, $free) {
		push @out, $cut - $last + $least;
		$last = $cut;
	}
	return @out;
}

sub copy {
	my ($out, $left) = @_;

	while ($left > 0) {
		my $want = $left < BLOCK ? $left : BLOCK;
		my $got = read STDIN, my $bytes, $want;
		defined $got && $got == $want
		    or die "the key stream ended early\n";
		print $out $bytes or die "cannot write: $!\n";
		$left -= $want;
	}
}

my ($path, $seed, $pages, $data, $run) = @ARGV;
my $rng = Rng->new($seed);
my $holes = $pages - $data;
my $runs = int(($data + $run - 1) / $run);
$runs = $holes if $runs > $holes;
my @runs = parts($rng, $data, $runs, 1);
# A hole before each run, at least a page so that runs never touch; the last
# one may be empty (its extra page is never written).
my @gaps = parts($rng, $holes + 1, $runs + 1, 1);

open my $out, '>:raw', $path or die "$path: $!\n";
truncate $out, $pages * PAGE or die "$path: $!\n";
my $at = 0;
for my $i (0 .. $#runs) {
	$at += $gaps[$i];
	seek $out, $at * PAGE, 0 or die "$path: $!\n";
	copy($out, $runs[$i] * PAGE);
	$at += $runs[$i];
}
close $out or die "$path: $!\n";

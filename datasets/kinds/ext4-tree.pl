#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# Makes the tree of files of the ext4 dataset: many small files and a few
# large ones, as trees are, until their blocks of 4 KiB reach a sum.
#
#   ext4-tree.pl FOLDER SEED BYTES STREAM

use strict;
use warnings;
use Rng;

use constant { STREAM => 8 << 20, BLOCK => 4096 };

my ($top, $seed, $left, $stream) = @ARGV;
my $rng = Rng->new($seed);
my $media;

sub text {
	my ($size) = @_;
	my $out = '';

	$out .= $rng->words(12) . ".\n" while length $out < $size;
	return substr $out, 0, $size;
}

sub logs {
	my ($size) = @_;
	my ($out, $at) = ('', 1700000000);

	while (length $out < $size) {
		$at += $rng->below(30);
		$out .= sprintf "%d %s[%d]: %s id=%s took=%dms\n", $at,
		    $rng->word, $rng->below(32768), $rng->words(4),
		    $rng->hex(12), $rng->below(2000);
	}
	return substr $out, 0, $size;
}

# Records of fixed width, mostly small numbers, as in tables of measurements.
sub table {
	my ($size) = @_;
	my $out = '';

	$out .= pack 'L<L<S<S<L<', length $out, $rng->below(1000000),
	    $rng->below(100), $rng->below(5), 0
	    while length $out < $size;
	return substr $out, 0, $size;
}

# Different places of the key stream; a file never repeats within itself.
sub media {
	my ($size) = @_;
	my $from = $rng->below(STREAM - $size);

	return substr $media, $from, $size;
}

# 2^9 to 2^22 bytes, the small ones much more often.
sub size {
	my $bits = 9 + int($rng->below(14) * $rng->below(14) / 13);

	return (1 << $bits) + $rng->below(1 << $bits);
}

open my $in, '<:raw', $stream or die "$stream: $!\n";
my $got = read $in, $media, STREAM;
defined $got && $got == STREAM or die "$stream: too short\n";
mkdir $top or die "$top: $!\n";
my @makers = ([\&text, 'txt'], [\&logs, 'log'], [\&table, 'tab'],
	[\&media, 'jpg'], [\&media, 'mp4']);
my ($dir, $in_dir, $count) = ('', 0, 0);
while ($left > 0) {
	if ($in_dir-- <= 0) {
		$dir = sprintf '%s/%s-%03d', $top, $rng->word, $count;
		mkdir $dir or die "$dir: $!\n";
		$left -= BLOCK;
		$in_dir = 3 + $rng->below(60);
	}
	my $size = size();
	my $maker = $makers[$size > 1 << 20 ? 4 : $rng->below(4)];
	last if $left <= 0;
	$size = $left if $size > $left;
	my $path = sprintf '%s/%s%d.%s', $dir, $rng->word, $count++, $maker->[1];
	open my $out, '>:raw', $path or die "$path: $!\n";
	print $out $maker->[0]->($size) and close $out or die "$path: $!\n";
	$left -= int(($size + BLOCK - 1) / BLOCK) * BLOCK;
}

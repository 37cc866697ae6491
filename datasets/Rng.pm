# SPDX-License-Identifier: Apache-2.0
#
# A seeded generator of numbers and words, the same on every machine and with
# every perl: a 64-bit linear congruence of which the upper bits are used.
# Not for secrets, and not for bytes meant to be incompressible (those are a
# cipher's key stream).

package Rng;

use strict;
use warnings;

sub new {
	my ($class, $seed) = @_;

	return $class->piece($seed, 0);
}

# Independent generator for piece number N of a seed. Neighbouring numbers
# differ in their low bits only, so they are mixed (as splitmix64 does) before
# they become a state.
sub piece {
	my ($class, $seed, $n) = @_;

	use integer;
	no warnings 'portable';    # 64-bit constants
	my $x = $seed * 2862933555777941757 + $n * 7046029254386353131;
	$x = ($x ^ (($x >> 30) & 0x3ffffffff)) * -4658895280553007687;
	$x = ($x ^ (($x >> 27) & 0x1fffffffff)) * -7723592293110705685;
	return bless { state => $x ^ (($x >> 31) & 0x1ffffffff) }, $class;
}

sub next31 {
	my ($self) = @_;

	use integer;
	$self->{state} =
	    $self->{state} * 6364136223846793005 + 1442695040888963407;
	return ($self->{state} >> 33) & 0x7fffffff;
}

# A number from 0 to below a bound.
sub below {
	my ($self, $bound) = @_;

	return $self->next31 % $bound;
}

my @syllables = qw(ba co di fu ga hol in jo ka lor mi nu or pa qui
    ra so tem un ver wa xe yl zu mont sta pre con tion al);

my @words = map {
	$syllables[$_ % 30] . $syllables[int($_ / 30) % 30]
	    . ($_ >= 900 ? $syllables[$_ % 29] : '')
} 0 .. 2047;

# The product of two numbers favours small ones, as languages favour words.
sub word {
	my ($self) = @_;
	my $draw = $self->next31;

	return $words[($draw & 2047) * ($draw >> 11 & 2047) >> 11];
}

sub words {
	my ($self, $count) = @_;

	return join ' ', map { $self->word } 1 .. $count;
}

sub hex {
	my ($self, $digits) = @_;
	my $text = '';

	$text .= sprintf '%07x', $self->next31 >> 3 while length $text < $digits;
	return substr $text, 0, $digits;
}

1;

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
	my $self = bless { state => $seed }, $class;

	# Neighbouring seeds differ in their low bits only; stir them apart.
	$self->next31 for 1 .. 8;
	return $self;
}

# Independent generator for piece number N of a seed.
sub piece {
	my ($class, $seed, $n) = @_;

	use integer;
	return $class->new($seed * 2862933555777941757 + $n * 7046029254386353131);
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

my @syllables = qw(ba co di fu ga hel in jo ka lor mi nu or pa qui
    ra so tem un ver wa xe yl zu ment sta pre con tion al);

sub word {
	my ($self) = @_;

	# The product of two draws favours small numbers, as languages do.
	my $n = int($self->below(2000) * $self->below(2000) / 2000);

	return $syllables[$n % 30] . $syllables[int($n / 30) % 30]
	    . ($n >= 900 ? $syllables[$n % 29] : '');
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

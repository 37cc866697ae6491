#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# Writes the manifest of a dataset and checks a dataset against it. One pass
# over the data counts the 4 KiB pages that are all zero and takes the sample
# whose compressibility is stated; openssl computes the hash, as it is several
# times faster than perl.
#
#   manifest.pl write DATA MANIFEST KEY=VALUE...
#   manifest.pl check MANIFEST [KEY=VALUE...]   (the values it must carry)

use strict;
use warnings;
use Compress::Raw::Zlib;
use File::Basename qw(dirname);
use JSON::PP;

use constant {
	SCHEMA => 1,
	PAGE => 4096,
	BLOCK => 1 << 20,
	SAMPLE => 1 << 16,
	SAMPLES => 64,
};

sub fail {
	print STDERR "generate: @_\n";
	exit 1;
}

sub sha256 {
	my ($path) = @_;

	open my $pipe, '-|', 'openssl', 'dgst', '-sha256', '-r', $path
	    or fail("openssl: $!");
	my $line = <$pipe> // '';
	close $pipe or fail("$path: openssl could not hash it");
	$line =~ /^([0-9a-f]{64}) / or fail("$path: openssl gave no hash");
	return $1;
}

# Sixty-four pieces at equal distances, or everything when the file is small.
sub deflated {
	my ($path, $size) = @_;
	my ($z, $taken, $made) = (undef, 0, 0);
	my $step = int($size / SAMPLES);

	$step = SAMPLE if $step < SAMPLE;
	$step -= $step % PAGE;
	($z) = Compress::Raw::Zlib::Deflate->new(-Level => 1)
	    or fail('zlib could not be set up');
	open my $in, '<:raw', $path or fail("$path: $!");
	for (my $at = 0; $at < $size; $at += $step) {
		seek $in, $at, 0 or fail("$path: $!");
		my $got = read $in, my $piece, SAMPLE;
		defined $got or fail("$path: $!");
		$taken += $got;
		$z->deflate($piece, my $part) == Z_OK or fail('zlib failed');
		$made += length $part;
	}
	$z->flush(my $rest) == Z_OK or fail('zlib failed');
	return ($taken, $made + length $rest);
}

sub zero_pages {
	my ($path) = @_;
	my $zeros = "\0" x BLOCK;
	my $page = "\0" x PAGE;
	my ($zero, $all) = (0, 0);

	open my $in, '<:raw', $path or fail("$path: $!");
	while (1) {
		my $got = sysread $in, my $block, BLOCK;
		defined $got or fail("$path: $!");
		last if $got == 0;
		# A short read inside the file would shift the pages.
		while ($got % PAGE) {
			my $more = sysread $in, $block, BLOCK - $got, $got;
			defined $more or fail("$path: $!");
			last if $more == 0;
			$got += $more;
		}
		my $pages = int(($got + PAGE - 1) / PAGE);
		$all += $pages;
		if ($block eq $zeros) {
			$zero += $pages;
			next;
		}
		for (my $at = 0; $at < $got; $at += PAGE) {
			my $piece = substr $block, $at, PAGE;
			$zero++ if $piece eq $page
			    || length $piece < PAGE && $piece !~ /[^\0]/;
		}
	}
	return $all ? $zero / $all : 0;
}

sub number {
	my ($text) = @_;

	return $text =~ /^(?:0|[1-9][0-9]{0,17})$/ ? $text + 0 : $text;
}

sub write_manifest {
	my ($data, $path, @pairs) = @_;
	my @stat = stat $data or fail("$data: $!");
	my ($taken, $made) = deflated($data, $stat[7]);
	my %out = (
		schema_version => SCHEMA,
		size_bytes => $stat[7],
		allocated_bytes => $stat[12] * 512,
		sha256 => sha256($data),
		zero_page_share => sprintf('%.6f', zero_pages($data)) + 0,
		zlib1_ratio => sprintf('%.4f', $made / $taken) + 0,
		zlib1_sample_bytes => $taken,
		params => {},
		tools => {},
	);

	for my $pair (@pairs) {
		my ($key, $value) = split /=/, $pair, 2;
		if ($key =~ /^(params|tools)\.(.+)$/) {
			$out{$1}{$2} = $1 eq 'params' ? number($value) : $value;
		} else {
			$out{$key} = number($value);
		}
	}
	open my $to, '>', $path or fail("$path: $!");
	print $to JSON::PP->new->canonical->pretty->encode(\%out)
	    and close $to or fail("$path: $!");
}

sub read_manifest {
	my ($path) = @_;

	open my $in, '<', $path or fail("$path: $!");
	my $text = do { local $/; <$in> } // '';
	my $m = eval { JSON::PP->new->decode($text) };
	ref $m eq 'HASH' or fail("$path: not a manifest (no JSON object)");
	for my $key (qw(schema_version name file seed size_bytes sha256)) {
		defined $m->{$key} && !ref $m->{$key}
		    or fail("$path: not a manifest (no $key)");
	}
	$m->{schema_version} eq SCHEMA
	    or fail("$path: schema version $m->{schema_version}, not "
		    . SCHEMA);
	$m->{file} =~ m{^[^/]+$} && $m->{file} !~ /^\./
	    or fail("$path: names a file outside its folder");
	return $m;
}

sub check_manifest {
	my ($path, @pairs) = @_;
	my $m = read_manifest($path);
	my $data = dirname($path) . "/$m->{file}";

	for my $pair (@pairs) {
		my ($key, $value) = split /=/, $pair, 2;
		my $is = $key =~ /^params\.(.+)$/ ? $m->{params}{$1} : $m->{$key};
		defined $is && $is eq $value
		    or fail("$path: $key is not $value");
	}
	my $size = -s $data // fail("$data: $!");
	$size == $m->{size_bytes}
	    or fail("$data: $size bytes, not $m->{size_bytes}");
	sha256($data) eq $m->{sha256}
	    or fail("$data: differs from its manifest");
}

my ($command, @args) = @ARGV;
if ($command eq 'write' && @args >= 2) {
	write_manifest(@args);
} elsif ($command eq 'check' && @args >= 1) {
	check_manifest(@args);
} else {
	fail('manifest.pl: bad arguments');
}

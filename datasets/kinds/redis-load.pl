#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# The workload of the Redis dataset in the server's own protocol, for
# redis-cli --pipe: keys FIRST to FIRST+COUNT-1 of a seed. Each key's content
# depends on the seed and its number alone. A mix as applications have it:
# sessions and cached pages, user records, queues, rankings, tags; one key in
# eight replaces or removes an earlier one, which leaves the holes and the
# stale bytes that a long-running server's heap has.
#
#   redis-load.pl SEED FIRST COUNT

use strict;
use warnings;
use Rng;

sub command {
	return join '', '*' . @_ . "\r\n",
	    map { '$' . length($_) . "\r\n$_\r\n" } @_;
}

sub page {
	my ($rng, $n) = @_;
	my $items = 1 + $rng->below(12);

	return '{"id":' . $n . ',"items":[' . join(',', map {
		sprintf '{"sku":"%s","name":"%s","price":%d.%02d}',
		    $rng->hex(8), $rng->words(3), $rng->below(500),
		    $rng->below(100)
	} 1 .. $items) . ']}';
}

sub user {
	my ($rng, $n) = @_;
	my $name = $rng->word . '.' . $rng->word;

	return command('HSET', "user:$n", 'name', $name, 'mail',
		"$name\@example.org", 'visits', $rng->below(100000),
		'seen', 1690000000 + $rng->below(30000000), 'note',
		$rng->words(2 + $rng->below(20)));
}

sub queue {
	my ($rng, $n) = @_;

	return command('RPUSH', 'queue:' . $rng->below(200),
		map { "job $n " . $rng->words(4) . ' ' . $rng->hex(16) }
		1 .. 1 + $rng->below(8));
}

sub ranking {
	my ($rng, $n) = @_;

	return command('ZADD', 'rank:' . $rng->below(100),
		map { ($rng->below(1000000), 'player:' . $rng->below(10000000)) }
		1 .. 1 + $rng->below(16));
}

sub tags {
	my ($rng, $n) = @_;

	return command('SADD', 'tag:' . $rng->word,
		map { $rng->below(1000000) } 1 .. 1 + $rng->below(10));
}

sub key {
	my ($rng, $n) = @_;
	my $kind = $rng->below(100);

	return command('SET', "session:$n", $rng->hex(32 + $rng->below(200)))
	    if $kind < 25;
	return command('SET', "page:$n", page($rng, $n)) if $kind < 45;
	return user($rng, $n) if $kind < 65;
	return queue($rng, $n) if $kind < 74;
	return ranking($rng, $n) if $kind < 82;
	return tags($rng, $n) if $kind < 86;
	return command('INCRBY', 'count:' . $rng->below(5000), $rng->below(9))
	    if $kind < 88;
	return command('SET', 'page:' . $rng->below($n + 1), page($rng, $n))
	    if $kind < 94;
	return command('DEL', 'session:' . $rng->below($n + 1));
}

my ($seed, $first, $count) = @ARGV;
binmode STDOUT;
for my $n ($first .. $first + $count - 1) {
	print key(Rng->piece($seed, $n), $n) or die "cannot write: $!\n";
}
close STDOUT or die "cannot write: $!\n";

# shellcheck shell=bash disable=SC2034,SC2154 # its variables are the driver's
# SPDX-License-Identifier: Apache-2.0
#
# The memory of a real Redis server: a private one is started (a Unix socket
# in a scratch folder, no network, nothing saved), filled by a seeded workload
# until enough of its anonymous memory is resident, stopped, and read page by
# page as a checkpoint would. The keys and values repeat with the seed; where
# the server puts them does not (address layout, hash seed).

kind_text='anonymous memory of a real Redis filled by a seeded workload'
kind_version=1
kind_repeat=kind
kind_tools='redis-cli'

# Debian's redis-server is a link to this program of redis-tools: one binary
# that acts on the name it is started by. Needing only redis-tools means that
# no package with a system service has to be installed for a dataset.
redis_binary()
{
	type -P redis-server || type -P redis-check-rdb
}

kind_check()
{
	multiple_of 4096
	at_least 1048576 1M
}

kind_versions()
{
	redis-cli --version | sed 's/^redis-cli \([^ ]*\).*/redis=\1/'
}

# Everything below runs inside $scratch, so that the socket's name is short.
redis()
{
	redis-cli -s redis.sock "$@"
}

start_redis()
{
	local binary tries=200

	binary=$(redis_binary) ||
		fail "needs 'redis-server' or 'redis-check-rdb'"
	ln -s -- "$binary" redis-server || fail 'cannot write the scratch folder'
	# The death signal covers what a trap cannot: this shell killed by -9.
	setpriv --pdeathsig KILL -- "$PWD/redis-server" --port 0 \
		--unixsocket redis.sock --unixsocketperm 700 --dir "$PWD" \
		--save '' --appendonly no --daemonize no --databases 1 \
		--activedefrag no --loglevel warning >redis.log 2>&1 9>&- &
	server=$!
	until redis ping >ping.log 2>&1 && grep -q PONG ping.log; do
		kill -0 "$server" 2>/dev/null ||
			fail "redis-server did not start: $(tail -n 1 redis.log)"
		((--tries > 0)) || fail 'redis-server did not answer in 10 s'
		sleep 0.05
	done
}

stop_redis()
{
	[[ -n $server ]] || return 0
	kill -KILL "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	server=''
}

# This shell opens the files because it is the server's parent: that is all
# some kernels allow (yama). The reader inherits them.
open_memory()
{
	exec 5<"/proc/$server/pagemap" 6<"/proc/$server/mem" ||
		fail 'the memory of redis-server may not be read'
}

heap()
{
	perl "$here/kinds/redis-heap.pl" "$@" <"/proc/$server/maps"
}

fill()
{
	local reply

	perl -I"$here" "$here/kinds/redis-load.pl" "$seed" "$1" "$2" |
		redis --pipe >pipe.log 2>&1 || {
		reply=$(tail -n 1 pipe.log)
		fail "redis-cli: $reply"
	}
	grep -q '^errors: 0,' pipe.log ||
		fail "redis refused a command: $(tail -n 1 pipe.log)"
}

enough_memory()
{
	local free

	free=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
	((free * 1024 > bytes + bytes / 4)) ||
		fail "needs $((bytes + bytes / 4)) bytes of memory," \
			"$((free * 1024)) are available"
}

# Steps of an eighth of the size, so that the overshoot stays small, and the
# number of keys in a step follows what the keys so far have taken.
fill_to_size()
{
	local first=0 keys=2000 had now

	had=$(heap count) || exit 1
	while ((had < bytes)); do
		fill "$first" "$keys"
		now=$(heap count) || exit 1
		progress "$now"
		first=$((first + keys))
		((now > had)) && keys=$((keys * (bytes / 8) / (now - had)))
		((keys >= 1000)) || keys=1000
		((keys <= 400000)) || keys=400000
		had=$now
	done
}

kind_make()
{
	local tries=200

	server=''
	cd -- "$scratch" || fail 'cannot enter the scratch folder'
	trap stop_redis EXIT
	enough_memory
	start_redis
	open_memory
	fill_to_size
	kill -STOP "$server" || fail 'redis-server is gone'
	until grep -q '^State:[[:space:]]*T' "/proc/$server/status"; do
		((--tries > 0)) || fail 'redis-server did not stop in 10 s'
		sleep 0.05
	done
	heap read "$bytes" >"$1" || exit 1
}

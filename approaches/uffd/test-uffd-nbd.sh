#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A region that nbdkit exports, seen as a file by a command of memsync-uffd: with
# the URI alone, below a cache, and while the server is killed and comes back.
set -u
uffd=$BIN/memsync-uffd
cd "$TMP" || exit 1
server=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null; wait 2>/dev/null' EXIT

fail() {
	echo "test-uffd-nbd: $*" >&2
	exit 1
}

start() { # MORE WORDS FOR NBDKIT
	rm -f socket pid
	nbdkit -f -r -U "$TMP/socket" -P "$TMP/pid" "$@" 2>>log &
	server=$!
	for _ in $(seq 400); do
		[ -s pid ] && return
		sleep 0.05
	done
	fail "nbdkit: $(cat log)"
}

stop() {
	kill -9 "$server"
	wait "$server" 2>/dev/null
	server=
}

same() { # SPEC
	timeout 60 "$uffd" map --file shown "$1" -- cat shown >out 2>err ||
		fail "$1: $(cat err)"
	cmp out disk || fail "$1: wrong bytes"
}

command -v nbdkit >/dev/null || {
	echo "nbdkit is not installed"
	exit 77
}
timeout 60 "$uffd" map --json pattern:size=4K >out 2>err
grep -q '"status":"skipped"' out && {
	sed 's/.*"reason":"\([^"]*\)".*/\1/' out
	exit 77
}

head -c 9000001 /dev/urandom >disk
uri="nbd+unix:///?socket=$TMP/socket"
start file disk
same "$uri"
same "cache:local=memory,remote=$uri"
same "cache:local=memory,remote=(nbd:uri=$uri,connections=1,max-request=4K)"
stop

# 36 Mbit a second take two seconds, so that the kill is in the middle.
start --filter=rate file disk rate=36M burstiness=0.1
same "nbd:uri=$uri,connections=2" &
reader=$!
sleep 0.7
kill -0 "$reader" 2>/dev/null || fail "it was over before the kill"
stop
sleep 0.3
start file disk
wait "$reader" || fail "the command did not survive its server"

# No server, and a word that is none.
stop
timeout 60 "$uffd" map "$uri" >out 2>err && fail "mapped without a server"
grep -q "nbd: nbd+unix:" err || fail "the message: $(cat err)"
timeout 60 "$uffd" map "nbd:uri=$uri,tsl=require" >out 2>err
grep -q 'no option "tsl"' err || fail "the message: $(cat err)"
exit 0

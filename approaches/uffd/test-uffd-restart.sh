#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A source that is killed, started again, or stopped for a while during a
# transfer: the mapped region waits for it and every byte is right.
# sanitizers: yes
set -u
uffd=$BIN/memsync-uffd
cd "$TMP" || exit 1
pids=()
trap 'kill -CONT "${pids[@]}" 2>/dev/null; kill "${pids[@]}" 2>/dev/null; wait 2>/dev/null' EXIT

fail() {
	echo "test-uffd-restart: $*" >&2
	exit 1
}

has() { # FILE TEXT
	grep -qF -- "$2" "$1" || fail "no \"$2\" in: $(cat "$1")"
}

# serve URI SIZE [RATE]: sets $pid and $uri; a port just left may still be taken
serve() {
	: >serve.out
	"$uffd" serve --listen "$1" "rate:rate=${3:-8M},next=(pattern:size=$2)" \
		>serve.out 2>serve.err &
	pid=$!
	pids+=("$pid")
	for _ in $(seq 200); do
		uri=$(sed -n 's/^listening on //p' serve.out)
		[ -n "$uri" ] && return
		kill -0 "$pid" 2>/dev/null || fail "serve: $(cat serve.err)"
		sleep 0.05
	done
	fail "serve does not listen"
}

# map OPTIONS...: in the background, sets $mapper
map() {
	timeout 60 "$uffd" map --json --verify each "$@" >map.out 2>map.err &
	mapper=$!
	pids+=("$mapper")
}

ended() { # STATUS
	local status
	wait "$mapper"
	status=$?
	[ $status = "$1" ] || fail "exit $status: $(cat map.out map.err)"
}

"$uffd" map --json pattern:size=4K >out || :
grep -q '"status":"skipped"' out && {
	sed 's/.*"reason":"\([^"]*\)".*/\1/' out
	exit 77
}

# --- killed twice and started again, with every page once more to come -----------
for variant in thesis tuned; do
	size=25165901
	[ $variant = thesis ] && size=8388611 # it fetches 4 KiB at a time
	serve tcp://127.0.0.1:0 $size
	map --variant $variant "$uri"
	for _ in 1 2; do
		sleep 0.4
		kill -0 "$mapper" 2>/dev/null || fail "over too early: $(cat map.out)"
		kill -9 "$pid"
		wait "$pid" 2>/dev/null
		sleep 0.6
		serve "$uri" $size
	done
	ended 0
	has map.out '"verified":1'
	has map.out "\"bytes_done\":$size,"
	kill "$pid"
	wait "$pid" || fail "serve ended with $?: $(cat serve.err)"
done

# --- stopped for longer than a silent source may be ---------------------------------
serve tcp://127.0.0.1:0 25165901
map "remote:uri=$uri,dead-after=1s"
sleep 0.5
kill -STOP "$pid"
sleep 2.5
kill -CONT "$pid"
ended 0
has map.out '"verified":1'

# --- one that comes back as another, and one that does not come back ---------------
map "$uri"
sleep 0.5
kill -9 "$pid"
wait "$pid" 2>/dev/null
serve "$uri" 25165902
ended 1
has map.out 'SIGBUS at offset'
has map.out 'Stale file handle'
kill "$pid"
wait "$pid"
serve tcp://127.0.0.1:0 25165901
map "remote:uri=$uri,reconnect=500ms"
sleep 0.5
kill -9 "$pid"
ended 1
has map.out 'SIGBUS at offset'
has map.out 'not connected'
exit 0

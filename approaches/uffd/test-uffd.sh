#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The program memsync-uffd as a user runs it: local and remote regions of odd
# sizes, a source that is killed, a wrong source, a handler process, commands
# that see the region as a file, exit codes, and nothing left behind.
# sanitizers: yes
set -u
uffd=$BIN/memsync-uffd
cd "$TMP" || exit 1
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait 2>/dev/null' EXIT

fail() {
	echo "test-uffd: $*" >&2
	exit 1
}

# expect STATUS COMMAND...: the output is in ./out, the errors in ./err
expect() {
	local want=$1 got
	shift
	timeout 60 "$@" >out 2>err
	got=$?
	[ "$got" = "$want" ] ||
		fail "exit $got instead of $want: $* $(cat out err)"
}

# start NAME COMMAND...: in the background until "listening on", sets $pid, $uri
start() {
	local name=$1
	shift
	: >"$name.out" # or what an earlier one wrote could be read
	"$@" >"$name.out" 2>"$name.err" &
	pid=$!
	pids+=("$pid")
	for _ in $(seq 200); do
		uri=$(sed -n 's/^listening on //p' "$name.out")
		[ -n "$uri" ] && return
		kill -0 "$pid" 2>/dev/null || fail "$name: $(cat "$name.err")"
		sleep 0.05
	done
	fail "$name does not listen"
}

has() { # FILE TEXT
	grep -qF -- "$2" "$1" || fail "no \"$2\" in: $(cat "$1")"
}

expect 0 "$uffd" map --json pattern:size=4K
grep -q '"status":"skipped"' out && {
	sed 's/.*"reason":"\([^"]*\)".*/\1/' out
	exit 77
}
# A kernel or a user without it ends in 77 above; from here on it must work.

# --- local, every size and variant; the result object ---------------------------
for variant in thesis tuned; do
	for size in 1 4095 4096 4097 1048699; do
		expect 0 "$uffd" map --variant $variant --json "pattern:size=$size,seed=1"
		has out '"verified":1'
		has out "\"bytes_done\":$size,"
		head -c "$size" /dev/urandom >file
		expect 0 "$uffd" map --variant $variant --reference file "file:path=$TMP/file"
	done
	expect 0 "$uffd" map --variant $variant --workload rand-read --threads 4 pattern:size=3000001
	expect 0 "$uffd" map --variant $variant --workload first-access --cpu float --json pattern:size=4G
	has out '"metric":"first_access_us"'
	# Bytes of another seed are found out.
	expect 1 "$uffd" map --variant $variant --json pattern:size=1M,seed=2
	has out '"status":"failed"'
	has out '"verified":0'
	has out 'wrong byte'
	# A source that fails in the middle.
	expect 1 "$uffd" map --variant $variant --json "error:at=500000,next=(pattern:size=1M)"
	has out 'SIGBUS at offset'
	has out 'Input/output error'
done

# --- bad input: one line, exit 2 ---------------------------------------------------
for args in "" "nonsense" "map" "map --nonsense x" "map --chunk=5000 pattern:" \
	"map nonsense:size=1" "map pattern:size=0" "map --workload seq-write pattern:" \
	"map --access pread pattern:" "map pattern: x" "handle pattern:" \
	"serve" "serve a=pattern: a=pattern:"; do
	# shellcheck disable=SC2086
	expect 2 "$uffd" $args
	[ "$(wc -l <err)" = 1 ] || fail "not one line for \"$args\": $(cat err)"
done
expect 1 "$uffd" map file:path=/nonexistent
expect 1 "$uffd" map tcp://127.0.0.1:1
expect 0 "$uffd" map --dump-config --chunk 64K
has out 'chunk=64K'
expect 0 "$uffd" map --dump-config --span 2M --no-huge pattern:
has out 'pipeline=cache:local=(memory:huge=no),remote=(pattern:),chunk=4K,request=2048K'
# What is printed as the pipeline is one.
expect 0 "$uffd" map --json pattern:size=1M
has out '"pipeline":"cache:local=(memory:huge=yes),remote=(pattern:size=1M)'
expect 0 "$uffd" map "$(sed 's/.*"pipeline":"\([^"]*\)".*/\1/' out)"
expect 0 "$uffd" --version

# --- remote: two exports, both variants; SIGTERM ends the source -------------------
start serve "$uffd" serve --listen tcp://127.0.0.1:0 pattern:size=1048699 b=pattern:size=4097,seed=9
for variant in thesis tuned; do
	expect 0 "$uffd" map --variant $variant "$uri"
	expect 0 "$uffd" map --variant $variant --pattern-seed 9 "$uri/b"
done
expect 1 "$uffd" map "$uri/nonsense"
kill "$pid"
wait "$pid" || fail "serve ended with $?: $(cat serve.err)"

# --- a source that is killed while it is read: SIGBUS in time, a reason, no zeros ---
for variant in thesis tuned; do
	start killed "$uffd" serve --listen tcp://127.0.0.1:0 \
		"rate:rate=2M,next=(pattern:size=64M)"
	victim=$pid
	timeout 60 "$uffd" map --variant $variant --deadline 3s --json --verify each "$uri" \
		>map.out 2>map.err &
	mapper=$!
	pids+=("$mapper")
	sleep 1 # of the 32 that the transfer takes
	kill -9 "$victim"
	wait "$mapper"
	status=$?
	[ $status = 1 ] || fail "killed source, $variant: exit $status $(cat map.out map.err)"
	has map.out '"status":"failed"'
	has map.out 'SIGBUS at offset'
done

# --- a handler in its own process, and its socket's end -----------------------------
start handle "$uffd" handle --listen "$TMP/socket" pattern:size=64K
expect 1 "$uffd" handle --listen "$TMP/socket" pattern:size=64K
kill -INT "$pid"
wait "$pid" || fail "handle ended with $?: $(cat handle.err)"
[ ! -e socket ] || fail "the socket is left over"

# --- commands that see the region as a file -------------------------------------------
if [ -z "${SAN:-}" ] && [ -e "$BIN/../lib/libmemsync-uffd.so" ] &&
	! ldd "$BIN/../lib/libmemsync-uffd.so" | grep -q san; then
	head -c 1048699 /dev/urandom >file
	sum=$(sha256sum <file)
	for variant in thesis tuned; do
		map=("$uffd" map --variant "$variant" --file shown "file:path=$TMP/file" --)
		for command in "cat shown" "dd if=shown bs=1000 status=none" \
			"dd if=shown bs=64K iflag=fullblock status=none" \
			"head -c 5000000 $TMP/./shown" "tail -c +1 shown"; do
			# shellcheck disable=SC2086
			expect 0 "${map[@]}" $command
			[ "$(sha256sum <out)" = "$sum" ] || fail "wrong bytes: $command"
		done
		expect 0 "${map[@]}" sha256sum shown
		[ "$(cut -d' ' -f1 out)" = "${sum%% *}" ] || fail "wrong sum"
		expect 0 "${map[@]}" cmp shown file
		expect 0 "${map[@]}" sh -c 'cat shown shown | wc -c'
		has out 2097398
	done
	expect 1 "${map[@]}" sh -c 'echo x 2>/dev/null >>shown || exit 1'
	expect 7 "${map[@]}" sh -c 'exit 7'
	expect 127 "${map[@]}" /nonexistent
	# The command is ended with the program, and its folder with it.
	export TMPDIR=$TMP
	"$uffd" map pattern:size=64K -- sleep 100 &
	mapper=$!
	pids+=("$mapper")
	for _ in $(seq 200); do
		compgen -G "$TMP/memsync-uffd.*/socket" >/dev/null && break
		sleep 0.05
	done
	kill -TERM "$mapper"
	wait "$mapper"
	status=$?
	[ $status = 143 ] || fail "SIGTERM: exit $status"
	compgen -G "$TMP/memsync-uffd.*" >/dev/null && fail "a folder is left over"
fi
exit 0

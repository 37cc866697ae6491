#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# memsync-bench vm as a person uses it: status, output, input, folders that are
# written back, all else that vanishes, a terminal, Ctrl-C, kill -9, a guest
# that dies or hangs; and nothing is left behind by any of it.
set -u
bench=$BIN/memsync-bench
failures=0
export MEMSYNC_HARNESS=$TOP/harness

[ -e /proc/sys/kernel/random/boot_id ] || { echo "needs /proc"; exit 77; }

complain() {
	echo "FAILED: $1"
	[ -f "$TMP/out" ] && tail -n 30 "$TMP/out" | sed 's/^/    /'
	[ -f "$TMP/err" ] && tail -n 30 "$TMP/err" | sed 's/^/    /'
	failures=$((failures + 1))
}

# vm WANT WHAT ARGUMENTS...: run it, output in $TMP/out and $TMP/err
vm() {
	local want=$1 what=$2 status
	shift 2
	timeout 100 "$bench" vm "$@" >"$TMP/out" 2>"$TMP/err"
	status=$?
	[ "$status" = "$want" ] || complain "$what: exit $status, not $want"
}

has() { # WHAT FILE PATTERN
	grep -qE -- "$3" "$TMP/$2" || complain "$1: no \"$3\""
}

# Guests of this test have its folder on their command line.
guests() {
	pgrep -f "^[^ ]*qemu-system.*$TMP" 2>/dev/null
}

gone() { # WHAT
	for _ in $(seq 50); do
		[ -z "$(guests)" ] && return
		sleep 0.1
	done
	complain "$1: a guest is left: $(guests)"
	guests | xargs -r kill -9
}

# --- what it is -------------------------------------------------------------

timeout 170 "$bench" vm --share "$TMP" -- true >"$TMP/out" 2>"$TMP/err"
status=$?
[ $status = 77 ] && { tail -n 1 "$TMP/err" | sed 's/^memsync-bench vm: //'; exit 77; }
[ $status = 0 ] || complain "first boot: exit $status"

mkdir "$TMP/shared"
echo 'from outside' >"$TMP/shared/in"
printf 'first\nsecond' >"$TMP/input"
cat >"$TMP/script" <<'END'
set -eu
cd "$1"
cat >copied
cat shared/in
echo 'to stderr' >&2
echo 'from inside' >shared/out
i=0
while [ $i -lt 200 ]; do echo $i >>shared/appended; i=$((i + 1)); done
head -c 3000001 /dev/zero | tr '\0' 'z' >shared/big
echo vanishes >../outside-of-the-share || true
test "$(id -u)" = 0
test -e /dev/nbd0
test -e /dev/fuse
test "$MEMSYNC_VM" = tcg || test "$MEMSYNC_VM" = kvm
test "$(pwd)" = "$1"
if ip -o link show | grep -v ' lo: '; then exit 9; fi
exit 7
END
timeout 100 "$bench" vm --verbose --share "$TMP/shared:$TMP" -- sh "$TMP/script" "$TMP" <"$TMP/input" >"$TMP/out" 2>"$TMP/err"
status=$?
[ $status = 7 ] || complain "status of a command: $status, not 7"
has "output" out '^from outside$'
has "stderr" err '^to stderr$'
has "verbose" err 'kernel [0-9.]+.* by (tcg|kvm), [0-9.]+ s to the command'
[ "$(cat "$TMP/shared/out")" = 'from inside' ] || complain "a share was not written back"
cmp -s <(seq 0 199) "$TMP/shared/appended" || complain "what was appended differs"
[ "$(wc -c <"$TMP/shared/big")" = 3000001 ] || complain "a big file differs"
cmp -s "$TMP/input" "$TMP/copied" || complain "input did not arrive"
[ ! -e "$TMP/../outside-of-the-share" ] || complain "something was written outside of the shares"

# Under 20 s under emulation, from nothing to the command.
seconds=$(sed -nE 's/.* by (tcg|kvm), ([0-9.]+) s.*/\2/p' "$TMP/err")
awk -v s="${seconds:-99}" 'BEGIN { exit !(s < 20) }' || complain "it took ${seconds:-?} s to boot"

# --- more than one thing a boot ---------------------------------------------

cat >"$TMP/more" <<'END'
set -u
# real netem, nbd and ublk
ip link add v0 type veth peer name v1 && tc qdisc add dev v0 root netem delay 5ms || exit 21
[ -e /dev/ublk-control ] || exit 22
[ "$(nproc)" = 2 ] || exit 23
# output as it is, also a lot of it
seq 1 200000
kill -TERM $$
END
vm 143 "signal of a command" --share "$TMP" -- sh "$TMP/more"
cmp -s "$TMP/out" <(seq 1 200000) || complain "a lot of output differs"
gone "after commands"

# --- wrong usage ------------------------------------------------------------

vm 2 "no command" </dev/null
has "no command" err '^memsync-bench vm: a command is missing'
vm 2 "wrong option" --nonesuch -- true
vm 2 "share that is not there" --share "$TMP/nonesuch" -- true
has "share that is not there" err 'nonesuch: No such file'
vm 2 "share that is a file" --share "$TMP/input" -- true
vm 127 "no such program" --share "$TMP" -- nonesuch-program
PATH=/nonexistent "$bench" vm -- true >"$TMP/out" 2>"$TMP/err"
[ $? = 77 ] || complain "without QEMU: not 77"
has "without QEMU" err 'no VM: qemu-system-x86_64 is not installed'

# --- the ends ---------------------------------------------------------------

# start COMMAND...: in the background, until its guest says "up"
start() {
	"$bench" vm --share "$TMP" -- "$@" >"$TMP/out" 2>"$TMP/err" </dev/null &
	pid=$!
	for _ in $(seq 600); do
		grep -q up "$TMP/out" && return
		sleep 0.1
	done
	complain "$*: does not come up"
}

start sh -c 'trap "echo cleaned; exit 5" INT; echo up; while :; do sleep 0.1; done'
kill -INT $pid
wait $pid
[ $? = 5 ] || complain "SIGINT is not the command's"
has "SIGINT" out '^cleaned$'
gone "SIGINT"

start sh -c 'echo up; sleep 100'
kill -KILL $pid
wait $pid 2>/dev/null
gone "SIGKILL"

vm 1 "a guest that dies" --share "$TMP" --console "$TMP/console" -- sh -c 'echo c >/proc/sysrq-trigger; sleep 20'
has "a guest that dies" err 'the guest ended by itself'
has "a guest that dies" err 'sysrq'
grep -q sysrq "$TMP/console" || complain "a guest that dies: the console was not kept"

vm 1 "a command without an end" --share "$TMP" --time-limit 1s -- sleep 100
has "a command without an end" err 'ran longer than 1 s'
gone "all"

# --- a terminal -------------------------------------------------------------

if command -v script >/dev/null; then
	printf '\003' | timeout 60 script -qec "stty rows 33 cols 77; $bench vm --share $TMP -- sh -c 'tty; stty size; exit 3'" /dev/null >"$TMP/out" 2>"$TMP/err"
	status=$?
	# A Ctrl-C before the guest is up ends it at once.
	case $status in 3) has "terminal" out '/dev/pts/' && has "terminal" out '33 77' ;; 130) ;; *) complain "terminal: $status" ;; esac
	gone "terminal"
fi

exit $((failures > 0))

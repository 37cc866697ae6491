#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# memsync-bench run in the VM: over real netem, rows that say where they come
# from, what cannot be measured there, a guest that dies in the middle, and
# going on after Ctrl-C.
set -u
bench=$BIN/memsync-bench
export MEMSYNC_HARNESS=$TOP/harness
failures=0

"$bench" vm -- true >"$TMP/out" 2>&1
[ $? = 77 ] && { tail -n 1 "$TMP/out" | sed 's/^memsync-bench vm: //'; exit 77; }

complain() {
	echo "FAILED: $1"
	[ -f "$TMP/out" ] && sed 's/^/    /' "$TMP/out"
	failures=$((failures + 1))
}

expect() { # STATUS WHAT COMMAND...
	local want=$1 what=$2 status
	shift 2
	timeout 150 "$@" >"$TMP/out" 2>&1
	status=$?
	[ "$status" = "$want" ] || complain "$what: exit $status, not $want"
}

row() { # WHAT PATTERN FOLDER
	grep -qE -- "$2" "$3"/runs.csv || {
		complain "$1: no row with \"$2\""
		tail -n 5 "$3"/runs.csv | sed 's/^/    /'
	}
}

tiny=(--rtt 2 --rate 100 --size 1M --chunk 4K --time-limit 300ms --warmup 0)

# --- over netem, where auto sends it to the VM if this kernel has none ------

where=vm
"$bench" doctor --has sch_netem || where=auto
expect 0 "netem" "$bench" run -a uffd/tuned,uffd/thesis --driver netem "${tiny[@]}" -n 2 \
	--where $where --result "$TMP/netem"
row "netem" ',custom,uffd,tuned,.*,vm,netem,2,100,.*,read_open_mib_s,.*,1,ok,.*accel=(tcg|kvm);' "$TMP/netem"
expect 0 "netem, checked" "$bench" check "$TMP/netem"
[ -s "$TMP/netem/env-vm.json" ] || complain "there is no env-vm.json"
expect 0 "netem, reported" "$bench" report "$TMP/netem"
grep -q 'Of the VM' "$TMP/netem/report.html" || complain "the report does not show the VM"

# --- what says nothing under emulation --------------------------------------

accel=$("$bench" doctor --json | sed -nE 's/.*"accel": "(tcg|kvm)".*/\1/p' | head -n 1)
if [ "$accel" = tcg ]; then
	expect 1 "memory under emulation" "$bench" run -a memory --size 1M --warmup 0 -n 1 --where vm --result "$TMP/memory"
	row "memory under emulation" ',vm,none,.*,refused,"the speed of memory' "$TMP/memory"
fi
expect 2 "a place that is none" "$bench" run -a memory --where mars
PATH=/nonexistent "$bench" run -a memory --where vm >"$TMP/out" 2>&1
[ $? = 77 ] || complain "a VM without QEMU: not 77"

# --- a guest that dies costs the run it was in ------------------------------

mkdir -p "$TMP/harness"
cp -r "$TOP/harness/experiments" "$TOP/harness/vm" "$TMP/harness/"
mkdir "$TMP/harness/approaches"
cat >"$TMP/harness/approaches/uffd.json" <<END
{"name": "uffd", "title": "dies the second time", "variants": ["tuned"],
 "source": {"command": ["sh", "-c", "echo ready; sleep 100"], "ready": "ready"},
 "target": {"command": ["sh", "-c", "if [ -e $TMP/died/mark ] && [ ! -e $TMP/died/after ]; then echo 1 >$TMP/died/after; sync; echo c >/proc/sysrq-trigger; sleep 9; fi; echo 1 >$TMP/died/mark; exit 3"]}}
END
mkdir "$TMP/died"
MEMSYNC_HARNESS=$TMP/harness expect 0 "a guest that dies" "$bench" run -a uffd/tuned "${tiny[@]}" -n 3 --where vm --result "$TMP/died"
grep -q 'guest ended by itself' "$TMP/out" || complain "a guest that dies: not said"
[ "$(grep -c ',failed,the guest ended by itself; its last words: Kernel panic' "$TMP/died/runs.csv")" = 1 ] ||
	complain "a guest that dies: not one failed row for it"
[ "$(grep -c ',failed,' "$TMP/died/runs.csv")" = 3 ] || complain "a guest that dies: another one did not go on"
[ -s "$TMP/died/log/vm-console.log" ] || complain "a guest that dies: its console was not kept"

# --- Ctrl-C, and going on ---------------------------------------------------

timeout 150 "$bench" run -a uffd/tuned "${tiny[@]}" -n 8 --where vm --result "$TMP/stopped" >"$TMP/out" 2>&1 &
pid=$!
for _ in $(seq 600); do
	grep -q ',read_open_mib_s,' "$TMP/stopped/runs.csv" 2>/dev/null && break
	sleep 0.1
done
pkill -INT -P $pid
kill -INT $pid
wait $pid
status=$?
[ $status = 130 ] || complain "Ctrl-C: exit $status, not 130"
expect 0 "going on" "$bench" run -a uffd/tuned "${tiny[@]}" -n 8 --where vm --result "$TMP/stopped"
expect 0 "going on, checked" "$bench" check "$TMP/stopped"
[ "$(grep -c ',read_open_mib_s,.*,ok,' "$TMP/stopped/runs.csv")" -ge 8 ] || complain "going on: runs are missing"
pgrep -f "^[^ ]*qemu-system.*$TMP" >/dev/null && complain "a guest is left"

exit $((failures > 0))

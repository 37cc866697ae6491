#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# memsync-bench on the real programs, tiny: local and over an emulated link,
# interrupted and gone on with, with sides that die, hang or talk nonsense; and
# nothing is left behind by any of it.
set -u
bench=$BIN/memsync-bench
export MEMSYNC_HARNESS=$TOP/harness
failures=0

[ "$(id -u)" = 0 ] || { echo "needs root, for network namespaces"; exit 77; }
[ -x "$BIN/memsync-uffd" ] || { echo "needs memsync-uffd"; exit 77; }
"$bench" link check lan-0 >"$TMP/link" 2>&1
if [ $? = 77 ]; then tail -n 1 "$TMP/link"; exit 77; fi

complain() {
	echo "FAILED: $1"
	[ -f "$TMP/out" ] && sed 's/^/    /' "$TMP/out"
	failures=$((failures + 1))
}

# expect STATUS WHAT COMMAND...: run it, output in $TMP/out
expect() {
	local want=$1 what=$2 status
	shift 2
	timeout 100 "$@" >"$TMP/out" 2>&1
	status=$?
	[ "$status" = "$want" ] || complain "$what: exit $status, not $want"
}

has() { # WHAT PATTERN: in the last output
	grep -q -- "$2" "$TMP/out" || complain "$1: no \"$2\" in the output"
}

row() { # WHAT PATTERN RESULTS: in the rows
	cat "$3"/*/runs.csv | grep -q -- "$2" || {
		complain "$1: no row with \"$2\""
		cat "$3"/*/runs.csv | sed 's/^/    /' | tail -n 5
	}
}

# Processes of ours have the temporary folder on their command line, those
# that memsync-bench forks as well.
processes() {
	local p
	for p in /proc/[0-9]*; do
		tr '\0' ' ' 2>/dev/null <"$p/cmdline" | grep -q "results $TMP" &&
			echo "${p#/proc/}"
	done
}

gone() { # WHAT PID: nothing of the harness with this pid is left
	for _ in $(seq 100); do
		[ -z "$(processes)" ] && break
		sleep 0.1
	done
	[ -z "$(processes)" ] || complain "$1: processes are left: $(processes)"
	if [ -n "${2:-}" ] &&
		find /sys/fs/cgroup -type d -name "memsync-$2-*" 2>/dev/null | grep -q .; then
		complain "$1: control groups are left"
	fi
	ip -o link show >"$TMP/links.after"
	cmp -s "$TMP/links.before" "$TMP/links.after" || complain "$1: network interfaces changed"
}
ip -o link show >"$TMP/links.before"

tiny=(--size 1M --chunk 4K --time-limit 300ms --warmup 0)

# --- it measures ------------------------------------------------------------

expect 0 "local" "$bench" run -a memory,disk "${tiny[@]}" -n 2 --results "$TMP/local"
expect 0 "local, checked" "$bench" check "$TMP"/local/*
row "local" "custom,memory,.*,native,none,.*read_mib_s,.*,1,ok," "$TMP/local"
row "local" "custom,disk,.*,bound_read_mib_s," "$TMP/local"
row "local" "cpu_target_s" "$TMP/local"

expect 0 "link" "$bench" run -a uffd/thesis,uffd/tuned --rtt 5 --rate 100 "${tiny[@]}" -n 2 \
	--results "$TMP/link5"
has "link" "4 runs ok"
expect 0 "link, checked" "$bench" check "$TMP"/link5/*
for metric in read_open_mib_s bound_read_open_mib_s wire_tx_bytes wire_rx_bytes cpu_source_s \
	cpu_target_s cpu_link_s cpu_system_s cpu_harness_s rss_max_bytes; do
	row "link" "custom,uffd,tuned,.*,emulated,5,100,.*,$metric," "$TMP/link5"
done
for file in plan.json env.json; do
	[ -s "$(echo "$TMP"/link5/*/$file)" ] || complain "link: no $file"
done
grep -q '"congestion": "cubic"' "$TMP"/link5/*/env.json || complain "env.json: no link settings"
ls "$TMP"/link5/*/log/*-r1.json >/dev/null || complain "link: no logs"
[ ! -e "$(echo "$TMP"/link5/*)/scratch" ] || complain "link: the scratch folder is left"
gone "link"

expect 0 "sleep" "$bench" run -a uffd/thesis --rtt 5 --driver sleep "${tiny[@]}" -n 1 \
	--results "$TMP/sleep"
row "sleep" "delay:time=5000us,next=(memory:.*,native,sleep,5," "$TMP/sleep"
expect 0 "sleep, checked" "$bench" check "$TMP"/sleep/*

# A finished plan is measured anew, and one in a named folder is done.
expect 0 "again" "$bench" run -a memory,disk "${tiny[@]}" -n 2 --results "$TMP/local"
has "again" "^measuring"
expect 0 "named" "$bench" run -a memory "${tiny[@]}" -n 1 --results "$TMP/x" --result "$TMP/named/a"
expect 0 "named again" "$bench" run -a memory "${tiny[@]}" -n 1 --results "$TMP/x" --result "$TMP/named/a"
has "named again" "1 of 1 runs are there"
expect 2 "named, other plan" "$bench" run -a disk "${tiny[@]}" --result "$TMP/named/a"
has "named, other plan" "another plan"

# --- interrupted ------------------------------------------------------------

long=(run -a uffd/thesis --rtt 10 --rate 100 "${tiny[@]}" -n 6 --results "$TMP/int")

# start OUTPUT: in the background, until it has recorded a run
start() {
	"$bench" "${long[@]}" >"$TMP/out" 2>&1 &
	pid=$!
	for _ in $(seq 300); do
		[ "$(cat "$TMP"/int/*/runs.csv 2>/dev/null | grep -c ,read_mib_s,)" -gt "$1" ] && return
		sleep 0.05
	done
	complain "nothing was recorded"
}

# Job control gives a background job the signals as a terminal would.
set -m
start 0
set +m
"$bench" "${long[@]}" --result "$(echo "$TMP"/int/*)" >"$TMP/second" 2>&1
[ $? = 1 ] || complain "two at once: not refused"
grep -qi "busy\|another\|lock" "$TMP/second" || complain "two at once: $(cat "$TMP/second")"
kill -INT $pid
wait $pid
status=$?
[ $status = 130 ] || complain "SIGINT: exit $status, not 130"
has "SIGINT" "goes on from here"
gone "SIGINT" $pid
rows=$(cat "$TMP"/int/*/runs.csv | grep -c ,read_mib_s,)
case $rows in [1-5]) ;; *) complain "SIGINT: $rows runs are there" ;; esac

set -m
start "$rows"
set +m
has "resumed" "going on in"
kill -KILL $pid
wait $pid 2>/dev/null
gone "SIGKILL"
expect 0 "resumed" "$bench" "${long[@]}"
has "resumed" "going on in"
has "resumed" "were there before"
[ "$(cat "$TMP"/int/*/runs.csv | grep -c ,read_mib_s,)" = 6 ] || complain "resumed: not 6 runs"
[ "$(echo "$TMP"/int/* | wc -w)" = 1 ] || complain "resumed: several folders"
expect 0 "resumed, checked" "$bench" check "$TMP"/int/*
gone "resumed"

# --- what can go wrong ------------------------------------------------------

mkdir -p "$TMP/fake/approaches" "$TMP/fake/experiments"
fake() { # NAME SOURCE TARGET
	cat >"$TMP/fake/approaches/$1.json" <<END
{"name": "$1",
 "source": {"command": ["sh", "-c", "$2"], "ready": "listening on"},
 "target": {"command": ["sh", "-c", "$3"]}}
END
}
serve='echo listening on; exec sleep 100'
fake delta 'echo listening on; sleep 0.2; echo it broke >&2; exit 3' 'sleep 100'
fake fuse "$serve" 'echo this is no result'
fake nbd-direct "$serve" '(setsid sleep 100 &); echo stuck >&2; sleep 100'
fake nbd-managed 'echo no memory >&2; exit 1' 'exit 0'
fake migration "$serve" 'kill -SEGV $$'

export MEMSYNC_HARNESS=$TMP/fake
expect 1 "bad sides" "$bench" run -a delta,fuse,nbd-direct,nbd-managed,migration --rtt 0 --rate 100 \
	--size 1M --time-limit 500ms --timeout 1s --warmup 0 -n 1 --results "$TMP/bad"
row "source dies" 'delta.*failed,"\?the source ended during the run (exit status 3: it broke)' "$TMP/bad"
row "garbage" 'fuse.*failed,"\?the program printed no result' "$TMP/bad"
row "hangs" 'nbd-direct.*failed,"\?the target had not ended after 1 s and was killed: stuck' "$TMP/bad"
row "does not serve" 'nbd-managed.*failed,"\?the source ended before it served: exit status 1: no memory' "$TMP/bad"
row "crashes" 'migration.*failed,"\?the target printed no result: killed by signal 11' "$TMP/bad"
expect 0 "bad sides, checked" "$bench" check "$TMP"/bad/*
gone "bad sides"

expect 77 "not built" "$bench" run -a uffd/tuned --rtt 0 -n 1 --results "$TMP/none"
row "not built" "uffd,tuned.*skipped,not built yet" "$TMP/none"
export MEMSYNC_HARNESS=$TOP/harness

expect 77 "no such variant" "$bench" run -a uffd/other --rtt 0 -n 1 --results "$TMP/variant"
row "no such variant" "uffd,other.*skipped,not built yet" "$TMP/variant"

# Beyond what the link carries: refused, not distorted.
expect 1 "beyond the ceiling" "$bench" run -a uffd/tuned --link rtt=0ms,rate=60000M "${tiny[@]}" \
	-n 1 --results "$TMP/ceiling"
row "beyond the ceiling" "uffd,tuned.*refused," "$TMP/ceiling"
gone "beyond the ceiling"

# The disk is full: said, and the rows that are there are whole.
mkdir "$TMP/small"
# shellcheck disable=SC2016
timeout 100 unshare --mount sh -c '
	mount -t tmpfs -o size=160k tmpfs "$1/small" || exit 77
	"$2" run -a memory --size 64K --time-limit 10ms --warmup 0 -n 1000 --results "$1/small" >"$1/out" 2>&1
	echo $? >"$1/status"
	"$2" check "$1"/small/* >>"$1/out" 2>&1 || echo "check failed" >>"$1/out"
' sh "$TMP" "$bench"
if [ -f "$TMP/status" ]; then
	[ "$(cat "$TMP/status")" = 1 ] || complain "disk full: exit $(cat "$TMP/status"), not 1"
	has "disk full" "No space left on device"
	grep -q "check failed" "$TMP/out" && complain "disk full: the file is damaged"
fi

# --- usage ------------------------------------------------------------------

expect 2 "place" "$bench" run --where mars
has "place" "where takes auto, native, vm"
expect 2 "figure" "$bench" run --figure no-such-figure
has "figure" "there is no figure"
expect 2 "both" "$bench" run --figure goodput -a uffd
expect 2 "link" "$bench" run -a uffd --link nowhere
expect 2 "rtt" "$bench" run -a uffd --rtt far
has "rtt" "takes numbers such as 0,5,20"
expect 2 "workload" "$bench" run -a uffd --workload juggle
expect 0 "plan" "$bench" run --set quick --plan
has "plan" "first-chunk-rtt"

# --- compare ----------------------------------------------------------------

head -c 1000001 /dev/urandom >"$TMP/data"
expect 0 "compare" "$bench" compare --data "$TMP/data" --link rtt=2ms,rate=100M -n 3 --time-limit 300ms \
	--results "$TMP/cmp"
has "compare" "^Take [a-z/]*: [0-9.]* MiB/s"
has "compare" "runs.csv"
expect 0 "compare, checked" "$bench" check "$TMP"/cmp/*
gone "compare"
expect 2 "compare nothing" "$bench" compare --link lan
expect 1 "compare no file" "$bench" compare --data "$TMP/nothing"

[ "$failures" = 0 ] || { echo "$failures failed"; exit 1; }

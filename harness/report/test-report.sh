#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# plots and report on a run of invented numbers (synthetic.awk): what is drawn,
# what is named instead of drawn, escaping, and the ways in which it fails.
set -eu
bench=$BIN/memsync-bench
[ -x "$bench" ] || { echo "no $bench"; exit 1; }
command -v gnuplot >/dev/null || { echo "no gnuplot"; exit 77; }
cd "$TOP"

die() { echo "test-report: $*" >&2; exit 1; }
has() { grep -qF -- "$2" "$1" || die "$1 does not have: $2"; }
has_not() { ! grep -qF -- "$2" "$1" || die "$1 has: $2"; }

run=$TMP/run
mkdir "$run"
awk -f harness/report/synthetic.awk >"$run/runs.csv"
cat >"$run/env.json" <<'ENV'
{"env_version": 1, "written": "2000-01-01T00:00:00Z",
 "command": ["memsync-bench", "run", "it's <b>test data</b>"],
 "machine": {"cpu_model": "<img src=x>", "memory_bytes": 1073741824},
 "features": {"nbd": {"ok": false, "reason": "no <module>"}}}
ENV

# --- plots ---
(cd "$TMP" && "$bench" plots --plots "$TOP/plots" "$run") >"$TMP/said"
has "$TMP/said" "write-throughput: not drawn"
has "$TMP/said" "plots/throughput-rtt.svg"
[ ! -e "$TMP/pwned" ] || die "a reason was run as a command"
for id in first-chunk-rtt0 first-chunk-rtt throughput-rtt0 throughput-rtt \
	random-access cpu harness-cost; do
	[ -s "$run/plots/$id.svg" ] || die "no $id.svg"
	head -c 8 "$run/plots/$id.png" | grep -q PNG || die "no $id.png"
done
[ ! -e "$run/plots/write-throughput.svg" ] || die "an empty figure was drawn"
[ -z "$(find "$run" -name '*.new')" ] || die "a half-written file was left"

# Well-formed: every tag that is opened is closed, nothing bare in a text.
if command -v python3 >/dev/null; then
	python3 - "$run"/plots/*.svg <<'PY' || die "SVG is not well-formed"
import sys, xml.dom.minidom
for name in sys.argv[1:]:
    xml.dom.minidom.parse(name)
PY
elif command -v xmllint >/dev/null; then
	xmllint --noout "$run"/plots/*.svg
fi

# Values that were not verified are not drawn but named: 4 RTTs, not 5.
cells=$(awk '/^# curve_2$/ { on = 1; next } /^#/ { on = 0 } on && NF { n++ } END { print n + 0 }' \
	"$run/plots/data/first-chunk-rtt.dat")
[ "$cells" = 4 ] || die "first-chunk-rtt has $cells points of uffd tuned, not 4"
has "$run/plots/first-chunk-rtt.svg" "Not measured: uffd tuned, RTT 100 ms (not verified)"
has "$run/plots/first-chunk-rtt0.svg" "Not measured: disk (skipped: the folder is on tmpfs"
has "$run/plots/throughput-rtt.svg" "Runs without a number: uffd tuned, RTT 100 ms: 2 (failed"
has "$run/plots/throughput-rtt.svg" ">bound<"
# The median of the file is the median in the data: 30 values of memory.
want=$(awk -F, '$3 == "first-chunk-rtt0" && $4 == "memory" && $21 == "first_access_us" { print $22 }' \
	"$run/runs.csv" | sort -g | awk '{ v[NR] = $1 } END { print (v[NR / 2] + v[NR / 2 + 1]) / 2 }')
got=$(awk -F'\t' '/^# curve_1$/ { getline; print $2 }' "$run/plots/data/first-chunk-rtt0.dat")
awk -v a="$want" -v b="$got" 'BEGIN { d = a - b; exit !(d < 1e-5 && d > -1e-5) }' ||
	die "median is $got, not $want"

# --- report ---
"$bench" report "$run" >"$TMP/said"
page=$run/report.html
has "$TMP/said" "$page"
has_not "$page" "<script"
has_not "$page" "<img"
has_not "$page" "<b>test data"
has "$page" "test data: &lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quotes&quot;"
has "$page" "no: no &lt;module&gt;"
has "$page" "it&#39;\\&#39;&#39;s &lt;b&gt;test data"
has "$page" "values from runs whose bytes were compared with the source's, 9 of link and harness"
has "$page" "<b>8</b> rows have no number"
has "$page" "the bytes were not compared, so the value is not used"
has "$page" "Sequential write: not measured in this run."
has "$page" "stopped before the end of the region at the time limit"
# An approach's share of its bound: 112.9 of 112.9 MiB/s less some noise.
has "$page" "% of the bound"
[ "$(grep -c '<figure' "$page")" = 7 ] || die "the page has not 7 figures"

# --- a first repetition that is far off, and few repetitions ---
slow=$TMP/slow
mkdir "$slow"
awk -F, -v OFS=, 'NR == 1 || ($3 == "first-chunk-rtt" && $5 == "thesis") {
	if ($20 == 0 && $21 == "first_access_us") $22 *= 40
	print }' "$run/runs.csv" >"$slow/runs.csv"
"$bench" report "$slow" >/dev/null
has "$slow/report.html" "the first repetition of first_access_us"
has "$slow/report.html" "env.json is missing"
has "$slow/report.html" "uffd tuned</b>: not in this run"
awk -F, 'NR == 1 || $20 < 2' "$slow/runs.csv" >"$TMP/few.csv"
mv "$TMP/few.csv" "$slow/runs.csv"
"$bench" report "$slow" >/dev/null
has "$slow/report.html" "fewer than 3 give no interval"
has "$slow/report.html" "points have fewer than 5 repetitions"

# --- two sizes of one series are two series, never one mean ---
awk -F, -v OFS=, 'NR == 1 || $3 == "throughput-rtt0" {
	print; if (NR > 1 && $5 == "tuned") { $18 = 4096; $22 /= 10; $27 = 4096; print } }' \
	"$run/runs.csv" >"$slow/runs.csv"
"$bench" plots "$slow" >/dev/null
has "$slow/plots/throughput-rtt0.svg" "uffd tuned, 256 MiB"
has "$slow/plots/throughput-rtt0.svg" "uffd tuned, 4 KiB"

# --- two rates at one RTT: two curves, two bounds, but one column of answers ---
awk -F, -v OFS=, 'NR == 1 || $3 == "throughput-rtt" {
	print; if (NR > 1 && $21 ~ /mib_s/) { $12 = 100; $22 /= 10; print } }' \
	"$run/runs.csv" >"$slow/runs.csv"
"$bench" report "$slow" >/dev/null
has "$slow/plots/throughput-rtt.svg" ">uffd tuned, 100 Mbit/s<"
has "$slow/plots/throughput-rtt.svg" ">bound of uffd thesis, 100 Mbit/s<"
has "$slow/report.html" '<th scope="col" class="n">uffd tuned</th>'
has_not "$slow/report.html" '<th scope="col" class="n">uffd tuned, 100 Mbit/s</th>'
has "$slow/report.html" '<th scope="row">RTT 20 ms, 100 Mbit/s, cubic</th>'

# --- an empty run ---
empty=$TMP/empty
mkdir "$empty"
head -n 1 "$run/runs.csv" >"$empty/runs.csv"
mkdir "$empty/plots" && echo old >"$empty/plots/cpu.svg"
"$bench" report "$empty" >/dev/null
has "$empty/report.html" "Not drawn: this run has no verified number for it."
[ ! -e "$empty/plots/cpu.svg" ] || die "an old picture was kept"

# --- failures: one line, exit status 1 or 2 ---
fails() { # STATUS PART COMMAND...
	local want=$1 part=$2 status=0
	shift 2
	"$@" >"$TMP/out" 2>"$TMP/err" || status=$?
	[ "$status" = "$want" ] || die "$* ended with $status, not $want"
	[ "$(wc -l <"$TMP/err")" = 1 ] || die "$* said $(cat "$TMP/err")"
	has "$TMP/err" "$part"
}
mkdir "$TMP/bin"
fails 1 "gnuplot is not installed" env PATH="$TMP/bin" "$bench" plots "$run"
has "$page" "<figure"
fails 1 "No such file" "$bench" report "$TMP/nowhere"
fails 1 "runs.csv" "$bench" plots "$TMP/bin"
fails 2 "colour" "$bench" plots --colour
fails 1 "no common/style.gp" "$bench" plots --plots "$TMP" "$run"
cp -r plots "$TMP/plots"
printf '# title: x\n# colour: y\n' >"$TMP/plots/bad.gp"
fails 1 "bad.gp:2: no entry is called \"colour\"" "$bench" plots --plots "$TMP/plots" "$run"
printf '# title: x\n' >"$TMP/plots/bad.gp"
fails 1 "bad.gp: the head has no \"question\"" "$bench" plots --plots "$TMP/plots" "$run"
rm "$TMP/plots/bad.gp"
echo 'plot nonsense' >>"$TMP/plots/cpu.gp"
fails 1 "cpu.gp" "$bench" plots --plots "$TMP/plots" "$run"
[ -z "$(find "$run" -name '*.new')" ] || die "a half-written picture was left"

# --- interrupted: nothing half-written, no gnuplot left ---
cat >"$TMP/bin/gnuplot" <<'FAKE'
#!/bin/sh
out=$(echo "$3" | sed "s/.*output='\\([^']*\\)'; load.*/\\1/")
echo half >"$out" && echo $$ >"$(dirname "$out")/../pid"
exec sleep 100
FAKE
chmod +x "$TMP/bin/gnuplot"
PATH=$TMP/bin:$PATH "$bench" plots "$run" &
pid=$!
for _ in $(seq 200); do [ -s "$run/pid" ] && break; sleep 0.05; done
[ -n "$(find "$run" -name '*.new')" ] || die "the picture was not begun"
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
[ "$status" = 143 ] || die "interrupted, but ended with $status"
[ -z "$(find "$run" -name '*.new')" ] || die "a half-written picture was left"
for _ in $(seq 200); do kill -0 "$(cat "$run/pid")" 2>/dev/null || break; sleep 0.05; done
! kill -0 "$(cat "$run/pid")" 2>/dev/null || die "gnuplot was left"

# --- a figure is one new file ---
sed -e 's/^# title: .*/# title: A new figure/' -e 's/^# experiment: .*/# experiment: random-access/' \
	-e 's/^# metric: .*/# metric: access_us_p50/' plots/harness-cost.gp >"$TMP/plots/new.gp"
sed -i '/^# order/i # experiment: random-access' "$TMP/plots/new.gp"
cp plots/cpu.gp "$TMP/plots/cpu.gp"
"$bench" report --plots "$TMP/plots" "$run" >/dev/null
has "$page" "A new figure"
[ "$(grep -c '<figure' "$page")" = 8 ] || die "the new figure is not in the page"

# --- in a browser ---
status=0
harness/report/check-report "$page" "$TMP/page.png" || status=$?
case $status in
0) [ -s "$TMP/page.png" ] || die "no picture of the page" ;;
77) echo "plots and report are good, but no Chromium looked at the page"
	exit 77 ;;
*) exit 1 ;;
esac
# The checker can fail: another page's picture, a script, a missing target.
if [ "$status" = 0 ]; then
	for bad in '<p style="background:url(http://example.org/x)">' \
		'<a href="https://example.org">x</a>' '<script></script>' \
		'<a href="#nowhere">x</a>' '<figure></figure>' \
		'<p style="width:900px">wide</p>'; do
		sed "s|</main>|$bad</main>|" "$page" >"$TMP/bad.html"
		! harness/report/check-report "$TMP/bad.html" >/dev/null 2>&1 ||
			die "check-report accepts $bad"
	done
fi
echo "plots and report are good"

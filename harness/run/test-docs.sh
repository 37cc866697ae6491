#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The manual page of memsync-bench names every option of list, run, compare,
# diff, vm, cost and doctor, and no other; README.md names every key of the data files.
set -u
bench=$BIN/memsync-bench
page=$TOP/harness/memsync-bench.1
failures=0
[ -x "$bench" ] || { echo "memsync-bench is not built"; exit 77; }

# The part of the page of one command.
section() {
	awk -v name="$1" '/^\.Ss / { on = $2 == name } /^\.Sh / { on = 0 } on' "$page"
}

for command in list run compare diff vm cost doctor; do
	"$bench" "$command" --help | grep -oE '^  (    |-[A-Za-z0-9], )--[a-z0-9-]+' |
		grep -oE -- '--[a-z0-9-]+' | grep -vxE -- '--(help|version|dump-config)' |
		sort >"$TMP/program"
	section "$command" | grep '^\.It' | sed 's/\\-/-/g' | grep -oE 'Fl Fl [a-z0-9-]+' |
		sed 's/Fl Fl /--/' | grep -vxE -- '--(help|version|dump-config)' | sort >"$TMP/page"
	if ! diff "$TMP/program" "$TMP/page" >"$TMP/diff"; then
		echo "$command: program (<) and manual page (>) differ:"
		cat "$TMP/diff"
		failures=1
	fi
	[ "$command" = list ] || [ -s "$TMP/program" ] || { echo "$command: no options found"; failures=1; }
done

# Every key that the files in the tree use stands in the README.
for file in "$TOP"/harness/experiments/*.json "$TOP"/harness/approaches/*.json; do
	grep -oE '"[a-z_]+":' "$file"
done | sort -u | tr -d '":' | while read -r key; do
	grep -q "\`$key\`" "$TOP/harness/README.md" || echo "$key"
done >"$TMP/missing"
if [ -s "$TMP/missing" ]; then
	echo "harness/README.md does not explain: $(tr '\n' ' ' <"$TMP/missing")"
	failures=1
fi
exit $failures

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Manual pages: mandoc has nothing to say about them, and every long option
# that a program or one of its commands shows in --help stands in its page.
set -u
cd "$TOP" || exit 1
command -v mandoc >/dev/null || { echo "mandoc is not installed"; exit 77; }
failed=0 pages=0

while read -r page; do
	pages=$((pages + 1))
	mandoc -Tlint -Wwarning "$page" || { echo "$page: see above"; failed=1; }
done < <(find approaches harness datasets tests -name '*.[137]' | sort)
[ "$pages" -gt 0 ] || { echo "there are no pages"; exit 1; }

check_help() { # PAGE PROGRAM [COMMAND]
	local page=$1 option
	shift
	"$@" --help >"$TMP/help" 2>/dev/null || return 0
	while read -r option; do
		grep -qxF -- "$option" "$TMP/words" && continue
		echo "$page: $* takes $option, which the page does not mention"
		failed=1
	done < <(sed -nE 's/^ +(-[[:alnum:]], )?(--[a-z][a-z0-9-]*).*/\2/p' "$TMP/help")
}

for program in "$BIN"/memsync-*; do
	[ -x "$program" ] || continue
	page=$(find approaches harness -name "$(basename "$program").1" | head -n 1)
	[ -n "$page" ] || { echo "$(basename "$program") has no manual page"; failed=1; continue; }
	mandoc -Tascii "$page" | sed 's/.\x08//g' |
		grep -oE -- '--[a-z][a-z0-9-]*' | sort -u >"$TMP/words"
	check_help "$page" "$program"
	while read -r command; do
		check_help "$page" "$program" "$command"
	done < <("$program" --help 2>/dev/null |
		sed -nE 's/^  ([a-z][a-z-]*) {2,}.*/\1/p')
done
exit $failed

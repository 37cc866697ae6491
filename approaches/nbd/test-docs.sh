#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # backquotes of Markdown, not of the shell
# What --help lists, README.md and the manual page describe, and the other way
# round, for each command of memsync-nbd.
set -u
here=$TOP/approaches/nbd
"$BIN/memsync-nbd" --version >/dev/null || exit 1

# options COMMAND: from --help, without the three that every command has
options() {
	"$BIN/memsync-nbd" "$1" --help | grep -oE -- '^ +(-., )?--[a-z-]+' |
		grep -oE -- '--[a-z-]+' | grep -vxE -- '--(help|version|dump-config)' | sort -u
}

commands=$("$BIN/memsync-nbd" --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
[ "$(wc -w <<<"$commands")" = 4 ] || { echo "commands: $commands"; exit 1; }
all=$(for c in $commands; do options "$c"; done | sort -u)
[ "$(wc -l <<<"$all")" -gt 10 ] || { echo "too few options: $all"; exit 1; }
readme=$(sed -n '/^## Parameters/,/^### /p' "$here/README.md" |
	grep -oE -- '`--[a-z-]+`' | tr -d '`' | grep -vxE -- '--(help|version|dump-config)' | sort -u)
manual=$(sed -nE 's/^\.It Fl Fl ([a-z-]+).*/--\1/p' "$here/memsync-nbd.1" | sort -u)
status=0
diff <(echo "$all") <(echo "$readme") || { echo "--help (<) and README.md (>) differ"; status=1; }
diff <(echo "$all") <(echo "$manual") || { echo "--help (<) and memsync-nbd.1 (>) differ"; status=1; }
for c in $commands; do
	grep -q "^\.Cm $c" "$here/memsync-nbd.1" || { echo "$c is not in the manual"; status=1; }
	grep -q "memsync-nbd $c" "$here/README.md" || { echo "$c is not in README.md"; status=1; }
done
# The sections are the same in every approach.
want='Name Synopsis Description Examples Parameters Limits See also'
got=$(sed -n 's/^## //p' "$here/README.md" | paste -sd' ')
[ "$got" = "$want" ] || { echo "sections of README.md: $got"; status=1; }
# Defaults: what --dump-config of the command says stands in its table.
while read -r command option default; do
	real=$("$BIN/memsync-nbd" "$command" --dump-config | sed -n "s/^${option#--}=//p")
	[ "$real" = "$default" ] || { echo "$command $option: default $default in README.md, $real in fact"; status=1; }
done < <(sed -nE -e '/^Of `[a-z]+`:$/ { s/^Of `([a-z]+)`:$/\1/; h }' \
	-e '/^\| `--[a-z-]+` \| [^ |]+ \|/ { s/^\| `(--[a-z-]+)` \| ([^ |]+) \|.*/\1 \2/; x; p; x; p }' "$here/README.md" | paste -d' ' - -)
exit $status

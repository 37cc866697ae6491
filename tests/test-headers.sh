#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every header compiles alone: internal ones in C, public ones in C and C++,
# with the warnings of the build. C++ is left out if there is no compiler.
set -u
cd "$TOP" || exit 1
failed=0
flags=(-std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 '-DMS_VERSION="x"'
	-Wall -Wextra -Wstrict-prototypes -Werror)
count=0

# Twice, so that a header without a guard fails as well.
alone() { # HEADER COMMAND...
	local header=$1
	shift
	printf '#include "%s"\n#include "%s"\n' "$header" "$header" >"$TMP/$source"
	count=$((count + 1))
	if ! "$@" -fsyntax-only -Iinclude -I. "$TMP/$source" >"$TMP/log" 2>&1; then
		echo "$header does not compile alone ($1):"
		head -n 10 "$TMP/log"
		failed=1
	fi
}

source=alone.c
while read -r header; do
	alone "${header#include/}" "${CC:-cc}" "${flags[@]}"
done < <(find include approaches harness tests -name '*.h' | sort)

source=alone.cc
cxx=${CXX:-c++}
if command -v "$cxx" >/dev/null; then
	for header in include/memsync/*.h; do
		alone "${header#include/}" "$cxx" -std=c++17 -Wall -Wextra -Werror
	done
else
	echo "no C++ compiler: public headers checked in C only"
fi
[ "$count" -gt 20 ] || { echo "found only $count headers"; failed=1; }
exit $failed

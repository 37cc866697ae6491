#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# libmemsync.so exports exactly what include/memsync declares, each symbol with
# a version, and a program built against the installed names alone works.
set -u
cd "$TOP" || exit 1
lib=$(dirname "$BIN")/lib
[ -e "$lib/libmemsync.so" ] || { echo "no $lib/libmemsync.so"; exit 1; }

for header in include/memsync/*.h; do
	echo "#include \"${header#include/}\""
done >"$TMP/all.c"
# Statements that declare a function of ours; types of functions are none.
"${CC:-cc}" -E -P -Iinclude "$TMP/all.c" | tr '\n' ' ' | sed 's/[;}]/\n/g' |
	grep -v typedef |
	grep -oE '\b(ms|memsync)_[a-z0-9_]+ ?\(' | tr -d ' (' |
	sort -u >"$TMP/declared"
nm -D --defined-only --with-symbol-versions "$lib/libmemsync.so" |
	awk '$2 != "A" { print $3 }' | sort -u >"$TMP/exported"
if grep -v '@@MEMSYNC_0$' "$TMP/exported"; then
	echo "these symbols have no version of ours"
	exit 1
fi
sed -i 's/@@.*//' "$TMP/exported"
[ "$(wc -l <"$TMP/declared")" -gt 20 ] || { echo "no declarations found"; exit 1; }
if ! diff -u "$TMP/declared" "$TMP/exported"; then
	echo "declared (-) and exported (+) functions differ"
	exit 1
fi

cat >"$TMP/app.c" <<'APP'
#include <memsync/backend.h>
#include <string.h>

int main(void)
{
	struct ms_backend *b = NULL;
	char buf[6] = "";
	int rc = ms_open("memory:size=1M", &b);

	if (rc == 0)
		rc = ms_write_at(b, "hello", 6, (1 << 20) - 6);
	if (rc == 0)
		rc = ms_read_at(b, buf, 6, (1 << 20) - 6);
	ms_close(b);
	if (rc || strcmp(buf, "hello") != 0)
		return 1;
	if (ms_open("nothing", &b) >= 0)
		return 2;
	return strcmp(memsync_error(), "there is no backend \"nothing\"") != 0;
}
APP
# Only the public headers, and nothing but -lmemsync on the command line.
mkdir -p "$TMP/include" && cp -r include/memsync "$TMP/include/"
if ! "${CC:-cc}" -Wall -Wextra -Werror -I"$TMP/include" -o "$TMP/app" "$TMP/app.c" \
	-L"$lib" -lmemsync; then
	echo "a program cannot be linked with libmemsync.so"
	exit 1
fi
if ! LD_LIBRARY_PATH=$lib "$TMP/app"; then
	echo "the program against libmemsync.so failed"
	exit 1
fi

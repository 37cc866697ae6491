#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs into an empty folder, then builds and runs a program against what
# is there, as a user of the library would, shared and static, in C and C++.
set -u
build=$(dirname "$BIN")
to=$TMP/root
prefix=/opt/memsync
failures=0

complain() {
	echo "FAILED: $1"
	failures=1
}

so=$(ls "$build"/lib/libmemsync.so.*.*.* 2>/dev/null)
[ -n "$so" ] || { echo "libmemsync is not built"; exit 77; }
command -v pkg-config >/dev/null || { echo "needs pkg-config"; exit 77; }
version=${so##*.so.}

install() {
	BUILD=$build PREFIX=$prefix DESTDIR=$to VERSION=$version SOVERSION=0 "$TOP/harness/install"
}
install || complain "install: exit $?"
install || complain "install again: exit $?"
PREFIX=relative BUILD=$build DESTDIR=$to VERSION=$version SOVERSION=0 "$TOP/harness/install" \
	2>"$TMP/err" && complain "a relative prefix was taken"
grep -q "not an absolute path" "$TMP/err" || complain "a relative prefix: $(cat "$TMP/err")"

for file in bin/memsync-bench lib/libmemsync.a "lib/libmemsync.so.$version" lib/libmemsync.so.0 \
	lib/libmemsync.so include/memsync/backend.h lib/pkgconfig/memsync.pc \
	share/man/man1/memsync-bench.1 share/bash-completion/completions/memsync-bench \
	share/memsync/experiments/goodput.json share/memsync/approaches/uffd.json \
	share/memsync/plots/common/style.gp share/memsync/datasets/generate; do
	[ -e "$to$prefix/$file" ] || complain "$file is not installed"
done
grep -rIl "$to" "$to" && complain "the folder of the installation stands in these files"

cat >"$TMP/user.c" <<'END'
#include <memsync/backend.h>
#include <memsync/uffd.h>
#include <stdio.h>

int main(void)
{
	struct ms_backend *b = NULL;
	char byte = 0;

	if (ms_open("pattern:size=64K,seed=1", &b)) {
		fprintf(stderr, "%s\n", memsync_error());
		return 1;
	}
	if (ms_read_at(b, &byte, 1, 4096) || ms_size(b) != 65536)
		return 1;
	ms_close(b);
	puts(ms_open("nonsense", &b) ? memsync_error() : "?");
	return 0;
}
END
cp "$TMP/user.c" "$TMP/user.cc"
export PKG_CONFIG_PATH=$to$prefix/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$to
read -ra flags < <(pkg-config --cflags --libs memsync) || complain "pkg-config"
[ "$(pkg-config --modversion memsync)" = "$version" ] || complain "the version of memsync.pc"
"${CC:-cc}" -Wall -Werror -o "$TMP/user" "$TMP/user.c" "${flags[@]}" || complain "cc"
LD_LIBRARY_PATH=$to$prefix/lib "$TMP/user" >"$TMP/out" || complain "the program: exit $?"
grep -q nonsense "$TMP/out" || complain "the program printed: $(cat "$TMP/out")"
if command -v c++ >/dev/null; then
	c++ -Wall -Werror -o "$TMP/user++" "$TMP/user.cc" "${flags[@]}" || complain "c++"
	LD_LIBRARY_PATH=$to$prefix/lib "$TMP/user++" >"$TMP/out" || complain "the C++ program: exit $?"
fi

# The library alone static; those below it as the system has them.
unset PKG_CONFIG_SYSROOT_DIR
read -ra below < <(pkg-config --libs jansson libxxhash zlib libnbd)
"${CC:-cc}" -o "$TMP/static" -I"$to$prefix/include" "$TMP/user.c" \
	"$to$prefix/lib/libmemsync.a" "${below[@]}" -lm -pthread || complain "cc, static"
"$TMP/static" >"$TMP/out" || complain "the static program: exit $?"

# The installed harness finds its data files by itself.
(cd / && env -u MEMSYNC_HARNESS "$to$prefix/bin/memsync-bench" list figures) >"$TMP/out" ||
	complain "the installed memsync-bench"
grep -q throughput-rtt "$TMP/out" || complain "the installed memsync-bench: $(cat "$TMP/out")"

# Completion: it loads, and knows commands, options and choices.
cat >"$TMP/complete.sh" <<END
source "$to$prefix/share/bash-completion/completions/memsync-bench"
compopt() { :; }
COMP_WORDS=(memsync-bench compa) COMP_CWORD=1; _memsync; echo "\${COMPREPLY[*]}"
COMP_WORDS=(memsync-bench run --fig) COMP_CWORD=2; _memsync; echo "\${COMPREPLY[*]}"
COMP_WORDS=(memsync-bench run --set = th) COMP_CWORD=4; _memsync; echo "\${COMPREPLY[*]}"
END
bash "$TMP/complete.sh" >"$TMP/out" 2>&1
[ "$(tr '\n' ' ' <"$TMP/out")" = "compare --figure= thesis " ] || complain "completion: $(cat "$TMP/out")"

exit $failures

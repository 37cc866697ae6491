# shellcheck shell=bash disable=SC2034,SC2154 # its variables are the driver's
# SPDX-License-Identifier: Apache-2.0
#
# Programs and libraries of the running system as one uncompressed tar
# archive, cut at the size. Files are taken in the order of their names; the
# seed says where in that order to start. The same installed files give the
# same archive.

kind_text='ELF files of this system (/usr/bin, /usr/lib ...) as a tar, cut at SIZE'
kind_version=1
kind_repeat=same-system
kind_tools='tar find'

kind_check()
{
	at_least 65536 64K
}

kind_versions()
{
	tar --version | sed -n '1s/.* /tar=/p'
	sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\).*/system=\1/p' /etc/os-release
}

kind_make()
{
	local actual

	cd -- "$scratch" || fail 'cannot enter the scratch folder'
	find /usr/bin /usr/sbin /usr/lib /usr/libexec -xdev -type f -size +0 \
		-readable -print0 2>/dev/null | sort -z >names
	perl -I"$here" "$here/kinds/elf-tree.pl" "$seed" "$bytes" <names >list ||
		exit 1
	tar --create --file "$1" --format=gnu --null --no-recursion \
		--mtime=@0 --owner=0 --group=0 --numeric-owner --mode=a+r,go-w \
		--absolute-names --hard-dereference --files-from list ||
		exit 1
	actual=$(stat -c %s -- "$1") || exit 1
	((actual >= bytes)) || fail "tar made only $actual bytes"
	truncate -s "$bytes" -- "$1"
}

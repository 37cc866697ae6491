# shellcheck shell=bash disable=SC2034,SC2154 # its variables are the driver's
# SPDX-License-Identifier: Apache-2.0
#
# An ext4 image made by mke2fs from a seeded tree of files (texts, logs,
# tables, media that do not compress), nothing mounted. Everything that varies
# from one run to the next is fixed: identifiers, the hash seed, the features,
# and the times, which mke2fs would copy from the tree.

kind_text='an ext4 image holding a seeded tree; FILL % of its blocks are files'
kind_version=1
kind_repeat=same-tools
kind_tools='mke2fs debugfs e2fsck openssl'
kind_params='fill=70'

kind_check()
{
	number fill 1 80
	multiple_of 4096
	at_least 33554432 32M
}

kind_versions()
{
	mke2fs -V 2>&1 | sed -n '1s/mke2fs \([^ ]*\).*/e2fsprogs=\1/p'
}

# One time for everything, and root as the owner whoever ran mke2fs. The
# inodes of a fresh image are 2, and 11 (lost+found) up to the last used.
fixed_times()
{
	local inode field

	for inode in 2 $(seq 11 "$1"); do
		for field in ctime atime mtime crtime; do
			echo "set_inode_field <$inode> $field @1700000000"
			echo "set_inode_field <$inode> ${field}_extra 0"
		done
		echo "set_inode_field <$inode> uid 0"
		echo "set_inode_field <$inode> gid 0"
	done
	for field in mkfs_time wtime lastcheck; do
		echo "set_super_value $field @1700000000"
	done
}

kind_make()
{
	local files features extended

	# Said in full, as the defaults differ between releases.
	features=has_journal,ext_attr,resize_inode,dir_index,filetype,extent
	features+=,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink
	features+=,extra_isize,metadata_csum
	extended=hash_seed=6d656d73-796e-4320-8000-00000000005d
	extended+=,root_owner=0:0,lazy_itable_init=0,nodiscard
	cd -- "$scratch" || fail 'cannot enter the scratch folder'
	# Files that do not compress are slices of one key stream.
	keystream ext4 8388608 >stream || fail 'no key stream'
	perl -I"$here" "$here/kinds/ext4-tree.pl" tree "$seed" \
		$((bytes * param[fill] / 100)) stream || exit 1
	truncate -s "$bytes" -- "$1" || exit 1
	export E2FSPROGS_FAKE_TIME=1700000000 MKE2FS_CONFIG=/dev/null
	mke2fs -q -F -t ext4 -b 4096 -I 256 -i 16384 -m 0 -L memsync \
		-O "none,$features" \
		-U 6d656d73-796e-4320-8000-0000000000e4 \
		-E "$extended" \
		-d tree "$1" || exit 1
	files=$(find tree -mindepth 1 | wc -l)
	fixed_times $((files + 11)) | debugfs -w -f - "$1" >debugfs.log 2>&1 ||
		fail 'debugfs failed'
	e2fsck -f -n "$1" >e2fsck.log 2>&1 ||
		fail "e2fsck does not accept the image: $(tail -n 1 e2fsck.log)"
}

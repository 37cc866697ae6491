# shellcheck shell=bash disable=SC2034,SC2154 # its variables are the driver's
# SPDX-License-Identifier: Apache-2.0
#
# A file with real holes: a stated share of its 4 KiB pages is data (which
# does not compress), in runs of a stated mean length at seeded places.

kind_text='real holes; SHARE % of the 4 KiB pages are data, in runs of RUN KiB'
kind_version=1
kind_repeat=bits
kind_tools='openssl'
kind_params='share=25 run=64'

kind_check()
{
	number share 1 99
	number run 4 1048576
	multiple_of 4096
	at_least 65536 64K
}

kind_versions()
{
	openssl version | sed 's/^OpenSSL \([^ ]*\).*/openssl=\1/'
}

kind_make()
{
	local data=$((bytes * param[share] / 409600))

	((data > 0)) || data=1
	keystream sparse $((data * 4096)) |
		perl -I"$here" "$here/kinds/sparse.pl" "$1" "$seed" \
			$((bytes / 4096)) "$data" $((param[run] / 4))
}

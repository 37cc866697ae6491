# shellcheck shell=bash disable=SC2034,SC2154 # its variables are the driver's
# SPDX-License-Identifier: Apache-2.0
#
# Zeros that are really written, for what zero detection is worth. Never a
# stand-in for data: see incompressible.

kind_text='written zeros (no holes); never a stand-in for data'
kind_version=1
kind_repeat=bits
kind_tools=''

kind_check()
{
	:
}

kind_versions()
{
	:
}

kind_make()
{
	head -c "$bytes" /dev/zero >"$1"
}

# shellcheck shell=bash disable=SC2034,SC2154 # its variables are the driver's
# SPDX-License-Identifier: Apache-2.0
#
# Seeded bytes that no compressor can shrink: a cipher's key stream. What is
# measured with them owes nothing to compression, zero detection or
# deduplication.

kind_text='seeded bytes that do not compress (AES-256-CTR key stream)'
kind_version=1
kind_repeat=bits
kind_tools='openssl'

kind_check()
{
	:
}

kind_versions()
{
	openssl version | sed 's/^OpenSSL \([^ ]*\).*/openssl=\1/'
}

kind_make()
{
	keystream incompressible "$bytes" >"$1"
}

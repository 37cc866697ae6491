# SPDX-License-Identifier: Apache-2.0
# title: The emulated link against the kernel's netem
# question: Does it matter for an approach which of the two emulates the link?
# measured: Bytes read by the application per second from opening the region
#   to the last byte, over 100 Mbit/s, with both drivers in one kernel, which
#   is that of the VM where this machine's own has no netem.
# excluded: The comparison of the bytes, which follows outside of the timer.
# metric: read_open_mib_s
# series: uffd/thesis uffd/tuned
# x: rtt_ms
# order: 90
load plots.'/common/by-rtt.gp'

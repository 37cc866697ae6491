# SPDX-License-Identifier: Apache-2.0
# title: Sequential read by RTT, block devices beside userfaultfd
# question: How much of the link does each approach use, all in one kernel?
# measured: Bytes read by the application per second from opening the region
#   or mounting the device to the last byte, up to the whole region or the time
#   limit, over 100 Mbit/s. The bound is what the link carries after headers.
# excluded: The comparison of the bytes, which follows outside of the timer.
# thesis: F8 (B7), which compared direct and managed mounts without a rate.
# metric: read_open_mib_s
# series: nbd-direct/thesis nbd-direct/tuned nbd-managed/thesis nbd-managed/tuned uffd/thesis uffd/tuned
# x: rtt_ms
# order: 55
load plots.'/common/by-rtt.gp'

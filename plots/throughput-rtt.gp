# SPDX-License-Identifier: Apache-2.0
# title: Sequential read by RTT, opening included
# question: How much of the link does each approach use, near and far?
# measured: Bytes read by the application per second from opening the region
#   to the last byte, up to the whole region or the time limit. The bound is
#   what the link carries after headers.
# excluded: The comparison of the bytes, which follows outside of the timer.
# thesis: F8 (B7), which had no limit of rate, a linear axis that hid all
#   below 20 MB/s, and other sizes for other approaches.
# metric: read_open_mib_s
# series: uffd/thesis uffd/tuned
# x: rtt_ms
# headline: Sequential read, opening included
# order: 50
load plots.'/common/by-rtt.gp'

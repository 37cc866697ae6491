# SPDX-License-Identifier: Apache-2.0
# title: Latency of random accesses
# question: What does an access to a place that was not touched before cost,
#   and how bad are the worst ones?
# measured: Each access from its intended start to its end, so that a stall is
#   counted against all accesses that it delays; quantiles over one run, then
#   the median of the runs.
# excluded: Opening the region and the comparison of the bytes.
# metric: access_us_p50 access_us_p99 access_us_p999
# series: uffd/thesis uffd/tuned
# x: rtt_ms
# order: 60
load plots.'/common/by-rtt.gp'

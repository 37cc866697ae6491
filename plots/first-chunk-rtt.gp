# SPDX-License-Identifier: Apache-2.0
# title: First access by RTT
# question: How does the wait for the first 4 KiB grow with the distance?
# measured: From the start of one 4 KiB access at offset 4096 to its end, in a
#   region that is open; a new region for each run. The bound is one RTT: a
#   request has to go there and its answer has to come back.
# excluded: Opening the region, connecting, and the comparison of the bytes.
# thesis: F3 (B2), which slept in the backend instead of using a network.
# metric: first_access_us
# series: uffd/thesis uffd/tuned
# x: rtt_ms
# headline: Wait for the first 4 KiB
# order: 30
load plots.'/common/by-rtt.gp'

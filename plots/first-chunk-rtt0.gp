# SPDX-License-Identifier: Apache-2.0
# title: First access at RTT 0
# question: How long does a program wait for its first 4 KiB of a region when
#   the network adds no delay?
# measured: From the start of one 4 KiB access at offset 4096 to its end, in a
#   region that is open; a new region for each run.
# excluded: Opening the region, connecting, and the comparison of the bytes.
# thesis: F1 and F2 (B1), where an emulated RTT of 0 was the loopback.
# metric: first_access_us
# series: memory disk uffd/thesis uffd/tuned
# order: 20
load plots.'/common/dots.gp'

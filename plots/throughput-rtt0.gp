# SPDX-License-Identifier: Apache-2.0
# title: Sequential read at RTT 0
# question: How fast is a region read from one end to the other when the
#   network adds no delay?
# measured: Bytes read by the application per second, up to the whole region
#   or the time limit; once from the first access on, as the thesis did, and
#   once with opening the region included (the source is filled before). Each
#   row's quartiles are the box, so that the spread can be compared.
# excluded: The comparison of the bytes, which follows outside of the timer.
# thesis: F5, F6 and F7 (B6), where opening was never counted.
# metric: read_mib_s read_open_mib_s
# series: memory disk uffd/thesis uffd/tuned
# order: 40
load plots.'/common/dots.gp'

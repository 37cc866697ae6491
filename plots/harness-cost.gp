# SPDX-License-Identifier: Apache-2.0
# title: What the harness itself costs
# question: How much of a small number is the harness and not the approach?
# measured: One 4 KiB I/O that does nothing, through the whole stack, in one
#   thread.
# excluded: Nothing.
# metric: op_us
# series: null
# order: 90
load plots.'/common/dots.gp'

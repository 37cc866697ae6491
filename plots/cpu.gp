# SPDX-License-Identifier: Apache-2.0
# title: CPU time for a GiB
# question: What does moving a GiB cost in processor time, on which side?
# measured: User and system time of all processes of a side during the
#   sequential reads, divided by the bytes that were read.
# excluded: The link emulator and the harness, which have rows of their own.
# experiment: throughput-rtt
# metric: cpu_source_s cpu_target_s
# per: GiB
# unit: s/GiB
# order: 80
load plots.'/common/stacked.gp'

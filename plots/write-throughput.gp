# SPDX-License-Identifier: Apache-2.0
# title: Sequential write
# question: How fast are writes taken, and how fast are they safe at the
#   other end?
# measured: Bytes written per second until the last write returned, and until
#   a sync after it returned, which is when everything is durable at the
#   remote.
# excluded: Opening the region and the comparison of the bytes.
# thesis: F10 (B14), which never waited for the remote.
# metric: write_mib_s write_durable_mib_s
# x: rtt_ms
# headline: Sequential write
# order: 70
load plots.'/common/by-rtt.gp'

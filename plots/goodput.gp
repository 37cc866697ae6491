# SPDX-License-Identifier: Apache-2.0
# title: 256 MiB over 1 Gbit/s, opening included
# question: Does the variant without knobs fill the link, whatever its round trip?
# measured: Bytes read by the application per second, from before opening the
#   region to the last of its 256 MiB; thesis ends at the time limit. The bound
#   is what the link carries after headers.
# excluded: The comparison of the bytes, which follows outside of the timer.
# metric: read_open_mib_s
# series: uffd/thesis uffd/tuned
# x: rtt_ms
# order: 55
load plots.'/common/by-rtt.gp'

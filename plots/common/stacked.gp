# SPDX-License-Identifier: Apache-2.0
# Layout: medians of several metrics that add up, stacked in one row for each
# series, on a linear axis from 0. The first metric is dark, the next ones are
# lighter. No intervals: those of the parts stand in the table.
row_px = 30
axis_px = 60
key_px = 26
height = 60 + key_px + row_px * n_rows + axis_px + 18 + 15 * note_lines
load plots.'/common/style.gp'

longest = 0
do for [i = 1:n_rows] {
	l = strlen(row_label[i])
	longest = l > longest ? l : longest
}
left = (24.0 + 7.6 * longest) / 900
left = left > 0.45 ? 0.45 : left
set lmargin at screen left
set rmargin at screen 0.985
set tmargin at screen px(head_px + key_px)
set bmargin at screen real(foot_px + axis_px) / height
set yrange [n_rows + 0.6:0.4]
set ytics (row_label[1] 1) scale 0 textcolor rgb ink
do for [i = 2:n_rows] { set ytics add (row_label[i] i) }
unset grid
set grid x lc rgb grid lw 1 dt 1
set xrange [0:stack_max * 1.12]
set xlabel stack_label textcolor rgb ink offset 0, 0.2
shade(c) = curve_metric[c] == 1 ? color(curve_approach[c]) : \
	curve_metric[c] == 2 ? '#90'.substr(color(curve_approach[c]), 2, 7) : \
	'#c8'.substr(color(curve_approach[c]), 2, 7)
do for [m = 1:n_metrics] {
	at = left + (m - 1) * 0.25
	set object m rectangle from screen at, px(head_px + 12) \
		to screen at + 0.014, px(head_px) fs solid 1 noborder \
		fc rgb (m == 1 ? '#444444' : m == 2 ? '#90444444' : '#c8444444')
	set label 1010 + m metric_label[m] at screen at + 0.02, px(head_px + 6) \
		left font face(11) textcolor rgb ink
}
plot for [c = 1:n_curves] data index sprintf('curve_%d', c) \
	using ($12):11:($12):($12 + $2):($11 - 0.3):($11 + 0.3) \
	with boxxyerror fs solid 1 noborder lc rgb shade(c), \
  data index 'totals' using 1:2:(three($1)) \
	with labels left offset 0.8, 0 font face(11) textcolor rgb ink

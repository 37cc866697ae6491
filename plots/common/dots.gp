# SPDX-License-Identifier: Apache-2.0
# Layout: a row for each series, a panel for each metric, on a logarithmic
# axis. A row shows every run (faint dots), the quartiles (box), the 95 %
# interval of the median (bar), the median (mark and number) and the bound
# (upright stroke). Not bars: a bar has no honest foot on a log axis.
row_px = 34
axis_px = 60
height = 60 + 26 + row_px * n_rows + axis_px + 18 + 15 * note_lines
load plots.'/common/style.gp'

longest = 0
do for [i = 1:n_rows] {
	l = strlen(row_label[i])
	longest = l > longest ? l : longest
}
left = (24.0 + 7.6 * longest) / 900
left = left > 0.45 ? 0.45 : left
right = 0.985
gap = 0.03
width = (right - left - gap * (n_metrics - 1)) / n_metrics

set label 1004 "mark and bar: median, 95 % interval   box: quartiles   dots: runs   upright: bound" \
	at screen 0.985, px(20) right font face(10) textcolor rgb soft
set multiplot
do for [m = 1:n_metrics] {
	if (m > 1) { unset label 1001; unset label 1002; unset label 1003; unset label 1004 }
	from = left + (m - 1) * (width + gap)
	set lmargin at screen from
	set rmargin at screen from + width
	set tmargin at screen px(head_px + 14)
	set bmargin at screen real(foot_px + axis_px) / height
	set yrange [n_rows + 0.6:0.4]
	set ytics ((m == 1 ? row_label[1] : '') 1) scale 0 textcolor rgb ink
	do for [i = 2:n_rows] {
		set ytics add ((m == 1 ? row_label[i] : '') i)
	}
	set logscale x
	lo = metric_min[m] / 1.5
	# Room for the number at the right of the largest value.
	hi = metric_max[m] * (metric_max[m] / lo) ** (0.14 * n_metrics + 0.06)
	hi = hi < metric_max[m] * 1.6 ? metric_max[m] * 1.6 : hi
	set xrange [lo:hi]
	set xtics autofreq format '%g' nomirror out scale 0.6 textcolor rgb ink
	if (hi / lo < 50) {
		do for [e = -9:12] { do for [k in between(hi / lo)] {
			set xtics add (sprintf('%g', k * 10.0**e) k * 10.0**e)
		} }
	}
	# A number stands behind the largest run, and behind the bound if that
	# would be under it.
	reach = (hi / lo) ** (44.0 / (900 * width))
	past(v, b) = b >= v * 0.95 && b < v * reach ? b : clamp(v)
	set xlabel metric_label[m] textcolor rgb ink offset 0, 0.2
	plot \
	  for [c in panel_curves[m]] data \
	    index 'curve_'.c \
	    using (positive($2)):11:(clamp($7)):(clamp($8)): \
	    ($11 - 0.24):($11 + 0.24) \
	    with boxxyerror fs solid 1 noborder lc rgb fainter(curve_approach[int(c)]), \
	  for [c in panel_bounded[m]] data \
	    index 'curve_'.c \
	    using (positive($10)):($11 - 0.36):(0):(0.72) \
	    with vectors nohead lw 1.5 lc rgb ink, \
	  for [c in panel_curves[m]] data \
	    index 'runs_'.c using (clamp($2)):($3 + $4) \
	    with points pt 7 ps 0.35 lc rgb faint(curve_approach[int(c)]), \
	  for [c in panel_curves[m]] data \
	    index 'curve_'.c \
	    using (positive($2)):11:(clamp($3)):(clamp($4)) \
	    with xerrorbars lw 2 pt point(curve_approach[int(c)], curve_variant[int(c)]) \
	    ps 1.1 lc rgb color(curve_approach[int(c)]), \
	  for [c in panel_curves[m]] data \
	    index 'curve_'.c \
	    using (past($9, $10)):11:(three($2)) \
	    with labels left offset 0.8, 0 font face(11) textcolor rgb ink
}
unset multiplot

# SPDX-License-Identifier: Apache-2.0
# Layout: a metric by RTT, a panel for each metric, both axes so that nothing
# hides near 0: y is logarithmic, x is asinh(RTT), which has a place for 0.
# Marks are medians, bars their 95 % intervals, faint dots single runs; the
# thin dark line is the bound.
entries = words(panel_curves[1]) + words(panel_bounds[1])
longest = 0
do for [i = 1:n_curves] {
	l = strlen(curve_label[i])
	longest = l > longest ? l : longest
}
do for [i = 1:n_bounds] {
	l = strlen(bound_label[i])
	longest = l > longest ? l : longest
}
# The key's columns, so that the longest label fits into one.
columns = longest > 46 ? 1 : longest > 24 ? 2 : 3
key_px = 20 * ((entries + columns - 1) / columns)
axis_px = 60
title_px = n_metrics > 1 ? 24 : 0
height = 60 + key_px + title_px + 330 + axis_px + 18 + 15 * note_lines
load plots.'/common/style.gp'

left = 0.09
right = 0.985
gap = 0.02
width = (right - left - gap * (n_metrics - 1)) / n_metrics

# Panels share the y range, or a difference between them could not be seen.
lo = metric_min[1]
hi = metric_max[1]
do for [m = 2:n_metrics] {
	lo = metric_min[m] < lo ? metric_min[m] : lo
	hi = metric_max[m] > hi ? metric_max[m] : hi
}
lo = lo / 1.6
hi = hi * 1.6

set multiplot

# The key is a picture of its own, as wide as all panels together.
set lmargin at screen left
set rmargin at screen right
set tmargin at screen px(head_px)
set bmargin at screen px(head_px + key_px)
set key at graph 0, 1 left top Left reverse horizontal maxcols columns samplen 3 \
	spacing 1.1 width 1 textcolor rgb ink
unset border
unset tics
unset grid
plot [0:1][0:1] 2 notitle, \
  for [c in panel_curves[1]] keyentry with linespoints lw 2 \
    dt dash(curve_variant[int(c)], curve_twin[int(c)]) \
    pt point(curve_approach[int(c)], curve_variant[int(c)]) ps 1.1 \
    lc rgb color(curve_approach[int(c)]) title curve_label[int(c)], \
  for [b in panel_bounds[1]] keyentry with lines lw 1.2 lc rgb ink \
    title (b eq 'none' ? '' : bound_label[int(b)])
unset key
unset label 1001
unset label 1002
unset label 1003
set border 3 lc rgb '#8a8a8a' lw 1
set grid lc rgb grid lw 1 dt 1

do for [m = 1:n_metrics] {
	from = left + (m - 1) * (width + gap)
	set lmargin at screen from
	set rmargin at screen from + width
	set tmargin at screen px(head_px + key_px + title_px)
	set bmargin at screen real(foot_px + axis_px) / height
	set nonlinear x via asinh(x) inverse sinh(x)
	set xrange [0:xs[n_xs] > 0 ? 1.1 * xs[n_xs] + 0.1 : 1]
	set xtics (sprintf('%g', xs[1]) xs[1]) nomirror out scale 0.6 \
		textcolor rgb ink
	last = asinh(xs[1]) / asinh(1.1 * xs[n_xs] + 0.1)
	do for [i = 2:n_xs] {
		# Labels that would overlap are left out, the tics are not.
		at = asinh(xs[i]) / asinh(1.1 * xs[n_xs] + 0.1)
		show = at - last > 0.045 * n_metrics
		last = show ? at : last
		set xtics add ((show ? sprintf('%g', xs[i]) : '') xs[i])
	}
	set xlabel 'RTT of the link (ms)' textcolor rgb ink offset 0, 0.2
	set logscale y
	set yrange [lo:hi]
	set ytics autofreq format (m == 1 ? '%g' : '') nomirror out scale 0.6 \
		textcolor rgb ink
	if (hi / lo < 50) {
		do for [e = -9:12] { do for [k in between(hi / lo)] {
			set ytics add ((m == 1 ? sprintf('%g', k * 10.0**e) : '') k * 10.0**e)
		} }
	}
	if (n_metrics == 1) { set ylabel metric_label[1] textcolor rgb ink }
	if (n_metrics > 1) {
		set title metric_label[m] font face(12) textcolor rgb ink offset 0, -0.4
	}
	plot \
	  for [b in panel_bounds[m]] data \
	    index 'bound_'.b using 1:(positive($2)) \
	    with lines lw 1.2 lc rgb ink, \
	  for [c in panel_curves[m]] data \
	    index 'runs_'.c using 1:(clamp($2)) \
	    with points pt 7 ps 0.3 lc rgb faint(curve_approach[int(c)]), \
	  for [c in panel_curves[m]] data \
	    index 'curve_'.c \
	    using 1:(positive($2)):(clamp($3)):(clamp($4)) \
	    with yerrorlines lw 2 dt dash(curve_variant[int(c)], curve_twin[int(c)]) \
	    pt point(curve_approach[int(c)], curve_variant[int(c)]) ps 1.1 \
	    lc rgb color(curve_approach[int(c)])
}
unset multiplot

# SPDX-License-Identifier: Apache-2.0
# What all figures have in common. Expects the variables of FIGURE.vars.gp (see
# README.md) and `height`, the height of the picture in units of 1/900 of its
# width; sets terminal, fonts, and the functions that give an approach its
# colour and mark, and a variant its line.

set encoding utf8
set datafile separator "\t"
set datafile missing "NaN"

# Sizes are those of SVG; the other terminal counts in points, not in pixels.
small = terminal eq 'svg' ? 1.06 : 0.8
face(size) = sprintf('DejaVu Sans,%g', size * small)
if (terminal eq 'svg') {
	set terminal svg size 900,height dynamic noenhanced font face(13) \
		background '#ffffff' name fig_name
} else {
	set terminal pngcairo size 1800,2*height noenhanced font face(13) \
		fontscale 2 linewidth 2 pointscale 2 background '#ffffff'
}
set output output

# Tell-apart colours for all common kinds of colour blindness (after Okabe and
# Ito; yellow is replaced because it vanishes on white), and a mark for each, so
# that colour is never the only difference.
color(a) = a eq 'memory'      ? '#6e6e6e' : \
	   a eq 'disk'        ? '#c98200' : \
	   a eq 'uffd'        ? '#0072b2' : \
	   a eq 'delta'       ? '#3fa7d6' : \
	   a eq 'fuse'        ? '#b8578f' : \
	   a eq 'nbd-direct'  ? '#d55e00' : \
	   a eq 'nbd-managed' ? '#009e73' : \
	   a eq 'migration'   ? '#8a63d2' : \
	   a eq 'null'        ? '#444444' : '#997700'
mark(a) = a eq 'memory'      ? 9 : \
	  a eq 'disk'        ? 11 : \
	  a eq 'uffd'        ? 7 : \
	  a eq 'delta'       ? 13 : \
	  a eq 'fuse'        ? 15 : \
	  a eq 'nbd-direct'  ? 5 : \
	  a eq 'nbd-managed' ? 5 : \
	  a eq 'migration'   ? 13 : 7
# Open marks stand one before the filled ones in both terminals. The thesis'
# variant is dashed and open, the tuned one solid and filled.
is_thesis(v) = v eq 'thesis'
point(a, v) = is_thesis(v) ? mark(a) - 1 : mark(a)
dash(v, twin) = is_thesis(v) ? 2 + 2 * twin : 1 + 2 * twin
# The same colour, see-through, for single runs and boxes.
faint(a) = '#a0'.substr(color(a), 2, 7)
fainter(a) = '#d0'.substr(color(a), 2, 7)

ink = '#222222'
soft = '#5a5a5a'
grid = '#dcdcdc'

set border 3 lc rgb '#8a8a8a' lw 1
set tics nomirror out scale 0.6 textcolor rgb ink
set grid lc rgb grid lw 1 dt 1
unset key

# The head: title, conditions, and below the picture what is missing.
px(y) = 1 - real(y) / height
set label 1001 fig_title at screen 0.015, px(20) left front \
	font face(16) textcolor rgb ink
set label 1002 fig_conditions at screen 0.015, px(42) left front \
	font face(11) textcolor rgb soft
set label 1003 fig_note at screen 0.015, \
	(15.0 * note_lines) / height left front \
	font face(10) textcolor rgb soft
head_px = 60
foot_px = 8 + 15 * note_lines + (note_lines ? 10 : 0)

# On a log axis from `lo` on: 0 has no place, but the end of a bar has one.
positive(v) = v > 0 ? v : NaN
clamp(v) = v > 0 ? v : lo
three(v) = v >= 1000 ? sprintf('%.0f', v) : v >= 100 ? sprintf('%.0f', v) : \
	v >= 10 ? sprintf('%.1f', v) : v >= 1 ? sprintf('%.2f', v) : \
	sprintf('%.3g', v)
# The numbers of a decade that get a label on a log axis of less than two.
between(ratio) = ratio < 8 ? '1 2 3 4 5 6 7 8 9' : '1 2 5'

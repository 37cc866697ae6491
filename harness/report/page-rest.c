/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the page around its figures: head and counts, rows without a
 * number, warnings.
 */
#include "harness/report/page.h"

#include "harness/record/env.h"
#include "harness/report/html.h"

#include <errno.h>
#include <string.h>

/* --- head --- */

struct counts {
	size_t values;	 /* usable, bounds not counted */
	size_t verified; /* of them: the bytes were compared */
	size_t left_out;
	size_t unseen; /* usable, but no figure has their experiment */
};

static bool is_bound(const struct row *row)
{
	bool bound = false;

	return row->metric && row_metric_find(row->metric, &bound) && bound;
}

static bool in_a_figure(const struct page *p, const struct row *row)
{
	const struct figures *f = &p->result->figures;

	for (size_t i = 0; i < f->n; i++) {
		const struct words *m = &f->list[i].metrics;

		if (words_have(&f->list[i].experiments, row->experiment) &&
		    words_have(m, row->metric))
			return true;
	}
	return false;
}

static struct counts count_rows(const struct page *p)
{
	struct counts c = {0};

	for (size_t i = 0; i < p->result->table->n; i++) {
		const struct row *row = &p->result->table->rows[i];

		if (!row_usable(row)) {
			c.left_out++;
		} else if (!is_bound(row)) {
			c.values++;
			c.verified += row->verified == 1;
			c.unseen += !in_a_figure(p, row);
		}
	}
	return c;
}

static void put_contents(const struct page *p)
{
	const struct figures *f = &p->result->figures;
	FILE *out = p->out;

	(void)fputs("<nav aria-label=\"Contents\"><ul>"
		    "<li><a href=\"#answer\">Which approach on which link</a>"
		    "</li>\n",
		    out);
	for (size_t i = 0; i < f->n; i++) {
		(void)fprintf(out, "<li%s><a href=\"#figure-",
			      p->figures[i].n ? "" : " class=\"none\"");
		html_text(out, f->list[i].id);
		(void)fputs("\">", out);
		html_text(out, f->list[i].title);
		(void)fprintf(out, "</a>%s</li>\n",
			      p->figures[i].n ? "" : " (not drawn)");
	}
	(void)fputs("<li><a href=\"#gaps\">Without a number</a></li>"
		    "<li><a href=\"#warnings\">Warnings</a></li>"
		    "<li><a href=\"#environment\">Environment</a></li>"
		    "<li><a href=\"#reproduce\">How to reproduce</a></li>"
		    "</ul></nav>\n",
		    out);
}

/* When, on what, with which version. */
static void put_facts(const struct page *p)
{
	static const struct {
		const char *before;
		const char *group;
		const char *key;
	} facts[] = {{"", NULL, "written"},
		     {"", "machine", "cpu_model"},
		     {"Linux ", "kernel", "release"},
		     {"memsync ", "build", "git"}};
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
		const char *text =
			page_env_text(p, facts[i].group, facts[i].key);

		if (!*text)
			continue;
		(void)fputs(n++ ? " \302\267 " : "", p->out);
		(void)fputs(facts[i].before, p->out);
		html_text(p->out, text);
	}
	if (!n)
		(void)fputs("Environment not recorded", p->out);
}

int page_head(const struct page *p)
{
	FILE *out = p->out;
	struct counts c = count_rows(p);
	char *css = arena_printf(p->arena, "%s/common/report.css",
				 p->result->plots_dir);
	int r = 0;

	if (!css)
		return -ENOMEM;
	(void)fputs("<!DOCTYPE html>\n<html lang=\"en\"><head>"
		    "<meta charset=\"utf-8\">"
		    "<meta name=\"viewport\" content=\"width=device-width, "
		    "initial-scale=1\">"
		    "<meta name=\"color-scheme\" content=\"light dark\">"
		    "<meta http-equiv=\"Content-Security-Policy\" content=\""
		    "default-src 'none'; style-src 'unsafe-inline'\">"
		    "<title>memsync: ",
		    out);
	html_text(out, p->name);
	(void)fputs("</title><style>\n", out);
	r = html_file(out, css);
	(void)fputs("</style></head><body><header><h1>memsync: results of ",
		    out);
	html_text(out, p->name);
	(void)fputs("</h1><p class=\"facts\">", out);
	put_facts(p);
	(void)fprintf(out,
		      "</p><p><b>%zu</b> values from runs whose bytes were "
		      "compared with the source's",
		      c.verified);
	if (c.values > c.verified)
		(void)fprintf(out,
			      ", %zu of link and harness, which carry "
			      "none",
			      c.values - c.verified);
	(void)fputs(". ", out);
	if (c.left_out)
		(void)fprintf(out,
			      "<a href=\"#gaps\"><b>%zu</b> rows have no "
			      "number</a>: failed, refused, skipped or "
			      "not verified.",
			      c.left_out);
	else
		(void)fputs("Nothing failed and nothing was skipped.", out);
	if (c.unseen)
		(void)fprintf(out,
			      " <b>%zu</b> values belong to no figure and "
			      "stand in <a href=\"runs.csv\">runs.csv</a> "
			      "only.",
			      c.unseen);
	(void)fputs("</p></header>\n", out);
	put_contents(p);
	(void)fputs("<main>\n", out);
	return r;
}

/* --- rows without a number --- */

/* Rows that agree in all but RTT and repetition. */
struct group {
	const struct row *row;
	size_t rows;
	const char *rtts;
};

static bool same_group(const struct row *a, const struct row *b)
{
	static const enum row_col cols[] = {COL_EXPERIMENT, COL_APPROACH,
					    COL_VARIANT,    COL_METRIC,
					    COL_STATUS,	    COL_REASON};
	char x[ROW_NUMBER_MAX];
	char y[ROW_NUMBER_MAX];

	for (size_t i = 0; i < sizeof(cols) / sizeof(cols[0]); i++)
		if (strcmp(row_text(a, cols[i], x), row_text(b, cols[i], y)) !=
		    0)
			return false;
	return true;
}

/* Add "20" to "0, 5" unless it is there. */
static const char *add_rtt(struct arena *a, const char *rtts, double rtt)
{
	char *one = arena_printf(a, "%g", rtt);
	size_t n = one ? strlen(one) : 0;

	if (!one)
		return NULL;
	for (const char *at = rtts; *at;) {
		size_t len = strcspn(at, ",");

		if (len == n && !strncmp(at, one, n))
			return rtts;
		at += len;
		at += strspn(at, ", ");
	}
	return arena_printf(a, "%s%s%s", rtts, *rtts ? ", " : "", one);
}

static int group_rows(const struct page *p, struct group **ret, size_t *ret_n)
{
	struct group *g = NULL;
	size_t n = 0;

	for (size_t i = 0; i < p->result->table->n; i++) {
		const struct row *row = &p->result->table->rows[i];
		size_t k = 0;

		if (row_usable(row))
			continue;
		while (k < n && !same_group(g[k].row, row))
			k++;
		if (k == n) {
			g = arena_grow(p->arena, g, n, sizeof(*g));
			if (!g)
				return -ENOMEM;
			g[n++] = (struct group){.row = row, .rtts = ""};
		}
		g[k].rows++;
		g[k].rtts = add_rtt(p->arena, g[k].rtts, row_rtt(row));
		if (!g[k].rtts)
			return -ENOMEM;
	}
	*ret = g;
	*ret_n = n;
	return 0;
}

int page_gaps(const struct page *p)
{
	struct group *g = NULL;
	size_t n = 0;
	char number[ROW_NUMBER_MAX];
	FILE *out = p->out;
	int r = group_rows(p, &g, &n);

	if (r)
		return r;
	(void)fputs("<section id=\"gaps\"><h2>Without a number</h2>\n", out);
	if (!n) {
		(void)fputs("<p>Every row has one.</p></section>\n", out);
		return 0;
	}
	(void)fputs("<div class=\"scroll\"><table><thead><tr>"
		    "<th scope=\"col\">Experiment</th>"
		    "<th scope=\"col\">Series</th><th scope=\"col\">Metric</th>"
		    "<th scope=\"col\" class=\"n\">RTT (ms)</th>"
		    "<th scope=\"col\" class=\"n\">Rows</th>"
		    "<th scope=\"col\">Status</th><th scope=\"col\">Reason</th>"
		    "</tr></thead><tbody>\n",
		    out);
	for (size_t i = 0; i < n; i++) {
		const struct row *row = g[i].row;
		bool unverified = row->status == ROW_OK;

		(void)fputs("<tr>", out);
		html_element(out, "td", text_or_empty(row->experiment));
		(void)fputs("<td>", out);
		html_text(out, text_or_empty(row->approach));
		(void)fputc(' ', out);
		html_text(out, text_or_empty(row->variant));
		(void)fputs("</td>", out);
		html_element(out, "td", text_or_empty(row->metric));
		html_element(out, "td class=\"n\"", g[i].rtts);
		(void)fprintf(out, "<td class=\"n\">%zu</td>", g[i].rows);
		html_element(out, "td",
			     unverified ? "not verified"
					: row_text(row, COL_STATUS, number));
		html_element(out, "td class=\"why\"",
			     unverified ? "the bytes were not compared, so the "
					  "value is not used"
					: text_or_empty(row->reason));
		(void)fputs("</tr>\n", out);
	}
	(void)fputs("</tbody></table></div></section>\n", out);
	return 0;
}

int page_warnings(const struct page *p)
{
	FILE *out = p->out;
	size_t n = 0;

	(void)fputs("<section id=\"warnings\"><h2>Warnings</h2><ul>\n", out);
	if (!p->env) {
		(void)fputs("<li>" ENV_FILE " is missing or not JSON: on what "
			    "this was measured is unknown.</li>\n",
			    out);
		n++;
	}
	for (size_t i = 0; i < p->result->figures.n; i++) {
		const struct selection *s = &p->figures[i];

		for (size_t k = 0; k < s->n_warnings; k++, n++) {
			(void)fputs("<li><a href=\"#figure-", out);
			html_text(out, s->figure->id);
			(void)fputs("\">", out);
			html_text(out, s->figure->id);
			(void)fputs("</a>: ", out);
			html_text(out, s->warnings[k]);
			(void)fputs("</li>\n", out);
		}
	}
	if (!n)
		(void)fputs("<li>None.</li>\n", out);
	(void)fputs("</ul></section>\n", out);
	return 0;
}

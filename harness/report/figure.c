/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the heads of the figures' scripts; see figure.h. */
#include "harness/report/figure.h"

#include "approaches/common/util/err.h"
#include "approaches/common/util/opt.h"
#include "harness/record/row.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum entry_type {
	ENTRY_TEXT,
	ENTRY_WORDS,
	ENTRY_X,
	ENTRY_PER,
	ENTRY_ORDER
};

struct entry {
	const char *key;
	enum entry_type type;
	size_t offset;
	bool required;
};

static const struct entry entries[] = {
	{"title", ENTRY_TEXT, offsetof(struct figure, title), true},
	{"question", ENTRY_TEXT, offsetof(struct figure, question), true},
	{"measured", ENTRY_TEXT, offsetof(struct figure, measured), true},
	{"excluded", ENTRY_TEXT, offsetof(struct figure, excluded), true},
	{"thesis", ENTRY_TEXT, offsetof(struct figure, thesis), false},
	{"unit", ENTRY_TEXT, offsetof(struct figure, unit), false},
	{"headline", ENTRY_TEXT, offsetof(struct figure, headline), false},
	{"experiment", ENTRY_WORDS, offsetof(struct figure, experiments),
	 false},
	{"metric", ENTRY_WORDS, offsetof(struct figure, metrics), true},
	{"series", ENTRY_WORDS, offsetof(struct figure, series), false},
	{"x", ENTRY_X, offsetof(struct figure, by_rtt), false},
	{"per", ENTRY_PER, offsetof(struct figure, per_gib), false},
	{"order", ENTRY_ORDER, offsetof(struct figure, order), true},
};
#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

/* A script whose head is being read. */
struct head {
	struct arena *arena;
	const char *path;
	unsigned line;
	unsigned key_line;
	int key; /* index into entries, -1: none yet */
	char *text;
	bool seen[ENTRIES];
};

bool words_have(const struct words *words, const char *word)
{
	for (size_t i = 0; word && i < words->n; i++)
		if (!strcmp(words->list[i], word))
			return true;
	return false;
}

static int split(struct arena *a, char *text, struct words *ret)
{
	char *save = NULL;

	for (char *w = strtok_r(text, " ,\t", &save); w;
	     w = strtok_r(NULL, " ,\t", &save)) {
		ret->list = arena_grow(a, ret->list, ret->n, sizeof(char *));
		if (!ret->list)
			return -ENOMEM;
		ret->list[ret->n++] = w;
	}
	return 0;
}

static int bad_value(const struct head *h, const char *want)
{
	return ms_err(-EBADMSG, "%s:%u: %s takes %s, not \"%s\"", h->path,
		      h->key_line, entries[h->key].key, want, h->text);
}

/* Store the entry that has been collected so far. */
static int finish_entry(struct head *h, struct figure *f)
{
	const struct entry *e = NULL;
	uint64_t number = 0;
	char *field = NULL;

	if (h->key < 0)
		return 0;
	e = &entries[h->key];
	field = (char *)f + e->offset;
	if (!*h->text)
		return bad_value(h, "a text");
	switch (e->type) {
	case ENTRY_TEXT:
		*(const char **)field = h->text;
		break;
	case ENTRY_WORDS:
		return split(h->arena, h->text, (struct words *)field);
	case ENTRY_X:
		if (strcmp(h->text, "rtt_ms") != 0 &&
		    strcmp(h->text, "approach") != 0)
			return bad_value(h, "rtt_ms or approach");
		*(bool *)field = !strcmp(h->text, "rtt_ms");
		break;
	case ENTRY_PER:
		if (strcmp(h->text, "GiB") != 0)
			return bad_value(h, "GiB");
		*(bool *)field = true;
		break;
	case ENTRY_ORDER:
		if (ms_parse_uint(h->text, &number) || number > 9999)
			return bad_value(h, "a number up to 9999");
		*(unsigned *)field = (unsigned)number;
		break;
	}
	return 0;
}

static int start_entry(struct head *h, char *line)
{
	size_t n = strcspn(line, ":");

	if (line[n] != ':')
		return ms_err(-EBADMSG, "%s:%u: \"%s\" is not KEY: VALUE",
			      h->path, h->line, line);
	line[n] = '\0';
	for (size_t i = 0; i < ENTRIES; i++) {
		if (strcmp(entries[i].key, line) != 0)
			continue;
		if (h->seen[i])
			return ms_err(-EBADMSG, "%s:%u: %s is given twice",
				      h->path, h->line, line);
		h->seen[i] = true;
		h->key = (int)i;
		h->key_line = h->line;
		line += n + 1;
		line += strspn(line, " \t");
		h->text = arena_copy(h->arena, line, strlen(line));
		return h->text ? 0 : -ENOMEM;
	}
	return ms_err(-EBADMSG, "%s:%u: no entry is called \"%s\"", h->path,
		      h->line, line);
}

/* One comment line without its "#". */
static int head_line(struct head *h, struct figure *f, char *line)
{
	size_t indent = strspn(line, " \t");
	int r;

	line[strcspn(line, "\r\n")] = '\0';
	if (!line[indent] || !strncmp(line, " SPDX", 5))
		return 0;
	if (indent >= 2 && h->key >= 0) {
		h->text =
			arena_printf(h->arena, "%s %s", h->text, line + indent);
		return h->text ? 0 : -ENOMEM;
	}
	r = finish_entry(h, f);
	return r ? r : start_entry(h, line + indent);
}

static int check_figure(const struct head *h, struct figure *f)
{
	for (size_t i = 0; i < ENTRIES; i++)
		if (entries[i].required && !h->seen[i])
			return ms_err(-EBADMSG, "%s: the head has no \"%s\"",
				      h->path, entries[i].key);
	for (size_t i = 0; i < f->metrics.n; i++)
		if (!row_metric_find(f->metrics.list[i], NULL))
			return ms_err(-EBADMSG,
				      "%s: no metric is called \"%s\"", h->path,
				      f->metrics.list[i]);
	if (f->experiments.n)
		return 0;
	f->experiments.list = arena_alloc(h->arena, 1, sizeof(char *));
	if (!f->experiments.list)
		return -ENOMEM;
	f->experiments.list[0] = (char *)f->id;
	f->experiments.n = 1;
	return 0;
}

static int load_one(struct arena *a, const char *path, struct figure *f)
{
	struct head h = {.arena = a, .path = path, .key = -1};
	char line[1024];
	FILE *file = fopen(path, "re");
	int r = 0;

	if (!file)
		return ms_err(-errno, "figure: open %s", path);
	while (!r && fgets(line, sizeof(line), file) && line[0] == '#') {
		h.line++;
		r = head_line(&h, f, line + 1);
	}
	(void)fclose(file);
	if (!r)
		r = finish_entry(&h, f);
	return r ? r : check_figure(&h, f);
}

static int compare(const void *a, const void *b)
{
	const struct figure *x = a;
	const struct figure *y = b;

	if (x->order != y->order)
		return x->order < y->order ? -1 : 1;
	return strcmp(x->id, y->id);
}

static int add(struct arena *a, const char *dir, const char *name,
	       struct figures *ret)
{
	size_t len = strlen(name);
	struct figure f = {0};
	int r;

	if (len <= 3 || name[0] == '.' || strcmp(name + len - 3, ".gp") != 0)
		return 0;
	f.id = arena_copy(a, name, len - 3);
	f.script = arena_printf(a, "%s/%s", dir, name);
	ret->list = arena_grow(a, ret->list, ret->n, sizeof(f));
	if (!f.id || !f.script || !ret->list)
		return -ENOMEM;
	r = load_one(a, f.script, &f);
	if (!r)
		ret->list[ret->n++] = f;
	return r;
}

int figures_load(struct arena *a, const char *dir, struct figures *ret)
{
	struct figures all = {.dir = dir};
	struct dirent *e = NULL;
	DIR *d = opendir(dir);
	int r = 0;

	if (!d)
		return ms_err(-errno, "figure: open %s", dir);
	while (!r && (e = readdir(d)))
		r = add(a, dir, e->d_name, &all);
	(void)closedir(d);
	if (r)
		return r == -ENOMEM ? ms_err(r, "figure: %s", dir) : r;
	if (!all.n)
		return ms_err(-ENOENT, "figure: no script in %s", dir);
	qsort(all.list, all.n, sizeof(*all.list), compare);
	*ret = all;
	return 0;
}

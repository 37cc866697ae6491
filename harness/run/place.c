/* SPDX-License-Identifier: Apache-2.0 */
/* Where each figure is measured; see place.h. */
#include "harness/run/place.h"

#include "approaches/common/util/err.h"
#include "harness/run/features.h"
#include "harness/run/no-memory.h"
#include "harness/vm/facts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What choosing needs, with the VM's facts once they were asked for. */
struct chooser {
	const struct approaches *approaches;
	const json_t *features;
	int stop_fd;
	json_t *vm; /* facts_probe; NULL: not asked yet, or there is none */
	int vm_err; /* why there is none */
	char vm_why[256];
};

static void choose(struct experiment *e, enum row_place place,
		   const char *accel, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void choose(struct experiment *e, enum row_place place,
		   const char *accel, const char *fmt, ...)
{
	va_list args;

	e->place = place;
	(void)snprintf(e->accel, sizeof(e->accel), "%s", accel ? accel : "");
	va_start(args, fmt);
	(void)vsnprintf(e->place_why, sizeof(e->place_why), fmt, args);
	va_end(args);
}

static int ask_vm(struct chooser *c)
{
	if (c->vm || c->vm_err)
		return c->vm_err;
	c->vm_err = facts_probe(c->stop_fd, &c->vm);
	if (c->vm_err)
		(void)snprintf(c->vm_why, sizeof(c->vm_why), "%s",
			       ms_err_text());
	return c->vm_err;
}

static const char *vm_accel(const struct chooser *c)
{
	const char *accel = json_string_value(json_object_get(c->vm, "accel"));

	return accel ? accel : "tcg";
}

/* A feature of the kernel that the figure needs and `there` lacks. */
static const char *missing(const struct experiment *e,
			   const struct approaches *list, const json_t *there)
{
	char why[300];

	for (size_t i = 0; i < e->n_links; i++)
		if (e->drivers[i] == LINK_NETEM &&
		    !feature_there(there, "sch_netem", why, sizeof(why)))
			return "sch_netem";
	for (size_t i = 0; i < e->n_series; i++) {
		const struct approach *a =
			approach_find(list, e->series[i].approach);

		for (const char **f = a ? a->needs : NULL; f && *f; f++)
			if (feature_of_kernel(*f) &&
			    !feature_there(there, *f, why, sizeof(why)))
				return *f;
	}
	return NULL;
}

/* Whatever the VM can do, it cannot do it at the machine's own speed. */
static bool useless_there(const struct chooser *c, const struct experiment *e)
{
	return !strcmp(vm_accel(c), "tcg") && e->no_emulation;
}

static int choose_auto(struct chooser *c, struct experiment *e)
{
	const char *lacks = missing(e, c->approaches, c->features);
	const char *there;

	if (!lacks) {
		choose(e, ROW_NATIVE, NULL, "every series can run here");
		return 0;
	}
	if (ask_vm(c) == -EINTR)
		return c->vm_err;
	if (c->vm_err) {
		choose(e, ROW_NATIVE, NULL, "no %s here, and %s", lacks,
		       c->vm_why);
		return 0;
	}
	there = missing(e, c->approaches, json_object_get(c->vm, "features"));
	if (there)
		choose(e, ROW_NATIVE, NULL, "no %s here, and no %s in the VM",
		       lacks, there);
	else if (useless_there(c, e))
		choose(e, ROW_NATIVE, NULL,
		       "no %s here, and the VM is emulated: %s", lacks,
		       e->no_emulation);
	else
		choose(e, ROW_VM, vm_accel(c), "no %s here", lacks);
	return 0;
}

static int choose_one(struct chooser *c, struct experiment *e,
		      const char *where, const char *who)
{
	if (vm_inside()) {
		/* What is native was measured outside. */
		if (!strcmp(where, "native"))
			choose(e, ROW_NATIVE, NULL, "asked for%s", who);
		else
			choose(e, ROW_VM, vm_inside(), "this is the VM");
		return 0;
	}
	if (!strcmp(where, "auto"))
		return choose_auto(c, e);
	if (!strcmp(where, "native")) {
		choose(e, ROW_NATIVE, NULL, "asked for%s", who);
		return 0;
	}
	if (ask_vm(c))
		return ms_err_plain(c->vm_err, "%s", c->vm_why);
	choose(e, ROW_VM, vm_accel(c), "asked for%s", who);
	return 0;
}

static bool is_place(const char *text, size_t len)
{
	static const char *const known[] = {"auto", "native", "vm"};

	for (size_t i = 0; i < 3; i++)
		if (strlen(known[i]) == len && !strncmp(known[i], text, len))
			return true;
	return false;
}

/* The place that `where` has for a figure, into buf; "" if it has none. */
static int look_up(const char *where, const char *figure, char buf[16])
{
	size_t len = strlen(figure);

	buf[0] = '\0';
	if (is_place(where, strlen(where))) {
		(void)snprintf(buf, 16, "%s", where);
		return 0;
	}
	for (const char *at = where; *at;) {
		size_t n = strcspn(at, ",");
		const char *equals = memchr(at, '=', n);
		const char *place = equals ? equals + 1 : at;
		size_t place_len = n - (size_t)(place - at);

		if (!equals || !is_place(place, place_len))
			return ms_err(-EINVAL,
				      "--where takes auto, native, vm or "
				      "FIGURE=PLACE,... and not \"%.60s\"",
				      where);
		if ((size_t)(equals - at) == len && !strncmp(at, figure, len))
			(void)snprintf(buf, 16, "%.*s", (int)place_len, place);
		at += n + (at[n] == ',');
	}
	return 0;
}

/* The command line goes before the figure's own wish. */
static int place_one(struct chooser *c, const char *where, struct experiment *e)
{
	char asked[16];
	int err = look_up(where, e->name, asked);
	int failed;

	if (err)
		return err;
	if (*asked && strcmp(asked, "auto") != 0)
		return choose_one(c, e, asked, "");
	if (!e->where || !strcmp(e->where, "auto"))
		return choose_one(c, e, "auto", "");
	failed = choose_one(c, e, e->where, " by the figure");
	if (failed != -EOPNOTSUPP && failed != -EIO && failed != -ETIMEDOUT)
		return failed;
	/* The figure wants the VM, the user did not ask: rows say it. */
	choose(e, ROW_VM, NULL, "%s", c->vm_why);
	return 0;
}

int places_choose(const char *where, const struct approaches *a,
		  const json_t *probed, int stop_fd, struct experiments *e)
{
	struct chooser c = {
		.approaches = a, .features = probed, .stop_fd = stop_fd};
	int err = 0;

	if (vm_inside() && !strcmp(where, "native"))
		return ms_err(-EINVAL, "this is a VM: nothing here is native");
	for (size_t i = 0; i < e->n && !err; i++) {
		err = place_one(&c, where, &e->list[i]);
		if (!err)
			err = experiment_settle(&e->list[i]);
	}
	json_decref(c.vm);
	return err;
}

char *places_text(const struct experiments *e)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	for (size_t i = 0; i < e->n; i++)
		(void)fprintf(f, "%s%s=%s", i ? "," : "", e->list[i].name,
			      e->list[i].place == ROW_VM ? "vm" : "native");
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

json_t *places_json(const struct experiments *e)
{
	json_t *j = json_object();

	for (size_t i = 0; i < e->n; i++)
		if (e->list[i].place == ROW_VM)
			(void)json_object_set_new(
				j, e->list[i].name,
				json_string(e->list[i].accel));
	return j;
}

bool place_is_here(const struct experiment *e)
{
	return (e->place == ROW_VM) == (vm_inside() != NULL);
}

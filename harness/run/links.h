/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link that runs go over: one at a time, made when the first run needs
 * it, changed while it lives, and read back before each run.
 */
#ifndef MS_HARNESS_RUN_LINKS_H
#define MS_HARNESS_RUN_LINKS_H

#include "harness/link/link.h"
#include "harness/record/row.h"
#include "harness/run/experiment.h"

#include <jansson.h>
#include <sched.h>

#define LINKS_RATES_MAX 32

/* What a row calls a driver; none for "auto", which is not known yet. */
enum row_link links_row_of(enum link_driver driver);

struct links {
	struct link *link;     /* NULL: none is up */
	const cpu_set_t *cpus; /* of the emulator; NULL: any */
	char congestion[LINK_CONGESTION_MAX];
	enum link_driver asked;
	struct {
		double asked;
		double measured;
	} rates[LINKS_RATES_MAX]; /* of this link, as set up */
	size_t n_rates;
	json_t *settings; /* for env.json: what was read back */
	bool changed;	  /* settings are new; the user clears it */
};

/* What was read back; NAN where nothing was. */
struct link_readback {
	double rtt_ms;
	double rate_mbit;
};

/*
 * Have the link of an experiment with this profile, and read it back. 0, or a
 * negative errno with a sentence: -EOPNOTSUPP and -EPERM (it cannot run here),
 * -ERANGE (it is not, or cannot be, what was asked), others.
 */
int links_use(struct links *l, const struct experiment *e,
	      enum link_driver driver, const struct link_profile *profile,
	      struct link_readback *ret)
	__attribute__((nonnull, warn_unused_result));

/* Take it down. */
void links_close(struct links *l) __attribute__((nonnull));

enum row_link links_row_driver(const struct links *l) __attribute__((nonnull));

#endif

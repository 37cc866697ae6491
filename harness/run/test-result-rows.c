/* SPDX-License-Identifier: Apache-2.0 */
/* What programs print, good and bad, as rows; and the bounds. */
#include "tests/check.h"

#include "harness/run/bounds.h"
#include "harness/run/result-rows.h"

#include <math.h>

#define START "{\"schema\":\"memsync-result/1\",\"approach\":\"uffd\","
#define FINE                                                             \
	START "\"variant\":\"tuned\",\"status\":\"ok\",\"verified\":1,"  \
	      "\"bytes_done\":4096,\"chunk_bytes\":65536,\"workers\":0," \
	      "\"placement\":\"same-cpu\",\"pipeline\":\"tcp://a:1\","   \
	      "\"metrics\":[{\"metric\":\"read_mib_s\",\"value\":12.5,"  \
	      "\"unit\":\"MiB/s\"}]}"

static struct run_rows rows_of(const char *text, int exit_code)
{
	struct run_rows r = {.n = 0};

	row_init(&r.base);
	r.base.run_id = "r";
	r.base.experiment = "x";
	r.base.approach = "uffd";
	r.base.variant = "tuned";
	r.base.workload = "seq-read";
	r.base.place = ROW_NATIVE;
	r.base.link_driver = ROW_LINK_NONE;
	r.base.size_bytes = 4096;
	r.base.repetition = 0;
	(void)snprintf(r.placement, sizeof(r.placement), "target 1");
	(void)snprintf(r.pipeline, sizeof(r.pipeline), "memory:size=4K");
	rows_result(&r, text, exit_code);
	return r;
}

static void print_problem(void *arg, const char *text)
{
	(void)arg;
	(void)fprintf(stderr, "row: %s\n", text);
}

static void good(void)
{
	struct run_rows r = rows_of(FINE, 0);

	r.list[0].placement = r.placement;
	CHECK_EQ(r.base.status, ROW_OK);
	CHECK_EQ(r.n, 1);
	CHECK_STR(r.list[0].metric, "read_mib_s");
	CHECK(r.list[0].value == 12.5);
	CHECK_EQ(r.list[0].verified, 1);
	CHECK_EQ(r.list[0].chunk_bytes, 65536);
	CHECK_EQ(r.list[0].workers, ROW_NO_COUNT);
	CHECK_STR(r.placement, "target 1 handler same-cpu");
	CHECK_STR(r.pipeline, "tcp://a:1 <- memory:size=4K");
	rows_add(&r, "cpu_target_s", 0.5);
	rows_add(&r, "cpu_target_s", (double)NAN);
	rows_add(&r, "no_such_metric", 1);
	rows_add_bound(&r, "read_mib_s", 100);
	rows_add_bound(&r, "write_mib_s", 100); /* nothing to bound */
	CHECK_EQ(r.n, 3);
	CHECK_STR(r.list[2].metric, "bound_read_mib_s");
	CHECK(rows_value(&r, "cpu_target_s") == 0.5);
	CHECK(isnan(rows_value(&r, "write_mib_s")));
	rows_release(&r);
}

static void bad(const char *text, int exit_code, enum row_status status,
		const char *why)
{
	struct run_rows r = rows_of(text, exit_code);

	CHECK_EQ(r.base.status, status);
	CHECK_EQ(r.n, 1);
	CHECK_HAS(r.list[0].reason, why);
	CHECK(isnan(r.list[0].value));
	CHECK_EQ(r.list[0].verified, 0);
	CHECK_EQ(row_check(&r.list[0], print_problem, NULL), 0);
	/* Nothing is added to a run that did not succeed. */
	rows_add(&r, "cpu_target_s", 1);
	CHECK_EQ(r.n, 1);
	rows_release(&r);
}

static void failures(void)
{
	bad("", 0, ROW_FAILED, "printed nothing");
	bad("garbage\n", 0, ROW_FAILED, "printed no result");
	bad("[1]", 0, ROW_FAILED, "printed no result");
	bad("{}", 0, ROW_FAILED, "schema \"\"");
	bad(START "\"status\":\"fine\"}", 0, ROW_FAILED, "no status");
	bad(START "\"status\":\"ok\"}", 0, ROW_FAILED, "no metric");
	bad(FINE, 1, ROW_FAILED, "says ok but ended with exit status 1");
	bad(START "\"status\":\"failed\",\"reason\":\"a\\nb\\u0007\"}", 1,
	    ROW_FAILED, "a b");
	bad(START "\"status\":\"failed\"}", 1, ROW_FAILED, "no reason given");
	bad(START "\"status\":\"skipped\",\"reason\":\"no uffd\"}", 77,
	    ROW_SKIPPED, "no uffd");
	bad(START "\"status\":\"refused\",\"reason\":\"slow\"}", 77,
	    ROW_REFUSED, "slow");
	bad(START "\"variant\":\"thesis\",\"status\":\"ok\"}", 0, ROW_FAILED,
	    "ran variant thesis");
	bad(START "\"status\":\"ok\",\"verified\":0,\"metrics\":[{\"metric\":"
		  "\"read_mib_s\",\"value\":1,\"unit\":\"MiB/s\"}]}",
	    0, ROW_FAILED, "no metric");
	bad(START "\"status\":\"ok\",\"verified\":1,\"metrics\":[{\"metric\":"
		  "\"warp_speed\",\"value\":1,\"unit\":\"c\"}]}",
	    0, ROW_FAILED, "\"warp_speed\" that is not in the schema");
	bad(START "\"status\":\"ok\",\"verified\":1,\"metrics\":[{\"metric\":"
		  "\"read_mib_s\",\"value\":1,\"unit\":\"MB/s\"}]}",
	    0, ROW_FAILED, "without a number in MiB/s");
	bad(START "\"status\":\"ok\",\"verified\":1,\"metrics\":[{\"metric\":"
		  "\"read_mib_s\",\"value\":-1,\"unit\":\"MiB/s\"}]}",
	    0, ROW_FAILED, "without a number");
}

static bool near(double a, double b)
{
	return fabs(a - b) < 1e-6 * b;
}

static void bounds(void)
{
	struct link_profile p;
	double goodput = 1e9 / 8 * 1448 / 1514;

	CHECK_EQ(link_profile_parse("rtt=20ms,rate=1000M", &p), 0);
	CHECK(near(bounds_read_mib_s(&p), goodput / 1048576));
	/* One RTT, then 256 MiB at the rate. */
	CHECK(near(bounds_read_open_mib_s(&p, 256u << 20),
		   256 / (0.020 + (256u << 20) / goodput)));
	CHECK(near(bounds_first_us(&p, 4096), 20000 + 4096 / goodput * 1e6));
	CHECK_EQ(link_profile_parse("rtt=0ms", &p), 0);
	CHECK(bounds_read_mib_s(&p) == 0);
	CHECK(bounds_read_open_mib_s(&p, 4096) == 0);
	CHECK(bounds_first_us(&p, 4096) == 0);
	CHECK_EQ(link_profile_parse("rtt=10ms", &p), 0);
	CHECK(near(bounds_first_us(&p, 4096), 10000));
}

int main(void)
{
	good();
	failures();
	bounds();
	return 0;
}

# SPDX-License-Identifier: Apache-2.0
# Writes a runs.csv of invented numbers, for tests of plots and report only:
# run_id and reasons say so, and it is never kept. The numbers follow simple
# models (4 KiB for each RTT, the rate of the link, some noise), so that the
# figures look like figures.
function noise() { return 0.92 + 0.16 * rand() }

# A row; empty values of the global variables are columns without a value.
function row(experiment, approach, variant, rtt, metric, value, unit, verified,
	     status, reason, repetition) {
	link = approach == "memory" || approach == "disk" || approach == "null" \
		? "none" : "emulated"
	printf "1,test-data,%s,%s,%s,%s,%s,incompressible,native,%s,", experiment,
		approach, variant, "invented:" approach, workload, link
	if (link == "none")
		printf ",,,,,,"
	else
		printf "%s,%s,0,0,%.3f,,", rtt, rate, rtt + 0.04
	printf "65536,%s,,%s,%s,%s,%s,%s,%s,\"%s\",%s,,%s,\n", size, repetition,
		metric, value, unit, verified, status, reason, done,
		link == "none" ? "" : "cubic"
}

function runs(experiment, approach, variant, rtt, metric, value, unit, bound,
	      n,  i) {
	for (i = 0; i < n; i++) {
		row(experiment, approach, variant, rtt, metric,
		    value * noise(), unit, approach != "null", "ok", "", i)
		if (bound != "")
			row(experiment, approach, variant, rtt, "bound_" metric,
			    bound, unit, 1, "ok", "", i)
	}
}

BEGIN {
	srand(7)
	size = 268435456
	rate = 1000
	workload = "seq-read"
	print "schema_version,run_id,experiment,approach,variant,pipeline," \
	      "workload,dataset,place,link_driver,rtt_ms,rate_mbit," \
	      "jitter_ms,loss_pct,rtt_ms_measured,rate_mbit_measured," \
	      "chunk_bytes,size_bytes,workers,repetition,metric,value,unit," \
	      "verified,status,reason,bytes_done,placement,congestion,params"
	n_rtts = split("0 1 5 20 100", rtts, " ")
	goodput = 112.9
	done = size

	workload = "first-access"
	runs("first-chunk-rtt0", "memory", "", 0, "first_access_us", 0.4, "us", 0.3, 30)
	runs("first-chunk-rtt0", "uffd", "thesis", 0, "first_access_us", 160, "us", 30, 30)
	runs("first-chunk-rtt0", "uffd", "tuned", 0, "first_access_us", 95, "us", 30, 30)
	row("first-chunk-rtt0", "disk", "", "", "", "", "", 0, "skipped", "the folder is on tmpfs, which is no disk", "")

	for (i = 1; i <= n_rtts; i++) {
		rtt = rtts[i]
		workload = "first-access"
		runs("first-chunk-rtt", "uffd", "thesis", rtt, "first_access_us", 1000 * rtt + 160, "us", 1000 * rtt + 30, 5)
		if (rtt == 100)
			for (k = 0; k < 5; k++)
				row("first-chunk-rtt", "uffd", "tuned", rtt, "first_access_us", 1, "us", 0, "ok", "", k)
		else
			runs("first-chunk-rtt", "uffd", "tuned", rtt, "first_access_us", 1000 * rtt + 95, "us", 1000 * rtt + 30, 5)
		workload = "seq-read"
		done = int(4096 * 5000 / (rtt + 0.2)); done = done > size ? size : done
		runs("throughput-rtt", "uffd", "thesis", rtt, "read_open_mib_s", 3.9 / (rtt + 0.2), "MiB/s", goodput, 5)
		runs("throughput-rtt", "uffd", "thesis", rtt, "cpu_source_s", 0.9 * done / 1073741824, "s", "", 5)
		runs("throughput-rtt", "uffd", "thesis", rtt, "cpu_target_s", 2.5 * done / 1073741824, "s", "", 5)
		done = size
		runs("throughput-rtt", "uffd", "tuned", rtt, "read_open_mib_s", goodput * (0.97 - 0.0012 * rtt), "MiB/s", goodput, 5)
		runs("throughput-rtt", "uffd", "tuned", rtt, "cpu_source_s", 0.11, "s", "", 5)
		runs("throughput-rtt", "uffd", "tuned", rtt, "cpu_target_s", 0.24, "s", "", 5)
		workload = "random-read"
		split("access_us_p50 access_us_p99 access_us_p999", q, " ")
		for (k = 1; k <= 3; k++) {
			runs("random-access", "uffd", "thesis", rtt, q[k], (1000 * rtt + 150) * (0.6 + 0.5 * k), "us", 1000 * rtt + 30, 5)
			runs("random-access", "uffd", "tuned", rtt, q[k], (1000 * rtt + 80) * (0.7 + 0.3 * k), "us", 1000 * rtt + 30, 5)
		}
		workload = "seq-read"
	}
	row("throughput-rtt", "uffd", "tuned", 100, "", "", "", 0, "failed", "test data: <script>alert(1)</script> & \"\"quotes\"\" `touch pwned` $(touch pwned) 'x", "")
	row("throughput-rtt", "uffd", "tuned", 100, "", "", "", 0, "failed", "test data: <script>alert(1)</script> & \"\"quotes\"\" `touch pwned` $(touch pwned) 'x", "")

	split("read_mib_s read_open_mib_s", q, " ")
	for (k = 1; k <= 2; k++) {
		runs("throughput-rtt0", "memory", "", 0, q[k], 9800, "MiB/s", 13600, 10)
		runs("throughput-rtt0", "disk", "", 0, q[k], 1900, "MiB/s", "", 10)
		runs("throughput-rtt0", "uffd", "thesis", 0, q[k], 19 / k, "MiB/s", goodput, 10)
		runs("throughput-rtt0", "uffd", "tuned", 0, q[k], 111 - k, "MiB/s", goodput, 10)
	}
	workload = "null"
	runs("harness-cost", "null", "", 0, "op_us", 0.41, "us", "", 9)
}

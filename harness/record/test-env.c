/* SPDX-License-Identifier: Apache-2.0 */
/* env.json: what it holds, that it is written whole, and what it never holds.
 */
#include "harness/record/env.h"
#include "harness/record/test-rows.h"

#include "approaches/common/util/err.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

static json_t *load(void)
{
	json_error_t why;
	json_t *j = json_load_file(test_path(ENV_FILE), 0, &why);

	if (!j)
		(void)fprintf(stderr, "%s\n", why.text);
	CHECK(j);
	return j;
}

static const char *text_at(const json_t *j, const char *a, const char *b)
{
	return json_string_value(json_object_get(json_object_get(j, a), b));
}

static int files_in_dir(void)
{
	DIR *d = opendir(test_dir());
	int n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n - 2;
}

static void holds_what_is_needed(void)
{
	char program[] = "memsync-bench";
	char word[] = "run";
	char *argv[] = {program, word};
	json_t *link =
		json_pack("{s:s, s:f}", "driver", "emulated", "rtt_ms", 20.5);
	json_t *extra = json_pack("{s:o, s:o}", "command", env_command(2, argv),
				  "link", link);
	json_t *j = NULL;

	CHECK(extra);
	CHECK_EQ(env_write(test_dir(), ENV_FILE, extra), 0);
	j = load();
	CHECK_EQ(json_integer_value(json_object_get(j, "env_version")),
		 ENV_VERSION);
	CHECK(strlen(json_string_value(json_object_get(j, "written"))) == 20);
	CHECK(*text_at(j, "build", "version"));
	CHECK(*text_at(j, "build", "git"));
	CHECK(*text_at(j, "build", "compiler"));
	CHECK(*text_at(j, "build", "cflags"));
	CHECK(*text_at(j, "kernel", "release"));
	CHECK_STR(text_at(j, "kernel", "name"), "Linux");
	CHECK(*text_at(j, "libraries", "jansson"));
	CHECK(json_integer_value(json_object_get(json_object_get(j, "machine"),
						 "cpus_online")) > 0);
	CHECK(json_integer_value(json_object_get(json_object_get(j, "machine"),
						 "memory_bytes")) > 1 << 20);
	CHECK(json_object_get(json_object_get(j, "settings"),
			      "/proc/sys/net/ipv4/tcp_congestion_control"));
	CHECK_STR(text_at(j, "link", "driver"), "emulated");
	CHECK_STR(json_string_value(
			  json_array_get(json_object_get(j, "command"), 1)),
		  "run");
	json_decref(j);
	json_decref(extra);
	CHECK_EQ(files_in_dir(), 1);
}

/* Each probe worked or says why not. */
static void probes_answer(void)
{
	json_t *j = env_probe();
	const char *key = NULL;
	json_t *value = NULL;

	CHECK(j && json_object_size(j) == 8);
	json_object_foreach(j, key, value)
	{
		json_t *ok = json_object_get(value, "ok");
		const char *reason =
			json_string_value(json_object_get(value, "reason"));

		CHECK(json_is_boolean(ok));
		CHECK(json_is_true(ok) || (reason && *reason));
		CHECK(!json_is_true(ok) || !reason);
		(void)printf("%s: %s\n", key, reason ? reason : "yes");
	}
	CHECK_EQ(json_is_true(json_object_get(json_object_get(j, "tun"), "ok")),
		 !access("/dev/net/tun", R_OK | W_OK));
	json_decref(j);
}

static void tells_nothing_of_the_host(void)
{
	char host[256] = "";
	char *text = NULL;

	CHECK_EQ(env_write(test_dir(), ENV_FILE, NULL), 0);
	text = read_file(test_path(ENV_FILE));
	CHECK(!gethostname(host, sizeof(host) - 1));
	/* A host called "vm" or so would be part of another word. */
	if (strlen(host) > 5)
		CHECK(!strstr(text, host));
	CHECK(!strstr(text, "BOOT_IMAGE"));
	CHECK(!strstr(text, "console="));
	free(text);
}

static void is_whole_or_not_there(void)
{
	json_t *clash = json_pack("{s:i}", "kernel", 1);
	struct stat before;
	struct stat after;

	CHECK_EQ(env_write(test_dir(), ENV_FILE, NULL), 0);
	CHECK(!stat(test_path(ENV_FILE), &before));
	CHECK_EQ(env_write(test_dir(), ENV_FILE, clash), -EEXIST);
	CHECK_HAS(ms_err_text(), "kernel");
	CHECK(!stat(test_path(ENV_FILE), &after));
	CHECK(before.st_ino == after.st_ino);
	CHECK_EQ(env_write(test_dir(), ENV_FILE, NULL), 0);
	CHECK(!stat(test_path(ENV_FILE), &after));
	CHECK(before.st_ino != after.st_ino); /* a new file took its name */
	CHECK_EQ(env_write("/nonexistent", ENV_FILE, NULL), -ENOENT);
	CHECK_EQ(files_in_dir(), 1);
	json_decref(clash);
}

int main(void)
{
	holds_what_is_needed();
	probes_answer();
	tells_nothing_of_the_host();
	is_whole_or_not_there();
	test_dir_remove();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spec strings: the grammar of backend.h, the sentence of every error, hostile
 * texts, and that a failure closes what was opened before it. Memory stores
 * hold a descriptor each, so leaks show as descriptors that stay open.
 */
#include "tests/check.h"

#include "approaches/common/backend/registry.h"
#include "memsync/backend.h"

#include <dirent.h>
#include <errno.h>

static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	CHECK(dir);
	while (readdir(dir))
		count++;
	CHECK_EQ(closedir(dir), 0);
	return count;
}

/* --- what is accepted ----------------------------------------------------- */

struct good {
	const char *spec;
	const char *name; /* of the backend that comes out */
	uint64_t size;
};

static const struct good goods[] = {
	{"memory", "memory", 64 << 20},
	{"memory:", "memory", 64 << 20},
	{"null:size=0", "null", 0},
	{"null:size=4K", "null", 4096},
	{"null:size=(4K)", "null", 4096},
	{"null:size=((4K))", "null", 4096},
	{"memory:seed=0x10,size=4096", "memory", 4096},
	{"memory:size=1K,size=2K", "memory", 2048}, /* the last one counts */
	{"chunker:next=null", "chunker", 64 << 20},
	{"chunker:next=null:size=4K", "chunker", 4096},
	{"chunker:next=(null:size=4K)", "chunker", 4096},
	{"chunker:size=64K,next=(null:size=4K)", "chunker", 4096},
	{"chunker:next=(chunker:size=4K,next=(chunker:next=(null:size=8K)))",
	 "chunker", 8192},
	/* a nested value without a comma of its own needs no parentheses */
	{"cache:local=memory,remote=pattern:size=1M,chunk=64K", "cache",
	 1 << 20},
	{"cache:local=memory,remote=(pattern:size=1M,seed=3),chunk=64K",
	 "cache", 1 << 20},
	/* flags, with and without a value */
	{"gate:shut,next=null:size=4K", "gate", 4096},
	{"gate:shut=no,next=null:size=4K", "gate", 4096},
	{"tracker:next=(null:size=4K),start", "tracker", 4096},
};

static void test_goods(void)
{
	for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
		struct ms_backend *b = NULL;
		int before = descriptors();
		if (ms_open(goods[i].spec, &b)) {
			(void)fprintf(stderr, "%s: %s\n", goods[i].spec,
				      memsync_error());
			exit(1);
		}
		CHECK_STR(b->ops->name, goods[i].name);
		CHECK_EQ(ms_size(b), goods[i].size);
		CHECK_STR(b->spec, goods[i].spec);
		ms_close(b);
		CHECK_EQ(descriptors(), before);
	}
}

/* --- what is refused, and how --------------------------------------------- */

struct bad {
	const char *spec;
	const char *sentence;
};

static const struct bad bads[] = {
	{"", "\"\" is not a backend"},
	{":", "\":\" is not a backend"},
	{":size=1", "\":size=1\" is not a backend"},
	{"nothing", "there is no backend \"nothing\""},
	{"Memory", "there is no backend \"Memory\""},
	{" memory", "there is no backend \" memory\""},
	{"a-name-of-32-characters-xxxxxxxxx", "is not a backend"},
	{"(memory)", "there is no backend \"(memory)\""},
	{"null:colour=3", "null has no option \"colour\""},
	{"null:size", "null: size needs a value"},
	{"null:colour", "null has no option \"colour\""},
	{"null:=3", "null: \"=3\" has no key"},
	{"null:size=", "null: size takes a size such as 4096, 64K or 1G, not "
		       "\"\""},
	{"null:size=1X", "null: size takes a size"},
	{"null:size=-1", "null: size takes a size"},
	{"null:size= 1", "null: size takes a size"},
	{"null:size=99999999999999999999", "null: size takes a size"},
	{"memory:seed=-1", "memory: seed takes a whole number, not \"-1\""},
	{"null:size=4K,", "\"null:size=4K,\" ends in a comma"},
	{"null:,size=4K", "\",size=4K\" is not key=value"},
	{"null:size=4K,,", "\",\" is not key=value"},
	{"null:size=(4K", "a parenthesis is not closed in \"size=(4K\""},
	{"null:size=4K)", "\"size=4K)\" is not key=value"},
	{"null:)", "\")\" is not key=value"},
	{"null:(", "a parenthesis is not closed in \"(\""},
	{"chunker:size=64K", "chunker needs next=SPEC"},
	{"chunker:next", "chunker: next needs a value"},
	{"chunker:next=", "\"\" is not a backend"},
	{"chunker:next=()", "\"\" is not a backend"},
	{"chunker:next=(null)(null)", "there is no backend \"(null)(null)\""},
	{"chunker:next=null,next=null", "chunker: next is given twice"},
	{"chunker:next=nothing", "there is no backend \"nothing\""},
	{"chunker:next=(null:colour=3)", "null has no option \"colour\""},
	{"cache:local=memory", "cache needs remote=SPEC"},
	{"cache:remote=memory,chunk=64K", "cache needs local=SPEC"},
	{"gate:shut=maybe,next=null", "gate: shut takes yes or no, not"},
	{"delay:ops=none,next=null", "delay: ops is one of all, read, not "
				     "\"none\""},
	{"null:size=4K\n", "the spec contains a control character"},
	{"null:size=\x1b[2J", "the spec contains a control character"},
	{"\x7f", "the spec contains a control character"},
	{"ftp://host/x", "is not tcp://HOST:PORT"},
	{"tcp://", "is not tcp://HOST:PORT"},
	{"tcp://host", "is not tcp://HOST:PORT"},
	{"tcp://host:99999", "is not tcp://HOST:PORT"},
	/* a comma in a URI does not begin an option */
	{"tcp://host:x,connections=2", "\"tcp://host:x,connections=2\" is not"},
};

static void refused(const char *spec, const char *sentence)
{
	struct ms_backend *untouched = (struct ms_backend *)(void *)&bads;
	struct ms_backend *b = untouched;
	int before = descriptors();
	int rc = ms_open(spec, &b);

	if (rc != -EINVAL)
		(void)fprintf(stderr, "spec \"%s\": %s\n", spec,
			      memsync_error());
	CHECK_EQ(rc, -EINVAL);
	CHECK_HAS(memsync_error(), sentence);
	CHECK(b == untouched);
	CHECK_EQ(descriptors(), before);
}

static void test_bads(void)
{
	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++)
		refused(bads[i].spec, bads[i].sentence);
}

/* What was opened before the error is closed again. */
static void test_children_are_closed(void)
{
	static const struct bad late[] = {
		{"chunker:next=memory:size=4K,colour=3",
		 "chunker has no option \"colour\""},
		{"chunker:next=(memory:size=4K),next=(memory:size=4K)",
		 "next is given twice"},
		{"cache:local=memory:size=4K,remote=nothing",
		 "there is no backend"},
		{"cache:local=memory:size=4K,remote=memory:size=4K,chunk=5000",
		 "chunk=5000 is not a power of two"},
		{"cache:local=memory:size=4K,remote=(chunker:next=memory,size)",
		 "chunker: size needs a value"},
		{"error:next=memory:size=4K", "which requests?"},
	};

	for (size_t i = 0; i < sizeof(late) / sizeof(late[0]); i++)
		refused(late[i].spec, late[i].sentence);
}

/* --- nesting -------------------------------------------------------------- */

static char *nested(int depth, bool parens)
{
	static const char head[] = "chunker:next=";
	size_t step = sizeof(head) + 1;
	char *text = calloc((size_t)depth + 1, step);
	char *at = text;

	CHECK(text);
	for (int i = 0; i < depth; i++)
		at = stpcpy(stpcpy(at, head), parens ? "(" : "");
	at = stpcpy(at, "null");
	for (int i = 0; parens && i < depth; i++)
		*at++ = ')';
	return text;
}

static void test_depth(void)
{
	for (int parens = 0; parens < 2; parens++) {
		struct ms_backend *b = NULL;
		char *deep = nested(16, parens);
		CHECK_EQ(ms_open(deep, &b), 0);
		ms_close(b);
		free(deep);
		deep = nested(17, parens);
		refused(deep, "the spec is nested deeper than 16");
		free(deep);
		deep = nested(20000, parens);
		refused(deep, "the spec is nested deeper than 16");
		free(deep);
	}
}

static void test_hostile(void)
{
	size_t n = 1 << 20;
	char *text = malloc(n + 1);

	CHECK(text);
	memset(text, '(', n);
	text[n] = '\0';
	refused(text, "is not a backend");
	memcpy(text, "null:", 5);
	refused(text, "a parenthesis is not closed");
	memset(text + 5, ')', n - 5);
	refused(text, "is not key=value");
	memset(text + 5, ',', n - 5);
	refused(text, "is not key=value");
	memset(text + 5, 'x', n - 5);
	refused(text, "null has no option");
	memset(text, 'x', n);
	memcpy(text, "tcp://", 6);
	refused(text, "the URI is too long");
	/* Bytes that are no characters go through unharmed. */
	refused("null:\xff\xfe=\x80", "null has no option \"\xff\xfe\"");
	free(text);
}

static void test_registry(void)
{
	for (size_t i = 0; ms_backend_types[i]; i++) {
		const struct ms_backend_type *t = ms_backend_types[i];
		CHECK(ms_backend_type_find(t->name) == t);
		CHECK(t->summary[0] &&
		      t->summary[strlen(t->summary) - 1] != '.');
		CHECK(strlen(t->name) < 32);
		/* The defaults must be values that the options take. */
		void *config = calloc(1, t->config_size + 1);
		CHECK(config);
		CHECK_EQ(ms_opt_defaults(t->options, config), 0);
		ms_opt_release(t->options, config);
		free(config);
	}
	CHECK(!ms_backend_type_find(""));
	CHECK(!ms_backend_type_find("memor"));
}

int main(void)
{
	test_goods();
	test_bads();
	test_children_are_closed();
	test_depth();
	test_hostile();
	test_registry();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks run in order and never inside each other, however long the chain. */
#include "tests/check.h"

#include "approaches/common/util/task.h"

#include <pthread.h>

enum {
	CHAIN = 1000000
};

static int depth;
static int ran;
static int order[10];

struct step {
	struct ms_task task; /* first */
	int number;
};

static void in_order(struct ms_task *task)
{
	const struct step *s = (const struct step *)(const void *)task;

	CHECK_EQ(depth++, 0);
	CHECK(ran < 10);
	order[ran++] = s->number;
	depth--;
}

static struct step late = {.number = 99};

/* Queues another one, which must wait for those that are queued already. */
static void queues(struct ms_task *task)
{
	struct ms_tasks more = {0};

	CHECK_EQ(depth++, 0);
	CHECK_EQ(ran, 1);
	ms_tasks_add(&more, &late.task, in_order);
	ms_tasks_run(&more);
	CHECK(!more.first && !more.last);
	CHECK_EQ(ran, 1); /* not yet */
	depth--;
	(void)task;
}

static void test_order(void)
{
	struct step s[4] = {{.number = 0}, {.number = 1}, {.number = 2}};
	struct ms_tasks list = {0};

	ran = 0;
	ms_tasks_run(&list); /* nothing */
	ms_tasks_add(&list, &s[0].task, in_order);
	ms_tasks_add(&list, &s[3].task, queues);
	ms_tasks_add(&list, &s[1].task, in_order);
	ms_tasks_add(&list, &s[2].task, in_order);
	ms_tasks_run(&list);
	CHECK_EQ(ran, 4);
	CHECK_EQ(order[0], 0);
	CHECK_EQ(order[1], 1);
	CHECK_EQ(order[2], 2);
	CHECK_EQ(order[3], 99);
}

/* Each task is freed and leads to the next: a nesting one runs out of stack. */
static void chain(struct ms_task *task)
{
	struct step *s = (struct step *)(void *)task;
	int left = s->number;
	struct ms_tasks list = {0};

	free(s);
	CHECK_EQ(depth++, 0);
	ran++;
	if (left) {
		struct step *next = calloc(1, sizeof(*next));
		CHECK(next);
		next->number = left - 1;
		ms_tasks_add(&list, &next->task, chain);
		ms_tasks_run(&list);
	}
	depth--;
}

static void test_long_chain(void)
{
	struct step *first = calloc(1, sizeof(*first));
	struct ms_tasks list = {0};

	CHECK(first);
	first->number = CHAIN - 1;
	ran = 0;
	ms_tasks_add(&list, &first->task, chain);
	ms_tasks_run(&list);
	CHECK_EQ(ran, CHAIN);
}

static void *elsewhere(void *arg)
{
	struct ms_tasks list = {0};
	struct step s = {.number = 5};

	ran = 0;
	ms_tasks_add(&list, &s.task, in_order);
	ms_tasks_run(&list);
	CHECK_EQ(ran, 1);
	return arg;
}

/* Another thread's tasks do not wait for ours. */
static void spawns(struct ms_task *task)
{
	pthread_t thread;

	(void)task;
	CHECK_EQ(pthread_create(&thread, NULL, elsewhere, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void test_threads_are_apart(void)
{
	struct ms_tasks list = {0};
	struct step s = {0};

	ms_tasks_add(&list, &s.task, spawns);
	ms_tasks_run(&list);
}

int main(void)
{
	test_order();
	test_long_chain();
	test_threads_are_apart();
	return 0;
}

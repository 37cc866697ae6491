/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks: steps collected under a lock and run after it is released. A step
 * that leads to further steps on the same thread queues them behind itself,
 * so chains of completions never nest, however long they are.
 */
#ifndef MS_COMMON_UTIL_TASK_H
#define MS_COMMON_UTIL_TASK_H

#include <stddef.h>

/* Embedded in the object that the step works on. */
struct ms_task {
	void (*run)(struct ms_task *task);
	struct ms_task *next;
};

/* A list of tasks in order; zeroed is empty. */
struct ms_tasks {
	struct ms_task *first;
	struct ms_task *last;
};

/* Put `task`, which is on no list, at the end. */
static inline void ms_tasks_add(struct ms_tasks *list, struct ms_task *task,
				void (*run)(struct ms_task *))
{
	task->run = run;
	task->next = NULL;
	if (list->last)
		list->last->next = task;
	else
		list->first = task;
	list->last = task;
}

/*
 * Run everything on `list`, without any lock held. If a task of this thread
 * is running already, the list is run after it instead, before its own
 * ms_tasks_run returns.
 */
void ms_tasks_run(struct ms_tasks *list);

#endif

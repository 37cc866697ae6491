/* SPDX-License-Identifier: Apache-2.0 */
/* The per-thread queue of tasks; see task.h. */
#include "approaches/common/util/task.h"

#include <stdbool.h>

static _Thread_local struct {
	struct ms_tasks queue;
	bool running;
} mine;

void ms_tasks_run(struct ms_tasks *list)
{
	if (!list->first)
		return;
	if (mine.queue.last)
		mine.queue.last->next = list->first;
	else
		mine.queue.first = list->first;
	mine.queue.last = list->last;
	*list = (struct ms_tasks){0};
	if (mine.running)
		return;
	mine.running = true;
	while (mine.queue.first) {
		struct ms_task *task = mine.queue.first;
		mine.queue.first = task->next;
		if (!mine.queue.first)
			mine.queue.last = NULL;
		task->run(task); /* may free the task */
	}
	mine.running = false;
}

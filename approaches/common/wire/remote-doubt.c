/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a restart of the server may have lost. A WRITE that was answered and not
 * synced is with the old process, if it is anywhere: from the moment a welcome
 * names another instance, no SYNC over the new connections can make it durable.
 * So those under way, or else the next one, fail with -ESTALE; whoever holds
 * the bytes still (the cache does) writes them again and syncs once more. With
 * the lock held.
 */
#include "approaches/common/wire/remote.h"

#include <errno.h>

static const char in_doubt[] =
	"remote: the server was restarted, what was written since the last "
	"sync may be lost";

void remote_note_durable(struct remote *r, const struct remote_piece *p)
{
	enum ms_proto_op op = p->request.op;

	if (op == MS_PROTO_SYNC && p->covers > r->writes_synced)
		r->writes_synced = p->covers;
	if (!remote_piece_modifies(p) || p->request.flags & MS_PROTO_FUA)
		return;
	r->writes_answered++;
	if (p->job && !p->job->epoch)
		p->job->epoch = r->epoch;
}

void remote_note_finished(struct remote *r, const struct remote_job *job)
{
	/* A part of it was given to a process that is gone. */
	if (job->epoch && job->epoch != r->epoch)
		r->doubt = true;
}

void remote_new_epoch(struct remote *r)
{
	bool doubt = r->writes_answered > r->writes_synced;

	r->epoch++;
	r->writes_synced = r->writes_answered;
	if (!doubt)
		return;
	r->doubt = true;
	for (struct remote_job *j = r->jobs; j; j = j->all_next) {
		if (j->io->op != MS_OP_SYNC || j->abort)
			continue;
		j->abort = -ESTALE;
		j->origin = in_doubt;
		r->aborting++;
		r->doubt = false;
	}
}

bool remote_sync_doubted(struct remote *r, struct remote_job *job)
{
	bool doubt = r->doubt;

	if (doubt)
		job->origin = in_doubt;
	r->doubt = false;
	return doubt;
}

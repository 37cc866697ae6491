/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of the server: connections that belong together, which of them took
 * whose place, and which gets the notices of changes.
 */
#include "approaches/common/util/clock.h"
#include "approaches/common/wire/server-int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* With server->lock held: the session of that token, made if need be. */
static struct server_session *find_session(struct ms_server *server,
					   struct server_export *export,
					   const uint8_t *token)
{
	struct server_session *s = server->sessions;

	while (s && memcmp(s->token, token, MS_PROTO_ID_BYTES) != 0)
		s = s->next;
	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	memcpy(s->token, token, MS_PROTO_ID_BYTES);
	s->export = export;
	s->next = server->sessions;
	server->sessions = s;
	return s;
}

/*
 * With server->lock held: cut the connections that `conn` replaces. Returns
 * how many there are still, or -EBUSY if a newer one has the slot.
 */
static int cut_older(const struct server_conn *conn)
{
	int count = 0;

	for (struct server_conn *c = conn->server->conns; c; c = c->next) {
		if (c == conn || c->session != conn->session || !c->resumes ||
		    c->slot != conn->slot)
			continue;
		if (c->generation >= conn->generation)
			return -EBUSY;
		if (!__atomic_exchange_n(&c->replaced, true,
					 __ATOMIC_ACQ_REL)) {
			server_conn_wake(c);
			/* It may itself wait for an older one. */
			pthread_cond_broadcast(&conn->server->gone);
		}
		count++;
	}
	return count;
}

/*
 * With server->lock held. A connection leaves the list when its requests have
 * come back from the store. A writer that repeats itself over the new one must
 * not be overtaken by the old one's copy of the same write.
 */
static int take_slot(struct server_conn *conn, const struct ms_hello *hello)
{
	struct ms_server *server = conn->server;
	int older = 0;

	conn->resumes = true;
	conn->slot = hello->slot;
	conn->generation = hello->generation;
	while ((older = cut_older(conn)) > 0) {
		if (server->stopping)
			return -ESHUTDOWN;
		pthread_cond_wait(&server->gone, &server->lock);
		if (__atomic_load_n(&conn->replaced, __ATOMIC_ACQUIRE))
			return -EBUSY;
	}
	return older;
}

int server_join(struct server_conn *conn, const struct ms_hello *hello)
{
	struct ms_server *server = conn->server;
	int rc = 0;

	pthread_mutex_lock(&server->lock);
	struct server_session *s =
		find_session(server, conn->export, hello->token);
	if (!s) {
		rc = -ENOMEM;
	} else if (s->export != conn->export) {
		rc = -EACCES;
	} else {
		s->connections++;
		conn->session = s;
		__atomic_store_n(&s->heard_ns, ms_now_ns(), __ATOMIC_RELAXED);
		if (hello->features & MS_PROTO_FEATURE_RESUME)
			rc = take_slot(conn, hello);
	}
	pthread_mutex_unlock(&server->lock);
	return rc;
}

/* With server->lock held. */
static void set_watcher(struct server_session *s, struct server_conn *conn)
{
	int change = (conn != NULL) - (s->watcher != NULL);

	s->watcher = conn;
	__atomic_add_fetch(&s->export->watchers, change, __ATOMIC_ACQ_REL);
}

void server_watch(struct server_conn *conn, bool on)
{
	pthread_mutex_lock(&conn->server->lock);
	set_watcher(conn->session, on ? conn : NULL);
	pthread_mutex_unlock(&conn->server->lock);
}

void server_leave(struct server_conn *conn)
{
	struct server_session *s = conn->session;

	if (!s)
		return;
	if (s->watcher == conn)
		set_watcher(s, NULL);
	if (--s->connections)
		return;
	for (struct server_session **p = &conn->server->sessions; *p;
	     p = &(*p)->next) {
		if (*p != s)
			continue;
		*p = s->next;
		break;
	}
	free(s);
}

void server_changed(struct server_export *export,
		    const struct server_session *except, unsigned flags,
		    uint64_t offset, uint64_t length)
{
	struct ms_server *server = export->server;

	pthread_mutex_lock(&server->lock);
	for (struct server_session *s = server->sessions; s; s = s->next) {
		if (s == except || s->export != export || !s->watcher)
			continue;
		pthread_mutex_lock(&s->watcher->lock);
		server_reply_changed(s->watcher, flags, offset, length);
		if (!s->watcher->corked)
			server_flush(s->watcher);
		pthread_mutex_unlock(&s->watcher->lock);
	}
	pthread_mutex_unlock(&server->lock);
}

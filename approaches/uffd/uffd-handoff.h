/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an application hands its registered memory to a handler process: three
 * small messages over a Unix stream socket, integers little-endian, described
 * in README.md. The parser of what a peer sends is uffd-handoff.c alone.
 *
 *	handler --> application   offer: the region's size, kind of memory
 *	application --> handler   range: where it is; userfaultfd [, memory]
 *	handler --> application   answer: 0, or why not
 *
 * The connection stays open for as long as the region is in use.
 */
#ifndef MS_UFFD_HANDOFF_H
#define MS_UFFD_HANDOFF_H

#include <stdbool.h>
#include <stdint.h>

struct ms_uffd_offer {
	uint64_t size; /* bytes of the region */
	bool shared;   /* the handler wants shared memory; ours never does */
};

struct ms_uffd_range {
	uint64_t start;	 /* address in the application */
	uint64_t length; /* whole pages */
	int uffd;	 /* owned by the receiver */
	int memory;	 /* shared memory of that length, or -1; owned */
};

/*
 * Send and receive. 0, or a negative errno with a sentence: -EPROTO (not our
 * message, or one that contradicts itself), -ECONNRESET (closed), -ETIMEDOUT
 * (the peer says nothing for 10 s), or the socket's error. A failed receive
 * closes every descriptor that came with the message.
 */
int ms_uffd_send_offer(int socket, const struct ms_uffd_offer *offer)
	__attribute__((nonnull, warn_unused_result));
int ms_uffd_recv_offer(int socket, struct ms_uffd_offer *ret)
	__attribute__((nonnull, warn_unused_result));
int ms_uffd_send_range(int socket, const struct ms_uffd_range *range)
	__attribute__((nonnull, warn_unused_result));
/* Accepts only a range that fits `offer`, with the descriptors it needs. */
int ms_uffd_recv_range(int socket, const struct ms_uffd_offer *offer,
		       struct ms_uffd_range *ret)
	__attribute__((nonnull, warn_unused_result));
int ms_uffd_send_answer(int socket, int result)
	__attribute__((warn_unused_result));
/* The handler's answer: 0 or the negative errno that it sent. */
int ms_uffd_recv_answer(int socket) __attribute__((warn_unused_result));

#endif

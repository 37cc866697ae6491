/* SPDX-License-Identifier: Apache-2.0 */
/* The payload of FRAME_START; see start.h. */
#include "harness/vm/start.h"

#include "harness/vm/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct packer {
	uint8_t *buf;
	size_t len;
};

/* Beyond FRAME_MAX only the length goes on. */
static void put(struct packer *p, char letter, const char *text)
{
	size_t n = strlen(text) + 1;

	if (p->len + 1 + n <= FRAME_MAX) {
		p->buf[p->len] = (uint8_t)letter;
		memcpy(p->buf + p->len + 1, text, n);
	}
	p->len += 1 + n;
}

static void put_list(struct packer *p, char letter, const char *const *list)
{
	for (; list && *list; list++)
		put(p, letter, *list);
}

int vm_start_pack(const struct vm_start *start, uint8_t **ret, size_t *ret_len)
{
	struct packer p = {.buf = malloc(FRAME_MAX)};

	if (!p.buf)
		return -ENOMEM;
	put(&p, 'D', start->dir);
	put(&p, 'M', start->modules);
	if (start->terminal)
		put(&p, 'T', "1");
	put_list(&p, 'S', start->shares);
	put_list(&p, 'A', start->argv);
	put_list(&p, 'E', start->env);
	if (p.len > FRAME_MAX) {
		free(p.buf);
		return -E2BIG;
	}
	*ret = p.buf;
	*ret_len = p.len;
	return 0;
}

/* Sort one text into the structure; lists have room for all. */
static int take(struct vm_start *s, char letter, const char *text,
		size_t used[3])
{
	switch (letter) {
	case 'D':
		s->dir = text;
		return 0;
	case 'M':
		s->modules = text;
		return 0;
	case 'T':
		s->terminal = !strcmp(text, "1");
		return 0;
	case 'S':
		if (!strchr(text, '='))
			return -EPROTO;
		s->shares[used[0]++] = text;
		return 0;
	case 'A':
		s->argv[used[1]++] = text;
		return 0;
	case 'E':
		s->env[used[2]++] = text;
		return 0;
	default:
		return -EPROTO;
	}
}

static size_t count(const uint8_t *data, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += data[i] == 0;
	return n;
}

int vm_start_unpack(const uint8_t *data, size_t len, struct vm_start *ret)
{
	size_t n = count(data, len) + 1;
	size_t used[3] = {0};
	/* The lists, then the texts. */
	const char **lists = calloc(1, 3 * n * sizeof(*lists) + len + 1);
	struct vm_start s = {.owned = lists};
	char *text;
	int err = 0;

	if (!lists)
		return -ENOMEM;
	s.shares = lists;
	s.argv = lists + n;
	s.env = lists + 2 * n;
	text = (char *)(lists + 3 * n);
	memcpy(text, data, len);
	if (!len || data[len - 1])
		err = -EPROTO;
	for (char *at = text; !err && at < text + len; at += strlen(at) + 1)
		err = *at ? take(&s, *at, at + 1, used) : -EPROTO;
	if (!err && (!s.dir || !s.modules || !used[1]))
		err = -EPROTO;
	if (err)
		free(lists);
	else
		*ret = s;
	return err;
}

void vm_start_release(struct vm_start *start)
{
	free(start->owned);
	*start = (struct vm_start){0};
}

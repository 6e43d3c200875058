/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter_milter.c -- the kit's filter in Sendmail's milter protocol: a connection a session, all
 * stages wanted, each of them answered.
 * Comes from filter.c with a frame. On failure: a command that it does not know is not answered.
 */
#include "filter.h"

#include <event2/buffer.h>
#include <stdlib.h>

#define RCPT_REJ 0x800u /* refused recipients are told too */
#define CHGFROM	 0x40u	/* the sender may be changed, from version 6 on */

static uint32_t get32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(unsigned char *p, uint32_t v)
{
	for (int i = 3; i >= 0; i--, v >>= 8)
		p[i] = (unsigned char)v;
}

static void put(struct evbuffer *b, char cmd, const void *data, size_t n)
{
	unsigned char head[5];

	put32(head, (uint32_t)n + 1);
	head[4] = (unsigned char)cmd;
	evbuffer_add(b, head, sizeof(head));
	evbuffer_add(b, data, n);
}

#define PUT(b, cmd, text) put(b, cmd, text, sizeof(text) - 1)

size_t flt_milter_frame(const unsigned char *p, size_t n)
{
	size_t len = 4 + (size_t)get32(p);

	return n >= len ? len : 0;
}

static void edits(struct flt_mail *m, struct evbuffer *b)
{
	char tag[128];
	int n = snprintf(tag, sizeof(tag), FLT_TAG "%c%s", 0, flt_digest_text(&m->digest));

	put(b, 'h', tag, (size_t)n + 1);
	PUT(b, 'i', "\0\0\0\1X-Kit-First\0one\n\ttwo\0");
	PUT(b, 'm', "\0\0\0\1Subject\0changed\0");
	PUT(b, '+', "<extra@kit.example>\0");
	PUT(b, '-', "<a@kit.example>\0");
	if (m->actions & CHGFROM)
		PUT(b, 'e', "<other@kit.example>\0");
}

void flt_milter_answer(struct flt_mail *m, uint32_t stage, enum flt_word word, struct evbuffer *b)
{
	static const struct {
		char cmd;
		const char *data;
		size_t len;
	} says[FLT_WORDS] = {
	    [FLT_CONTINUE] = {'c', NULL, 0},
	    [FLT_ACCEPT] = {'a', NULL, 0},
	    [FLT_REFUSE] = {'r', NULL, 0},
	    [FLT_LATER] = {'t', NULL, 0},
	    [FLT_LINES] = {'y', "554-5.7.9 one\r\n554 5.7.9 two", 29},
	    [FLT_LEAVE] = {'4', NULL, 0},
	    [FLT_DISCARD] = {'d', NULL, 0},
	    [FLT_HOLD] = {'c', NULL, 0},
	};

	if (stage == META1_PM_END &&
	    (word == FLT_CONTINUE || word == FLT_ACCEPT || word == FLT_HOLD))
		edits(m, b);
	if (word == FLT_HOLD)
		PUT(b, 'q', "the kit\0");
	put(b, says[word].cmd, says[word].data, says[word].len);
}

static void take_field(struct flt_mail *m, const unsigned char *p, size_t n)
{
	size_t name = strnlen((const char *)p, n);

	flt_digest_raw(&m->digest, p, name);
	flt_digest_raw(&m->digest, ":", 1);
	if (name + 2 <= n)
		flt_digest_raw(&m->digest, p + name + 1, n - name - 2);
	flt_digest_raw(&m->digest, "\n", 1);
}

/* OPTNEG: the version that was offered, all actions, all steps. The others have no answer. */
static void reply(struct flt_mail *m, char cmd, const unsigned char *data, size_t n)
{
	struct evbuffer *b = evbuffer_new();
	unsigned char out[12];

	if (cmd == 'O' && n >= sizeof(out)) {
		memcpy(out, data, 8);
		m->actions = get32(data + 4);
		put32(out + 8, get32(data + 8) & RCPT_REJ);
		put(b, 'O', out, sizeof(out));
	}
	flt_reply(m->conn, b);
	evbuffer_free(b);
}

void flt_milter_take(struct flt_conn *c, const unsigned char *p, size_t n)
{
	static const struct {
		char cmd;
		uint32_t stage;
	} asks[] = {{'C', META1_PM_CONNECT}, {'H', META1_PM_HELO}, {'M', META1_PM_MAIL},
	    {'R', META1_PM_RCPT}, {'T', META1_PM_DATA}, {'L', 0}, {'N', 0}, {'B', 0},
	    {'E', META1_PM_END}, {'U', META1_PM_UNKNOWN}};
	struct flt_mail *m = flt_mail_of(c, 0, true);
	char cmd = (char)p[4];

	if (cmd == 'M' || cmd == 'A' || cmd == 'K')
		m->digest = (struct flt_digest){0};
	if (cmd == 'L')
		take_field(m, p + 5, n - 5);
	if (cmd == 'B')
		flt_digest_bytes(&m->digest, p + 5, n - 5);
	for (size_t i = 0; i < ARRAY_LEN(asks); i++)
		if (asks[i].cmd == cmd) {
			flt_asked(m, asks[i].stage);
			return;
		}
	reply(m, cmd, p + 5, n - 5);
	if (cmd == 'Q' && !c->dead)
		flt_hang_up(c);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter_pmilter.c -- the kit's filter in the protocol of libpmilter (doc/pmilter-protocol.md): all
 * sessions on one connection, all stages wanted.
 * Comes from filter.c with a frame. On failure: a frame that it does not know is not answered.
 */
#include "filter.h"

#include <event2/buffer.h>
#include <meta1/pmwire.h>
#include <stdlib.h>

size_t flt_pmilter_frame(const unsigned char *p, size_t n)
{
	size_t len = (size_t)meta1_pmw_load(p, 4);

	return n >= len ? len : 0;
}

static void reply(struct flt_conn *c, struct meta1_pmw_out *o)
{
	struct evbuffer *b = evbuffer_new();

	if (o)
		evbuffer_add(b, o->at, meta1_pmw_done(o));
	flt_reply(c, b);
	evbuffer_free(b);
}

static void welcome(struct flt_conn *c)
{
	unsigned char at[256];
	struct meta1_pmw_out o = meta1_pmw_begin(at, sizeof(at), META1_PMW_WELCOME, 0);

	meta1_pmw_num(&o, META1_PMW_F_VERSION, META1_PMW_VERSION, 2);
	meta1_pmw_text(&o, META1_PMW_F_PROGRAM, "kit");
	meta1_pmw_num(&o, META1_PMW_F_STAGES, 0xff, 4);
	meta1_pmw_num(&o, META1_PMW_F_ACTIONS, META1_PMW_A_ALL, 4);
	meta1_pmw_num(&o, META1_PMW_F_WINDOW, 65536, 4);
	reply(c, &o);
}

static void edit(struct evbuffer *b, uint32_t id, unsigned kind, unsigned index, const char *name,
    const char *value)
{
	unsigned char at[512];
	struct meta1_pmw_out o = meta1_pmw_begin(at, sizeof(at), META1_PMW_EDIT, id);

	meta1_pmw_num(&o, META1_PMW_F_KIND, kind, 1);
	meta1_pmw_num(&o, META1_PMW_F_INDEX, index, 4);
	meta1_pmw_text(&o, META1_PMW_F_FIELD, name);
	meta1_pmw_text(&o, META1_PMW_F_VALUE, value);
	evbuffer_add(b, at, meta1_pmw_done(&o));
}

static void edits(struct flt_mail *m, struct evbuffer *b)
{
	edit(b, m->id, META1_PM_ADD_HEADER, 0, FLT_TAG, flt_digest_text(&m->digest));
	edit(b, m->id, META1_PM_INSERT_HEADER, 0, "X-Kit-First", "one\n\ttwo");
	edit(b, m->id, META1_PM_CHANGE_HEADER, 1, "Subject", "changed");
	edit(b, m->id, META1_PM_ADD_RCPT, 0, NULL, "extra@kit.example");
	edit(b, m->id, META1_PM_DEL_RCPT, 0, NULL, "a@kit.example");
	edit(b, m->id, META1_PM_SENDER, 0, NULL, "other@kit.example");
}

void flt_pmilter_answer(struct flt_mail *m, uint32_t stage, enum flt_word word, struct evbuffer *b)
{
	static const struct {
		unsigned action, code;
		const char *dsn;
	} says[FLT_WORDS] = {
	    [FLT_CONTINUE] = {META1_PM_CONTINUE, 0, NULL},
	    [FLT_ACCEPT] = {META1_PM_ACCEPT, 0, NULL},
	    [FLT_REFUSE] = {META1_PM_REFUSE, 550, "5.7.1"},
	    [FLT_LATER] = {META1_PM_REFUSE, 451, "4.7.1"},
	    [FLT_LINES] = {META1_PM_REFUSE, 554, "5.7.9"},
	    [FLT_LEAVE] = {META1_PM_REFUSE, 421, NULL},
	    [FLT_DISCARD] = {META1_PM_DISCARD, 0, NULL},
	    [FLT_HOLD] = {META1_PM_CONTINUE, 0, NULL},
	};
	unsigned char at[512];
	struct meta1_pmw_out o = meta1_pmw_begin(at, sizeof(at), META1_PMW_VERDICT, m->id);

	if (stage == META1_PM_END &&
	    (word == FLT_CONTINUE || word == FLT_ACCEPT || word == FLT_HOLD))
		edits(m, b);
	meta1_pmw_num(&o, META1_PMW_F_ACTION, says[word].action, 1);
	if (says[word].code)
		meta1_pmw_num(&o, META1_PMW_F_CODE, says[word].code, 2);
	meta1_pmw_text(&o, META1_PMW_F_DSN, says[word].dsn);
	if (word == FLT_LINES) {
		meta1_pmw_text(&o, META1_PMW_F_LINE, "one");
		meta1_pmw_text(&o, META1_PMW_F_LINE, "two");
	}
	if (word == FLT_HOLD)
		meta1_pmw_text(&o, META1_PMW_F_HOLD, "the kit");
	evbuffer_add(b, at, meta1_pmw_done(&o));
}

/* Of its header first, then of its body. */
static void take_chunk(struct flt_mail *m, const unsigned char *p, size_t n)
{
	size_t head = n < m->header ? n : (size_t)m->header;

	flt_digest_raw(&m->digest, p, head);
	m->header -= head;
	flt_digest_bytes(&m->digest, p + head, n - head);
}

static void content(struct flt_conn *c, struct flt_mail *m, struct meta1_pmw_frame *f)
{
	struct meta1_pmw_field_of v;
	unsigned char at[64];
	struct meta1_pmw_out o = meta1_pmw_begin(at, sizeof(at), META1_PMW_MORE, m->id);
	uint64_t n = 0;

	if (f->type == META1_PMW_CONTENT)
		m->digest = (struct flt_digest){0};
	while (meta1_pmw_next(f, &v)) {
		if (f->type == META1_PMW_CONTENT && v.field == META1_PMW_F_HEADER)
			m->header = meta1_pmw_value(&v);
		if (f->type != META1_PMW_CHUNK || v.field != META1_PMW_F_DATA)
			continue;
		take_chunk(m, v.at, v.len);
		n += v.len;
	}
	meta1_pmw_num(&o, META1_PMW_F_BYTES, n, 4);
	reply(c, n ? &o : NULL);
}

void flt_pmilter_take(struct flt_conn *c, const unsigned char *p, size_t n)
{
	static const uint32_t stages[] = {[META1_PMW_CONNECT] = META1_PM_CONNECT,
	    [META1_PMW_HELO] = META1_PM_HELO,
	    [META1_PMW_MAIL] = META1_PM_MAIL,
	    [META1_PMW_RCPT] = META1_PM_RCPT,
	    [META1_PMW_DATA] = META1_PM_DATA,
	    [META1_PMW_UNKNOWN] = META1_PM_UNKNOWN,
	    [META1_PMW_END] = META1_PM_END};
	struct meta1_pmw_frame f;
	struct flt_mail *m;

	if (meta1_pmw_frame(p, n, &f) != 1)
		return;
	m = flt_mail_of(c, f.session, f.type == META1_PMW_OPEN);
	if (f.type == META1_PMW_HELLO) {
		welcome(c);
	} else if (m && f.type < ARRAY_LEN(stages) && stages[f.type]) {
		flt_asked(m, stages[f.type]);
	} else if (m && (f.type == META1_PMW_CONTENT || f.type == META1_PMW_CHUNK)) {
		content(c, m, &f);
	} else {
		if (f.type == META1_PMW_CLOSE)
			flt_mail_end(c, f.session);
		reply(c, NULL);
	}
}

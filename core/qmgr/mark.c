/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mark.c -- what an admin said about a recipient: it is held, or goes another way. Kept with the
 * recipient's outcomes, before the reason, so that it is there after a restart with every
 * store: "held=UID; via=HOPS; ".
 * Comes from act.c (an admin) and msg.c (a restart); goes to store.c (records), active.c (held:
 * never due) and route.c (via). Owns the mark of a recipient. Pure.
 */
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <stdlib.h>

struct qmgr_mark {
	bool held;
	uint32_t uid; /* who held it */
	char via[];
};

bool qmgr_mark_held(const struct qmgr_rcpt *r)
{
	return r->mark && r->mark->held;
}

uint32_t qmgr_mark_uid(const struct qmgr_rcpt *r)
{
	return r->mark ? r->mark->uid : 0;
}

const char *qmgr_mark_via(const struct qmgr_rcpt *r)
{
	return r->mark ? r->mark->via : "";
}

void qmgr_mark_drop(struct qmgr_rcpt *r)
{
	free(r->mark);
	r->mark = NULL;
}

static void set(struct qmgr_rcpt *r, bool held, uint32_t uid, const char *via, size_t len)
{
	struct qmgr_mark *m = NULL;

	if (held || len) {
		m = base_alloc(sizeof(*m) + len + 1);
		m->held = held;
		m->uid = uid;
		memcpy(m->via, via, len);
	}
	free(r->mark);
	r->mark = m;
}

void qmgr_mark_hold(struct qmgr_rcpt *r, bool held, uint32_t uid)
{
	const char *via = qmgr_mark_via(r);

	set(r, held, uid, via, strlen(via));
}

void qmgr_mark_way(struct qmgr_rcpt *r, const char *via)
{
	set(r, qmgr_mark_held(r), qmgr_mark_uid(r), via, strlen(via));
}

bool qmgr_mark_way_ok(const char *via)
{
	size_t i, n = strlen(via);

	for (i = 0; i < n; i++)
		if (via[i] <= ' ' || via[i] == ';' || via[i] == 127)
			return false;
	return n > 0 && n <= QMGR_VIA_MAX;
}

void qmgr_mark_note(const struct qmgr_rcpt *r, char *out, size_t size)
{
	size_t n = 0;

	*out = '\0';
	if (qmgr_mark_held(r))
		n = (size_t)snprintf(out, size, "held=%u; ", r->mark->uid);
	if (*qmgr_mark_via(r) && n < size)
		snprintf(out + n, size - n, "via=%s; ", r->mark->via);
}

/* The text between name and "; " at the begin of *why, which is moved behind it. */
static struct meta1_buf take(struct meta1_buf *why, const char *name)
{
	const char *p = why->data, *end;
	size_t n = strlen(name);
	struct meta1_buf got;

	if (why->len < n || memcmp(p, name, n))
		return buf_of(NULL, 0);
	end = memmem(p + n, why->len - n, "; ", 2);
	if (!end)
		return buf_of(NULL, 0);
	got = buf_of(p + n, (size_t)(end - p) - n);
	*why = buf_of(end + 2, why->len - (size_t)(end + 2 - p));
	return got;
}

void qmgr_mark_read(struct qmgr_rcpt *r, struct meta1_buf *why)
{
	struct meta1_buf uid = take(why, "held="), via = take(why, "via=");
	char number[16] = "";

	if (!uid.data && !via.data)
		return;
	memcpy(number, uid.len ? uid.data : "", uid.len < sizeof(number) ? uid.len : 0);
	set(r, uid.data != NULL, (uint32_t)strtoul(number, NULL, 10), via.len ? via.data : "",
	    via.len <= QMGR_VIA_MAX ? via.len : 0);
}

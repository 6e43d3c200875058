/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mark.c -- what an admin said about a recipient: it is held, goes another way, or was deleted
 * while it was delivered. Kept with the recipient's outcomes, before the reason, so that it is
 * there after a restart with every store: "deleted=UID; held=UID; via=HOPS; ". Comes from act.c (an
 * admin) and msg.c (a restart); goes to store.c (records), active.c (held: never due) and route.c
 * (via). Owns the mark of a recipient. Pure.
 */
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <stdlib.h>

struct said {
	bool held, deleted;
	uint32_t uid; /* who said so */
};
struct qmgr_mark {
	struct said said;
	char via[];
};

static size_t memory; /* of all */

size_t qmgr_mark_memory(void)
{
	return memory;
}

bool qmgr_mark_held(const struct qmgr_rcpt *r)
{
	return r->mark && r->mark->said.held;
}

bool qmgr_mark_deleted(const struct qmgr_rcpt *r)
{
	return r->mark && r->mark->said.deleted;
}

uint32_t qmgr_mark_uid(const struct qmgr_rcpt *r)
{
	return r->mark ? r->mark->said.uid : 0;
}

const char *qmgr_mark_via(const struct qmgr_rcpt *r)
{
	return r->mark ? r->mark->via : "";
}

void qmgr_mark_drop(struct qmgr_rcpt *r)
{
	if (r->mark)
		memory -= sizeof(*r->mark) + strlen(r->mark->via) + 1;
	free(r->mark);
	r->mark = NULL;
}

static void set(struct qmgr_rcpt *r, struct said as, const char *via, size_t len)
{
	struct qmgr_mark *m = NULL;

	if (as.held || as.deleted || len) {
		m = base_alloc(sizeof(*m) + len + 1);
		m->said = as;
		memcpy(m->via, via, len);
		memory += sizeof(*m) + len + 1;
	}
	qmgr_mark_drop(r);
	r->mark = m;
}

void qmgr_mark_hold(struct qmgr_rcpt *r, bool held, uint32_t uid)
{
	const char *via = qmgr_mark_via(r);

	set(r, (struct said){.held = held, .uid = uid}, via, strlen(via));
}

void qmgr_mark_delete(struct qmgr_rcpt *r, uint32_t uid)
{
	set(r, (struct said){.deleted = true, .uid = uid}, "", 0);
}

void qmgr_mark_way(struct qmgr_rcpt *r, const char *via)
{
	struct said as = {.held = qmgr_mark_held(r), .uid = qmgr_mark_uid(r)};

	set(r, as, via, strlen(via));
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
	if (qmgr_mark_deleted(r))
		n = (size_t)snprintf(out, size, "deleted=%u; ", r->mark->said.uid);
	else if (qmgr_mark_held(r))
		n = (size_t)snprintf(out, size, "held=%u; ", r->mark->said.uid);
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
	struct meta1_buf deleted = take(why, "deleted="), held = take(why, "held="),
			 via = take(why, "via="), uid = deleted.data ? deleted : held;
	struct said as = {.deleted = deleted.data != NULL, .held = held.data != NULL};
	char number[16] = "";

	if (!uid.data && !via.data)
		return;
	memcpy(number, uid.len ? uid.data : "", uid.len < sizeof(number) ? uid.len : 0);
	as.uid = (uint32_t)strtoul(number, NULL, 10);
	set(r, as, via.len ? via.data : "", via.len <= QMGR_VIA_MAX ? via.len : 0);
}

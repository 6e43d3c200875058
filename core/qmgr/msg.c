/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * msg.c -- the messages in memory: envelope, recipients and their strings in one allocation.
 * Comes from intake.c (new) and park.c (read again); gone when the last outcome is recorded
 * (store.c), or when park.c needs the memory: then only its slot stays (slot.c). Owns struct
 * qmgr_msg and the shared reasons. Memory is counted.
 */
#include "mail/reply.h"
#include "qmgr/qmgr.h"

#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX 512 /* of a reply that is kept */

/* ---- reasons ---- */

static size_t reasons; /* bytes */

size_t qmgr_reason_memory(void)
{
	return reasons;
}

static char *put(char **at, const char *s, size_t len)
{
	char *to = *at;

	*at += len + 1;
	return memcpy(to, s, len + 1);
}

struct qmgr_reason *qmgr_reason_new(struct meta1_buf host, unsigned smtp, struct meta1_buf dsn,
    struct meta1_buf text, struct meta1_buf tls)
{
	struct qmgr_reason *r;
	char t[TEXT_MAX], h[256], s[256], d[sizeof(r->dsn)], line[TEXT_MAX + 320];
	char code[8] = "", *at;
	size_t hl, tl, sl, ll;
	bool again;

	reply_clean(host.data ? host.data : "", host.len, h, sizeof(h));
	reply_clean(dsn.data ? dsn.data : "", dsn.len, d, sizeof(d));
	reply_clean(text.data ? text.data : "", text.len, t, sizeof(t));
	reply_clean(tls.data ? tls.data : "", tls.len, s, sizeof(s));
	for (at = s; *at; at++)
		if (*at == ';') /* it ends there when it is kept */
			*at = ',';
	if (smtp >= 200 && smtp <= 599)
		snprintf(code, sizeof(code), "%u ", smtp);
	again = *d && !strncmp(t, d, strlen(d)); /* many texts begin with it */
	ll = (size_t)snprintf(line, sizeof(line), "%s%s%s%s%s%s", h, *h ? ": " : "", code,
	    again ? "" : d, *d && !again ? " " : "", t);
	if (ll >= sizeof(line))
		ll = sizeof(line) - 1;
	hl = strlen(h);
	tl = strlen(t);
	sl = strlen(s);
	r = base_alloc(sizeof(*r) + hl + tl + sl + ll + 4);
	r->refs = 1;
	r->size = (uint32_t)(sizeof(*r) + hl + tl + sl + ll + 4);
	reasons += r->size;
	r->smtp = *code ? (uint16_t)smtp : 0;
	str_copy(r->dsn, sizeof(r->dsn), d);
	at = r->b;
	r->host = put(&at, h, hl);
	r->text = put(&at, t, tl);
	r->line = put(&at, line, ll);
	r->tls = put(&at, s, sl);
	return r;
}

void qmgr_reason_text(const struct qmgr_reason *r, char *out, size_t size)
{
	bool tls = r && r->tls[0];

	snprintf(out, size, "%s%s%s%s", tls ? "tls=" : "", tls ? r->tls : "", tls ? "; " : "",
	    r ? r->line : "");
}

/* What qmgr_reason_text() put before the line; why is moved behind it. */
static struct meta1_buf kept_tls(struct meta1_buf *why)
{
	const char *p = why->data, *end;
	struct meta1_buf tls = {NULL, 0};

	if (why->len < 6 || memcmp(p, "tls=", 4) != 0)
		return tls;
	end = memmem(p, why->len, "; ", 2);
	if (!end)
		return tls;
	tls = buf_of(p + 4, (size_t)(end - p) - 4);
	*why = buf_of(end + 2, why->len - (size_t)(end - p) - 2);
	return tls;
}

void qmgr_reason_drop(struct qmgr_reason **rp)
{
	struct qmgr_reason *r = *rp;

	*rp = NULL;
	if (!r || --r->refs)
		return;
	reasons -= r->size;
	free(r);
}

void qmgr_reason_set(struct qmgr_rcpt *r, struct qmgr_reason *why)
{
	if (why)
		why->refs++;
	qmgr_reason_drop(&r->reason);
	r->reason = why;
}

/* ---- messages ---- */

/* What the sender said of reports, if the store is of a time that knows it. */
static struct meta1_buf envid(const struct meta1_env *env)
{
	return META1_HAS(env, envid) ? env->envid : buf_of(NULL, 0);
}

static const struct meta1_qrcpt *said(const struct meta1_env *env, const struct meta1_qrcpt *r)
{
	static const struct meta1_qrcpt nothing;

	return env->sizeof_rcpt >= sizeof(*r) ? r : &nothing;
}

static size_t room(struct meta1_buf b)
{
	return b.len ? b.len + 1 : 0;
}

static size_t strings(const struct meta1_env *env)
{
	size_t n = env->from.len + env->client.len + envid(env).len + 3;
	const char *at = (const char *)env->rcpt;
	uint32_t i;

	for (i = 0; i < env->nrcpt; i++, at += env->sizeof_rcpt) {
		const struct meta1_qrcpt *r = (const struct meta1_qrcpt *)at;
		const struct meta1_qrcpt *more = said(env, r);

		n += r->addr.len + 1 + room(more->orcpt) + room(more->sender) + room(more->alias);
	}
	return n;
}

static const char *keep(char **at, struct meta1_buf b)
{
	char *s = *at;

	if (b.len)
		memcpy(s, b.data, b.len);
	s[b.len] = 0;
	*at = s + b.len + 1;
	return s;
}

/* Recipients that wait for the same reason share it. */
static struct qmgr_reason *same(const struct qmgr_msg *m, uint32_t i, struct meta1_buf why)
{
	struct qmgr_reason *r = i ? m->rcpt[i - 1].reason : NULL;
	struct meta1_buf tls = kept_tls(&why);

	if (r && buf_eq(buf_str(r->line), why) && buf_eq(buf_str(r->tls), tls)) {
		r->refs++;
		return r;
	}
	return qmgr_reason_new(buf_str(""), 0, buf_str(""), why, tls);
}

const char *qmgr_msg_return(const struct qmgr *q, const struct qmgr_rcpt *r, char verp[255])
{
	const char *sender = qmgr_msg_sender(qmgr_msg_of(r), r);
	char delimiters[3];

	qmgr_verp_delimiters(qmgr_msg_of(r)->flags, q->lim.verp_delimiters, delimiters);
	if (r->verp && qmgr_verp_make(sender, r->addr, delimiters, verp))
		return verp;
	return sender;
}

/* Those behind each other with one sender travel together. */
static const void *group_of(const struct qmgr_msg *m, const struct qmgr_rcpt *r)
{
	const struct qmgr_rcpt *before = r - 1;

	if (r->verp)
		return r;
	if (!r->sender)
		return m;
	if (r->index > 0 && before->sender && !before->verp &&
	    !strcmp(qmgr_msg_sender(m, before), qmgr_msg_sender(m, r)))
		return before->item.group;
	return r;
}

/* What the envelope says of it, and what an alias did to it. */
static void fill_rcpt(struct qmgr *q, struct qmgr_msg *m, struct qmgr_rcpt *r,
    const struct meta1_qrcpt *from, const struct meta1_qrcpt *more, char **to)
{
	r->addr = keep(to, from->addr);
	r->notify = more->notify & 15u;
	r->flags = more->flags & 7u;
	r->orcpt = more->orcpt.len > 0;
	r->sender = more->sender.len > 0;
	r->alias = more->alias.len > 0;
	if (r->orcpt)
		keep(to, more->orcpt);
	if (r->sender)
		keep(to, more->sender);
	if (r->alias)
		keep(to, more->alias);
	/* said at MAIL it is about that sender, not about the owner of a list */
	r->verp = (m->flags & META1_M_VERP && !r->sender) ||
		  qmgr_verp_listed(q->lim.verp_senders, qmgr_msg_sender(m, r));
	r->item.group = group_of(m, r);
	m->dsn |= r->notify || r->orcpt;
}

/* From the start, by a filter, and nobody has said anything about it yet. */
static bool held(const struct meta1_env *env, const struct meta1_qrcpt *r)
{
	return META1_HAS(env, hold) && env->flags & META1_M_HOLD && !r->tries && !r->next_try &&
	       !r->reason.len;
}

/* Its reason begins with a word that no note of ours begins with: a filter's text, which may be of
 * whoever sent the mail, must never be read as one. */
static struct meta1_buf hold(struct qmgr_rcpt *r, const struct meta1_env *env, char text[TEXT_MAX])
{
	int n = snprintf(text, TEXT_MAX, "filter %.*s", (int)env->hold.len,
	    env->hold.len ? (const char *)env->hold.data : "");

	qmgr_mark_hold(r, true, QMGR_UID_FILTER);
	return buf_of(text, n < TEXT_MAX ? (size_t)n : TEXT_MAX - 1);
}

static void fill_rcpts(struct qmgr *q, struct qmgr_msg *m, const struct meta1_env *env, char *to)
{
	char text[TEXT_MAX];
	int64_t now = loop_now(q->loop), wall = loop_wall(q->loop);
	const char *at = (const char *)env->rcpt;
	uint32_t i;

	for (i = 0; i < env->nrcpt; i++, at += env->sizeof_rcpt) {
		const struct meta1_qrcpt *from = (const struct meta1_qrcpt *)at;
		struct qmgr_rcpt *r = &m->rcpt[i];
		struct meta1_buf why = from->reason;
		int64_t wait = from->next_try - wall;

		r->index = i & 0xffffff;
		fill_rcpt(q, m, r, from, said(env, from), &to);
		r->tries = from->tries > UINT16_MAX ? UINT16_MAX : (uint16_t)from->tries;
		r->state = (uint8_t)from->state;
		if (from->state != META1_R_WAITING) {
			r->phase = QP_DONE;
			continue;
		}
		m->nopen++;
		/* A clock that was wrong must not keep mail for years. */
		if (wait > q->lim.max_retry / 1000)
			wait = q->lim.max_retry / 1000;
		r->due = wait > 0 ? now + wait * 1000 : now;
		qmgr_mark_read(r, &why);
		if (held(env, from))
			why = hold(r, env, text);
		if (qmgr_mark_held(r))
			r->due = INT64_MAX;
		qmgr_note_take(r, &why);
		if (why.len)
			r->reason = same(m, i, why);
		if (qmgr_mark_deleted(r))
			r->state = META1_R_DELETED;
		r->phase = r->report || r->state != META1_R_WAITING ? QP_DOUBT : QP_WAIT;
	}
}

/* Senders that differ by a tag only (VERP, "list+user=host@…") are one. */
static uint32_t sender_hash(const char *from)
{
	size_t tag = strcspn(from, "+=@");
	const char *at = strrchr(from, '@'), *s;
	uint32_t h = 2166136261u;

	for (s = from; *s; s++)
		if (s < from + tag || (at && s >= at))
			h = (h ^ (uint8_t)*s) * 16777619u;
	return h ^ h >> 16;
}

struct qmgr_msg *qmgr_msg_new(struct qmgr *q, uint32_t slot, const struct meta1_qentry *e)
{
	struct qmgr_slot *s = qmgr_slot_at(&q->index, slot);
	const struct meta1_env *env = e->env;
	size_t head = sizeof(struct qmgr_msg) + env->nrcpt * sizeof(struct qmgr_rcpt);
	size_t total = head + strings(env);
	struct qmgr_msg *m = base_alloc(total);
	/* by the slowest clock of this life: a jump ahead makes no mail old */
	int64_t gap = loop_wall(q->loop) - loop_now(q->loop) / 1000, age;
	char *to = (char *)m + head;

	q->clock_least = gap < q->clock_least ? gap : q->clock_least;
	age = loop_now(q->loop) / 1000 + q->clock_least - env->time;
	m->memory = total + 64;
	str_copy(m->id, sizeof(m->id), e->id);
	m->ref = e->ref;
	m->key = e->key;
	m->stored = e->bytes_stored;
	m->bytes = env->bytes;
	m->flags = env->flags;
	m->time = env->time;
	m->born = loop_now(q->loop) - (age > 0 ? age : 0) * 1000;
	m->nrcpt = env->nrcpt;
	m->slot = slot;
	m->seq = s->seq;
	m->from = keep(&to, env->from);
	m->client = keep(&to, env->client);
	m->envid = keep(&to, envid(env));
	fill_rcpts(q, m, env, to);
	s->at.msg = m;
	s->loaded = 1;
	s->sender = sender_hash(m->from);
	s->nopen = m->nopen;
	q->memory += m->memory;
	return m;
}

struct qmgr_msg *qmgr_msg_find(struct qmgr *q, const char *id, size_t len)
{
	struct qmgr_msg *m = qmgr_msg_at(q, qmgr_slot_find(&q->index, id, len));

	return m && strlen(m->id) == len && !memcmp(m->id, id, len) ? m : NULL;
}

void qmgr_msg_check(struct qmgr *q, struct qmgr_msg *m)
{
	if (m->dying || m->nopen || m->nactive)
		return;
	m->dying = true;
	qmgr_active_forget(q, m);
	qmgr_msg_list(q, m, QL_DYING);
	qmgr_kick(q);
}

void qmgr_msg_list(struct qmgr *q, struct qmgr_msg *m, enum qmgr_lists list)
{
	if (m->list)
		DL_DELETE2(q->lists[m->list], m, rprev, rnext);
	m->list = (uint8_t)list;
	if (list)
		DL_APPEND2(q->lists[list], m, rprev, rnext);
}

void qmgr_msg_unload(struct qmgr *q, struct qmgr_msg **mp)
{
	struct qmgr_msg *m = *mp;
	struct qmgr_slot *s = qmgr_slot_at(&q->index, m->slot);
	uint32_t i;

	*mp = NULL;
	for (i = 0; i < m->nrcpt; i++) {
		qmgr_reason_drop(&m->rcpt[i].reason);
		qmgr_mark_drop(&m->rcpt[i]);
	}
	qmgr_msg_list(q, m, QL_NONE);
	q->memory -= m->memory;
	s->nopen = m->nopen;
	s->loaded = 0;
	s->at.key = m->key;
	free(m);
}

void qmgr_msg_reap(struct qmgr *q)
{
	struct qmgr_msg *m;

	while ((m = q->lists[QL_DYING])) {
		uint32_t slot = m->slot;

		qmgr_msg_unload(q, &m);
		qmgr_slot_free(&q->index, slot);
	}
}

void qmgr_msg_free_all(struct qmgr *q)
{
	struct qmgr_msg *m;
	uint32_t i;

	for (i = q->index.first; i; i = qmgr_slot_at(&q->index, i)->next)
		if ((m = qmgr_msg_at(q, i)))
			qmgr_msg_unload(q, &m);
	qmgr_slot_free_all(&q->index);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * envelope.c -- the envelope of a message as JSON, out of the queue and into it: doc/control-api.md
 * has the fields. A field that is not known is refused, since what it should change is not.
 * Comes from import.c and the request of an export; goes to the store as struct meta1_env. Owns the
 * texts of an envelope that is read. Pure. On failure: err names the recipient and the field, what
 * is there and what is expected.
 */
#include "qmgr/transfer.h"

#include "mail/addr.h"
#include "mail/xtext.h"

#include <stdio.h>
#include <stdlib.h>

#define CLIENT_MAX 512
#define REASON_MAX 1000

struct qmgr_text_kept {
	struct qmgr_text_kept *next;
	char s[];
};

/* ---- out ---- */

/* One that was delivered, and of which the sender is just being told, does not wait any more. */
static uint32_t state_of(const struct qmgr_rcpt *r)
{
	bool told = r->phase == QP_INTENT || r->phase == QP_REPORT || r->phase == QP_DOUBT;

	if (told && (r->action == QA_DELIVERED || r->action == QA_RELAYED))
		return META1_R_DELIVERED;
	return r->state;
}

json_t *qmgr_envelope_notify(const struct qmgr_rcpt *r)
{
	return envelope_words(envelope_notify, r->notify);
}

const char *qmgr_envelope_ret(const struct qmgr_msg *m)
{
	return envelope_ret_word(m->flags);
}

static json_t *rcpt_json(struct qmgr *q, const struct qmgr_rcpt *r)
{
	int64_t in = r->due - loop_now(q->loop), next = 0;

	if (r->phase == QP_WAIT && !qmgr_mark_held(r))
		next = loop_wall(q->loop) + (in > 0 ? in / 1000 : 0);
	return envelope_rcpt_json(&(struct envelope_rcpt){.address = r->addr,
	    .state = state_of(r),
	    .tries = r->tries,
	    .next_try = next,
	    .reason = r->reason ? r->reason->line : "",
	    .notify = r->notify,
	    .orcpt = qmgr_msg_orcpt(r),
	    .held = qmgr_mark_held(r),
	    .via = qmgr_mark_via(r),
	    .warned = r->warned,
	    .sender = r->sender ? qmgr_msg_sender(qmgr_msg_of(r), r) : "",
	    .flags = r->flags,
	    .alias = qmgr_msg_alias(r)});
}

json_t *qmgr_envelope_json(struct qmgr *q, const struct qmgr_msg *m, uint32_t first, uint32_t n)
{
	struct meta1_env env = {.time = m->time, .bytes = m->bytes, .flags = m->flags};
	json_t *list = json_array();
	uint32_t i;

	for (i = first; i < m->nrcpt && i - first < n; i++)
		json_array_append_new(list, rcpt_json(q, &m->rcpt[i]));
	return envelope_json(m->id, m->from, m->client, m->envid, &env, list);
}

/* ---- in: values ---- */

struct into { /* what a field is for */
	struct qmgr_envelope *e;
	struct meta1_qrcpt *r; /* NULL: the message */
	struct meta1_buf reason;
	const char *via;
	bool held, warned;
};
struct field {
	const char *name;
	int (*read)(struct into *, const json_t *, struct meta1_err *);
};

static struct meta1_buf keep(struct qmgr_envelope *e, const char *s)
{
	size_t n = strlen(s);
	struct qmgr_text_kept *k = base_alloc(sizeof(*k) + n + 1);

	memcpy(k->s, s, n);
	k->next = e->texts;
	e->texts = k;
	e->memory += sizeof(*k) + n + 1;
	return buf_of(k->s, n);
}

/* "" is none; what is no text is refused by address_of(). */
static const char *text_or_what(const json_t *v)
{
	return json_is_string(v) ? json_string_value(v) : "?";
}

/* As smtps would take it. */
static int address_of(
    struct into *t, const json_t *v, unsigned flags, struct meta1_buf *out, struct meta1_err *err)
{
	char path[ADDR_PATH_MAX + 8];
	struct addr a;
	const char *s;
	size_t used, n;

	if (qmgr_value_text(v, ADDR_PATH_MAX, &s, err) < 0)
		return -1;
	n = (size_t)snprintf(path, sizeof(path), "<%s>", s);
	if (addr_path(path, n, flags, &a, &used, err) < 0)
		return -1;
	if (used != n || a.whole.len != n - 2)
		return err_set(err, "\"%.80s\" is not an address alone", s);
	if (a.utf8 && !(t->e->env.flags & META1_M_SMTPUTF8))
		return err_set(err, "\"%.80s\" needs \"smtputf8\" in flags", s);
	*out = keep(t->e, s);
	return 0;
}

/* ---- in: fields of the message; flags first, since addresses depend on them ---- */

static int in_flags(struct into *t, const json_t *v, struct meta1_err *err)
{
	return qmgr_value_words(v, envelope_flags, &t->e->env.flags, err);
}

static int in_ret(struct into *t, const json_t *v, struct meta1_err *err)
{
	uint32_t bit = 0;

	if (qmgr_value_word(v, envelope_ret, &bit, err) < 0)
		return -1;
	t->e->env.flags |= bit;
	return 0;
}

static int in_verp(struct into *t, const json_t *v, struct meta1_err *err)
{
	uint32_t bits = 0;

	if (qmgr_value_word(v, envelope_verp, &bits, err) < 0)
		return -1;
	t->e->env.flags |= bits;
	return 0;
}

static int in_from(struct into *t, const json_t *v, struct meta1_err *err)
{
	return address_of(t, v, ADDR_NULL, &t->e->env.from, err);
}

static int in_client(struct into *t, const json_t *v, struct meta1_err *err)
{
	const char *s;

	if (qmgr_value_text(v, CLIENT_MAX, &s, err) < 0)
		return -1;
	t->e->env.client = keep(t->e, s);
	return 0;
}

static int in_time(struct into *t, const json_t *v, struct meta1_err *err)
{
	return qmgr_value_number(v, INT64_C(1) << 40, &t->e->env.time, err);
}

static int in_size(struct into *t, const json_t *v, struct meta1_err *err)
{
	return qmgr_value_number(v, INT64_MAX, &t->e->size, err);
}

static int in_envid(struct into *t, const json_t *v, struct meta1_err *err)
{
	const char *s;

	if (qmgr_value_text(v, XTEXT_ENVID_MAX, &s, err) < 0)
		return -1;
	if (*s && !xtext_ok(buf_str(s)))
		return err_set(err, "expected xtext (RFC 3461)");
	t->e->env.envid = keep(t->e, s);
	return 0;
}

static int in_id(struct into *t, const json_t *v, struct meta1_err *err)
{
	const char *s;

	if (qmgr_value_text(v, META1_ID_MAX - 1, &s, err) < 0)
		return -1;
	str_copy(t->e->was, sizeof(t->e->was), s);
	return 0;
}

static const struct field fields[] = {{"flags", in_flags}, {"from", in_from}, {"id", in_id},
    {"client", in_client}, {"time", in_time}, {"size", in_size}, {"ret", in_ret},
    {"envid", in_envid}, {"verp", in_verp}, {NULL, NULL}};

/* ---- in: fields of a recipient ---- */

static int in_address(struct into *t, const json_t *v, struct meta1_err *err)
{
	return address_of(t, v, ADDR_POSTMASTER, &t->r->addr, err);
}

static int in_state(struct into *t, const json_t *v, struct meta1_err *err)
{
	return qmgr_value_word(v, envelope_states, &t->r->state, err);
}

static int in_tries(struct into *t, const json_t *v, struct meta1_err *err)
{
	int64_t n = 0;

	if (qmgr_value_number(v, UINT16_MAX, &n, err) < 0)
		return -1;
	t->r->tries = (uint32_t)n;
	return 0;
}

static int in_next_try(struct into *t, const json_t *v, struct meta1_err *err)
{
	return qmgr_value_number(v, INT64_C(1) << 40, &t->r->next_try, err);
}

static int in_reason(struct into *t, const json_t *v, struct meta1_err *err)
{
	const char *s;

	if (qmgr_value_text(v, REASON_MAX, &s, err) < 0)
		return -1;
	t->reason = buf_str(s);
	return 0;
}

static int in_notify(struct into *t, const json_t *v, struct meta1_err *err)
{
	if (qmgr_value_words(v, envelope_notify, &t->r->notify, err) < 0)
		return -1;
	if (t->r->notify & META1_N_NEVER && t->r->notify != META1_N_NEVER)
		return err_set(err, "\"never\" stands alone (RFC 3461)");
	return 0;
}

static int in_orcpt(struct into *t, const json_t *v, struct meta1_err *err)
{
	const char *s;

	if (qmgr_value_text(v, XTEXT_ORCPT_MAX, &s, err) < 0)
		return -1;
	if (*s && !xtext_orcpt_ok(buf_str(s), t->e->env.flags & META1_M_SMTPUTF8))
		return err_set(err, "expected type;xtext (RFC 3461)");
	t->r->orcpt = keep(t->e, s);
	return 0;
}

static int in_held(struct into *t, const json_t *v, struct meta1_err *err)
{
	return qmgr_value_bool(v, &t->held, err);
}

static int in_warned(struct into *t, const json_t *v, struct meta1_err *err)
{
	return qmgr_value_bool(v, &t->warned, err);
}

static int in_via(struct into *t, const json_t *v, struct meta1_err *err)
{
	const char *s;

	if (qmgr_value_text(v, QMGR_VIA_MAX, &s, err) < 0)
		return -1;
	if (*s && !qmgr_mark_way_ok(s))
		return err_set(err, "expected next hops without blanks, or nothing");
	t->via = s;
	return 0;
}

static int in_sender(struct into *t, const json_t *v, struct meta1_err *err)
{
	return *text_or_what(v) ? address_of(t, v, 0, &t->r->sender, err) : 0;
}

static int in_of_alias(struct into *t, const json_t *v, struct meta1_err *err)
{
	return qmgr_value_words(v, envelope_aliases, &t->r->flags, err);
}

static int in_alias(struct into *t, const json_t *v, struct meta1_err *err)
{
	return *text_or_what(v) ? address_of(t, v, ADDR_POSTMASTER, &t->r->alias, err) : 0;
}

static const struct field rcpt_fields[] = {{"address", in_address}, {"state", in_state},
    {"tries", in_tries}, {"next_try", in_next_try}, {"reason", in_reason}, {"notify", in_notify},
    {"orcpt", in_orcpt}, {"held", in_held}, {"via", in_via}, {"warned", in_warned},
    {"sender", in_sender}, {"of_alias", in_of_alias}, {"alias", in_alias}, {NULL, NULL}};

/* ---- in ---- */

static int known(const struct field *f, const json_t *o, struct meta1_err *err)
{
	const char *names[24];
	const char *key, *near;
	const json_t *v;
	size_t n = 0, i;

	for (; f->name && n < ARRAY_LEN(names); f++)
		names[n++] = f->name;
	json_object_foreach((json_t *)(uintptr_t)o, key, v)
	{
		for (i = 0; i < n && strcmp(key, names[i]); i++)
			;
		if (i < n)
			continue;
		near = conf_nearest(key, names, n);
		return err_set(err, "%.40s: unknown field%s%s%s", key,
		    near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
	}
	return 0;
}

/* In the order of the table, whatever order they are written in. */
static int read_all(struct into *t, const struct field *f, const json_t *o, struct meta1_err *err)
{
	struct meta1_err why = {""};

	if (!json_is_object(o))
		return err_set(err, "expected an object");
	if (known(f, o, err) < 0)
		return -1;
	for (; f->name; f++) {
		const json_t *v = json_object_get(o, f->name);

		if (v && f->read(t, v, &why) < 0)
			return err_set(err, "%s: %s", f->name, why.text);
	}
	return 0;
}

int qmgr_envelope_read(struct qmgr_envelope *e, const json_t *o, struct meta1_err *err)
{
	struct into t = {.e = e};

	e->size = -1;
	e->env =
	    (struct meta1_env){.size = sizeof(e->env), .sizeof_rcpt = sizeof(struct meta1_qrcpt)};
	if (read_all(&t, fields, o, err) < 0)
		return -1;
	if (!json_object_get(o, "from"))
		return err_set(err, "from: is missing (\"\" is the null sender)");
	if (!json_object_get(o, "time"))
		return err_set(err, "time: is missing (when it was accepted, seconds since 1970)");
	return 0;
}

/* What was said about it stands before the reason, as in the store. A text that only looks so is
 * none of ours. */
static struct meta1_buf reason(const struct into *t, int64_t uid)
{
	static const char *const ours[] = {"report=", "held=", "via=", "warned;", "tls="};
	char s[REASON_MAX + QMGR_VIA_MAX + 80];
	size_t i, n = 0;
	bool own = t->reason.len == 0;

	s[0] = '\0';
	for (i = 0; i < ARRAY_LEN(ours); i++)
		own = own || !strncmp(t->reason.data, ours[i], strlen(ours[i]));
	if (t->held)
		n += (size_t)snprintf(s + n, sizeof(s) - n, "held=%u; ", (unsigned)uid);
	if (t->via && *t->via)
		n += (size_t)snprintf(s + n, sizeof(s) - n, "via=%s; ", t->via);
	if (t->warned)
		n += (size_t)snprintf(s + n, sizeof(s) - n, "warned; ");
	if (!own)
		snprintf(s + n, sizeof(s) - n, "%s", (const char *)t->reason.data);
	return keep(t->e, s);
}

static int one(struct qmgr_envelope *e, const json_t *o, int64_t uid, struct meta1_err *err)
{
	struct meta1_qrcpt r = {.state = META1_R_WAITING};
	struct into t = {.e = e, .r = &r};

	if (read_all(&t, rcpt_fields, o, err) < 0)
		return -1;
	if (!r.addr.len)
		return err_set(err, "address: is missing");
	e->seen++;
	if (r.state != META1_R_WAITING)
		return 0;
	r.reason = reason(&t, uid);
	if (e->nrcpt == e->cap) {
		e->cap = e->cap ? e->cap * 2 : 16;
		e->rcpt = base_realloc(e->rcpt, e->cap * sizeof(*e->rcpt));
	}
	e->rcpt[e->nrcpt++] = r;
	e->memory += sizeof(r);
	return 0;
}

int qmgr_envelope_rcpts(
    struct qmgr_envelope *e, const json_t *list, int64_t uid, struct meta1_err *err)
{
	struct meta1_err why = {""};
	const json_t *o;
	size_t i;

	if (!json_is_array(list))
		return err_set(err, "recipients: expected a list");
	json_array_foreach(list, i, o)
	{
		if (e->nrcpt >= QMGR_IMPORT_RCPTS || e->memory >= QMGR_IMPORT_MEMORY)
			return err_set(err, "recipients: more than %d, or than %u MiB of them",
			    QMGR_IMPORT_RCPTS, QMGR_IMPORT_MEMORY >> 20);
		if (one(e, o, uid, &why) < 0)
			return err_set(err, "recipients[%u]: %s", e->seen, why.text);
	}
	return 0;
}

void qmgr_envelope_free(struct qmgr_envelope *e)
{
	struct qmgr_text_kept *k;

	while ((k = e->texts)) {
		e->texts = k->next;
		free(k);
	}
	free(e->rcpt);
	memset(e, 0, sizeof(*e));
}

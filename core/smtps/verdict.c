/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verdict.c -- what smar said about a recipient or a sender, kept for as long as smar allows.
 *
 * Comes from policy.c (look, keep) and smtps.c (GENERATION: smar's data changed); goes
 * nowhere. Owns at most SMTPS_VERDICTS_MAX answers; the one unused for longest goes
 * first. On failure: not known, and smar is asked.
 */
#include "smtps/smtps.h"

#include "lib/lru.h"

#include <stdlib.h>

METRIC_COUNTER(m_hit, "verdicts_kept_used_total", "Questions answered from kept verdicts.");
METRIC_GAUGE(m_kept, "verdicts_kept_now", "Verdicts of smar that are kept.");

#define KEY_MAX (2 + sizeof(uint64_t) + SMTPS_CLIENT_SIZE + 256 + 2 * (ADDR_PATH_MAX + 1))

struct kept {
	struct lru_entry lru; /* first */
	struct smtps_verdict v;
	char key[]; /* then rule, name and why */
};

struct smtps_verdicts {
	struct lru lru;
	uint64_t generation;
};

struct smtps_verdicts *smtps_verdict_new(unsigned max)
{
	struct smtps_verdicts *c = base_alloc(sizeof(*c));

	lru_init(&c->lru, max, SIZE_MAX);
	return c;
}

static void drop_all(struct smtps_verdicts *c)
{
	lru_clear(&c->lru);
	m_kept.value = 0;
}

void smtps_verdict_free(struct smtps_verdicts **cp)
{
	if (*cp == NULL)
		return;
	drop_all(*cp);
	free(*cp);
	*cp = NULL;
}

/* The path, its domain as the key under which smar looks it up. 0: none, or it does not fit. */
static size_t put_path(char *out, size_t size, struct meta1_buf path)
{
	const char *p = path.data, *at = path.len > 0 ? memrchr(p, '@', path.len) : NULL;
	size_t local = at != NULL ? (size_t)(at + 1 - p) : path.len;

	if (local >= size)
		return 0;
	if (local > 0)
		memcpy(out, p, local);
	out[local] = '\0';
	if (at != NULL &&
	    addr_domain_key(buf_of(at + 1, path.len - local), out + local, size - local) < 0)
		return 0;
	return local + strlen(out + local) + 1;
}

static size_t put_text(char *out, size_t size, struct meta1_buf text)
{
	if (text.len >= size)
		return 0;
	if (text.len > 0)
		memcpy(out, text.data, text.len);
	out[text.len] = '\0';
	return text.len + 1;
}

/* Stages, grants, flags, client NUL helo NUL from NUL rcpt NUL; none of them has a NUL. 0: does not
 * fit, or is not kept: a probe, and what hangs on AUTH or TLS. HELO counts where it is asked about.
 * What a mail needs of its next hop is in the key too: SMTPUTF8 is seen in the local parts,
 * 8BITMIME in the flags. */
static size_t make_key(char out[KEY_MAX], const struct p_check *q)
{
	size_t n = 2 + sizeof(q->flags), m;

	if (q->probe || q->auth.len > 0 || q->tls != TLS_OFF)
		return 0;
	out[0] = (char)q->stages;
	out[1] = (char)q->grants;
	memcpy(out + 2, &q->flags, sizeof(q->flags));
	if ((m = put_text(out + n, SMTPS_CLIENT_SIZE, q->client)) == 0)
		return 0;
	n += m;
	if ((m = put_text(out + n, KEY_MAX - n, q->stages & STAGE_HELO ? q->helo : buf_str(""))) ==
	    0)
		return 0;
	n += m;
	if ((m = put_path(out + n, KEY_MAX - n, q->from)) == 0)
		return 0;
	n += m;
	m = put_path(out + n, KEY_MAX - n, q->rcpt);
	return m > 0 ? n + m : 0;
}

const struct smtps_verdict *smtps_verdict_find(
    struct smtps_verdicts *c, const struct p_check *q, int64_t now)
{
	char key[KEY_MAX];
	size_t n = make_key(key, q);
	struct kept *k = n > 0 ? lru_get(&c->lru, key, n, now) : NULL;

	m_kept.value = lru_count(&c->lru);
	if (k == NULL)
		return NULL;
	m_hit.value++;
	return &k->v;
}

static struct meta1_buf put_buf(char **at, struct meta1_buf b)
{
	struct meta1_buf out = buf_of(*at, b.len);

	if (b.len > 0)
		memcpy(*at, b.data, b.len);
	*at += b.len;
	return out;
}

void smtps_verdict_keep(struct smtps_verdicts *c, const struct p_check *q,
    const struct smtps_verdict *v, uint64_t generation, int64_t until)
{
	char key[KEY_MAX], *more;
	size_t n = make_key(key, q);
	struct kept *k;

	smtps_verdict_generation(c, generation);
	if (n == 0 || v->more != NULL || generation < c->generation)
		return;
	k = base_alloc(sizeof(*k) + n + v->rule.len + v->name.len + v->spf_why.len);
	k->v = *v;
	k->lru.expires = until;
	memcpy(k->key, key, n);
	more = k->key + n;
	k->v.rule = put_buf(&more, v->rule);
	k->v.name = put_buf(&more, v->name);
	k->v.spf_why = put_buf(&more, v->spf_why);
	lru_put(&c->lru, &k->lru, k->key, n);
	m_kept.value = lru_count(&c->lru);
}

void smtps_verdict_generation(struct smtps_verdicts *c, uint64_t generation)
{
	if (generation <= c->generation)
		return;
	drop_all(c);
	c->generation = generation;
}

void smtps_verdict_forget(struct smtps_verdicts *c)
{
	drop_all(c);
	c->generation = 0;
}

unsigned smtps_verdict_count(const struct smtps_verdicts *c)
{
	return lru_count(&c->lru);
}

void smtps_verdict_read(const struct p_verdict *m, struct smtps_verdict *v)
{
	static const struct {
		int smtp;
		const char *dsn, *text;
	} plain[] = {
	    [ACT_ACCEPT] = {250, "2.1.5", "Recipient ok"},
	    [ACT_REJECT] = {550, "5.7.1", "Recipient refused"},
	    [ACT_TEMPFAIL] = {451, "4.3.0", "Recipient cannot be checked now, try again later"},
	    [ACT_DISCARD] = {250, "2.1.5", "Recipient ok"},
	};
	size_t skip;
	char dsn[12], *c;

	memset(v, 0, sizeof(*v));
	v->more = m->targets.n > 0 ? m : NULL;
	v->action = m->action < ARRAY_LEN(plain) ? (uint32_t)m->action : ACT_TEMPFAIL;
	v->smtp = plain[v->action].smtp;
	v->grants = (uint32_t)m->grants;
	v->rule = m->rule;
	v->name = m->name;
	v->spf = (uint32_t)m->spf;
	v->spf_why = m->spf_why;
	/* the class is the action's; a code of another class is not believed */
	if (m->smtp / 100 == (uint64_t)v->smtp / 100 && m->smtp >= 200)
		v->smtp = (int)m->smtp;
	reply_clean(m->text.data, m->text.len, v->text, sizeof(v->text));
	for (c = v->text; *c != '\0'; c++) /* a reply is ASCII, RFC 5321 4.2 */
		if ((unsigned char)*c > 126)
			*c = '?';
	reply_clean(m->dsn.data, m->dsn.len, dsn, sizeof(dsn));
	if (reply_dsn(v->smtp, dsn, v->dsn) == 0) {
		skip = reply_dsn(v->smtp, v->text, v->dsn);
		memmove(v->text, v->text + skip, strlen(v->text + skip) + 1);
	}
	if (v->dsn[0] == '\0')
		str_copy(v->dsn, sizeof(v->dsn),
		    v->smtp == plain[v->action].smtp ? plain[v->action].dsn
						     : reply_default_dsn(v->smtp));
	if (v->text[0] == '\0')
		str_copy(v->text, sizeof(v->text), plain[v->action].text);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ledger.c -- what was promised up to a cut, and the judgement on what came back.
 *
 * A mail counts as acknowledged from the moment smtps was about to send its 250, which may be
 * before the client knows; as surely done when qmgr logged it and the journal was written
 * and synced twice since: once for what was under way, once for what had gathered.
 * Comes from: recover.c. Goes to: its verdict. Owns: the mails; contents stay in the record.
 * On failure: a note that cannot be read ends the run.
 */
#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct said {
	struct said *next;
	char id[40];
	uint64_t stamp;
};

static struct mail **bucket(struct ledger *l, const char *key)
{
	unsigned h = 5381;

	while (*key != '\0')
		h = h * 33 + (unsigned char)*key++;
	return &l->bucket[h % 1024];
}

static struct mail *find(struct ledger *l, const char *key)
{
	struct mail *m = *bucket(l, key);

	while (m != NULL && strcmp(m->key, key) != 0)
		m = m->next;
	return m;
}

/* "k7.2@far.test": mail k7, recipient 2; "f.k7@load.test": its report, *n is -1. */
static struct mail *by_address(struct ledger *l, const char *addr, int *n)
{
	char key[24];
	bool report = strncmp(addr, "f.", 2) == 0;
	size_t len;

	addr += report ? 2 : 0;
	len = strcspn(addr, ".@");
	if (len >= sizeof(key))
		return NULL;
	memcpy(key, addr, len);
	key[len] = '\0';
	*n = report ? -1 : atoi(addr + len + 1);
	return *n < RCPTS ? find(l, key) : NULL;
}

static void sent(
    struct ledger *l, uint64_t stamp, const struct rec *r, const char *key, const char *n)
{
	struct mail *m = calloc(1, sizeof(*m)), **b = bucket(l, key);

	if (m == NULL)
		abort();
	snprintf(m->key, sizeof(m->key), "%.23s", key);
	m->nrcpt = (unsigned)atoi(n);
	m->sent = stamp;
	m->body = (const unsigned char *)(r + 1) + r->plen;
	m->len = r->dlen;
	m->next = *b;
	*b = m;
	l->mails++;
}

static void acked(struct ledger *l, uint64_t stamp, struct mail *m, const char *id)
{
	snprintf(m->id, sizeof(m->id), "%.39s", id);
	m->acked = stamp;
	for (struct said *s = l->said; s != NULL; s = s->next)
		if (strcmp(s->id, id) == 0)
			m->acked = s->stamp;
	l->acked++;
}

static void told(struct ledger *l, uint64_t stamp, char what, const char *addr)
{
	int n = 0;
	struct mail *m = by_address(l, addr, &n);

	if (m == NULL)
		return;
	if (what == 'T' && n < 0) {
		m->reported = m->reported != 0 ? m->reported : stamp;
		m->reported_time = l->time;
		m->reported_by = l->manager;
	} else if (what == 'T' && n >= 0) {
		m->taken[n] = m->taken[n] != 0 ? m->taken[n] : stamp;
		m->taken_time[n] = l->time;
		m->taken_by[n] = l->manager;
	} else if (what == 'F' && n >= 0 && m->refused[n] == 0) {
		m->refused[n] = stamp;
	}
}

void ledger_note(struct ledger *l, uint64_t stamp, const struct rec *r)
{
	char what, a[100], b[100] = "";
	struct mail *m;

	if (sscanf((const char *)(r + 1), "%c %99s %99s", &what, a, b) < 2)
		abort();
	if (what == 'S') {
		sent(l, stamp, r, a, b);
		return;
	}
	m = find(l, a);
	if (what == 'A' && m != NULL)
		acked(l, stamp, m, b);
	else if (what == 'X' && m != NULL)
		m->deleted = stamp;
	else
		told(l, stamp, what, a);
}

static struct mail *by_id(struct ledger *l, const char *id)
{
	for (unsigned i = 0; i < 1024; i++)
		for (struct mail *m = l->bucket[i]; m != NULL; m = m->next)
			if (strcmp(m->id, id) == 0)
				return m;
	return NULL;
}

/* "... qmgr.done id=S... to=<...> n=2 status=delivered ..." */
static void logged(struct ledger *l, uint32_t pid, const char *line)
{
	struct logged *g = calloc(1, sizeof(*g));
	const char *id = strstr(line, "id="), *n = strstr(line, " n=");
	char word[40];

	if (g == NULL)
		abort();
	if (id != NULL && n != NULL && sscanf(id + 3, "%39s", word) == 1)
		g->m = by_id(l, word);
	/* A report is only intended when a bounce is logged. */
	if (g->m == NULL || strstr(line, "status=bounced") != NULL) {
		free(g);
		return;
	}
	g->n = (unsigned)atoi(n + 3);
	g->pid = pid;
	g->next = l->logged;
	l->logged = g;
}

void ledger_says(struct ledger *l, uint64_t stamp, const struct rec *r)
{
	static const char yes[] = "250 2.0.0 accepted as ";
	char *text = calloc(1, r->dlen + 1), *p;

	if (text == NULL)
		abort();
	memcpy(text, r + 1, r->dlen);
	for (p = text; (p = strstr(p, yes)) != NULL;) {
		struct said *s = calloc(1, sizeof(*s));

		p += sizeof(yes) - 1;
		if (s == NULL || sscanf(p, "%39[0-9A-Za-z]", s->id) != 1)
			abort();
		s->stamp = stamp;
		s->next = l->said;
		l->said = s;
	}
	for (p = text; (p = strstr(p, "qmgr.done ")) != NULL;) {
		char *end = strchr(p, '\n');

		if (end != NULL)
			*end = '\0';
		logged(l, r->pid, p);
		p = end != NULL ? end + 1 : p + 1;
	}
	free(text);
}

void ledger_wrote(struct ledger *l, uint32_t pid)
{
	l->manager = pid;
	for (struct logged *g = l->logged; g != NULL; g = g->next)
		g->writes += g->pid == pid;
}

void ledger_synced(struct ledger *l, uint64_t stamp, uint32_t pid)
{
	for (struct logged **p = &l->logged, *g; (g = *p) != NULL;) {
		if (g->pid != pid || g->writes < 2) {
			p = &g->next;
			continue;
		}
		g->m->ndone += g->n;
		if (g->m->ndone >= g->m->nrcpt && g->m->done == 0) {
			g->m->done = stamp;
			l->done++;
		}
		*p = g->next;
		free(g);
	}
}

void ledger_free(struct ledger *l)
{
	for (unsigned i = 0; i < 1024; i++)
		for (struct mail *m; (m = l->bucket[i]) != NULL;) {
			l->bucket[i] = m->next;
			free(m);
		}
	for (struct logged *g; (g = l->logged) != NULL;) {
		l->logged = g->next;
		free(g);
	}
	for (struct said *s; (s = l->said) != NULL;) {
		l->said = s->next;
		free(s);
	}
}

/* ---- judgement ---- */

struct verdict {
	struct ledger *l;
	char *why;
	size_t size;
};

static bool wrong(struct verdict *v, const char *key, const char *what)
{
	snprintf(v->why, v->size, "%s: %s", key, what);
	return false;
}

/* Received: ...CRLF, continued; then what the client sent. */
static bool whole(const struct found *f, const struct mail *m)
{
	return f->body != NULL && f->len > m->len + 10 && memcmp(f->body, "Received: ", 10) == 0 &&
	       memcmp(f->body + f->len - m->len, m->body, m->len) == 0 &&
	       f->body[f->len - m->len - 1] == '\n' &&
	       memchr(f->body, '\n', f->len - m->len) != NULL;
}

static bool ends_as_report(const struct found *f)
{
	static const char end[] = "--\r\n";
	size_t n = sizeof(end) - 1;

	return f->body != NULL && f->len > n && memcmp(f->body + f->len - n, end, n) == 0;
}

struct pair { /* a mail in the image, and its report */
	const struct found *mail, *report;
};

static bool rcpt_waits(const struct found *f, int n)
{
	char want[8];

	for (unsigned i = 0; f != NULL && i < f->nrcpt; i++) {
		const char *dot = strchr(f->addr[i], '.');

		snprintf(want, sizeof(want), ".%d@", n);
		if (dot != NULL && strncmp(dot, want, strlen(want)) == 0)
			return f->waits[i];
	}
	return false;
}

/* A manager that was killed since may never have heard of it: then it is done once more. */
static bool long_ago(const struct verdict *v, int64_t time, uint32_t by)
{
	return v->l->time - time > v->l->lag && by == v->l->manager;
}

static bool judge_rcpt(struct verdict *v, const struct mail *m, const struct pair *p, unsigned i)
{
	bool waits = rcpt_waits(p->mail, (int)i);

	if (!waits && m->acked != 0 && m->taken[i] == 0 && m->deleted == 0) {
		if (m->refused[i] == 0)
			return wrong(v, m->key, "acknowledged and lost");
		if (p->report == NULL && m->reported == 0)
			return wrong(v, m->key, "refused by the next hop, and its report is lost");
	}
	if (waits && m->done != 0)
		return wrong(v, m->key, "surely done, and waits again");
	if (waits && m->taken[i] != 0 && long_ago(v, m->taken_time[i], m->taken_by[i]))
		return wrong(v, m->key, "delivered long ago, and waits again");
	if (waits && m->refused[i] != 0 && m->reported != 0 &&
	    long_ago(v, m->reported_time, m->reported_by))
		return wrong(v, m->key, "reported long ago, and waits again");
	return true;
}

static bool judge_mail(struct verdict *v, const struct mail *m, const struct pair *p)
{
	bool refused = false;

	for (unsigned i = 0; i < m->nrcpt && i < RCPTS; i++) {
		if (!judge_rcpt(v, m, p, i))
			return false;
		refused = refused || m->refused[i] != 0;
	}
	if (p->report != NULL && !refused)
		return wrong(v, m->key, "a report of nothing");
	if (p->report != NULL && m->reported != 0 && long_ago(v, m->reported_time, m->reported_by))
		return wrong(v, m->key, "its report was delivered long ago, and waits again");
	return true;
}

static bool pair_up(
    struct verdict *v, const struct found *f, struct pair *pairs, struct mail **mails, size_t *n)
{
	bool report = f->from[0] == '\0';
	int i = 0;
	struct mail *m = by_address(v->l, f->addr[0], &i);
	size_t k = 0;

	if (m == NULL || report != (i < 0))
		return wrong(v, f->addr[0], "nobody sent that");
	if (f->read && (report ? !ends_as_report(f) : !whole(f, m)))
		return wrong(
		    v, m->key, f->body == NULL ? "its content cannot be read" : "not whole");
	if (!report && f->nrcpt != m->nrcpt)
		return wrong(v, m->key, "recipients are missing");
	while (k < *n && mails[k] != m)
		k++;
	mails[k] = m;
	*n += k == *n;
	if (report ? pairs[k].report != NULL : pairs[k].mail != NULL)
		return wrong(v, m->key, "there twice");
	if (report)
		pairs[k].report = f;
	else
		pairs[k].mail = f;
	return true;
}

bool ledger_judge(struct ledger *l, const struct found *f, size_t n, char *why, size_t size)
{
	struct verdict v = {l, why, size};
	struct pair *pairs = calloc(n + 1, sizeof(*pairs));
	struct mail **mails = calloc(n + 1, sizeof(struct mail *));
	size_t np = 0;
	bool ok = pairs != NULL && mails != NULL;

	for (size_t i = 0; ok && i < n; i++)
		ok = pair_up(&v, &f[i], pairs, mails, &np);
	for (unsigned b = 0; ok && b < 1024; b++)
		for (const struct mail *m = l->bucket[b]; ok && m != NULL; m = m->next) {
			struct pair none = {NULL, NULL};
			size_t k = 0;

			while (k < np && mails[k] != m)
				k++;
			ok = judge_mail(&v, m, k < np ? &pairs[k] : &none);
		}
	free(pairs);
	free(mails);
	return ok;
}

void ledger_expect(const struct ledger *l)
{
	for (unsigned b = 0; b < 1024; b++)
		for (const struct mail *m = l->bucket[b]; m != NULL; m = m->next)
			for (unsigned i = 0; i < m->nrcpt && i < RCPTS; i++) {
				bool past =
				    m->taken[i] != 0 || m->refused[i] != 0 || m->deleted != 0;

				printf("%s %s.%u %d\n",
				    m->done != 0	     ? "never"
				    : m->acked != 0 && !past ? "must"
							     : "may",
				    m->key, i,
				    m->refused[i] != 0 && m->reported == 0 && m->acked != 0);
			}
}

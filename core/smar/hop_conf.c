/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hop_conf.c -- rows of the access map with options of smtpc: smtpc_session_conf:HOP for each next
 * hop of a route, smtpc_rcpt_conf:RECIPIENT for the recipient that the route is for. They are asked
 * for with the flags session_conf and rcpt_conf of smtpc.
 * From route.c, when the hops are known; to seek.c; the rows go back to route.c, and by qmgr to
 * smtpc. Owns one struct search a question.
 * On failure: a map that cannot say is temporary, since mail must not leave in another way than
 * its row says because a file could not be read. A row with a mistake is named and counted, and
 * nothing of it holds: what the section says does. But where it speaks of tls_policy the mail
 * waits: it must not go less protected than somebody meant it to.
 */
#include "smar/smar.h"

#include "lib/conn.h"
#include "lib/hop_conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

METRIC_COUNTER(m_rows, "hop_conf_rows_total", "Rows with options of smtpc that were found.");
METRIC_COUNTER(m_bad, "hop_conf_bad_total",
    "Rows with options of smtpc that have a mistake, and do not hold.");

static const char session_tag[] = "smtpc_session_conf:", rcpt_tag[] = "smtpc_rcpt_conf:";

enum step { BY_NAME, BY_ADDRESS, BY_RCPT, DONE };
struct search {
	struct smar_seek seek;
	struct smar_policy *policy; /* the asker's */
	const char (*hop)[600];	    /* likewise */
	unsigned nhop, at;
	enum step step;
	char name[ADDR_DOMAIN_MAX + 1]; /* of the hop at, when it was looked up */
	uint64_t named;			/* 1 + its row, 0: it has none */
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
	bool rcpt;
	bool waits; /* a row with a mistake is about TLS */
	int64_t deadline;
	struct smar_hop_conf found;
	void (*fn)(void *arg, const struct smar_hop_conf *);
	void *arg;
};

static void end(struct search *s, enum meta1_status status)
{
	s->found.status = status;
	s->fn(s->arg, &s->found);
	free(s->found.row);
	free(s);
}

/* ---- a row ---- */
static int ours(const char *address, struct meta1_err *err)
{
	int fd, rc;

	if (!*address)
		return 0;
	fd = socket(strchr(address, ':') ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	rc = fd < 0 ? -1 : conn_addr_bind(fd, address);
	if (rc < 0)
		err_set(err, "source address %s: %s", address, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

static int judge(struct meta1_buf text, struct meta1_err *err)
{
	struct hop_conf c = {.no_8bitmime = 0};

	if (hop_conf_read(text, &c, err) < 0 || ours(c.source_ipv4, err) < 0)
		return -1;
	return ours(c.source_ipv6, err);
}

static bool speaks_of(struct meta1_buf text, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= text.len; i++)
		if (strncasecmp((const char *)text.data + i, word, n) == 0)
			return true;
	return false;
}

/* 1 + its place. */
static uint64_t keep(struct search *s, const struct smar_found *f)
{
	struct smar_conf_row *row;
	struct meta1_err err = {""};

	for (unsigned i = 0; i < s->found.n; i++)
		if (strcmp(s->found.row[i].key, f->key) == 0)
			return i + 1;
	s->found.row = base_realloc(s->found.row, (s->found.n + 1) * sizeof(*row));
	row = &s->found.row[s->found.n++];
	memset(row, 0, sizeof(*row));
	str_copy(row->key, sizeof(row->key), f->key);
	m_rows.value++;
	if (judge(f->value, &err) == 0) {
		memcpy(row->text, f->value.len ? f->value.data : "", f->value.len);
	} else {
		m_bad.value++;
		str_copy(row->error, sizeof(row->error), err.text);
		s->waits |= speaks_of(f->value, "tls_policy");
		log_event(LOG_L_WARN, "smar.hop_conf", "map=%s key=%s error=%s text=%s", f->map,
		    f->key, err.text,
		    s->waits ? "mail waits until it is mended" : "the row is ignored");
	}
	return s->found.n;
}

/* ---- key after key ---- */
static void next(struct search *s);

static void found(void *arg, const struct smar_found *f)
{
	struct search *s = arg;
	uint64_t row = 0;

	if (f->ttl < s->found.ttl)
		s->found.ttl = f->ttl;
	if (f->status == META1_TEMPFAIL || f->status == META1_PERMFAIL) {
		end(s, META1_TEMPFAIL);
		return;
	}
	if (f->status == META1_OK)
		row = keep(s, f);
	if (s->waits) {
		end(s, META1_TEMPFAIL);
		return;
	}
	if (s->step == BY_RCPT) {
		s->found.rcpt = row;
		s->step = DONE;
	} else if (s->step == BY_NAME) {
		s->named = row;
		s->step = BY_ADDRESS;
	} else {
		s->found.hop[s->at++] = row;
		s->step = BY_NAME;
	}
	next(s);
}

static void ask(struct search *s)
{
	smar_seek_start(&s->seek, &s->policy->access, s->deadline, found, s);
}

/* The keys of the hop at, if there are any to be asked for in this step. */
static bool hop_keys(struct search *s)
{
	const char *text = s->hop[s->at], *name = strrchr(text, ' ') + 1;
	char addr[600];

	str_copy(addr, sizeof(addr), text);
	*strrchr(addr, ' ') = '\0'; /* the name, then the port */
	*strrchr(addr, ' ') = '\0';
	if (s->step == BY_NAME && *addr != '/' && strcmp(name, addr) != 0) {
		if (strcmp(s->name, name) != 0) {
			str_copy(s->name, sizeof(s->name), name);
			smar_keys_host(&s->seek.keys, session_tag, s->name);
			return true;
		}
	} else if (s->step == BY_NAME) {
		s->named = 0;
		s->name[0] = '\0';
	}
	s->step = BY_ADDRESS;
	if (s->named) {
		s->found.hop[s->at++] = s->named;
		s->step = BY_NAME;
		return false;
	}
	smar_keys_client(&s->seek.keys, session_tag, addr);
	return true;
}

static void next(struct search *s)
{
	while (s->at < s->nhop)
		if (hop_keys(s)) {
			ask(s);
			return;
		}
	if (s->step != DONE && s->rcpt) {
		s->step = BY_RCPT;
		smar_keys_path(&s->seek.keys, &s->policy->access, rcpt_tag, s->local, s->domain);
		ask(s);
	} else {
		end(s, META1_OK);
	}
}

void smar_hop_conf_find(struct smar_policy *p, const char (*hop)[600], unsigned nhop,
    struct meta1_buf rcpt, int64_t deadline, void (*fn)(void *, const struct smar_hop_conf *),
    void *arg)
{
	struct search *s = base_alloc(sizeof(*s));

	s->policy = p;
	s->hop = hop;
	s->deadline = deadline;
	s->fn = fn;
	s->arg = arg;
	s->found.ttl = UINT32_MAX;
	if (p->access.map && p->session_conf)
		s->nhop = nhop < MX_HOPS ? nhop : MX_HOPS;
	s->found.nhop = s->nhop;
	s->rcpt = p->access.map && p->rcpt_conf && rcpt.len > 0 &&
		  smar_keys_split(rcpt, p->hostname, s->local, s->domain) == 0;
	next(s);
}

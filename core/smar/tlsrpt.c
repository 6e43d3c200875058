/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsrpt.c -- counts how TLS towards other domains went, a UTC day each.
 * From smar.c (what smtpc tells), sts_ask.c by sts_role.c, and route_sts.c; to tlsrpt_day.c, and
 * tlsrpt_write.c has it written. Owns the tables, and the domains that are known to go by the DNS.
 * On failure: of what is too much nothing is counted but that it was.
 */
#include "smar/tlsrpt.h"

#include "lib/log.h"
#include "lib/metric.h"
#include "mail/reply.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define DAY	  86400
#define TXT_MS	  10000
#define ROUTES	  20000		    /* domains that are known to go by the DNS */
#define ROUTES_MS (6 * 3600 * 1000) /* no route is kept for so long */

METRIC_COUNTER(m_good, "tlsrpt_good_total", "Sessions whose TLS was as it should be.");
METRIC_COUNTER(m_bad, "tlsrpt_failures_total", "Sessions, and policies, that failed.");
METRIC_COUNTER(m_more, "tlsrpt_dropped_total", "Those beyond max_domains, or kinds of a domain.");
METRIC_GAUGE(m_domains, "tlsrpt_domains", "Domains of today.");

struct known {
	struct lru_entry lru;
	char domain[];
};
static struct tlsrpt me;

/* ---- who wants reports ---- */
/* For JSON, which takes no bytes that are no UTF-8. */
static void copy(struct meta1_buf from, char *out, size_t size)
{
	reply_ascii(from.data ? from.data : "", from.len, out, size);
}

/* "v=TLSRPTv1; rua=mailto:…,https:…": where to. */
static bool rua_of(const char *text, char *out, size_t size)
{
	const char *p = text;

	if (strncmp(text, "v=TLSRPTv1", 10) != 0 || !strchr("; \t", text[10]))
		return false;
	while ((p = strchr(p, ';')) != NULL) {
		size_t n;

		p += 1 + strspn(p + 1, " \t");
		if (strncmp(p, "rua=", 4) != 0)
			continue;
		n = strcspn(p + 4, "; \t");
		if (n == 0 || n >= size)
			return false;
		copy(buf_of(p + 4, n), out, size);
		return true;
	}
	return false;
}

static void txt_answered(void *arg, const struct dns_data *d, uint32_t ttl)
{
	char *name = arg, text[1024], rua[512] = "", one[512];
	struct tlsrpt_domain *e;
	unsigned n = 0;

	(void)ttl;
	HASH_FIND_STR(me.today.domains, name, e);
	free(name);
	for (uint32_t i = 0; d->status == META1_OK && i < d->n; i++)
		if (dns_txt(d->rdata[i], text, sizeof(text)) >= 0 &&
		    rua_of(text, one, sizeof(one))) {
			strcpy(rua, one);
			n++;
		}
	if (!e || e->rua)
		return;
	if (d->status == META1_TEMPFAIL) /* asked again with the next session */
		return;
	e->rua = base_strdup(n == 1 ? rua : "");
	if (!tlsrpt_wants(&me, e))
		tlsrpt_domain_clear(e); /* it stays, so that nobody is asked again today */
}

static void ask_rua(const struct tlsrpt_domain *e)
{
	char name[DNS_NAME_MAX + 20];

	snprintf(name, sizeof(name), "_smtp._tls.%s", e->name);
	if (strlen(name) < DNS_NAME_MAX)
		dns_ask(me.at.dns, name, DNS_TXT, loop_now(me.at.loop) + TXT_MS, txt_answered,
		    base_strdup(e->name));
}

static bool name_ok(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-._";

	return name[0] && name[0] != '.' && strlen(name) <= TLSRPT_NAME_MAX &&
	       strspn(name, letters) == strlen(name);
}

/* NULL: it is not to be counted. */
static struct tlsrpt_domain *domain(const char *name)
{
	struct tlsrpt_domain *e;

	tlsrpt_turn_day(&me);
	HASH_FIND_STR(me.today.domains, name, e);
	if (!e) {
		if (!name_ok(name) ||
		    HASH_COUNT(me.today.domains) >= (unsigned)me.set.max_domains) {
			m_more.value++;
			return NULL;
		}
		e = base_alloc(sizeof(*e) + strlen(name) + 1);
		strcpy(e->name, name);
		HASH_ADD_STR(me.today.domains, name, e);
		m_domains.value = HASH_COUNT(me.today.domains);
	}
	if (!e->rua)
		ask_rua(e);
	return e->rua && !tlsrpt_wants(&me, e) ? NULL : e;
}

/* ---- what is told ---- */
void tlsrpt_route(const char *name)
{
	size_t n = strlen(name) + 1;
	struct known *k;

	if (!me.on || lru_get(&me.routes, name, n - 1, loop_now(me.at.loop)))
		return;
	k = base_alloc(sizeof(*k) + n);
	k->lru.expires = loop_now(me.at.loop) + ROUTES_MS;
	k->lru.bytes = sizeof(*k) + n;
	memcpy(k->domain, name, n);
	lru_put(&me.routes, &k->lru, k->domain, n - 1);
}

static void sts_lines(const struct sts_policy *p, char *strings, char *hosts, size_t size)
{
	char line[ADDR_DOMAIN_MAX + 20];
	size_t n = 0, m = 0;

	for (unsigned i = 0;
	     p && sts_policy_line(p, i, line, sizeof(line)) && n + sizeof(line) < size; i++)
		n += (size_t)snprintf(strings + n, size - n, "%s%s", n ? "\n" : "", line);
	for (uint32_t i = 0; p && i < p->nmx && m + sizeof(line) < size; i++)
		m += (size_t)snprintf(hosts + m, size - m, "%s%s", m ? "\n" : "", p->mx[i]);
}

static void tlsa_lines(const struct tls_need *need, char *out, size_t size)
{
	size_t n = 0;

	for (unsigned i = 0; i < need->ntlsa && n + 200 < size; i++) {
		const struct tls_tlsa *t = &need->tlsa[i];

		n += (size_t)snprintf(out + n, size - n, "%s%u %u %u ", n ? "\n" : "", t->usage,
		    t->selector, t->type);
		for (unsigned k = 0; k < t->len; k++)
			n += (size_t)snprintf(out + n, size - n, "%02x", t->data[k]);
	}
}

void tlsrpt_session(const struct p_tls_result *m, struct sts *sts)
{
	char name[ADDR_DOMAIN_MAX + 1], strings[TLSRPT_LINES] = "", hosts[TLSRPT_LINES] = "";
	char ours[65], host[256], addr[65], why[201];
	bool any = m->need.len > 0, good = m->result == TLS_RESULT_GOOD;
	enum tlsrpt_kind kind = TLSRPT_NO_POLICY;
	struct tlsrpt_domain *e;
	struct tlsrpt_policy *p;
	struct tls_need need;
	struct meta1_err err;

	if (!me.on || m->result == TLS_RESULT_NONE || m->result >= TLS_RESULTS ||
	    addr_domain_key(m->domain, name, sizeof(name)) < 0 ||
	    !lru_get(&me.routes, name, strlen(name), loop_now(me.at.loop)))
		return;
	/* An admin's row is no policy of the domain's, unless it wants that of the domain. */
	if (any && (tls_need_parse(m->need, &need, &err) < 0 ||
		       (need.by == TLS_BY_ROW && need.word != TLS_NEED_DANE)))
		return;
	if (any && need.by == TLS_BY_STS) {
		kind = TLSRPT_STS;
		sts_lines(sts ? sts_known(sts, name) : NULL, strings, hosts, sizeof(strings));
	} else if (any && (need.by == TLS_BY_DANE || need.word == TLS_NEED_DANE)) {
		kind = TLSRPT_TLSA;
		tlsa_lines(&need, strings, sizeof(strings));
	}
	e = domain(name);
	p = e ? tlsrpt_policy(e, kind, strings, hosts) : NULL;
	if (!p)
		return;
	copy(m->host, host, sizeof(host));
	copy(m->addr, addr, sizeof(addr));
	copy(m->source, ours, sizeof(ours));
	copy(m->text, why, sizeof(why));
	m_good.value += good;
	m_bad.value += !good;
	tlsrpt_count(e, p, (enum tls_result)m->result, 1,
	    (const char *const[TLSRPT_PARTS]){ours, host, addr, why});
}

void tlsrpt_fetch(
    const char *name, enum sts_fetched what, const struct sts_policy *kept, const char *why)
{
	static const enum tls_result result[] = {[STS_FETCH_GOOD] = TLS_RESULT_GOOD,
	    [STS_FETCH_FAILED] = TLS_RESULT_STS_FETCH,
	    [STS_FETCH_WEBPKI] = TLS_RESULT_STS_WEBPKI,
	    [STS_FETCH_INVALID] = TLS_RESULT_STS_INVALID};
	char strings[TLSRPT_LINES] = "", hosts[TLSRPT_LINES] = "";
	struct tlsrpt_domain *e = me.on ? domain(name) : NULL;
	struct tlsrpt_policy *p;

	if (!e)
		return;
	sts_lines(kept, strings, hosts, sizeof(strings));
	p = tlsrpt_policy(e, kept ? TLSRPT_STS : TLSRPT_NO_POLICY, strings, hosts);
	if (!p)
		return;
	m_bad.value++;
	tlsrpt_count(e, p, result[what], 1, (const char *const[TLSRPT_PARTS]){"", "", "", why});
}

void tlsrpt_host(const char *name, enum tls_result what, const char *host, const char *why)
{
	bool known = me.on && lru_get(&me.routes, name, strlen(name), loop_now(me.at.loop));
	struct tlsrpt_domain *e = known ? domain(name) : NULL;
	struct tlsrpt_policy *p = e ? tlsrpt_policy(e, TLSRPT_TLSA, "", "") : NULL;

	if (!p)
		return;
	m_bad.value++;
	tlsrpt_count(e, p, what, 1, (const char *const[TLSRPT_PARTS]){"", host, "", why});
}

/* ---- life ---- */
static void load(const char *path, const char *name)
{
	json_t *j = json_load_file(path, 0, NULL);
	struct tlsrpt_domain *e = j ? domain(name) : NULL;

	if (!e || !tlsrpt_json_read(j, e))
		log_event(LOG_L_WARN, "smar.tlsrpt", "file=%s text=%s", path,
		    "not a report of ours; it will be written anew");
	json_decref(j);
}

/* What was counted today before the restart. */
static void load_today(void)
{
	DIR *dir = opendir(me.set.directory);
	char day[12], path[1400], name[256];
	struct dirent *e;

	tlsrpt_day_text(me.today.n, day);
	while (dir && (e = readdir(dir)) != NULL) {
		size_t n = strlen(e->d_name);

		if (strncmp(e->d_name, day, 10) != 0 || n < 17 || e->d_name[10] != '_' ||
		    strcmp(e->d_name + n - 5, ".json") != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", me.set.directory, e->d_name);
		str_copy(name, sizeof(name), e->d_name + 11);
		name[n - 16] = '\0';
		load(path, name);
	}
	if (dir)
		closedir(dir);
}

int tlsrpt_start(const struct tlsrpt_place *at, const struct set_tlsrpt *set, struct meta1_err *err)
{
	if (!set->section)
		return 0;
	if (mkdir(set->directory, 0750) < 0 && errno != EEXIST)
		return err_set(err,
		    "tlsrpt: directory %s: %s; smar's account must be able to make it",
		    set->directory, strerror(errno));
	me.at = *at;
	me.set = *set;
	me.on = true;
	me.today.n = loop_wall(at->loop) / DAY;
	work_owner_init(&me.owner, 1);
	lru_init(&me.routes, ROUTES, ROUTES * 400);
	load_today();
	tlsrpt_write_begin(&me);
	return 0;
}

bool tlsrpt_restart(const struct set_tlsrpt *was, const struct set_tlsrpt *now)
{
	return !was->section != !now->section ||
	       (now->section && strcmp(was->directory, now->directory) != 0);
}

void tlsrpt_reload(const struct set_tlsrpt *set, const char *hostname)
{
	if (!me.on)
		return;
	me.set = *set;
	me.at.hostname = hostname;
}

void tlsrpt_stop(void)
{
	if (!me.on)
		return;
	me.on = false;
	loop_unwatch(&me.timer);
	lru_clear(&me.routes);
	tlsrpt_day_free(&me.today);
	tlsrpt_day_free(&me.before);
}

/* ---- looking in ---- */
const struct tlsrpt_domain *tlsrpt_today(struct tlsrpt_head *h)
{
	if (!me.on)
		return NULL;
	tlsrpt_turn_day(&me);
	tlsrpt_head_of(&me, &me.today, h);
	return me.today.domains;
}

bool tlsrpt_on(void)
{
	return me.on;
}

bool tlsrpt_flushed(void)
{
	return !me.on || tlsrpt_write_all(&me);
}

bool tlsrpt_wanted(const struct tlsrpt_domain *e)
{
	return tlsrpt_wants(&me, e);
}

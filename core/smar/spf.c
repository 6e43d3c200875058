/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spf.c -- may this client send mail of this domain (RFC 7208)? One question is one struct spf:
 * a stack of records, the domain's own and one for each include that is open, walked term by term.
 * From the checks and the control socket; to dns.c by spf_term.c. Owns the struct and its records;
 * every wait is a question to the DNS, which is answered by its deadline at the latest.
 * On failure: TEMPERROR or PERMERROR with the reason; what they mean for a mail others decide.
 */
#include "smar/spf.h"

#include "mail/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TTL_MAX 3600

METRIC_COUNTER(m_asked, "spf_questions_total", "Evaluations of SPF records.");
METRIC_COUNTER(m_pass, "spf_pass_total", "Evaluations with the result pass.");
METRIC_COUNTER(m_fail, "spf_fail_total", "Evaluations with the result fail.");
METRIC_COUNTER(m_temp, "spf_temperror_total", "Evaluations that the DNS could not answer.");
METRIC_COUNTER(m_perm, "spf_permerror_total", "Evaluations of records with a mistake.");

static const char *const words[] = {PROTO_SPF_WORDS}; /* in the order of enum spf_result */

const char *spf_word(enum spf_result r)
{
	return words[r];
}

void spf_ttl(struct spf *s, uint32_t ttl)
{
	if (ttl < s->answer.ttl)
		s->answer.ttl = ttl;
}

void spf_values(const struct spf *s, struct spf_values *v)
{
	*v = (struct spf_values){
	    .addr = &s->addr,
	    .local = s->local,
	    .sender = s->sender,
	    .domain = s->frame[s->depth - 1]->domain,
	    .helo = s->helo,
	    .hostname = s->hostname,
	    .name = s->name[0] ? s->name : "unknown",
	    .now = (int64_t)time(NULL),
	};
}

/* ---- the end ---- */
static void pop(struct spf *s)
{
	struct spf_frame *f = s->frame[--s->depth];

	s->name[0] = '\0';
	spf_record_free(&f->rec);
	free(f);
}

static void tell(struct spf *s)
{
	enum spf_result r = s->answer.result;

	m_pass.value += r == SPF_PASS;
	m_fail.value += r == SPF_FAIL;
	m_temp.value += r == SPF_TEMPERROR;
	m_perm.value += r == SPF_PERMERROR;
	if (r == SPF_TEMPERROR)
		s->answer.ttl = 0;
	s->fn(s->arg, &s->answer);
	while (s->depth > 0)
		pop(s);
	free(s);
}

enum spf_step spf_error(struct spf *s, enum spf_result result, const char *fmt, ...)
{
	char text[sizeof(s->answer.why)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	reply_clean(text, strlen(text), s->answer.why, sizeof(s->answer.why));
	s->answer.result = result;
	s->answer.mechanism[0] = '\0';
	tell(s);
	return SPF_OVER;
}

/* ---- text of TXT records ---- */
/* The text that tells why, when there is one and it is well formed. */
static void explained(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct spf *s = arg;
	struct spf_values v;
	char text[1024], out[1024];
	int n = d->n == 1 ? dns_txt(d->rdata[0], text, sizeof(text)) : -1;

	(void)ttl;
	if (n > 0 && !s->name[0] && spf_macro_name(buf_of(text, (size_t)n))) {
		s->ending = true;
		spf_name(s);
		return;
	}
	spf_values(s, &v);
	if (n > 0 && spf_macro_ok(buf_of(text, (size_t)n), SPF_M_EXP) &&
	    (n = spf_macro_expand(buf_of(text, (size_t)n), &v, out, sizeof(out))) > 0)
		reply_clean(out, (size_t)n, s->answer.explanation, sizeof(s->answer.explanation));
	for (char *p = s->answer.explanation; *p; p++)
		if (*p > '~')
			*p = '?';
	tell(s);
}

static void finish(struct spf *s, enum spf_result result)
{
	struct spf_frame *f = s->frame[0];
	struct spf_values v;
	char name[DNS_NAME_MAX];

	s->answer.result = result;
	spf_values(s, &v);
	if (result == SPF_FAIL && f->rec.exp.len > 0 && spf_macro_domain(f->rec.exp, &v, name))
		dns_ask(s->dns, name, DNS_TXT, s->deadline, explained, s);
	else
		tell(s);
}

/* ---- records ---- */
static void walk(struct spf *s);

/* The one record among the texts, the caller's. many: there are more. */
static char *find_record(const struct dns_data *d, bool *many)
{
	char *text = base_alloc(SPF_RECORD_MAX + 2), *found = NULL;

	*many = false;
	for (uint32_t i = 0; i < d->n; i++) {
		int n = dns_txt(d->rdata[i], text, SPF_RECORD_MAX + 2);

		if (n < 0 && d->rdata[i].len < 8)
			continue;
		if (n < 0) { /* longer than any that we take: its beginning tells what it is */
			n = SPF_RECORD_MAX + 1;
			memset(text, ' ', (size_t)n);
			memcpy(text, (const char *)d->rdata[i].data + 1, 7);
		}
		if (!spf_record_is(buf_of(text, (size_t)n)))
			continue;
		*many = found != NULL;
		if (*many)
			break;
		found = base_alloc((size_t)n + 1); /* a NUL in it is an error of its own */
		memcpy(found, text, (size_t)n);
		for (int k = 0; k < n; k++)
			found[k] = found[k] ? found[k] : '\1';
	}
	free(text);
	return found;
}

/* false: the question is over. */
static bool take_record(struct spf *s, const struct dns_data *d)
{
	struct spf_frame *f = s->frame[s->depth - 1];
	struct meta1_err err;
	bool many, ok = false;
	char *text = find_record(d, &many);

	if (many)
		spf_error(s, SPF_PERMERROR, "%s: more than one record", f->domain);
	else if (!text && s->depth == 1 && !f->redirected)
		spf_error(s, SPF_NONE, "%s: no record", f->domain);
	else if (!text)
		spf_error(s, SPF_PERMERROR, "%s: no record", f->domain);
	else if (spf_record_parse(buf_str(text), &f->rec, &err) < 0)
		spf_error(s, SPF_PERMERROR, "%s: %s", f->domain, err.text);
	else
		ok = true;
	free(text);
	return ok;
}

static void fetched(void *arg, const struct dns_data *d, uint32_t ttl)
{
	struct spf *s = arg;

	if (d->status == META1_TEMPFAIL) {
		spf_error(s, SPF_TEMPERROR, "%s", d->why);
		return;
	}
	spf_ttl(s, ttl);
	if (take_record(s, d))
		walk(s);
}

static void fetch(struct spf *s)
{
	dns_ask(s->dns, s->frame[s->depth - 1]->domain, DNS_TXT, s->deadline, fetched, s);
}

static void push(struct spf *s, const char *domain)
{
	struct spf_frame *f = base_alloc(sizeof(*f));

	str_copy(f->domain, sizeof(f->domain), domain);
	s->frame[s->depth++] = f;
	s->name[0] = '\0';
	fetch(s);
}

enum spf_step spf_include(struct spf *s, const char *domain)
{
	push(s, domain);
	return SPF_WAIT;
}

/* ---- the walk ---- */
/* The record at the top says so. false: the question is over. */
static bool record_says(struct spf *s, enum spf_result result)
{
	while (s->depth > 1) {
		struct spf_frame *f;

		pop(s);
		f = s->frame[s->depth - 1];
		if (result != SPF_PASS) {
			f->at++;
			return true;
		}
		result = f->rec.term[f->at].result;
	}
	if (s->frame[0]->at < s->frame[0]->rec.n) {
		struct meta1_buf t = s->frame[0]->rec.term[s->frame[0]->at].text;

		snprintf(s->answer.mechanism, sizeof(s->answer.mechanism), "%.*s", (int)t.len,
		    (const char *)t.data);
	} else {
		str_copy(s->answer.mechanism, sizeof(s->answer.mechanism), "default");
	}
	finish(s, result);
	return false;
}

/* No term of the record matches. false: wait, or all is over. */
static bool record_ends(struct spf *s)
{
	struct spf_frame *f = s->frame[s->depth - 1];
	struct spf_values v;
	char name[DNS_NAME_MAX];

	if (f->rec.redirect.len == 0)
		return record_says(s, SPF_NEUTRAL);
	if (++s->lookups > SPF_LOOKUPS) {
		spf_error(s, SPF_PERMERROR, "more than %d terms need the DNS", SPF_LOOKUPS);
		return false;
	}
	spf_values(s, &v);
	if (!spf_macro_domain(f->rec.redirect, &v, name)) {
		spf_error(s, SPF_PERMERROR, "redirect: no domain name");
		return false;
	}
	spf_record_free(&f->rec);
	f->at = 0;
	f->redirected = true;
	str_copy(f->domain, sizeof(f->domain), name);
	s->name[0] = '\0'; /* of another domain */
	fetch(s);
	return false;
}

static void walk(struct spf *s)
{
	for (;;) {
		struct spf_frame *f = s->frame[s->depth - 1];
		enum spf_step step;

		if (f->at == f->rec.n) {
			if (!record_ends(s))
				return;
			continue;
		}
		step = spf_term(s, &f->rec.term[f->at]);
		if (step == SPF_WAIT || step == SPF_OVER)
			return;
		if (step == SPF_NO)
			f->at++;
		else if (!record_says(s, f->rec.term[f->at].result))
			return;
	}
}

void spf_again(struct spf *s)
{
	if (s->ending)
		finish(s, s->answer.result);
	else
		walk(s);
}

void spf_go(struct spf *s, bool matched)
{
	struct spf_frame *f = s->frame[s->depth - 1];

	if (!matched)
		f->at++;
	else if (!record_says(s, f->rec.term[f->at].result))
		return;
	walk(s);
}

/* ---- the question ---- */
static void nothing(void *arg, const struct dns_data *d, uint32_t ttl)
{
	(void)d, (void)ttl;
	spf_error(arg, SPF_NONE, "no domain or no address");
}

void spf_ask(struct dns *d, const struct spf_question *q, int64_t deadline, spf_fn fn, void *arg)
{
	struct spf *s = base_alloc(sizeof(*s));
	bool addr = dns_addr_parse(q->client, &s->addr);
	const char *domain = q->domain[0] ? q->domain : q->helo;
	size_t n = strlen(domain);

	m_asked.value++;
	s->dns = d;
	s->deadline = deadline;
	s->fn = fn;
	s->arg = arg;
	s->answer.ttl = TTL_MAX;
	s->answer.helo = !q->domain[0];
	str_copy(s->local, sizeof(s->local), q->domain[0] && q->local[0] ? q->local : "postmaster");
	str_copy(s->sender, sizeof(s->sender), domain);
	if (n > 1 && n < sizeof(s->sender) && domain[n - 1] == '.')
		s->sender[n - 1] = '\0';
	str_copy(s->helo, sizeof(s->helo), q->helo);
	str_copy(s->hostname, sizeof(s->hostname), q->hostname);
	str_copy(s->answer.domain, sizeof(s->answer.domain), s->sender);
	/* Section 4.3: no name, or of one label: none. */
	if (!addr || n > sizeof(s->sender) - 1 || !spf_macro_label(s->sender) ||
	    !strchr(s->sender, '.') || s->sender[0] == '[')
		dns_never(d, nothing, s);
	else
		push(s, s->sender);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sts_policy.c -- MTA-STS as text: the TXT record (RFC 8461 section 3.1), the policy (3.2), and
 * which hosts a policy means (4.1).
 * From sts.c, sts_fetch.c and sts_file.c; no I/O, any thread. Owns nothing but what it returns.
 * On failure: err names the line; a policy with a line that is none is none, as the grammar says.
 */
#include "smar/sts.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define LINE_MAX 1024

static const char *const modes[] = {
    [STS_NONE] = "none", [STS_TESTING] = "testing", [STS_ENFORCE] = "enforce"};

const char *sts_mode_word(enum sts_mode m)
{
	return modes[m];
}

bool sts_mode_of(const char *word, enum sts_mode *m)
{
	for (unsigned i = 0; i < ARRAY_LEN(modes); i++)
		if (strcmp(word, modes[i]) == 0) {
			*m = (enum sts_mode)i;
			return true;
		}
	return false;
}

/* ---- policies ---- */
struct sts_policy *sts_policy_new(
    enum sts_mode mode, uint32_t max_age, const char *const *mx, uint32_t nmx)
{
	size_t bytes = sizeof(struct sts_policy) + nmx * sizeof(char *);
	struct sts_policy *p;
	const char **list;
	char *to;

	for (uint32_t i = 0; i < nmx; i++)
		bytes += strlen(mx[i]) + 1;
	p = base_alloc(bytes);
	list = (const char **)(void *)(p + 1);
	to = (char *)(list + nmx);
	*p = (struct sts_policy){.refs = 1,
	    .mode = mode,
	    .max_age = max_age < STS_MAX_AGE ? max_age : STS_MAX_AGE,
	    .nmx = nmx,
	    .bytes = bytes,
	    .mx = list};
	for (uint32_t i = 0; i < nmx; i++) {
		list[i] = strcpy(to, mx[i]);
		to += strlen(mx[i]) + 1;
	}
	return p;
}

struct sts_policy *sts_policy_ref(const struct sts_policy *p)
{
	struct sts_policy *q = (struct sts_policy *)(uintptr_t)p;

	q->refs++;
	return q;
}

void sts_policy_unref(struct sts_policy **pp)
{
	struct sts_policy *p = *pp;

	*pp = NULL;
	if (p && --p->refs == 0)
		free(p);
}

bool sts_policy_match(const struct sts_policy *p, const char *host)
{
	const char *rest = strchr(host, '.');

	for (uint32_t i = 0; i < p->nmx; i++) {
		const char *mx = p->mx[i];

		if (mx[0] == '*' ? rest && rest > host && strcmp(rest, mx + 1) == 0
				 : strcmp(host, mx) == 0)
			return true;
	}
	return false;
}

bool sts_policy_line(const struct sts_policy *p, unsigned n, char *out, size_t size)
{
	if (n == 0)
		snprintf(out, size, "version: STSv1");
	else if (n == 1)
		snprintf(out, size, "mode: %s", modes[p->mode]);
	else if (n == 2)
		snprintf(out, size, "max_age: %u", p->max_age);
	else if (n - 3 < p->nmx)
		snprintf(out, size, "mx: %s", p->mx[n - 3]);
	else
		return false;
	return true;
}

/* ---- reading ---- */
struct reader {
	bool version, mode, age;
	enum sts_mode is;
	uint32_t max_age, nmx;
	char **mx;
};

bool sts_pattern_ok(const char *mx)
{
	char key[ADDR_DOMAIN_MAX + 1];
	const char *name = mx[0] == '*' && mx[1] == '.' ? mx + 2 : mx;

	return name[0] != '[' && addr_domain_key(buf_str(name), key, sizeof(key)) == 0 &&
	       strcmp(key, name) == 0 && addr_domain_ok(buf_str(key));
}

static int take_mx(struct reader *r, const char *value, struct meta1_err *err)
{
	bool wild = value[0] == '*' && value[1] == '.';
	const char *name = wild ? value + 2 : value;
	char all[ADDR_DOMAIN_MAX + 3] = "*.", *key = wild ? all + 2 : all;

	if (name[0] == '[' || addr_domain_key(buf_str(name), key, ADDR_DOMAIN_MAX + 1) < 0 ||
	    !sts_pattern_ok(all))
		return err_set(
		    err, "mx: found %.80s, expected a host name, or *. and a domain", value);
	if (r->nmx == STS_MX_MAX)
		return err_set(err, "more than %d lines mx", STS_MX_MAX);
	r->mx[r->nmx++] = base_strdup(all);
	return 0;
}

static int take_age(struct reader *r, const char *value, struct meta1_err *err)
{
	size_t n = strspn(value, "0123456789");
	unsigned long long v = n > 0 && n <= 10 ? strtoull(value, NULL, 10) : 0;

	if (n == 0 || n > 10 || value[n])
		return err_set(err, "max_age: found %.40s, expected seconds", value);
	r->max_age = v < STS_MAX_AGE ? (uint32_t)v : STS_MAX_AGE;
	return 0;
}

/* Of what is said twice the first counts. */
static int take_field(struct reader *r, const char *name, const char *value, struct meta1_err *err)
{
	bool *seen = strcmp(name, "version") == 0   ? &r->version
		     : strcmp(name, "mode") == 0    ? &r->mode
		     : strcmp(name, "max_age") == 0 ? &r->age
						    : NULL;

	if (strcmp(name, "mx") == 0)
		return take_mx(r, value, err);
	if (!seen || *seen)
		return 0;
	*seen = true;
	if (seen == &r->version && strcmp(value, "STSv1") != 0)
		return err_set(err, "version: found %.40s, expected STSv1", value);
	if (seen == &r->mode && !sts_mode_of(value, &r->is))
		return err_set(err, "mode: found %.40s, expected enforce, testing or none", value);
	return seen == &r->age ? take_age(r, value, err) : 0;
}

static bool name_ok(const char *name, size_t n)
{
	if (n == 0 || n > 32 || !isalnum((unsigned char)name[0]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("_-.", name[i]))
			return false;
	return true;
}

/* A line without its end; it is changed. */
static int take_line(struct reader *r, char *line, size_t n, struct meta1_err *err)
{
	char *colon, *value;

	while (n > 0 && strchr(" \t\r", line[n - 1]))
		n--;
	line[n] = '\0';
	if (n == 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ' && line[i] != '\t')
			return err_set(err, "a control character");
	colon = strchr(line, ':');
	if (!colon || !name_ok(line, (size_t)(colon - line)))
		return err_set(err, "found %.60s, expected name: value", line);
	*colon = '\0';
	value = colon + 1 + strspn(colon + 1, " \t");
	return take_field(r, line, value, err);
}

static int take_all(struct reader *r, struct meta1_buf text, struct meta1_err *err)
{
	const char *p = text.data, *end = p + text.len;
	char line[LINE_MAX];

	for (unsigned at = 1; p < end; at++) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((lf ? lf : end) - p);
		struct meta1_err why = {"too long"};

		if (n < sizeof(line))
			memcpy(line, p, n);
		if (n >= sizeof(line) || memchr(line, '\0', n) || take_line(r, line, n, &why) < 0)
			return err_set(err, "line %u of the policy: %.150s", at, why.text);
		p += n + 1;
	}
	if (!r->version || !r->mode || !r->age)
		return err_set(err, "the policy has no line %s",
		    !r->version ? "version"
		    : !r->mode	? "mode"
				: "max_age");
	if (r->is != STS_NONE && r->nmx == 0)
		return err_set(err, "the policy has no line mx");
	return 0;
}

struct sts_policy *sts_policy_read(struct meta1_buf text, struct meta1_err *err)
{
	struct reader r = {.mx = base_alloc(STS_MX_MAX * sizeof(*r.mx))};
	struct sts_policy *p = NULL;

	if (text.len > STS_TEXT_MAX)
		err_set(err, "the policy is larger than %d bytes", STS_TEXT_MAX);
	else if (take_all(&r, text, err) == 0)
		p = sts_policy_new(r.is, r.max_age, (const char *const *)r.mx, r.nmx);
	while (r.nmx > 0)
		free(r.mx[--r.nmx]);
	free(r.mx);
	return p;
}

/* ---- the record ---- */
bool sts_id_ok(const char *id)
{
	size_t n = 0;

	while (isalnum((unsigned char)id[n]))
		n++;
	return n > 0 && n <= STS_ID_MAX && id[n] == '\0';
}

/* A field between two semicolons; false: it is none. The first id counts. */
static bool record_field(const char *f, size_t n, char id[STS_ID_MAX + 1])
{
	const char *eq = memchr(f, '=', n);
	size_t name = eq ? (size_t)(eq - f) : 0, len = eq ? n - name - 1 : 0;
	char value[STS_ID_MAX + 1];

	if (!eq || !name_ok(f, name))
		return false;
	for (size_t i = 0; i < len; i++)
		if (eq[1 + i] <= ' ' || eq[1 + i] == '=' || (unsigned char)eq[1 + i] > 126)
			return false;
	if (name != 2 || memcmp(f, "id", 2) != 0 || id[0])
		return len > 0;
	if (len > STS_ID_MAX)
		return false;
	memcpy(value, eq + 1, len);
	value[len] = '\0';
	if (!sts_id_ok(value))
		return false;
	strcpy(id, value);
	return true;
}

bool sts_record_read(const char *text, char id[STS_ID_MAX + 1])
{
	const char *p = text + strlen("v=STSv1");

	id[0] = '\0';
	for (;;) {
		size_t n;

		p += strspn(p, " \t");
		if (*p == '\0')
			return id[0] != '\0';
		if (*p != ';')
			return false;
		p += 1 + strspn(p + 1, " \t");
		if (*p == '\0')
			return id[0] != '\0';
		n = strcspn(p, "; \t");
		if (!record_field(p, n, id))
			return false;
		p += n;
	}
}

enum sts_said sts_record(const struct dns_data *d, char id[STS_ID_MAX + 1])
{
	char text[1024], one[1024];
	unsigned n = 0;

	for (uint32_t i = 0; d->status == META1_OK && i < d->n; i++) {
		int len = dns_txt(d->rdata[i], text, sizeof(text));

		if (len < 0 || strlen(text) != (size_t)len || strncmp(text, "v=STSv1", 7) != 0 ||
		    !text[7] || !strchr("; \t", text[7]))
			continue;
		n++;
		strcpy(one, text);
	}
	if (n == 0)
		return STS_SAYS_NOTHING;
	return n == 1 && sts_record_read(one, id) ? STS_SAYS_ID : STS_SAYS_NONSENSE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * revise_env.c -- edits made to an envelope: recipients added and taken out, the sender.
 *
 * A list is made on a copy, as in revise.c, which it comes from. Recipients are found by a table of
 * hashes that is built for a list with such edits: thousands of edits of thousands of recipients
 * are made in one step each. The hash has a secret, for the addresses are a stranger's choice.
 * Owns the lists of recipients and edits, not the texts. On failure: err names the edit.
 */
#include "mail/addr.h"
#include "mail/revise_parts.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>
#include <xxhash.h>

struct table {
	uint32_t *slot; /* 1 + index of a recipient; 0: free */
	uint32_t mask;
	bool *gone; /* of each recipient: it was taken out */
	uint32_t ngone;
};

static size_t local_len(struct meta1_buf a)
{
	const char *at = a.len > 0 ? memrchr(a.data, '@', a.len) : NULL;

	return at != NULL ? (size_t)(at - (const char *)a.data) : a.len;
}

bool revise_same_rcpt(struct meta1_buf a, struct meta1_buf b)
{
	size_t n = local_len(a);

	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, n) == 0) &&
	       (a.len == 0 ||
		   strncasecmp((const char *)a.data + n, (const char *)b.data + n, a.len - n) == 0);
}

static uint64_t seed(void)
{
	static uint64_t secret;

	if (secret == 0 && getrandom(&secret, sizeof(secret), GRND_NONBLOCK) < 0)
		secret = (uint64_t)(uintptr_t)&secret;
	return secret;
}

uint32_t revise_rcpt_hash(struct meta1_buf a)
{
	char text[ADDR_PATH_MAX];
	size_t n = a.len < sizeof(text) ? a.len : sizeof(text);

	if (n > 0)
		memcpy(text, a.data, n);
	for (size_t i = local_len(a); i < n; i++)
		text[i] = (char)tolower((unsigned char)text[i]);
	return (uint32_t)XXH3_64bits_withSeed(text, n, seed());
}

/* Where it is, or would be. */
static uint32_t *place(const struct table *t, const struct revise_env *e, struct meta1_buf addr)
{
	uint32_t i = revise_rcpt_hash(addr) & t->mask;

	while (t->slot[i] != 0 && !revise_same_rcpt(e->rcpt[t->slot[i] - 1], addr))
		i = (i + 1) & t->mask;
	return &t->slot[i];
}

/* An address that stands twice has the place of the first; both go together, by forget_all(). */
static void table_make(struct table *t, const struct revise_env *e, uint32_t room)
{
	uint32_t size = 16;

	while (size < 2 * room)
		size *= 2;
	*t = (struct table){.slot = base_alloc(size * sizeof(*t->slot)),
	    .mask = size - 1,
	    .gone = base_alloc(room + 1)};
	for (uint32_t i = 0; i < e->nrcpt; i++) {
		uint32_t *at = place(t, e, e->rcpt[i]);

		if (*at == 0)
			*at = i + 1;
	}
}

static void table_free(struct table *t)
{
	free(t->slot);
	free(t->gone);
}

/* Without those that were taken out, or stand for the second time behind one that was. */
static void compact(struct revise_env *e, const struct table *t)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < e->nrcpt && t->ngone > 0; i++) {
		uint32_t at = *place(t, e, e->rcpt[i]);

		if (!t->gone[i] && (at == 0 || !t->gone[at - 1]))
			e->rcpt[n++] = e->rcpt[i];
	}
	if (t->ngone > 0)
		e->nrcpt = n;
}

/* ---- one edit ---- */

static bool address_ok(struct meta1_buf v, bool sender)
{
	char text[ADDR_PATH_MAX + 3];
	struct meta1_err err;
	struct addr a;
	size_t used;

	if (v.len == 0)
		return sender;
	if (v.len > ADDR_PATH_MAX || memchr(v.data, '\0', v.len) != NULL)
		return false;
	text[0] = '<';
	memcpy(text + 1, v.data, v.len);
	text[v.len + 1] = '>';
	return addr_path(text, v.len + 2, sender ? ADDR_NULL : ADDR_POSTMASTER, &a, &used, &err) ==
		   0 &&
	       used == v.len + 2 && a.whole.len == v.len;
}

static int add(struct revise_env *e, struct table *t, struct meta1_buf addr, struct meta1_err *err)
{
	uint32_t *at = place(t, e, addr);

	if (*at != 0 && !t->gone[*at - 1])
		return 0;
	if (e->room == 0)
		return err_set(err, "more recipients than a mail may have");
	e->room--;
	if (*at != 0) { /* it comes back */
		t->gone[*at - 1] = false;
		t->ngone--;
		return 0;
	}
	e->rcpt[e->nrcpt] = addr;
	*at = ++e->nrcpt;
	return 0;
}

static void take_out(struct revise_env *e, struct table *t, struct meta1_buf addr)
{
	uint32_t at = *place(t, e, addr);

	if (at == 0 || t->gone[at - 1])
		return;
	t->gone[at - 1] = true;
	t->ngone++;
	e->room += e->room < UINT32_MAX;
}

static bool of_envelope(uint32_t kind)
{
	return kind == META1_PM_ADD_RCPT || kind == META1_PM_DEL_RCPT || kind == META1_PM_SENDER;
}

static int make(
    struct revise_env *e, struct table *t, const struct meta1_pm_edit *x, struct meta1_err *err)
{
	if (!address_ok(x->value, x->kind == META1_PM_SENDER))
		return err_set(err, "an address is none");
	e->edit[e->nedit++] = *x;
	if (x->kind == META1_PM_SENDER)
		e->from = x->value;
	else if (x->kind == META1_PM_DEL_RCPT)
		take_out(e, t, x->value);
	else
		return add(e, t, x->value, err);
	return 0;
}

/* ---- a list ---- */

bool revise_env_any(const struct meta1_pm_edit *x, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (of_envelope(x[i].kind))
			return true;
	return false;
}

void revise_env_free(struct revise_env *e)
{
	free(e->edit);
	free(e->rcpt);
	memset(e, 0, sizeof(*e));
}

int revise_env_next(const struct revise_env *was, const struct meta1_pm_edit *x, unsigned n,
    struct revise_env *out, struct meta1_err *err)
{
	struct meta1_err why = {""};
	struct table t;

	*out = *was;
	out->edit = base_alloc((was->nedit + (size_t)n) * sizeof(*out->edit));
	out->rcpt = base_alloc((was->nrcpt + (size_t)n + 1) * sizeof(*out->rcpt));
	if (was->nedit > 0)
		memcpy(out->edit, was->edit, was->nedit * sizeof(*out->edit));
	if (was->nrcpt > 0)
		memcpy(out->rcpt, was->rcpt, was->nrcpt * sizeof(*out->rcpt));
	table_make(&t, out, was->nrcpt + n);
	for (unsigned i = 0; i < n && why.text[0] == '\0'; i++)
		if (of_envelope(x[i].kind) && make(out, &t, &x[i], &why) < 0)
			err_set(err, "edit %u of %u, %s: %.200s", i + 1, n,
			    x[i].kind == META1_PM_SENDER     ? "sender"
			    : x[i].kind == META1_PM_ADD_RCPT ? "add recipient"
							     : "delete recipient",
			    why.text);
	if (why.text[0] == '\0')
		compact(out, &t);
	table_free(&t);
	if (why.text[0] == '\0')
		return 0;
	revise_env_free(out);
	return -1;
}

/* ---- what is asked of it ---- */

void revise_mail_is(struct revise *r, const struct meta1_buf *rcpt, uint32_t nrcpt,
    struct meta1_buf from, unsigned room)
{
	struct revise_env *e = revise_env_of(r);

	e->rcpt = base_alloc(((size_t)nrcpt + 1) * sizeof(*rcpt));
	if (nrcpt > 0)
		memcpy(e->rcpt, rcpt, nrcpt * sizeof(*rcpt));
	e->nrcpt = nrcpt;
	e->from = from;
	e->room = room;
}

const struct meta1_pm_edit *revise_envelope(const struct revise *r, unsigned *n)
{
	const struct revise_env *e = revise_env_is(r);

	*n = e->nedit;
	return e->edit;
}

const struct meta1_buf *revise_rcpts(const struct revise *r, uint32_t *n)
{
	const struct revise_env *e = revise_env_is(r);

	*n = e->nrcpt;
	return e->rcpt;
}

struct meta1_buf revise_sender(const struct revise *r)
{
	return revise_env_is(r)->from;
}

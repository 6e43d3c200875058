/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alias.c -- from a recipient to those who get its mail, over rows that name addresses which have
 * rows themselves. users.h tells the order of the maps and the bounds.
 * From check.c (RCPT) and smar.c (a report of qmgr); to ours.c, seek.c, include.c; the list goes
 * back to the asker. Owns one struct walk a question: its addresses in the order in which they were
 * found, and HANDS look-ups at a time.
 * On failure: a map that cannot say, a file that cannot be read, a value that is no list of
 * addresses make the whole answer temporary, for mail must not reach a part of a list only; so do
 * more addresses on the way, of all walks together, than VISITS_ALL.
 */
#include "smar/users.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <uthash.h>

#define HANDS	   16
#define VISITS_MAX 20000      /* addresses on the way, with those that have rows */
#define BYTES_MAX  (6u << 20) /* of them */
#define VISITS_ALL 200000     /* of all walks under way */

METRIC_COUNTER(m_walks, "expansions_total", "Recipients looked up in aliases and users.");
METRIC_COUNTER(m_loops, "alias_loops_total", "Aliases that led back to themselves.");
METRIC_COUNTER(m_unknown, "unknown_users_total", "Recipients that do not exist.");

enum end { OPEN, TARGET, ROWS /* it has some */, GONE };
struct visit { /* an address on the way */
	UT_hash_handle hh;
	struct visit *next;
	const struct visit *from; /* in whose row it stands; NULL: the recipient */
	const char *text;	  /* for the envelope: the local part as written */
	const char *key;	  /* folded, local@domain */
	uint16_t owner, depth;
	bool back;  /* leads back: a mailbox, or nothing */
	bool final; /* said so: not to be looked up */
	enum end end;
};
struct hand { /* a look-up under way */
	struct walk *walk;
	struct visit *v;
	struct smar_seek seek;
	const struct smar_use *use; /* of the row that was found */
	char *value;		    /* of it, while the owner is looked up, or a file is read */
	size_t len;
	struct meta1_buf rest; /* of it */
	uint64_t owner;
	size_t user; /* bytes of local without the detail */
	enum smar_ours ours;
	bool in_file, some; /* some: the row has a word */
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
};
struct walk {
	struct smar_policy *policy;
	struct pool pool;
	struct visit *table, *first, *last, *todo;
	unsigned nvisit, busy;
	struct meta1_buf owners[SMAR_OWNERS_MAX];
	unsigned nowner;
	enum smar_ours ours; /* of the recipient */
	bool give_owners, pumping, looped, failed;
	int64_t deadline;
	uint32_t ttl;
	int smtp;
	char dsn[12], text[400];
	void (*fn)(void *arg, const struct smar_expanded *);
	void *arg;
	struct hand *hand[HANDS]; /* made when they are needed */
};

static unsigned visits_all; /* on the way, in all walks */

static void pump(struct walk *w);

/* ---- the answer ---- */
static void fail(struct walk *w, int smtp, const char *dsn, const char *text)
{
	if (w->failed)
		return;
	w->failed = true;
	w->smtp = smtp;
	str_copy(w->dsn, sizeof(w->dsn), dsn);
	str_copy(w->text, sizeof(w->text), text);
}

/* A row, or a file, that is wrong: ours to mend, so the mail waits. */
static void mistake(struct hand *h, const char *what)
{
	log_event(LOG_L_WARN, "smar.alias", "map=%s key=%s error=%s",
	    h->use ? h->use->map->name : "-", h->v->key, what);
	fail(h->walk, 451, "4.3.5", "the server's aliases have a mistake, try again later");
}

static void tell(struct walk *w, struct smar_expanded *e)
{
	const struct visit *root = w->first, *v;
	struct meta1_buf *target = NULL;
	uint64_t *owner = NULL;
	uint32_t n = 0;

	for (v = w->first; v; v = v->next)
		n += v->end == TARGET;
	if (n == 0) {
		e->looped = w->looped;
		e->status = w->looped ? META1_PERMFAIL : META1_NOTFOUND;
		e->smtp = 550;
		e->dsn = w->looped ? "5.4.6" : "5.1.1";
		e->text = w->looped ? "alias loop" : "no such user here";
		m_unknown.value += !w->looped;
	} else if (root->end == ROWS) {
		target = base_alloc(n * sizeof(*target));
		owner = base_alloc(n * sizeof(*owner));
		for (v = w->first; v; v = v->next) {
			if (v->end != TARGET)
				continue;
			target[e->n] = buf_str(v->text);
			owner[e->n++] = v->owner;
		}
		if (n == 1 && !owner[0] && strcasecmp(target[0].data, root->key) == 0)
			e->n = 0; /* user: user */
	}
	e->target = target;
	e->owner = owner;
	w->fn(w->arg, e);
	free(target);
	free(owner);
}

static void finish(struct walk *w)
{
	struct smar_expanded e = {.status = META1_OK, .ttl = w->ttl};

	e.owners = w->owners;
	e.nowner = w->nowner;
	e.smtp = w->smtp;
	e.dsn = w->dsn;
	e.text = w->text;
	if (w->failed) {
		e.status = w->smtp < 500 ? META1_TEMPFAIL : META1_PERMFAIL;
		w->fn(w->arg, &e);
	} else {
		tell(w, &e);
	}
	visits_all -= w->nvisit;
	for (unsigned i = 0; i < HANDS; i++)
		free(w->hand[i]);
	HASH_CLEAR(hh, w->table);
	pool_clear(&w->pool);
	smar_policy_unref(&w->policy);
	free(w);
}

/* The look-up of this address is over. */
static void done(struct hand *h, enum end end)
{
	struct walk *w = h->walk;

	h->v->end = end;
	h->v = NULL;
	free(h->value);
	h->value = NULL;
	w->busy--;
	pump(w);
}

/* ---- what was found so far ---- */
static bool leads_back(const struct visit *from, const char *key)
{
	for (; from; from = from->from)
		if (strcmp(from->key, key) == 0)
			return true;
	return false;
}

static const char *kept(struct walk *w, const char *s)
{
	const char *copy = pool_strn(&w->pool, s, strlen(s));

	if (!copy)
		fail(w, 451, "4.3.5", "the alias stands for too many addresses");
	return copy;
}

static struct visit *visit(
    struct walk *w, const struct visit *from, const char *text, const char *key)
{
	struct visit *v;

	if (visits_all >= VISITS_ALL) {
		fail(w, 451, "4.3.2", "too many lists are looked up, try again later");
		return NULL;
	}
	v = pool_try(&w->pool, sizeof(*v));
	if (!v || w->nvisit >= VISITS_MAX) {
		fail(w, 451, "4.3.5", "the alias stands for too many addresses");
		return NULL;
	}
	v->from = from;
	v->text = kept(w, text);
	v->key = kept(w, key);
	if (!v->text || !v->key)
		return NULL;
	if (w->last)
		w->last->next = v;
	else
		w->first = v;
	w->last = v;
	if (!w->todo)
		w->todo = v;
	w->nvisit++;
	visits_all++;
	return v;
}

/* One address of a row. The same twice is once, but one that leads back is looked at again. */
static void add(struct hand *h, const char *local, const char *domain, bool final)
{
	char text[ADDR_PATH_MAX + ADDR_DOMAIN_MAX + 2], key[sizeof(text)], fold[ADDR_PATH_MAX + 1],
	    dom[ADDR_DOMAIN_MAX + 1];
	struct walk *w = h->walk;
	struct visit *v = NULL;
	bool back;

	snprintf(text, sizeof(text), "%s@%s", local, domain);
	if (smar_keys_split(buf_str(text), "", fold, dom) < 0) {
		mistake(h, "an address is too long");
		return;
	}
	snprintf(key, sizeof(key), "%s@%s", fold, dom);
	back = leads_back(h->v, key);
	if (!back)
		HASH_FIND_STR(w->table, key, v);
	if (v || w->failed)
		return;
	if (h->v->depth >= SMAR_EXPAND_DEPTH) {
		mistake(h, "more rows lead to each other than are followed");
		return;
	}
	v = visit(w, h->v, text, key);
	if (!v)
		return;
	v->depth = h->v->depth + 1;
	v->owner = (uint16_t)h->owner;
	v->back = back;
	v->final = final;
	if (!back)
		HASH_ADD_KEYPTR(hh, w->table, v->key, strlen(v->key), v);
}

/* ---- the addresses of a row ---- */
static void take_words(struct hand *h);

static void included(void *arg, const char *text, size_t len, const char *why)
{
	struct hand *h = arg;
	struct meta1_buf row = h->rest;

	if (!text) {
		mistake(h, why);
	} else {
		h->in_file = true;
		h->rest = buf_of(text, len);
		take_words(h);
		h->in_file = false;
		h->rest = row;
	}
	take_words(h);
}

/* keep_detail: team+x goes to bob+x. */
static void with_detail(const struct hand *h, char *local)
{
	const char *detail = h->local + h->user;
	size_t n = strlen(local);

	if (!(h->use->flags & USE_F_KEEP_DETAIL) || !*detail || local[0] == '"' ||
	    strcspn(local + 1, h->use->delimiters) + 1 < n || n + strlen(detail) > ADDR_LOCAL_MAX)
		return;
	snprintf(local + n, ADDR_PATH_MAX + 1 - n, "%s", detail);
}

static void take_word(struct hand *h, const struct smar_word *word)
{
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
	struct meta1_err err = {""};
	const char *ours =
	    h->use->flags & USE_F_PRESERVE_DOMAIN ? h->domain : h->walk->policy->hostname;

	if (smar_target_address(word, ours, local, domain, &err) < 0) {
		mistake(h, err.text);
		return;
	}
	with_detail(h, local);
	add(h, local, domain, word->final);
}

/* Goes on with h->rest; a file in it makes a pause. At the end of the row the hand is free. */
static void take_words(struct hand *h)
{
	struct walk *w = h->walk;
	struct meta1_err err = {""};
	struct smar_word word;
	int rc = 0;

	while (!w->failed && (rc = smar_target_next(&h->rest, &word, &err)) > 0) {
		h->some = true;
		if (!word.include) {
			take_word(h, &word);
		} else if (h->in_file) {
			mistake(h, "a file in a file");
		} else {
			smar_include_read(w->policy, word.text, included, h);
			return;
		}
	}
	if (rc < 0)
		mistake(h, err.text);
	if (h->in_file)
		return;
	if (!h->some)
		mistake(h, "the row names nobody");
	done(h, ROWS);
}

/* "error:550 5.1.1 text" instead of addresses. */
static bool refuses(struct hand *h)
{
	struct walk *w = h->walk;
	struct smar_access a;
	struct meta1_err err = {""};

	if (h->len < 6 || strncasecmp(h->value, "error:", 6) != 0)
		return false;
	if (smar_access_parse(buf_of(h->value, h->len), &a, &err) < 0)
		mistake(h, err.text);
	else if (h->v == w->first)
		fail(w, a.smtp, a.dsn, a.text);
	else
		log_event(LOG_L_WARN, "smar.alias", "map=%s key=%s error=%s target=%s",
		    h->use->map->name, w->first->key, "it leads to a row that refuses", h->v->key);
	done(h, GONE);
	return true;
}

static void take_row(struct hand *h)
{
	h->rest = buf_of(h->value, h->len);
	h->some = false;
	take_words(h);
}

/* ---- the owner of a list ---- */
static bool could_say(struct hand *h, const struct smar_found *f)
{
	struct walk *w = h->walk;

	if (f->ttl < w->ttl)
		w->ttl = f->ttl;
	if (f->status == META1_TEMPFAIL)
		fail(w, 451, "4.3.0", "temporary failure of a map, try again later");
	else if (f->status == META1_PERMFAIL)
		fail(w, 554, "5.3.0", "permanent failure of a map");
	else
		return true;
	done(h, GONE);
	return false;
}

/* The key is one of this user, not of all of its domain. */
static bool of_user(const struct hand *h, const char *key)
{
	const char *d = h->use->delimiters;
	size_t n = h->user;

	return strncmp(key, h->local, n) == 0 &&
	       (key[n] == '\0' || key[n] == '@' || (d && strchr(d, key[n])));
}

static void owner_found(void *arg, const struct smar_found *f)
{
	struct hand *h = arg;
	struct walk *w = h->walk;
	char text[ADDR_PATH_MAX + 16];
	const char *copy;

	if (!could_say(h, f))
		return;
	if (f->status == META1_OK && strncmp(f->key, "owner-", 6) == 0 && of_user(h, f->key + 6)) {
		snprintf(text, sizeof(text), "owner-%.*s@%s", (int)h->user, h->local, h->domain);
		copy = strlen(text) <= ADDR_PATH_MAX ? kept(w, text) : NULL;
		if (copy && w->nowner < SMAR_OWNERS_MAX) {
			w->owners[w->nowner++] = buf_str(copy);
			h->owner = w->nowner;
		} else {
			mistake(h, "more lists with owners than are followed");
		}
	}
	take_row(h);
}

/* A row for this user, not for all of its domain; owner-x and x-request are no lists. */
static bool may_be_list(const struct hand *h, const char *key)
{
	size_t n = h->user;

	return h->walk->give_owners && h->local[0] != '"' && n + 6 <= ADDR_LOCAL_MAX &&
	       of_user(h, key) && strncmp(h->local, "owner-", 6) != 0 &&
	       (n < 8 || memcmp(h->local + n - 8, "-request", 8) != 0);
}

static void row_found(struct hand *h, const struct smar_found *f)
{
	struct walk *w = h->walk;
	char local[ADDR_PATH_MAX + 1];

	h->use = h->seek.use;
	h->user = h->seek.keys.user;
	h->owner = h->v->owner;
	h->len = f->value.len;
	h->value = base_strndup(f->value.len ? f->value.data : "", f->value.len);
	if (refuses(h))
		return;
	if (!may_be_list(h, f->key)) {
		take_row(h);
		return;
	}
	snprintf(local, sizeof(local), "owner-%.*s", (int)h->user, h->local);
	smar_keys_path(&h->seek.keys, h->use, "", local, h->domain);
	smar_seek_start(&h->seek, h->use, w->deadline, owner_found, h);
}

/* ---- an address, map after map ---- */
static void unknown(struct hand *h)
{
	struct walk *w = h->walk;

	if (h->v->back) {
		w->looped = true;
		m_loops.value++;
	}
	if (h->v != w->first)
		log_event(LOG_L_WARN, "smar.alias", "recipient=%s target=%s error=%s",
		    w->first->key, h->v->key, h->v->back ? "leads back to itself" : "no such user");
	done(h, GONE);
}

static void user_found(void *arg, const struct smar_found *f)
{
	struct hand *h = arg;

	if (!could_say(h, f))
		return;
	if (f->status == META1_OK)
		done(h, TARGET);
	else
		unknown(h);
}

/* Targets need not exist: their server says so. The recipient itself must, and what leads back. */
static void ask_user(struct hand *h)
{
	struct smar_policy *p = h->walk->policy;
	const struct visit *v = h->v;

	if ((v == h->walk->first || v->back) &&
	    smar_use_asks(&p->local_users, h->ours == OURS_LOCAL)) {
		smar_keys_path(&h->seek.keys, &p->local_users, "", h->local, h->domain);
		smar_seek_start(&h->seek, &p->local_users, h->walk->deadline, user_found, h);
	} else if (v->back && strcmp(v->from->key, v->key) != 0) {
		unknown(h);
	} else {
		done(h, TARGET);
	}
}

static void alias_found(void *arg, const struct smar_found *f)
{
	struct hand *h = arg;

	if (!could_say(h, f))
		return;
	if (f->status == META1_OK)
		row_found(h, f);
	else
		ask_user(h);
}

static void ask_alias(struct hand *h)
{
	struct smar_policy *p = h->walk->policy;

	if (h->v->back || !smar_use_asks(&p->aliases, h->ours == OURS_LOCAL)) {
		ask_user(h);
		return;
	}
	smar_keys_path(&h->seek.keys, &p->aliases, "", h->local, h->domain);
	smar_seek_start(&h->seek, &p->aliases, h->walk->deadline, alias_found, h);
}

static void virtual_found(void *arg, const struct smar_found *f)
{
	struct hand *h = arg;

	if (!could_say(h, f))
		return;
	if (f->status == META1_OK)
		row_found(h, f);
	else if (h->ours == OURS_VIRTUAL)
		unknown(h);
	else
		ask_alias(h);
}

static void with_ours(struct hand *h, enum smar_ours ours)
{
	struct smar_policy *p = h->walk->policy;

	h->ours = ours;
	if (h->v->back && h->ours == OURS_VIRTUAL) {
		unknown(h); /* there are no mailboxes */
	} else if (h->ours != OURS_NO && p->virtual_aliases.map && !h->v->back) {
		smar_keys_path(&h->seek.keys, &p->virtual_aliases, "", h->local, h->domain);
		smar_seek_start(&h->seek, &p->virtual_aliases, h->walk->deadline, virtual_found, h);
	} else if (h->ours == OURS_VIRTUAL) {
		unknown(h);
	} else {
		ask_alias(h);
	}
}

static void have_domain(void *arg, const struct smar_ours_found *f)
{
	struct smar_found as = {.status = f->status, .ttl = f->ttl};

	if (could_say(arg, &as))
		with_ours(arg, f->ours);
}

/* ---- the walk ---- */
static void begin(struct hand *h, struct visit *v)
{
	struct walk *w = h->walk;

	h->v = v;
	h->use = NULL;
	h->owner = v->owner;
	w->busy++;
	smar_keys_split(buf_str(v->key), "", h->local, h->domain);
	if (v->final)
		done(h, TARGET);
	else if (v == w->first && w->ours != OURS_ASK)
		with_ours(h, w->ours);
	else
		smar_ours_find(w->policy, h->domain, w->deadline, have_domain, h);
}

static bool too_many(struct walk *w)
{
	uint32_t n = 0;

	for (const struct visit *v = w->first; v; v = v->next)
		n += v->end == TARGET;
	if (n > SMAR_EXPAND_MAX) {
		log_event(LOG_L_WARN, "smar.alias", "recipient=%s targets=%u error=%s",
		    w->first->key, n, "more targets than a message may have");
		fail(w, 451, "4.3.5", "the alias stands for too many addresses");
	}
	return w->failed;
}

static void pump(struct walk *w)
{
	if (w->pumping)
		return;
	w->pumping = true;
	for (unsigned i = 0; i < HANDS && w->todo && !w->failed; i++) {
		if (!w->hand[i]) {
			w->hand[i] = base_alloc(sizeof(*w->hand[i]));
			w->hand[i]->walk = w;
		}
		while (!w->hand[i]->v && w->todo && !w->failed) {
			struct visit *v = w->todo;

			w->todo = v->next;
			begin(w->hand[i], v);
		}
	}
	w->pumping = false;
	if (w->busy > 0 || (w->todo && !w->failed))
		return;
	too_many(w);
	finish(w);
}

bool smar_expand_idle(const struct smar_policy *p, enum smar_ours ours)
{
	if (ours == OURS_VIRTUAL || (ours != OURS_NO && p->virtual_aliases.map))
		return false;
	return !smar_use_asks(&p->aliases, ours != OURS_NO) &&
	       !smar_use_asks(&p->local_users, ours != OURS_NO);
}

void smar_expand(struct smar_policy *p, const char *local, const char *domain, enum smar_ours ours,
    bool owners, int64_t deadline, void (*fn)(void *arg, const struct smar_expanded *), void *arg)
{
	struct walk *w = base_alloc(sizeof(*w));
	char key[ADDR_PATH_MAX + ADDR_DOMAIN_MAX + 2];
	struct visit *v;

	m_walks.value++;
	w->policy = smar_policy_ref(p);
	pool_init(&w->pool, BYTES_MAX);
	w->give_owners = owners;
	w->ours = ours;
	w->deadline = deadline;
	w->ttl = UINT32_MAX;
	w->fn = fn;
	w->arg = arg;
	snprintf(key, sizeof(key), "%s@%s", local, domain);
	v = visit(w, NULL, key, key);
	if (v)
		HASH_ADD_KEYPTR(hh, w->table, v->key, strlen(v->key), v);
	pump(w);
}

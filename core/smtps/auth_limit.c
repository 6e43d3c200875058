/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth_limit.c -- what failed logins cost a client and an account, and how much one account may
 * send: a stolen password must not send a million mails, and none should be guessed.
 *
 * Comes from auth.c (a try begins, fails, is good) and tx.c (MAIL, RCPT of who has authenticated).
 * Over its limit a client is told 421 and an account 454, and the module is not asked; an account
 * stays open to clients that have logged in as it before, so that nobody can lock out its owner.
 * Owns four tables in memory of this process alone, bounded, the least recently used goes first.
 * With several processes each counts for itself.
 * On failure: none; what is forgotten was not counted.
 */
#include "lib/netlist.h"
#include "smtps/smtps.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

METRIC_COUNTER(m_clients, "logins_barred_client_total",
    "AUTH refused unasked: too many failures of the client.");
METRIC_COUNTER(m_accounts, "logins_barred_account_total",
    "AUTH refused unasked: too many failures of the account.");
METRIC_COUNTER(
    m_sent, "refused_account_limit_total", "MAIL and RCPT refused: the account has sent too much.");

#define ENTRIES	 20000
#define MEMORY	 (4u << 20)
#define KNOWN_MS (30LL * 24 * 3600 * 1000) /* that a client has logged in as this account */
#define KEY_MAX	 (SMTPS_ACCOUNT_MAX + 1)
#define PAIR_MAX (SMTPS_CLIENT_SIZE + KEY_MAX + 1)

/* Of failures: how many since start. Of mails and recipients: those of the window that began at
 * start, and of the one before. */
struct row {
	struct lru_entry e;
	int64_t start;
	uint64_t now[2], before[2];
	bool told; /* the log has it, for this window */
	char key[];
};

void smtps_auth_limit_open(struct smtps_auth *a)
{
	lru_init(&a->by_client, ENTRIES, MEMORY);
	lru_init(&a->by_account, ENTRIES, MEMORY);
	lru_init(&a->known, ENTRIES, MEMORY);
	lru_init(&a->sent, ENTRIES, MEMORY);
}

void smtps_auth_limit_close(struct smtps_auth *a)
{
	lru_clear(&a->by_client);
	lru_clear(&a->by_account);
	lru_clear(&a->known);
	lru_clear(&a->sent);
}

static int64_t now(const struct smtps_session *s)
{
	return loop_now(s->srv->role->loop);
}

/* The row of the key, a new one when there is none. */
static struct row *row_of(struct lru *l, const char *key, int64_t at, int64_t keep)
{
	size_t n = strlen(key);
	struct row *r = lru_get(l, key, n, at);

	if (r != NULL)
		return r;
	r = base_alloc(sizeof(*r) + n + 1);
	memcpy(r->key, key, n);
	r->start = at;
	r->e.expires = at + keep;
	r->e.bytes = sizeof(*r) + n + 1;
	lru_put(l, &r->e, r->key, n);
	return r;
}

/* ---- keys ---- */

/* Small letters, and without the domain that is ours: a name has few forms. */
static void account_key(const struct smtps_session *s, const char *name, char out[KEY_MAX])
{
	size_t n = strlen(name), host = strlen(s->srv->hostname);

	if (n > host + 1 && name[n - host - 1] == '@' &&
	    strcasecmp(name + n - host, s->srv->hostname) == 0)
		n -= host + 1;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)tolower((unsigned char)name[i]);
	out[n] = '\0';
}

/* The network that client_limits counts by. false: a client that has none, or is exempt. */
static bool client_key(const struct smtps_session *s, char out[KEY_MAX])
{
	const struct smtps_limits *lim = &s->srv->lim;
	struct clients_key k;
	char text[CLIENTS_TEXT];

	if (smtps_client_exempt(s) ||
	    !clients_key(s->client, (unsigned)lim->client_ipv4, (unsigned)lim->client_ipv6, &k))
		return false;
	clients_text(&k, text);
	str_copy(out, KEY_MAX, text);
	return true;
}

static void pair_key(const struct smtps_session *s, const char *account, char out[PAIR_MAX])
{
	snprintf(out, PAIR_MAX, "%s %s", s->client, account);
}

/* ---- failures ---- */

static bool over(struct lru *l, const char *key, int64_t at, int64_t max)
{
	const struct row *r = max > 0 ? lru_get(l, key, strlen(key), at) : NULL;

	return r != NULL && r->now[0] >= (uint64_t)max;
}

bool smtps_auth_barred_client(struct smtps_session *s)
{
	struct smtps_auth *a = s->srv->auth;
	char key[KEY_MAX];

	if (!client_key(s, key) || !over(&a->by_client, key, now(s), a->client_failures))
		return false;
	m_clients.value++;
	return true;
}

bool smtps_auth_barred_account(struct smtps_session *s, const char *name)
{
	struct smtps_auth *a = s->srv->auth;
	char key[KEY_MAX], pair[PAIR_MAX];

	account_key(s, name, key);
	if (*key == '\0' || !over(&a->by_account, key, now(s), a->account_failures))
		return false;
	pair_key(s, key, pair);
	if (lru_get(&a->known, pair, strlen(pair), now(s)) != NULL)
		return false;
	m_accounts.value++;
	return true;
}

static void count(
    struct smtps_session *s, struct lru *l, const char *what, const char *key, int64_t max)
{
	struct row *r;

	if (max <= 0 || *key == '\0')
		return;
	r = row_of(l, key, now(s), s->srv->auth->failure_window);
	if (++r->now[0] == (uint64_t)max)
		log_event(LOG_L_WARN, "smtps.auth_barred",
		    SMTPS_WHO " what=%s name=%s failures=%llu for_s=%lld", SMTPS_WHO_OF(s), what,
		    key, (unsigned long long)r->now[0], (long long)(r->e.expires - now(s)) / 1000);
}

void smtps_auth_failed(struct smtps_session *s, const char *name)
{
	struct smtps_auth *a = s->srv->auth;
	char key[KEY_MAX];

	if (client_key(s, key))
		count(s, &a->by_client, "client", key, a->client_failures);
	account_key(s, name, key);
	count(s, &a->by_account, "account", key, a->account_failures);
}

void smtps_auth_passed(struct smtps_session *s, const char *name)
{
	struct smtps_auth *a = s->srv->auth;
	char key[KEY_MAX], pair[PAIR_MAX];

	if (a->account_failures <= 0)
		return;
	account_key(s, name, key);
	pair_key(s, key, pair);
	row_of(&a->known, pair, now(s), KNOWN_MS)->e.expires = now(s) + KNOWN_MS;
}

/* ---- what an account sends ---- */

/* One more of it (0: a mail, 1: a recipient) within the window, the one before by its share; false:
 * that is too many. */
static bool take(struct smtps_session *s, unsigned what, int64_t max, const char *limit)
{
	struct smtps_auth *a = s->srv->auth;
	int64_t at = now(s), w = a->account_window, past;
	char key[KEY_MAX];
	struct row *r;
	double n;

	account_key(s, s->account, key);
	r = row_of(&a->sent, key, at, 2 * w);
	past = at - r->start;
	if (past >= w) {
		for (unsigned i = 0; i < 2; i++) {
			r->before[i] = past < 2 * w ? r->now[i] : 0;
			r->now[i] = 0;
		}
		r->start += past / w * w;
		r->e.expires = r->start + 2 * w;
		r->told = false;
		past = at - r->start;
	}
	n = (double)r->now[what] + (double)r->before[what] * (double)(w - past) / (double)w;
	if (max <= 0 || n < (double)max) {
		r->now[what]++;
		return true;
	}
	m_sent.value++;
	log_event(r->told ? LOG_L_INFO : LOG_L_WARN, "smtps.account_limit",
	    SMTPS_WHO " account=%s limit=%s count=%llu", SMTPS_WHO_OF(s), key, limit,
	    (unsigned long long)n);
	r->told = true;
	return false;
}

static bool counts(const struct smtps_session *s)
{
	const struct smtps_auth *a = s->srv->auth;

	return s->account != NULL && a != NULL && (a->account_mails > 0 || a->account_rcpts > 0);
}

bool smtps_auth_take_mail(struct smtps_session *s)
{
	if (!counts(s) || take(s, 0, s->srv->auth->account_mails, "max_mails"))
		return true;
	smtps_session_refuse(
	    s, 450, "4.7.1", "This account has sent too many mails lately, try again later");
	return false;
}

bool smtps_auth_take_rcpt(struct smtps_session *s)
{
	if (!counts(s) || take(s, 1, s->srv->auth->account_rcpts, "max_rcpts"))
		return true;
	smtps_session_refuse(s, 450, "4.7.1",
	    "This account has sent to too many recipients lately, try again later");
	return false;
}

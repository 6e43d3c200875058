/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth_limit.c -- what failed logins cost a client and an account, and how much one account may
 * send: a stolen password must not send a million mails, and none should be guessed.
 *
 * Comes from auth.c (a try begins, fails, is good) and tx.c (MAIL, RCPT of who has authenticated).
 * Over its limit a client is told 421 and an account 454, and the module is not asked; an account
 * stays open to clients that have logged in as it before, so that nobody can lock out its owner.
 * All smtps count together, in a table of mcp's (lib/tally.h), which a restart of theirs does not
 * empty. Owns nothing. On failure: what has no place in the table is not counted.
 */
#include "lib/netlist.h"
#include "smtps/smtps.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

METRIC_COUNTER(m_clients, "logins_barred_client_total",
    "AUTH refused unasked: too many failures of the client.");
METRIC_COUNTER(m_accounts, "logins_barred_account_total",
    "AUTH refused unasked: too many failures of the account.");
METRIC_COUNTER(
    m_sent, "refused_account_limit_total", "MAIL and RCPT refused: the account has sent too much.");

#define KNOWN_MS (30LL * 24 * 3600 * 1000) /* that somebody has logged in as this account */
#define KEY_MAX	 (SMTPS_ACCOUNT_MAX + 1)
#define PAIR_MAX (SMTPS_CLIENT_SIZE + KEY_MAX + 1)

static int64_t now(const struct smtps_session *s)
{
	return loop_now(s->srv->role->loop);
}

/* ---- keys ---- */

/* Small letters, and without the domain that is ours: a name has few forms. */
static void account_key(const struct smtps_session *s, const char *name, char out[KEY_MAX])
{
	size_t n = strlen(name), host = strlen(s->gear->hostname);

	if (n > host + 1 && name[n - host - 1] == '@' &&
	    strcasecmp(name + n - host, s->gear->hostname) == 0)
		n -= host + 1;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)tolower((unsigned char)name[i]);
	out[n] = '\0';
}

/* The network that client_limits counts by. false: a client that has none, or is exempt. */
static bool client_key(const struct smtps_session *s, char out[KEY_MAX])
{
	const struct smtps_limits *lim = &s->gear->lim;
	struct clients_key k;
	char text[CLIENTS_TEXT];

	if (smtps_client_exempt(s) ||
	    !clients_key(s->client, (unsigned)lim->client_ipv4, (unsigned)lim->client_ipv6, &k))
		return false;
	clients_text(&k, text);
	str_copy(out, KEY_MAX, text);
	return true;
}

static void pair_key(const struct smtps_session *s, const char *account, struct tally_key *k)
{
	char pair[PAIR_MAX];

	snprintf(pair, sizeof(pair), "%s %s", s->client, account);
	tally_key(s->srv->tally, pair, k);
}

/* ---- failures ---- */

static bool over(struct smtps_session *s, enum tally_kind kind, const char *name, int64_t max)
{
	struct tally_key k;

	if (max <= 0 || *name == '\0')
		return false;
	tally_key(s->srv->tally, name, &k);
	return tally_sum(s->srv->tally, kind, &k, now(s)) >= (uint64_t)max;
}

bool smtps_auth_barred_client(struct smtps_session *s)
{
	char key[KEY_MAX];

	if (!client_key(s, key) || !over(s, TALLY_CLIENT, key, s->gear->auth->client_failures))
		return false;
	m_clients.value++;
	return true;
}

bool smtps_auth_barred_account(struct smtps_session *s, const char *name)
{
	char key[KEY_MAX];
	struct tally_key pair;

	account_key(s, name, key);
	if (!over(s, TALLY_ACCOUNT, key, s->gear->auth->account_failures))
		return false;
	pair_key(s, key, &pair);
	if (tally_owned(s->srv->tally, TALLY_KNOWN, &pair, now(s)))
		return false;
	m_accounts.value++;
	return true;
}

static void count(struct smtps_session *s, enum tally_kind kind, const char *name, int64_t max)
{
	static const char *const what[] = {[TALLY_CLIENT] = "client", [TALLY_ACCOUNT] = "account"};
	int64_t window = s->gear->auth->failure_window;
	struct tally_key k;
	uint64_t n;

	if (max <= 0 || *name == '\0')
		return;
	tally_key(s->srv->tally, name, &k);
	n = tally_add(s->srv->tally, kind, &k, now(s), window);
	if (n == (uint64_t)max)
		log_event(LOG_L_WARN, "smtps.auth_barred",
		    SMTPS_WHO " what=%s name=%s failures=%llu for_s=%lld", SMTPS_WHO_OF(s),
		    what[kind], name, (unsigned long long)n, (long long)window / 1000);
}

void smtps_auth_failed(struct smtps_session *s, const char *name)
{
	struct smtps_auth *a = s->gear->auth;
	char key[KEY_MAX];

	if (client_key(s, key))
		count(s, TALLY_CLIENT, key, a->client_failures);
	account_key(s, name, key);
	count(s, TALLY_ACCOUNT, key, a->account_failures);
}

void smtps_auth_passed(struct smtps_session *s, const char *name)
{
	char key[KEY_MAX];
	struct tally_key account, pair;

	if (s->gear->auth->account_failures <= 0)
		return;
	account_key(s, name, key);
	tally_key(s->srv->tally, key, &account);
	tally_own(s->srv->tally, TALLY_ACCOUNT, &account, now(s), KNOWN_MS);
	pair_key(s, key, &pair);
	tally_own(s->srv->tally, TALLY_KNOWN, &pair, now(s), KNOWN_MS);
}

/* ---- what an account sends ---- */

/* One more of it (0: a mail, 1: a recipient) within the window; false: that is too many. */
static bool take(struct smtps_session *s, unsigned what, int64_t max, const char *limit)
{
	const struct tally_take t = {.what = what, .max = max, .ms = s->gear->auth->account_window};
	struct tally_key k;
	char key[KEY_MAX];
	bool first;
	uint64_t n;

	account_key(s, s->account, key);
	tally_key(s->srv->tally, key, &k);
	if (tally_take(s->srv->tally, &k, &t, now(s), &n, &first))
		return true;
	m_sent.value++;
	log_event(first ? LOG_L_WARN : LOG_L_INFO, "smtps.account_limit",
	    SMTPS_WHO " account=%s limit=%s count=%llu", SMTPS_WHO_OF(s), key, limit,
	    (unsigned long long)n);
	return false;
}

static bool counts(const struct smtps_session *s)
{
	const struct smtps_auth *a = s->gear->auth;

	return s->account != NULL && a != NULL && (a->account_mails > 0 || a->account_rcpts > 0);
}

bool smtps_auth_take_mail(struct smtps_session *s)
{
	if (!counts(s) || take(s, 0, s->gear->auth->account_mails, "max_mails"))
		return true;
	smtps_session_refuse(
	    s, 450, "4.7.1", "This account has sent too many mails lately, try again later");
	return false;
}

bool smtps_auth_take_rcpt(struct smtps_session *s)
{
	if (!counts(s) || take(s, 1, s->gear->auth->account_rcpts, "max_rcpts"))
		return true;
	smtps_session_refuse(s, 450, "4.7.1",
	    "This account has sent to too many recipients lately, try again later");
	return false;
}

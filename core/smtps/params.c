/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * params.c -- parameters of MAIL and RCPT: one table, each with the extension that offers it.
 *
 * Comes from tx.c, which gives what stands behind the address; results go into the
 * transaction. Owns nothing; ENVID is copied into the transaction's memory.
 * On failure: 555 for what is not known or not offered, 501 for what is malformed or said
 * twice (RFC 5321 4.1.1.11), 552 for a message that would be too large.
 */
#include "smtps/smtps.h"

METRIC_COUNTER(m_declared, "refused_declared_size_total", "MAIL refused for the size it declared.");

static int set_size(
    struct smtps_session *s, struct smtps_tx *tx, const char *v, size_t n, struct meta1_err *err)
{
	uint64_t size = 0;
	size_t i;

	(void)tx;
	for (i = 0; i < n && v[i] >= '0' && v[i] <= '9'; i++) {
		/* saturates: a number too large for us is too large a message */
		if (size < UINT64_MAX / 10 - 1)
			size = size * 10 + (uint64_t)(v[i] - '0');
	}
	if (n == 0 || n > 20 || i < n) {
		err_set(err, "5.5.4 SIZE wants a number of bytes");
		return 501;
	}
	if (s->lim->message_size > 0 && size > (uint64_t)s->lim->message_size) {
		m_declared.value++;
		err_set(err, "5.3.4 Message is larger than is taken here");
		return 552;
	}
	return 0;
}

/* Whether there are bytes above 127 is seen in the content; what was said goes to smar, which may
 * know that the next hop does not take such. */
static int set_body(
    struct smtps_session *s, struct smtps_tx *tx, const char *v, size_t n, struct meta1_err *err)
{
	(void)s;
	tx->eight = buf_caseeq(buf_of(v, n), "8BITMIME");
	if (tx->eight || buf_caseeq(buf_of(v, n), "7BIT"))
		return 0;
	err_set(err, "5.5.4 BODY is 7BIT or 8BITMIME");
	return 501;
}

static int set_utf8(
    struct smtps_session *s, struct smtps_tx *tx, const char *v, size_t n, struct meta1_err *err)
{
	(void)s, (void)n;
	if (v != NULL) {
		err_set(err, "5.5.4 SMTPUTF8 has no value");
		return 501;
	}
	tx->flags |= META1_M_SMTPUTF8;
	return 0;
}

static int set_requiretls(
    struct smtps_session *s, struct smtps_tx *tx, const char *v, size_t n, struct meta1_err *err)
{
	(void)s, (void)n;
	tx->flags |= v == NULL ? META1_M_REQUIRETLS : 0;
	if (v == NULL)
		return 0;
	err_set(err, "5.5.4 REQUIRETLS has no value");
	return 501;
}

static int set_prdr(
    struct smtps_session *s, struct smtps_tx *tx, const char *v, size_t n, struct meta1_err *err)
{
	(void)s, (void)n;
	tx->prdr = v == NULL;
	if (v == NULL)
		return 0;
	err_set(err, "5.5.4 PRDR takes no value");
	return 501;
}

static int set_ret(
    struct smtps_session *s, struct smtps_tx *tx, const char *v, size_t n, struct meta1_err *err)
{
	(void)s;
	if (buf_caseeq(buf_of(v, n), "FULL")) {
		tx->flags |= META1_M_RET_FULL;
	} else if (buf_caseeq(buf_of(v, n), "HDRS")) {
		tx->flags |= META1_M_RET_HDRS;
	} else {
		err_set(err, "5.5.4 RET is FULL or HDRS");
		return 501;
	}
	return 0;
}

static int set_envid(
    struct smtps_session *s, struct smtps_tx *tx, const char *v, size_t n, struct meta1_err *err)
{
	(void)s;
	if (n > XTEXT_ENVID_MAX || !xtext_ok(buf_of(v, n))) {
		err_set(err, "5.5.4 ENVID wants at most %d bytes of xtext", XTEXT_ENVID_MAX);
		return 501;
	}
	tx->envid = buf_of(pool_strn(&tx->pool, v, n), n);
	return 0;
}

/* As mailing lists say it to Postfix; of clients that are listed only. */
static int set_verp(
    struct smtps_session *s, struct smtps_tx *tx, const char *v, size_t n, struct meta1_err *err)
{
	static const char chars[] = META1_VERP_CHARS;
	const char *at[2] = {chars + 3, chars + 3};
	size_t i;

	(void)s;
	for (i = 0; v != NULL && i < 2; i++)
		at[i] = n == 2 && v[i] != '\0' ? strchr(chars, v[i]) : NULL;
	if (at[0] == NULL || at[1] == NULL) {
		err_set(err, "5.5.4 XVERP wants no value, or two delimiters of %s", chars);
		return 501;
	}
	if (tx->from.len == 0) {
		err_set(err, "5.5.4 XVERP makes addresses of the sender, and there is none");
		return 501;
	}
	tx->flags |= META1_M_VERP | (uint32_t)(at[0] - chars) << META1_VERP_AT |
		     (uint32_t)(at[1] - chars) << (META1_VERP_AT + 2);
	return 0;
}

/* One word of NOTIFY; 0: it is none. */
static uint32_t notify_word(struct meta1_buf word)
{
	static const struct {
		const char *name;
		uint32_t bit;
	} words[] = {{"NEVER", META1_N_NEVER}, {"SUCCESS", META1_N_SUCCESS},
	    {"FAILURE", META1_N_FAILURE}, {"DELAY", META1_N_DELAY}};
	size_t i;

	for (i = 0; i < ARRAY_LEN(words); i++)
		if (buf_caseeq(word, words[i].name))
			return words[i].bit;
	return 0;
}

static int set_notify(
    struct smtps_session *s, struct smtps_tx *tx, const char *v, size_t n, struct meta1_err *err)
{
	uint32_t all = 0;
	size_t from = 0, i;

	(void)s;
	for (i = 0; i <= n; i++) {
		uint32_t bit;

		if (i < n && v[i] != ',')
			continue;
		bit = n > 0 ? notify_word(buf_of(v + from, i - from)) : 0;
		/* NEVER stands alone */
		if (bit == 0 || ((bit | all) & META1_N_NEVER && from > 0)) {
			err_set(err, "5.5.4 NOTIFY is NEVER, or some of SUCCESS,FAILURE,DELAY");
			return 501;
		}
		all |= bit;
		from = i + 1;
	}
	tx->ask_notify = all;
	return 0;
}

/* Kept in ASCII: then every hop that knows DSN can be told. */
static int set_orcpt(
    struct smtps_session *s, struct smtps_tx *tx, const char *v, size_t n, struct meta1_err *err)
{
	size_t used = 0;

	(void)s;
	if (n <= XTEXT_ORCPT_MAX &&
	    xtext_orcpt_ok(buf_of(v, n), (tx->flags & META1_M_SMTPUTF8) != 0))
		used = xtext_orcpt_ascii(buf_of(v, n), tx->orcpt, sizeof(tx->orcpt));
	if (used == 0) {
		err_set(err,
		    "5.5.4 ORCPT wants type;address, the address as xtext, at most %d bytes",
		    XTEXT_ORCPT_MAX);
		return 501;
	}
	tx->ask_orcpt = buf_of(tx->orcpt, used);
	return 0;
}

/* RFC 4954, 5: who submitted it, if we believed the client; it is not passed on, so only its form
 * matters. */
static int set_auth(
    struct smtps_session *s, struct smtps_tx *tx, const char *v, size_t n, struct meta1_err *err)
{
	(void)s;
	(void)tx;
	if (n == 0 || n > 500 || (!buf_caseeq(buf_of(v, n), "<>") && !xtext_ok(buf_of(v, n)))) {
		err_set(err, "5.5.4 AUTH wants <> or an address as xtext");
		return 501;
	}
	return 0;
}

static const struct smtps_param {
	bool rcpt; /* of RCPT, else of MAIL */
	const char *name, *keyword;
	/* value NULL: no '='. 0, or the code of a refusal with "x.y.z text" in err. */
	int (*set)(struct smtps_session *, struct smtps_tx *, const char *value, size_t len,
	    struct meta1_err *);
} params[] = {
    {false, "SIZE", "SIZE", set_size},
    {false, "BODY", "8BITMIME", set_body},
    {false, "SMTPUTF8", "SMTPUTF8", set_utf8},
    {false, "PRDR", "PRDR", set_prdr},
    {false, "REQUIRETLS", "REQUIRETLS", set_requiretls},
    {false, "RET", "DSN", set_ret},
    {false, "ENVID", "DSN", set_envid},
    {false, "XVERP", "XVERP", set_verp},
    {false, "AUTH", "AUTH", set_auth},
    {true, "NOTIFY", "DSN", set_notify},
    {true, "ORCPT", "DSN", set_orcpt},
};

/* One KEYWORD[=VALUE]. 0, or the code of a refusal. */
static int one(struct smtps_session *s, struct smtps_tx *tx, bool rcpt, uint32_t *seen,
    struct meta1_buf word, struct meta1_err *err)
{
	const char *p = word.data, *eq = memchr(p, '=', word.len);
	struct meta1_buf key = buf_of(p, eq != NULL ? (size_t)(eq - p) : word.len);
	const char *verb = rcpt ? "RCPT" : "MAIL";
	size_t i;

	for (i = 0; i < ARRAY_LEN(params); i++)
		if (params[i].rcpt == rcpt && buf_caseeq(key, params[i].name) &&
		    smtps_verbs_offered(s, params[i].keyword))
			break;
	if (i == ARRAY_LEN(params)) {
		err_set(err, "5.5.4 Parameter of %s is not known", verb);
		return 555;
	}
	if (*seen & 1u << i) {
		err_set(err, "5.5.4 Parameter of %s is given twice", verb);
		return 501;
	}
	*seen |= 1u << i;
	return params[i].set(
	    s, tx, eq != NULL ? eq + 1 : NULL, eq != NULL ? word.len - key.len - 1 : 0, err);
}

int smtps_params(struct smtps_session *s, struct smtps_tx *tx, bool rcpt, const char *p, size_t n,
    struct meta1_err *err)
{
	uint32_t seen = 0;
	size_t i = 0;

	if (n > 0 && p[0] != ' ') {
		err_set(err, "5.5.4 A blank must follow the address");
		return 501;
	}
	while (i < n) {
		size_t from;
		int code;

		while (i < n && p[i] == ' ')
			i++;
		for (from = i; i < n && p[i] != ' ';)
			i++;
		if (i > from && !s->esmtp) {
			err_set(err, "5.5.4 Parameters are for clients that say EHLO");
			return 555;
		}
		code = i > from ? one(s, tx, rcpt, &seen, buf_of(p + from, i - from), err) : 0;
		if (code != 0)
			return code;
	}
	return 0;
}

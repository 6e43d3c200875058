/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tx.c -- a transaction from MAIL to its last RCPT, and its one way to end.
 *
 * Comes from verbs.c; goes to policy.c (may this sender, this recipient), intake.c (a credit),
 * then to body.c (DATA) or bdat.c.
 * Owns struct smtps_tx with its pool: sender and accepted recipients; refused ones take no
 * memory. On failure of smar or qmgr: 451, and the client tries again later.
 */
#include "smtps/smtps.h"

#include <stdlib.h>
#include <strings.h>

METRIC_COUNTER(m_no_credit, "refused_no_credit_total", "MAIL refused: qmgr takes no more now.");
METRIC_COUNTER(m_no_smar, "refused_no_smar_total", "MAIL and RCPT refused: smar did not answer.");
METRIC_COUNTER(m_too_many, "refused_too_many_rcpts_total", "RCPT refused: too many recipients.");
METRIC_COUNTER(m_memory, "refused_memory_total", "MAIL and RCPT refused over max_memory.");
METRIC_COUNTER(m_policy, "refused_policy_total", "MAIL and RCPT refused for good by smar.");
METRIC_COUNTER(
    m_policy_temp, "refused_policy_temporary_total", "MAIL and RCPT refused for now by smar.");
METRIC_COUNTER(m_syntax, "refused_address_syntax_total", "MAIL and RCPT with a bad address.");
METRIC_GAUGE(m_open, "transactions_now", "Transactions between MAIL and their end.");

/* with its ORCPT, and its places in the envelope and in QUEUED */
#define RCPT_BYTES (ADDR_PATH_MAX + XTEXT_ORCPT_MAX + 320)
#define TX_BYTES   8192 /* sender, envelope, rounding of the pool */

int64_t smtps_tx_rcpts_max(const struct smtps_limits *lim)
{
	return lim->rcpts_per_tx > 0 && lim->rcpts_per_tx < SMTPS_RCPTS_MAX ? lim->rcpts_per_tx
									    : SMTPS_RCPTS_MAX;
}

/* ---- the end of it ---- */

void smtps_tx_free(struct smtps_tx **txp)
{
	struct smtps_tx *tx = *txp;
	struct smtps *srv = tx->srv;

	*txp = NULL;
	smtps_body_drop(tx);
	smtps_judged_free(tx);
	if (tx->epoch != 0)
		smtps_intake_back(srv->intake, &tx->epoch);
	if (tx->counted)
		srv->nopen--;
	srv->memory -= tx->held;
	m_open.value--;
	pool_clear(&tx->pool);
	free(tx);
	smtps_check_stopped(srv);
}

void smtps_tx_reset(struct smtps_session *s)
{
	if (s->await.what == AWAIT_MAIL || s->await.what == AWAIT_RCPT ||
	    s->await.what == AWAIT_VRFY || s->await.what == AWAIT_CONF ||
	    s->await.what == AWAIT_NAME) {
		if (s->await.req != 0)
			chan_forget(s->srv->smar, s->await.req);
		smtps_session_awake(s);
	} else if (s->await.what == AWAIT_QUEUE) {
		smtps_intake_unwait(s->srv->intake, s);
	} else if (s->await.what == AWAIT_ROOM) {
		if (s->conn != NULL) /* a lost one is closed already */
			conn_pause(s->conn, false);
		smtps_session_awake(s);
	}
	smtps_filter_reset(s);
	if (s->tx != NULL)
		smtps_tx_free(&s->tx);
	if (s->state > ST_READY && s->state != ST_CLOSE)
		s->state = ST_READY;
}

void smtps_tx_discard(struct smtps_tx *tx)
{
	tx->discard = true;
	tx->ndiscard += tx->nrcpt;
	tx->nrcpt = 0;
	STAILQ_INIT(&tx->rcpts);
}

/* ---- MAIL ---- */

/* "FROM:" or "TO:" and blanks; the rest, or NULL. */
static const char *after_keyword(const struct smtps_line *l, const char *word, size_t *len)
{
	size_t n = strlen(word);

	if (l->len < n || strncasecmp(l->args, word, n) != 0)
		return NULL;
	while (n < l->len && l->args[n] == ' ')
		n++;
	*len = l->len - n;
	return l->args + n;
}

/* err is "x.y.z text". */
static void refuse(struct smtps_session *s, int code, const struct meta1_err *err)
{
	char dsn[12];
	size_t skip = reply_dsn(code, err->text, dsn);

	smtps_session_bad(s, code, dsn[0] != '\0' ? dsn : NULL, err->text + skip);
}

static bool short_of_memory(struct smtps_session *s)
{
	if (s->report != NULL || !smtps_memory_full(s->srv))
		return false;
	m_memory.value++;
	log_event(
	    LOG_L_INFO, "smtps.max_memory", SMTPS_WHO " reply=452 dsn=4.3.1", SMTPS_WHO_OF(s));
	smtps_session_reply(s, 452, "4.3.1", "Too much is under way here, try again later");
	return true;
}

static struct smtps_tx *new_tx(struct smtps_session *s)
{
	struct smtps_tx *tx = base_alloc(sizeof(*tx));

	tx->srv = s->srv;
	tx->session = s;
	STAILQ_INIT(&tx->rcpts);
	/* few recipients may stand for many */
	pool_init(&tx->pool, TX_BYTES + (size_t)SMTPS_RCPTS_MAX * RCPT_BYTES);
	m_open.value++;
	return tx;
}

/* Parses MAIL into tx; 0, or the code of a refusal. */
static int parse_mail(
    struct smtps_session *s, struct smtps_tx *tx, const struct smtps_line *l, struct meta1_err *err)
{
	size_t len, used;
	const char *text = after_keyword(l, "FROM:", &len);
	struct addr a;
	int code;

	if (text == NULL) {
		err_set(err, "5.5.4 MAIL wants FROM:<address>");
		return 501;
	}
	if (addr_path(text, len, ADDR_NULL, &a, &used, err) != 0) {
		m_syntax.value++;
		return 501;
	}
	tx->from = buf_of(pool_strn(&tx->pool, a.whole.data, a.whole.len), a.whole.len);
	smtps_filter_params(s, text + used, len - used);
	code = smtps_params(s, tx, false, text + used, len - used, err);
	if (code == 0 && a.utf8 && !(tx->flags & META1_M_SMTPUTF8)) { /* RFC 6531 3.5 */
		err_set(err, "5.6.7 Sender address is not ASCII, and MAIL has no SMTPUTF8");
		return 550;
	}
	return code;
}

static void busy(struct smtps_session *s)
{
	smtps_tx_reset(s);
	m_no_credit.value++;
	smtps_session_refuse(s, 451, "4.3.2", "The queue is busy, try again later");
}

static void mail_filtered(struct smtps_session *s, const struct smtps_answer *a)
{
	if (smtps_filter_refused(s, a)) {
		smtps_tx_reset(s);
		return;
	}
	if (a->action == META1_PM_DISCARD)
		smtps_tx_discard(s->tx);
	smtps_session_reply(s, 250, "2.1.0", "Sender ok");
}

/* s->tx has its credit. */
static void begin(struct smtps_session *s)
{
	if (s->report != NULL)
		str_copy(s->tx->id, sizeof(s->tx->id), s->report);
	else if (!smtps_new_id(s->srv, s->tx->id)) {
		smtps_tx_reset(s);
		smtps_session_refuse(
		    s, 452, "4.3.1", "The queue takes no message now, try again later");
		return;
	}
	s->ntx++;
	s->tiny = 0;
	s->dropped = 0;
	s->state = ST_MAIL;
	smtps_filter_ask(s, META1_PM_MAIL, s->tx->from, mail_filtered);
}

/* Nothing speaks against the sender: a credit, now or when there is room. */
static void open_tx(struct smtps_session *s)
{
	if (s->report != NULL || smtps_intake_take(s->srv->intake, &s->tx->epoch))
		begin(s);
	else if (!smtps_intake_wait(s->srv->intake, s))
		busy(s);
}

void smtps_tx_waited(struct smtps_session *s, bool credit)
{
	if (credit)
		begin(s);
	else
		busy(s);
	smtps_session_run(s);
}

/* What smar's verdict says besides yes or no. */
static void learn_name(struct smtps_session *s, const struct smtps_verdict *v)
{
	if (v->name.len == 0)
		return;
	free(s->name);
	s->name = smtps_verbs_name((const char *)v->name.data, v->name.len);
}

static void learn_spf(struct smtps_tx *tx, const struct smtps_verdict *v)
{
	if (v->spf == 0)
		return;
	tx->spf = v->spf;
	tx->spf_why = pool_strn(&tx->pool, v->spf_why.data, v->spf_why.len);
	if (tx->spf_why == NULL)
		tx->spf_why = "";
}

static bool taken(const struct smtps_verdict *v)
{
	return v->action == ACT_ACCEPT || v->action == ACT_DISCARD;
}

static void log_refusal(
    struct smtps_session *s, const char *what, const struct smtps_verdict *v, struct meta1_buf rcpt)
{
	const struct smtps_tx *tx = s->tx;

	(v->action == ACT_REJECT ? &m_policy : &m_policy_temp)->value++;
	log_event(LOG_L_INFO, what,
	    SMTPS_WHO " reply=%d dsn=%s from=<%.*s> rcpt=<%.*s> rule=%.*s text=%s", SMTPS_WHO_OF(s),
	    v->smtp, v->dsn, (int)tx->from.len, (const char *)tx->from.data, (int)rcpt.len,
	    (const char *)rcpt.data, (int)v->rule.len, (const char *)v->rule.data, v->text);
}

static void mail_judged(struct smtps_session *s, const struct smtps_verdict *v)
{
	if (v == NULL) {
		smtps_tx_free(&s->tx);
		m_no_smar.value++;
		smtps_session_refuse(
		    s, 451, "4.3.0", "Senders cannot be checked now, try again later");
		return;
	}
	learn_name(s, v);
	learn_spf(s->tx, v);
	if (taken(v)) {
		s->tx->grants = v->grants;
		s->tx->discard = v->action == ACT_DISCARD;
		open_tx(s);
		return;
	}
	log_refusal(s, "smtps.mail_refused", v, buf_str(""));
	smtps_tx_free(&s->tx);
	smtps_policy_said(s, v);
}

void smtps_tx_mail(struct smtps_session *s, const struct smtps_line *l)
{
	const struct smtps_limits *lim = s->lim;
	struct meta1_err err = {""};
	struct smtps_tx *tx;
	int code;

	if (lim->transactions > 0 && s->ntx >= lim->transactions) {
		smtps_session_refuse(
		    s, 421, "4.7.0", "Enough messages in this session, connect again");
		smtps_session_end(s);
		return;
	}
	if (short_of_memory(s) || !smtps_auth_take_mail(s))
		return;
	tx = new_tx(s);
	code = parse_mail(s, tx, l, &err);
	if (code != 0) {
		smtps_tx_free(&tx);
		refuse(s, code, &err);
		return;
	}
	s->tx = tx;
	tx->checked = smtps_policy_mail(s);
	if (tx->checked == 0)
		open_tx(s);
	else
		smtps_policy_ask(s, AWAIT_MAIL, tx->checked, buf_str(""), mail_judged);
}

/* ---- RCPT ---- */

void smtps_tx_invalid(struct smtps_session *s)
{
	const struct smtps_limits *lim = s->lim;

	if (lim->invalid_addresses <= 0 || ++s->invalid < lim->invalid_addresses) {
		smtps_tarpit(s);
		return;
	}
	log_event(LOG_L_INFO, "smtps.invalid_addresses", SMTPS_WHO " reply=421 dsn=4.7.0 count=%u",
	    SMTPS_WHO_OF(s), s->invalid);
	smtps_session_reply(s, 421, "4.7.0", "Too many addresses that do not exist, closing");
	smtps_session_end(s);
}

static bool add(struct smtps_tx *tx)
{
	struct smtps_rcpt *r = pool_try(&tx->pool, sizeof(*r));
	char *copy = pool_strn(&tx->pool, tx->asking.data, tx->asking.len);

	if (r == NULL || copy == NULL)
		return false;
	r->addr = r->told = buf_of(copy, tx->asking.len);
	r->notify = tx->ask_notify;
	if (tx->ask_orcpt.len > 0) {
		copy = pool_strn(&tx->pool, tx->ask_orcpt.data, tx->ask_orcpt.len);
		if (copy == NULL)
			return false;
		r->orcpt = buf_of(copy, tx->ask_orcpt.len);
	}
	tx->dsn |= r->notify != 0 || r->orcpt.len > 0;
	STAILQ_INSERT_TAIL(&tx->rcpts, r, next);
	tx->nrcpt++;
	return true;
}

static void rcpt_taken(struct smtps_session *s, const struct smtps_verdict *v)
{
	s->state = ST_RCPT;
	s->nrcpt++;
	s->tx->ntaken++;
	smtps_policy_said(s, v);
}

/* What smar took a filter may refuse: then nothing of it is left. */
static void rcpt_filtered(struct smtps_session *s, const struct smtps_answer *a)
{
	struct smtps_tx *tx = s->tx;

	if (!smtps_filter_refused(s, a)) {
		if (a->action == META1_PM_DISCARD)
			smtps_tx_discard(tx);
		rcpt_taken(s, smtps_filter_kept(s));
		return;
	}
	if (tx->last == NULL) {
		STAILQ_INIT(&tx->rcpts);
	} else {
		STAILQ_NEXT(tx->last, next) = NULL;
		tx->rcpts.stqh_last = &STAILQ_NEXT(tx->last, next);
	}
	tx->nrcpt = tx->last_nrcpt;
	tx->nowner = tx->last_nowner;
	if (a->smtp >= 500 && s->state != ST_CLOSE)
		smtps_tx_invalid(s);
}

static void refused_told(struct smtps_session *s, const struct smtps_answer *a)
{
	(void)a;
	smtps_policy_said(s, smtps_filter_kept(s));
}

static void refuse_rcpt(struct smtps_session *s, const struct smtps_verdict *v)
{
	log_refusal(s, "smtps.rcpt_refused", v, s->tx->asking);
	if (!smtps_filter_wants(s, META1_PM_REFUSED)) {
		smtps_policy_said(s, v);
		return;
	}
	smtps_filter_keep(s, v);
	smtps_filter_ask(s, META1_PM_REFUSED, s->tx->asking, refused_told);
}

static struct smtps_rcpt *last_of(struct smtps_tx *tx)
{
	char *next = (char *)tx->rcpts.stqh_last;

	return STAILQ_EMPTY(&tx->rcpts)
		   ? NULL
		   : (struct smtps_rcpt *)(void *)(next - offsetof(struct smtps_rcpt, next));
}

static void apply(struct smtps_session *s, const struct smtps_verdict *v)
{
	struct smtps_tx *tx = s->tx;

	learn_name(s, v);
	learn_spf(tx, v);
	if (!taken(v)) {
		refuse_rcpt(s, v);
		return;
	}
	tx->last = last_of(tx);
	tx->last_nrcpt = tx->nrcpt;
	tx->last_nowner = tx->nowner;
	if (v->action == ACT_DISCARD) {
		tx->ndiscard++;
		rcpt_taken(s, v);
	} else if (!(v->more != NULL ? smtps_expand_add(tx, v->more) : add(tx))) {
		m_too_many.value++;
		smtps_session_refuse(
		    s, 452, "4.5.3", "Too many recipients; send the mail to the rest again");
	} else if (smtps_filter_wants(s, META1_PM_RCPT)) {
		smtps_filter_keep(s, v);
		smtps_filter_ask(s, META1_PM_RCPT, tx->asking, rcpt_filtered);
	} else {
		rcpt_taken(s, v);
	}
}

static void rcpt_judged(struct smtps_session *s, const struct smtps_verdict *v)
{
	if (v != NULL) {
		apply(s, v);
		return;
	}
	m_no_smar.value++;
	smtps_session_refuse(s, 451, "4.3.0", "Recipients cannot be checked now, try again later");
}

static void ask(struct smtps_session *s)
{
	static const struct smtps_verdict thrown_away = {
	    .action = ACT_DISCARD, .smtp = 250, .dsn = "2.1.5", .text = "recipient ok"};

	if (s->tx->discard)
		apply(s, &thrown_away);
	else
		smtps_policy_ask(s, AWAIT_RCPT, smtps_policy_rcpt(s), s->tx->asking, rcpt_judged);
}

static bool too_many(struct smtps_session *s)
{
	const struct smtps_limits *lim = s->lim;
	const struct smtps_tx *tx = s->tx;

	if (tx->ntaken < smtps_tx_rcpts_max(lim) && tx->nrcpt < SMTPS_RCPTS_MAX &&
	    (lim->rcpts_per_session <= 0 || s->nrcpt < lim->rcpts_per_session))
		return false;
	m_too_many.value++;
	smtps_session_refuse(
	    s, 452, "4.5.3", "Too many recipients; send the mail to the rest again");
	return true;
}

void smtps_tx_rcpt(struct smtps_session *s, const struct smtps_line *l)
{
	struct smtps_tx *tx = s->tx;
	size_t len, used;
	const char *text = after_keyword(l, "TO:", &len);
	struct meta1_err err = {""};
	struct addr a;
	int code;

	tx->asked++; /* whatever becomes of it: DATA then says 554, not 503 */
	if (text == NULL) {
		smtps_session_bad(s, 501, "5.5.4", "RCPT wants TO:<address>");
		return;
	}
	if (addr_path(text, len, ADDR_POSTMASTER, &a, &used, &err) != 0) {
		m_syntax.value++;
		refuse(s, 501, &err);
		if (s->state != ST_CLOSE)
			smtps_tx_invalid(s);
		return;
	}
	if (a.utf8 && !(tx->flags & META1_M_SMTPUTF8)) { /* RFC 6531 3.5 */
		smtps_session_bad(
		    s, 553, "5.6.7", "Recipient address is not ASCII, and MAIL had no SMTPUTF8");
		return;
	}
	tx->ask_notify = 0;
	tx->ask_orcpt.len = 0;
	smtps_filter_params(s, text + used, len - used);
	code = smtps_params(s, tx, true, text + used, len - used, &err);
	if (code != 0) {
		refuse(s, code, &err);
		return;
	}
	if (too_many(s) || short_of_memory(s) || !smtps_auth_take_rcpt(s))
		return;
	memcpy(tx->ask, a.whole.data, a.whole.len);
	tx->asking = buf_of(tx->ask, a.whole.len);
	ask(s);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verbs.c -- the commands of SMTP as one table: name, states, flags, bound, action,
 * help. EHLO and HELP are written from it and from the table of extensions.
 *
 * Comes from session.c (a whole line); goes to the action: here for commands that
 * need no one else, tx.c for MAIL and RCPT, body.c for DATA, bdat.c for BDAT.
 * Owns nothing. On failure: a 5xx that counts against max_bad_commands.
 */
#include "lib/netlist.h"
#include "smtps/smtps.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define HELO_MAX  255
#define BASE	  512 /* RFC 5321 4.5.3.1.4, with CRLF */
/* SIZE adds 26 to MAIL, BODY 17, SMTPUTF8 10 (RFC 1870, 6152, 6531), AUTH 500 (RFC 4954), PRDR 5,
 * RET and ENVID 116 (RFC 3461); NOTIFY and ORCPT add 536 to RCPT; our paths may be 66 longer than
 * 256. Bounds are of bytes; XVERP adds 9 to MAIL, REQUIRETLS 11 (RFC 8689). */
#define MAIL_LINE (BASE + 11 + 26 + 17 + 10 + 500 + 5 + 9 + 116 + 66)
#define RCPT_LINE (BASE + 536 + 66)
#define SAID_MAX  200 /* bytes of a command in the log */
#define ANYWHERE  (IN(OPEN) | GREETED)
#define GREETED	  (IN(READY) | IN(MAIL) | IN(RCPT) | IN(CHUNKS))

/* ---- extensions ---- */

static void size_words(const struct smtps_limits *lim, char *out, size_t size)
{
	if (lim->message_size > 0)
		snprintf(out, size, " %lld", (long long)lim->message_size);
}

/* RFC 9422: a limit has at most six digits; one that has more is as good as none. */
static void limits_words(const struct smtps_limits *lim, char *out, size_t size)
{
	int n = snprintf(out, size, " RCPTMAX=%lld", (long long)smtps_tx_rcpts_max(lim));

	if (lim->transactions > 0 && lim->transactions <= 999999)
		snprintf(out + n, size - (size_t)n, " MAILMAX=%lld", (long long)lim->transactions);
}

static const struct smtps_ext extensions[] = {
    {.keyword = "PIPELINING"}, {.keyword = "SIZE", .words = size_words}, {.keyword = "CHUNKING"},
    {.keyword = "8BITMIME", .flag = SMTPS_F_8BITMIME}, {.keyword = "DSN"},
    {.keyword = "SMTPUTF8", .flag = SMTPS_F_SMTPUTF8}, {.keyword = "PRDR", .flag = SMTPS_F_PRDR},
    {.keyword = "LIMITS", .words = limits_words},
    {.keyword = "REQUIRETLS", .tls = true}, /* RFC 8689 */
    {.keyword = "ENHANCEDSTATUSCODES"},	    /* the last line of EHLO: always offered */
};

const struct smtps_ext *smtps_verbs_extensions(size_t *n)
{
	*n = ARRAY_LEN(extensions);
	return extensions;
}

static bool offered(const struct smtps_session *s, const struct smtps_ext *e)
{
	return (e->flag == 0 || (s->lim->flags & e->flag) != 0) &&
	       (!e->tls || conn_tls_info(s->conn) != NULL);
}

bool smtps_verbs_offered(const struct smtps_session *s, const char *keyword)
{
	size_t i;

	if (strcmp(keyword, "XVERP") == 0) /* by who asks */
		return netlist_has(s->gear->lim.verp_clients, s->client);
	if (strcmp(keyword, "AUTH") == 0)
		return s->gear->auth != NULL;
	for (i = 0; i < ARRAY_LEN(extensions); i++)
		if (strcmp(extensions[i].keyword, keyword) == 0)
			return offered(s, &extensions[i]);
	return false;
}

/* ---- HELO and EHLO ---- */

static bool name_byte(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       strchr(".-_:[]", c) != NULL;
}

char *smtps_verbs_name(const char *p, size_t n)
{
	char *name = base_strndup(p, n), *c;

	for (c = name; *c != '\0'; c++)
		if (!name_byte((unsigned char)*c))
			*c = '?';
	return name;
}

/* Keeps the name cleaned: it goes into Received lines, logs and smar's questions. */
static bool hello(struct smtps_session *s, const struct smtps_line *l)
{
	if (s->helo != NULL && !smtps_session_nop(s))
		return false;
	if (l->len == 0 || l->len > HELO_MAX || memchr(l->args, ' ', l->len) != NULL) {
		smtps_session_bad(
		    s, 501, "5.5.4", "Say your host name, one word of at most 255 bytes");
		return false;
	}
	smtps_tx_reset(s);
	if (!s->helo_given) {
		free(s->helo);
		s->helo = smtps_verbs_name(l->args, l->len);
	}
	s->state = ST_READY;
	return true;
}

static const struct smtps_verb verbs[];
static size_t nverbs(void);

static void say_ehlo(struct smtps_session *s)
{
	const struct smtps_limits *lim = s->lim;
	char names[512];
	size_t i;

	conn_printf(s->conn, "250-%s\r\n", s->gear->hostname);
	for (i = 0; i < nverbs(); i++)
		if ((verbs[i].flags & VERB_EHLO) != 0)
			conn_printf(s->conn, "250-%s\r\n", verbs[i].name);
	if (s->xclient)
		smtps_xclient_offer(s);
	*names = '\0';
	if (!smtps_starttls_due(s))
		smtps_auth_names(s, names, sizeof(names));
	if (*names != '\0')
		conn_printf(s->conn, "250-AUTH %s\r\n", names);
	if (smtps_starttls_offered(s))
		conn_printf(s->conn, "250-STARTTLS\r\n");
	if (smtps_verbs_offered(s, "XVERP"))
		conn_printf(s->conn, "250-XVERP\r\n");
	for (i = 0; i < ARRAY_LEN(extensions); i++) {
		const struct smtps_ext *e = &extensions[i];
		char dash = i + 1 < ARRAY_LEN(extensions) ? '-' : ' ', words[80] = "";

		if (!offered(s, e))
			continue;
		if (e->words != NULL)
			e->words(lim, words, sizeof(words));
		conn_printf(s->conn, "250%c%s%s\r\n", dash, e->keyword, words);
	}
}

/* A name that a filter refuses was not said. */
static void hello_filtered(struct smtps_session *s, const struct smtps_answer *a)
{
	if (smtps_filter_refused(s, a)) {
		if (!s->helo_given) {
			free(s->helo);
			s->helo = NULL;
		}
		s->state = s->state == ST_READY ? ST_OPEN : s->state;
	} else if (s->esmtp) {
		smtps_auth_learn(s, say_ehlo);
	} else {
		smtps_session_reply(s, 250, NULL, "%s", s->gear->hostname);
	}
}

static void act_helo(struct smtps_session *s, const struct smtps_line *l)
{
	if (!hello(s, l))
		return;
	s->esmtp = false;
	smtps_filter_ask(s, META1_PM_HELO, buf_str(s->helo), hello_filtered);
}

static void act_ehlo(struct smtps_session *s, const struct smtps_line *l)
{
	if (!hello(s, l))
		return;
	s->esmtp = true;
	smtps_filter_ask(s, META1_PM_HELO, buf_str(s->helo), hello_filtered);
}

/* ---- the small ones ---- */

static bool may(const struct smtps_session *s, const struct smtps_verb *v)
{
	return (v->flags & VERB_TRUST) == 0 || s->xclient;
}

static bool there(const struct smtps_session *s, const struct smtps_verb *v)
{
	return v->act != NULL && ((v->flags & VERB_TLS) == 0 || s->gear->tls != NULL) &&
	       ((v->flags & VERB_AUTH) == 0 || s->gear->auth != NULL);
}

static void act_noop(struct smtps_session *s, const struct smtps_line *l)
{
	(void)l;
	smtps_session_reply(s, 250, "2.0.0", "OK");
}

static void act_rset(struct smtps_session *s, const struct smtps_line *l)
{
	(void)l;
	smtps_tx_reset(s);
	smtps_session_reply(s, 250, "2.0.0", "Reset");
}

static void act_quit(struct smtps_session *s, const struct smtps_line *l)
{
	(void)l;
	smtps_tx_reset(s);
	smtps_session_reply(s, 221, "2.0.0", "%s closing", s->gear->hostname);
	s->quit = true;
	smtps_session_end(s);
}

static void act_help(struct smtps_session *s, const struct smtps_line *l)
{
	struct meta1_buf topic = buf_of(l->args, l->len);
	size_t i;

	for (i = 0; i < nverbs(); i++) {
		const struct smtps_verb *v = &verbs[i];

		if (there(s, v) && may(s, v) && (l->len == 0 || buf_caseeq(topic, v->name)))
			conn_printf(s->conn, "214-2.0.0 %s: %s\r\n", v->name, v->help);
	}
	smtps_session_reply(s, 214, "2.0.0", "meta1 %s", PACKAGE_VERSION);
}

/* ---- the table, in the order of use ---- */

static const struct smtps_verb verbs[] = {
    {"RCPT", IN(MAIL) | IN(RCPT), VERB_SAID, RCPT_LINE, smtps_tx_rcpt,
	"TO:<address> [NOTIFY=NEVER|SUCCESS,FAILURE,DELAY] [ORCPT=type;xtext]"},
    {"MAIL", IN(READY), VERB_SAID | VERB_WANTS_TLS, MAIL_LINE, smtps_tx_mail,
	"FROM:<address> [SIZE=n] [BODY=7BIT|8BITMIME] [SMTPUTF8] [RET=FULL|HDRS] [ENVID=xtext]"},
    {"DATA", IN(MAIL) | IN(RCPT), VERB_NOARG, BASE, smtps_body_data,
	"the message follows, a line with one dot ends it"},
    /* in every state, for its octets follow in every state */
    {"BDAT", ANYWHERE, 0, BASE, smtps_bdat, "n [LAST], n octets of the message follow"},
    {"EHLO", ANYWHERE, VERB_SAID, BASE, act_ehlo, "your host name; answers with what is offered"},
    {"HELO", ANYWHERE, VERB_SAID, BASE, act_helo, "your host name"},
    {"RSET", ANYWHERE, VERB_NOARG | VERB_NOP, BASE, act_rset, "forget the transaction"},
    {"NOOP", ANYWHERE, VERB_NOP, BASE, act_noop, "nothing"},
    {"QUIT", ANYWHERE, VERB_NOARG, BASE, act_quit, "end of the session"},
    {"VRFY", ANYWHERE, VERB_NOP | VERB_SAID | VERB_WANTS_TLS, BASE, smtps_vrfy,
	"address [SMTPUTF8]"},
    {"HELP", ANYWHERE, VERB_NOP | VERB_EHLO, BASE, act_help, "[command]"},
    {"XCLIENT", IN(OPEN) | IN(READY), VERB_NOP | VERB_TRUST, SMTPS_LINE_MAX, smtps_xclient,
	"ATTRIBUTE=value ..., for whom you speak"},
    {"STARTTLS", IN(OPEN) | IN(READY), VERB_NOARG | VERB_TLS, BASE, smtps_starttls,
	"all that follows is encrypted"},
    {"AUTH", IN(READY), VERB_AUTH | VERB_WANTS_TLS, SMTPS_AUTH_LINE_MAX, smtps_auth,
	"MECHANISM [response], who you are"},
    {"EXPN", 0, 0, BASE, NULL, NULL},
    {"ETRN", 0, 0, BASE, NULL, NULL},
    {"TURN", 0, 0, BASE, NULL, NULL},
    {"SEND", 0, 0, BASE, NULL, NULL},
    {"SOML", 0, 0, BASE, NULL, NULL},
    {"SAML", 0, 0, BASE, NULL, NULL},
};

static size_t nverbs(void)
{
	return ARRAY_LEN(verbs);
}

const struct smtps_verb *smtps_verbs_table(size_t *n)
{
	*n = ARRAY_LEN(verbs);
	return verbs;
}

static const struct smtps_verb *find(struct meta1_buf word)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(verbs); i++)
		if (buf_caseeq(word, verbs[i].name))
			return &verbs[i];
	return NULL;
}

static void unknown_filtered(struct smtps_session *s, const struct smtps_answer *a)
{
	if (!smtps_filter_refused(s, a))
		smtps_session_bad(
		    s, 500, "5.5.1", "Command is not known; HELP lists those that are");
	else if (s->state != ST_CLOSE)
		smtps_session_count_bad(s);
}

static void out_of_order(struct smtps_session *s, const struct smtps_verb *v)
{
	const char *text = "Not now: a transaction is under way, RSET would end it";

	if (v->states & GREETED && s->state == ST_OPEN)
		text = "Say HELO or EHLO first";
	else if (s->state == ST_READY)
		text = "MAIL comes first";
	smtps_session_bad(s, 503, "5.5.1", text);
}

static void act(struct smtps_session *s, const struct smtps_verb *v, const struct smtps_line *l,
    struct meta1_buf line)
{
	if ((v->flags & VERB_SAID) != 0)
		s->said = buf_of(line.data, line.len < SAID_MAX ? line.len : SAID_MAX);
	v->act(s, l);
	if ((v->flags & VERB_AUTH) != 0) /* a password, perhaps */
		explicit_bzero((char *)(uintptr_t)l->args, l->len);
	s->said.len = 0;
}

void smtps_verbs_line(struct smtps_session *s, const char *line, size_t len)
{
	const struct smtps_verb *v;
	struct smtps_line l;
	size_t word = 0, from;

	while (word < len && line[word] != ' ')
		word++;
	v = find(buf_of(line, word));
	if (smtps_bdat_like(line, len) && (v == NULL || len + 2 > v->max)) {
		smtps_bdat_lost(
		    s, 500, "5.5.2", "BDAT cannot be read, it wants a number of octets");
		return;
	}
	if (len + 2 > (v != NULL ? v->max : BASE)) {
		smtps_session_bad(s, 500, "5.5.2", "Line is too long");
		return;
	}
	for (from = word; from < len && line[from] == ' ';)
		from++;
	while (len > from && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	l = (struct smtps_line){line + from, len - from};
	if (v == NULL)
		smtps_filter_ask(s, META1_PM_UNKNOWN, buf_of(line, len), unknown_filtered);
	else if (!there(s, v))
		smtps_session_bad(s, 502, "5.5.1", "Command is not offered here");
	else if (!may(s, v))
		smtps_session_bad(s, 550, "5.7.0", "You are not trusted to say so");
	else if ((v->states & 1u << s->state) == 0)
		out_of_order(s, v);
	else if ((v->flags & VERB_WANTS_TLS) != 0 && smtps_starttls_due(s))
		smtps_session_bad(s, 530, "5.7.0", "TLS comes first, say STARTTLS");
	else if ((v->flags & VERB_NOARG) != 0 && l.len > 0)
		smtps_session_bad(s, 501, "5.5.4", "Command takes no argument");
	else if ((v->flags & VERB_NOP) == 0 || smtps_session_nop(s))
		act(s, v, &l, buf_of(line, len));
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transport.c -- the suite for transports: dialogues with a next hop that plays a script.
 *
 * Comes from the kit's main; goes to the module through the host, as smtpc does. The
 * hop (peer.c) is a unix socket in this loop. A case is a row: what the hop says, the
 * mail, and what the module must make of it. The clock stands still, so that time-outs
 * of minutes take no time.
 * A module whose first command is neither EHLO nor LHLO speaks something else: only its
 * failures to connect are tried.
 */
#include "peer.h"

#include <meta1/transport.h>
#include <stdio.h>
#include <stdlib.h>

#define HOP_NAME "hop.example"

static char big[1 << 20]; /* more than a socket takes */

enum { SMTP = 1, LMTP = 2, BOTH = 3 };

struct suite {
	struct kit *k;
	struct kit_peer peer;
	struct mod_inst *inst;
	const struct meta1_transport_ops *ops;
	int speaks; /* SMTP or LMTP, 0: something else */
	void *sess;
	struct meta1_req *req; /* of the last send() */
	char results[1024];    /* of recipients, the first of them: "1=P550/5.1.1 " */
	unsigned nresults;
};

/* A question and what came of it: "O250", "T421 host", .hop = "P550/5.1.1"; "?" when not yet. */
struct asked {
	struct kit_answer a;
	char text[128];
};

struct row {
	const char *name;
	int who;
	const char *open, *hop; /* the reply to open(), the script up to there (NULL: as usual) */
	const char *script;	/* the hop during the mail */
	uint32_t nrcpt, flags;
	uint64_t bytes;
	const char *content;
	const char *results, *send; /* of recipients; of send() (NULL: no mail, *: any) */
	int usable;		    /* afterwards */
	const char *from, *to;	    /* sender and first recipient; NULL: as usual */
	const char *path;	    /* the sender as a Return-Path has it; NULL: from */
	int64_t clock;		    /* ms of silence after which the answer comes; 0: at once */
};

/* ---- asking ---- */

static struct suite *playing; /* the argument of results is the kit's */

static const char *scope_name(unsigned scope)
{
	return scope == META1_ABOUT_HOST ? " host" : scope == META1_ABOUT_SESSION ? " session" : "";
}

static char letter(enum meta1_status st)
{
	return st == META1_OK ? 'O' : st == META1_TEMPFAIL ? 'T' : st == META1_PERMFAIL ? 'P' : 'X';
}

static size_t outcome(char *out, size_t size, enum meta1_status st, const struct meta1_reply *r)
{
	int n = snprintf(out, size, "%c", letter(st));

	if (r->smtp)
		n += snprintf(out + n, size - (size_t)n, "%u", r->smtp);
	if (r->dsn[0] && r->smtp)
		n += snprintf(out + n, size - (size_t)n, "/%s", r->dsn);
	n += snprintf(out + n, size - (size_t)n, "%s", scope_name(st == META1_OK ? 0 : r->scope));
	return (size_t)n;
}

static void on_rcpt(void *arg, uint32_t i, enum meta1_status st, const struct meta1_reply *r)
{
	struct suite *s = playing;
	size_t n = strlen(s->results);

	(void)arg;
	s->nresults++;

	if (n > sizeof(s->results) - 64)
		return;
	n += (size_t)snprintf(s->results + n, sizeof(s->results) - n, "%u=", i);
	n += outcome(s->results + n, sizeof(s->results) - n, st, r);
	snprintf(s->results + n, sizeof(s->results) - n, " ");
}

/* Until the hop has come to the "..." of its script, and the module to its wait. */
static void silence(struct suite *s)
{
	for (int i = 0; i < 10000 && !s->peer.silent && !s->peer.error[0]; i++)
		kit_turn(s->k);
	for (int i = 0; i < 20; i++)
		kit_turn(s->k);
}

/* Waits; after clock ms of silence when the row says so, and not much earlier. */
static const char *answer(struct suite *s, struct asked *q, int64_t clock)
{
	snprintf(q->text, sizeof(q->text), "?");
	if (clock) {
		silence(s);
		kit_clock(s->k, 2000);
		clock -= 2000;
		for (; clock > 60000; clock -= 60000)
			kit_clock(s->k, 60000);
		kit_clock(s->k, clock - 1000);
		if (q->a.told)
			return "answered before its time-out";
		kit_clock(s->k, 6000);
	}
	if (kit_wait(s->k, &q->a))
		outcome(q->text, sizeof(q->text), q->a.st, &q->a.reply);
	kit_answer_free(&q->a);
	return q->text;
}

static const char *do_open(struct suite *s, struct asked *q, const char *path, int64_t clock)
{
	struct meta1_hop hop = {.size = sizeof(hop), .host = HOP_NAME, .addr = path};
	struct meta1_req *req = kit_req(s->k, s->inst, &q->a);

	s->sess = NULL;
	s->ops->open(mod_data(s->inst), req, &hop, &s->sess);
	return answer(s, q, clock);
}

static const char *content_of(const struct row *row)
{
	return row->content ? row->content : "Subject: t\r\n\r\nx\r\n";
}

static const char *from_of(const struct row *row)
{
	return row->from ? row->from : "from@example.org";
}

static void begin_send(struct suite *s, struct asked *q, const struct row *row)
{
	static const char *const names[] = {
	    "a@example.net", "b@example.net", "c@example.net", "d@example.net", "e@example.net"};
	static struct meta1_rcpt rcpt[ARRAY_LEN(names)];
	static struct meta1_extent extent[2];
	static struct meta1_mail m;
	const char *content = content_of(row);
	size_t half = strlen(content) / 2;

	extent[0] = (struct meta1_extent){.mem = content, .len = half, .fd = -1};
	extent[1] =
	    (struct meta1_extent){.mem = content + half, .len = strlen(content) - half, .fd = -1};
	m = (struct meta1_mail){.size = sizeof(m),
	    .nrcpt = row->nrcpt ? row->nrcpt : 1,
	    .sizeof_rcpt = sizeof(rcpt[0]),
	    .flags = row->flags,
	    .id = "kit",
	    .from = buf_str(from_of(row)),
	    .rcpt = rcpt,
	    .extent = extent,
	    .nextent = 2,
	    .bytes = row->bytes ? row->bytes : strlen(content)};
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		rcpt[i].addr = buf_str(i == 0 && row->to ? row->to : names[i]);
	s->results[0] = '\0';
	s->req = kit_req(s->k, s->inst, &q->a);
	mod_req_rcpts(s->req, on_rcpt, m.nrcpt);
	s->ops->send(s->sess, s->req, &m);
}

static const char *do_send(struct suite *s, struct asked *q, const struct row *row)
{
	begin_send(s, q, row);
	return answer(s, q, row->clock);
}

static void shut(struct suite *s)
{
	if (s->sess)
		s->ops->shut(&s->sess);
	for (int i = 0; i < 5; i++)
		kit_turn(s->k);
}

/* ---- the rows ---- */

/* %: EHLO or LHLO. */
#define GREETED "> 220 hop\n< %\n> 250 hop\n"
#define OFFERS                                                                                     \
	"> 220 hop\n< %\n> 250-hop\n> 250-PIPELINING\n> 250-8BITMIME\n"                            \
	"> 250-ENHANCEDSTATUSCODES\n> 250 SIZE 1000\n"
#define WIDE	 "> 220 hop\n< %\n> 250-hop\n> 250-PIPELINING\n> 250-8BITMIME\n> 250 SMTPUTF8\n"
#define AE	 "\303\244" /* "ä" */
#define MAIL_OK	 "< MAIL FROM:<from@example.org>\n> 250 2.1.0 ok\n"
#define MAIL_ANY "< MAIL\n> 250 ok\n"
#define RCPT_OK	 "< RCPT TO:<a@example.net>\n> 250 2.1.5 ok\n"
#define DATA_OK	 "< DATA\n> 354 go on\n.\n"
#define PIPED	 "& DATA\n"

static const struct row rows[] = {
    /* one recipient, nothing offered */
    {"a good mail", BOTH, "O250", NULL, MAIL_OK RCPT_OK DATA_OK "> 250 2.0.0 queued\n",
	.send = "O250/2.0.0", .usable = 1},
    {"an empty content", BOTH, "O250", NULL, MAIL_OK RCPT_OK DATA_OK "> 250 2.0.0 queued\n",
	.content = "", .send = "O250/2.0.0", .usable = 1},
    {"a code without text", BOTH, "O250", NULL, MAIL_OK RCPT_OK DATA_OK "> 250\n", .send = "O250",
	.usable = 1},
    {"split packets", BOTH, "O250",
	"~ 220-hop\n~ 220 hop\n< %\n~ 250-hop\n~ 250-SIZE 5000\n~ 250 HELP\n",
	"< MAIL FROM:<from@example.org> SIZE=17\n~ 250-yes\n~ 250 2.1.0 ok\n< RCPT\n~ 250 ok\n< "
	"DATA\n~ 354 "
	"go on\n.\n~ 250-2.0.0 queued\n~ 250 as 1\n",
	.send = "O250/2.0.0", .usable = 1},
    {"an enhanced code on the last line only", BOTH, "O250", NULL,
	MAIL_OK "< RCPT\n> 550-no such\n> 550-mailbox\n> 550 5.1.1 here\n",
	.results = "0=P550/5.1.1 ", .send = "*", .usable = 1},

    /* refusals at each verb */
    {"greeting 421", BOTH, "T421 host", .hop = "> 421 busy\n"},
    {"greeting 450", BOTH, "T450 host", .hop = "> 450 later\n"},
    {"greeting 554 is temporary", BOTH, "T554 host", .hop = "> 554 no\n"},
    {"hello 421", BOTH, "T421/4.3.2 host", .hop = "> 220 hop\n< %\n> 421 4.3.2 no\n"},
    {"hello 450", BOTH, "T450 host", .hop = "> 220 hop\n< %\n> 450 later\n"},
    {"EHLO 500, HELO", SMTP, "O250", "> 220 hop\n< EHLO\n> 500 what\n< HELO\n> 250 hop\n",
	MAIL_OK RCPT_OK DATA_OK "> 250 ok\n", .send = "O250", .usable = 1},
    {"EHLO 502, HELO 550", SMTP, "T550 host",
	.hop = "> 220 hop\n< EHLO\n> 502 what\n< HELO\n> 550 no\n"},
    {"LHLO 500 has no fallback", LMTP, "T500 host", .hop = "> 220 hop\n< LHLO\n> 500 what\n"},
    {"MAIL 450", BOTH, "O250", NULL, "< MAIL\n> 450 4.1.8 no\n", .send = "T450/4.1.8", .usable = 1},
    {"MAIL 550", BOTH, "O250", NULL, "< MAIL\n> 550 5.1.8 no\n", .send = "P550/5.1.8", .usable = 1},
    {"RCPT 450", BOTH, "O250", NULL, MAIL_OK "< RCPT\n> 450 4.2.0 grey\n",
	.results = "0=T450/4.2.0 ", .send = "*", .usable = 1},
    {"RCPT 552 is temporary", BOTH, "O250", NULL, MAIL_OK "< RCPT\n> 552 too many\n",
	.results = "0=T552/4.5.3 ", .send = "*", .usable = 1},
    {"DATA 451", BOTH, "O250", NULL, MAIL_OK RCPT_OK "< DATA\n> 451 no\n", .send = "T451",
	.usable = 1},
    {"DATA 554", BOTH, "O250", NULL, MAIL_OK RCPT_OK "< DATA\n> 554 no\n", .send = "P554",
	.usable = 1},
    {"DATA 250 is no answer", BOTH, "O250", NULL, MAIL_OK RCPT_OK "< DATA\n> 250 ok\n",
	.send = "T host"},
    {"dot 452", BOTH, "O250", NULL, MAIL_OK RCPT_OK DATA_OK "> 452 4.3.1 full\n",
	.send = "T452/4.3.1", .usable = 1},
    {"dot 550", BOTH, "O250", NULL, MAIL_OK RCPT_OK DATA_OK "> 550 5.7.1 spam\n",
	.send = "P550/5.7.1", .usable = 1},
    {"dot 552 is permanent", BOTH, "O250", NULL, MAIL_OK RCPT_OK DATA_OK "> 552 5.2.2 full\n",
	.send = "P552/5.2.2", .usable = 1},
    {"MAIL 421", BOTH, "O250", NULL, "< MAIL\n> 421 bye\n-\n", .send = "T421 host"},
    {"RCPT 421", BOTH, "O250", NULL, MAIL_OK "< RCPT\n> 421 bye\n-\n", .send = "T421 host"},
    {"DATA 421", BOTH, "O250", NULL, MAIL_OK RCPT_OK "< DATA\n> 421 bye\n-\n", .send = "T421 host"},
    {"dot 421", BOTH, "O250", NULL, MAIL_OK RCPT_OK DATA_OK "> 421 bye\n", .send = "T421"},

    /* no replies at all */
    {"not a greeting", BOTH, "T host", .hop = "> HTTP/1.1 400 Bad Request\n"},
    {"two codes in a reply", BOTH, "T host", .hop = "> 220-hop\n> 250 hop\n"},
    {"answers before the command", BOTH, "O250", NULL, "< MAIL\n> 250 ok\n> 250 ok\n> 354 go on\n",
	.send = "T host"},
    {"an answer to nothing after EHLO", BOTH, "O250", GREETED "> 250 ok\n", "", .send = "T host"},

    /* hanging up at each step */
    {"closed before the greeting", BOTH, "T host", .hop = "-\n"},
    {"closed in a reply", BOTH, "T host", .hop = "> 220-hop\n-\n"},
    {"closed at hello", BOTH, "T host", .hop = "> 220 hop\n< %\n-\n"},
    {"closed at MAIL", BOTH, "O250", NULL, "< MAIL\n-\n", .send = "T host"},
    {"closed at RCPT", BOTH, "O250", NULL, MAIL_OK "< RCPT\n-\n", .send = "T host"},
    {"closed at DATA", BOTH, "O250", NULL, MAIL_OK RCPT_OK "< DATA\n-\n", .send = "T host"},
    {"closed after the dot", BOTH, "O250", NULL, MAIL_OK RCPT_OK DATA_OK "-\n", .send = "T"},
    {"half a reply after the dot", BOTH, "O250", NULL, MAIL_OK RCPT_OK DATA_OK "# 250 2.0.0 o\n-\n",
	.send = "T"},

    /* silence: RFC 5321 4.5.3.2 */
    {"silent before the greeting", BOTH, "T host", .hop = "...\n", .clock = 300000},
    {"silent at hello", BOTH, "T host", .hop = "> 220 hop\n< %\n...\n", .clock = 300000},
    {"silent at MAIL", BOTH, "O250", NULL, "< MAIL\n...\n", .send = "T host", .clock = 300000},
    {"silent at RCPT", BOTH, "O250", NULL, MAIL_OK "< RCPT\n...\n", .send = "T host",
	.clock = 300000},
    {"silent at DATA", BOTH, "O250", NULL, MAIL_OK RCPT_OK "< DATA\n...\n", .send = "T host",
	.clock = 120000},
    {"silent in the content", BOTH, "O250", NULL, MAIL_OK RCPT_OK "< DATA\n> 354 go on\n...\n",
	.content = big, .send = "T host", .clock = 180000},
    {"silent after the dot", BOTH, "O250", NULL, MAIL_OK RCPT_OK DATA_OK "...\n", .send = "T",
	.clock = 600000},
    {"refused in the content", BOTH, "O250", NULL,
	MAIL_OK RCPT_OK "< DATA\n> 354 go on\n> 552 5.3.4 too large\n...\n", .content = big,
	.send = "P552/5.3.4"},

    /* PIPELINING, SIZE, 8BITMIME */
    {"pipelined", BOTH, "O250", OFFERS,
	PIPED "< MAIL FROM:<from@example.org> SIZE=17\n> 250 ok\n" RCPT_OK DATA_OK
	      "> 250 2.0.0 ok\n",
	.send = "O250/2.0.0", .usable = 1},
    {"pipelined, MAIL refused", BOTH, "O250", OFFERS,
	PIPED "< MAIL\n> 550 5.1.8 no\n< RCPT\n> 503 no\n< DATA\n> 503 no\n", .send = "P550/5.1.8",
	.usable = 1},
    {"pipelined, nobody left, DATA refused", BOTH, "O250", OFFERS,
	PIPED MAIL_ANY "< RCPT\n> 550 5.1.1 no\n< DATA\n> 503 no\n", .results = "0=P550/5.1.1 ",
	.send = "*", .usable = 1},
    {"pipelined, nobody left, 354: an empty dot", SMTP, "O250", OFFERS,
	PIPED MAIL_ANY "< RCPT\n> 550 5.1.1 no\n< DATA\n> 354 go on\n< .\n> 554 nobody\n",
	.results = "0=P550/5.1.1 ", .send = "*", .usable = 1},
    {"pipelined, nobody left, 354 by LMTP", LMTP, "O250", OFFERS,
	PIPED MAIL_ANY "< RCPT\n> 550 5.1.1 no\n< DATA\n> 354 go on\n", .results = "0=P550/5.1.1 ",
	.send = "*"},
    {"two of five refused", SMTP, "O250", OFFERS,
	PIPED MAIL_ANY
	"< RCPT TO:<a@\n> 250 ok\n< RCPT TO:<b@\n> 550 5.1.1 no\n< RCPT TO:<c@\n> 250 "
	"ok\n< RCPT TO:<d@\n> 450 later\n< RCPT TO:<e@\n> 250 ok\n" DATA_OK "> 250 2.0.0 ok\n",
	.nrcpt = 5, .results = "1=P550/5.1.1 3=T450 ", .send = "O250/2.0.0", .usable = 1},
    {"two of five refused, one by one", SMTP, "O250", NULL,
	MAIL_OK "< RCPT TO:<a@\n> 250 ok\n< RCPT TO:<b@\n> 550 5.1.1 no\n< RCPT TO:<c@\n> 250 "
		"ok\n< RCPT TO:<d@\n> 450 later\n< RCPT TO:<e@\n> 250 ok\n" DATA_OK
		"> 250 2.0.0 ok\n",
	.nrcpt = 5, .results = "1=P550/5.1.1 3=T450 ", .send = "O250/2.0.0", .usable = 1},
    {"lost after a refusal: the refusal stands", BOTH, "O250", NULL,
	MAIL_OK "< RCPT\n> 550 5.1.1 no\n< RCPT\n-\n", .nrcpt = 2, .results = "0=P550/5.1.1 ",
	.send = "T host"},
    {"above the hop's SIZE, nothing is said", BOTH, "O250", OFFERS, "", .bytes = 1001,
	.send = "P552/5.3.4", .usable = 1},
    {"as large as the hop's SIZE", BOTH, "O250", OFFERS,
	PIPED "< MAIL FROM:<from@example.org> SIZE=1000\n> 250 ok\n" RCPT_OK DATA_OK "> 250 ok\n",
	.bytes = 1000, .send = "O250", .usable = 1},
    {"8-bit to a hop with 8BITMIME", BOTH, "O250", OFFERS,
	PIPED "< MAIL FROM:<from@example.org> SIZE=17 BODY=8BITMIME\n> 250 ok\n" RCPT_OK DATA_OK
	      "> 250 ok\n",
	.flags = META1_M_8BIT | META1_M_BOUNCE_8BIT, .send = "O250", .usable = 1},
    {"8-bit to a hop without it, sent as it is", BOTH, "O250", NULL,
	MAIL_OK RCPT_OK DATA_OK "> 250 ok\n", .flags = META1_M_8BIT, .send = "O250", .usable = 1},
    {"8-bit to a hop without it, refused", BOTH, "O250", NULL, "",
	.flags = META1_M_8BIT | META1_M_BOUNCE_8BIT, .send = "P554/5.6.3", .usable = 1},

    /* SMTPUTF8, RFC 6531: said when the mail needs it */
    {"SMTPUTF8 for a local part", BOTH, "O250", WIDE,
	PIPED "< MAIL FROM:<from@example.org> SMTPUTF8\n> 250 ok\n< RCPT TO:<" AE "@b.example>\n"
	      "> 250 ok\n" DATA_OK "> 250 ok\n",
	.flags = META1_M_SMTPUTF8, .to = AE "@b.example", .send = "O250", .usable = 1},
    {"SMTPUTF8 for the recipient of a report", BOTH, "O250", WIDE,
	PIPED "< MAIL FROM:<from@example.org> SMTPUTF8\n> 250 ok\n< RCPT TO:<" AE "@b.example>\n"
	      "> 250 ok\n" DATA_OK "> 250 ok\n",
	.to = AE "@b.example", .send = "O250", .usable = 1},
    {"SMTPUTF8 for the sender", BOTH, "O250", WIDE,
	PIPED "< MAIL FROM:<" AE "@" AE ".example> SMTPUTF8\n> 250 ok\n" RCPT_OK DATA_OK
	      "> 250 ok\n",
	.flags = META1_M_SMTPUTF8, .from = AE "@" AE ".example", .send = "O250", .usable = 1},
    {"SMTPUTF8 for the header", BOTH, "O250", WIDE,
	PIPED "< MAIL FROM:<from@example.org> BODY=8BITMIME SMTPUTF8\n> 250 ok\n" RCPT_OK DATA_OK
	      "> 250 ok\n",
	.flags = META1_M_SMTPUTF8 | META1_M_8BIT | META1_M_HEADER_8BIT, .send = "O250",
	.usable = 1},
    {"SMTPUTF8 that the client said and nothing needs", BOTH, "O250", WIDE,
	PIPED "< MAIL FROM:<from@example.org> BODY=8BITMIME\n> 250 ok\n" RCPT_OK DATA_OK
	      "> 250 ok\n",
	.flags = META1_M_SMTPUTF8 | META1_M_8BIT, .send = "O250", .usable = 1},
    {"an 8-bit header without SMTPUTF8 goes as it came", BOTH, "O250", NULL,
	MAIL_OK RCPT_OK DATA_OK "> 250 ok\n", .flags = META1_M_8BIT | META1_M_HEADER_8BIT,
	.send = "O250", .usable = 1},
    {"no SMTPUTF8: domains become A-labels", BOTH, "O250", NULL,
	"< MAIL FROM:<a@xn--4ca.example>\n> 250 ok\n< RCPT TO:<b@xn--4ca.example>\n> 250 "
	"ok\n" DATA_OK "> 250 ok\n",
	.flags = META1_M_SMTPUTF8, .from = "a@" AE ".example", .to = "b@" AE ".example",
	.path = "a@xn--4ca.example", .send = "O250", .usable = 1},
    {"no SMTPUTF8: a header is refused, nothing is said", BOTH, "O250", NULL, "",
	.flags = META1_M_SMTPUTF8 | META1_M_8BIT | META1_M_HEADER_8BIT, .send = "P550/5.6.7",
	.usable = 1},
    {"no SMTPUTF8: a sender is refused, nothing is said", BOTH, "O250", NULL, "",
	.flags = META1_M_SMTPUTF8, .from = AE "@b.example", .send = "P550/5.6.7", .usable = 1},
    {"no SMTPUTF8: a recipient is refused, the others get it", SMTP, "O250", NULL,
	MAIL_OK "< RCPT TO:<b@example.net>\n> 250 ok\n" DATA_OK "> 250 ok\n",
	.flags = META1_M_SMTPUTF8, .to = AE "@b.example", .nrcpt = 2, .results = "0=P553/5.6.7 ",
	.send = "O250", .usable = 1},

    /* LMTP: a reply a recipient */
    {"mixed results", LMTP, "O250", OFFERS,
	PIPED MAIL_ANY "< RCPT\n> 250 ok\n< RCPT\n> 250 ok\n< RCPT\n> 250 ok\n" DATA_OK
		       "> 250 2.1.5 a\n> 452 4.2.2 b\n> 550 5.2.1 c\n",
	.nrcpt = 3, .results = "0=O250/2.1.5 1=T452/4.2.2 2=P550/5.2.1 ", .send = "*", .usable = 1},
    {"no reply for a refused recipient", LMTP, "O250", OFFERS,
	PIPED MAIL_ANY "< RCPT\n> 250 ok\n< RCPT\n> 550 no\n< RCPT\n> 250 ok\n" DATA_OK
		       "> 250 a\n> 452 c\n",
	.nrcpt = 3, .results = "1=P550 0=O250 2=T452 ", .send = "*", .usable = 1},
    {"lost after two of four", LMTP, "O250", OFFERS,
	PIPED MAIL_ANY
	"< RCPT\n> 250 ok\n< RCPT\n> 250 ok\n< RCPT\n> 250 ok\n< RCPT\n> 250 ok\n" DATA_OK
	"> 250 a\n> 550 b\n-\n",
	.nrcpt = 4, .results = "0=O250 1=P550 ", .send = "T"},
};

/* ---- playing them ---- */

static void script(struct suite *s, const struct row *row)
{
	static char text[128 << 10];
	const char *from[] = {row->hop ? row->hop : GREETED, row->script ? row->script : ""};
	size_t n = 0;

	for (unsigned i = 0; i < 2; i++)
		for (const char *p = from[i]; *p; p++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%.*s", *p == '%' ? 4 : 1,
			    *p != '%'		? p
			    : s->speaks == LMTP ? "LHLO"
						: "EHLO");
	kit_peer_play(&s->peer, text);
}

/* What the hop got is the content, and one line on top of it with LMTP. */
static bool content_right(struct suite *s, const struct row *row)
{
	char path[128];
	size_t skip = (size_t)snprintf(
	    path, sizeof(path), "Return-Path: <%s>\r\n", row->path ? row->path : from_of(row));

	if (s->speaks != LMTP)
		skip = 0;

	return strncmp(s->peer.content, path, skip) == 0 &&
	       strcmp(s->peer.content + skip, content_of(row)) == 0;
}

static void play_row(struct suite *s, const struct row *row)
{
	struct asked q = {0};
	const char *open, *send = "", *want = row->send ? row->send : "";
	int64_t clock = row->send ? 0 : row->clock;
	bool right, said, usable = false, content = true;

	script(s, row);
	open = do_open(s, &q, s->peer.path, clock);
	right = strcmp(open, row->open) == 0;
	if (!right)
		kit_note(s->k, "open: %s, expected %s", open, row->open);
	s->results[0] = '\0';
	if (right && row->send) {
		q = (struct asked){0};
		send = do_send(s, &q, row);
		usable = s->ops->usable(s->sess);
		content = send[0] != 'O' || !row->usable || content_right(s, row);
	}
	said = strcmp(want, "*") == 0 ? send[0] != '?' : strcmp(send, want) == 0;
	if (!said)
		kit_note(s->k, "send: %s, expected %s", send, want);
	if (strcmp(s->results, row->results ? row->results : "") != 0)
		kit_note(s->k, "recipients: %s, expected %s", s->results,
		    row->results ? row->results : "");
	right &= said && strcmp(s->results, row->results ? row->results : "") == 0 &&
		 usable == (row->usable != 0) && content;
	if (!kit_peer_done(&s->peer)) {
		kit_note(s->k, "%s", s->peer.error);
		right = false;
	}
	shut(s);
	kit_ok(s->k, right, "transport: %s", row->name);
}

/* ---- what is no row ---- */

static const struct row plain = {.name = ""};

/* A reply may have 100 lines; a hop that talks for ever is cut off. */
static void endless_reply(struct suite *s)
{
	static char text[20000];
	struct asked q = {0};
	size_t n = 0;

	for (int i = 0; i < 2000; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "> 220-\n");
	kit_peer_play(&s->peer, text);
	kit_ok(s->k, strcmp(do_open(s, &q, s->peer.path, 0), "T host") == 0,
	    "transport: an endless reply");
	shut(s);
}

static void no_hop(struct suite *s)
{
	struct asked q = {0};
	char path[128];

	snprintf(path, sizeof(path), "%s/none", s->k->dir);
	kit_ok(s->k, strcmp(do_open(s, &q, path, 0), "T host") == 0, "transport: nobody listens");
	shut(s);
}

/* One session: two mails; a failed one, RSET, a good one; QUIT. */
static void reuse(struct suite *s)
{
	static const struct row used = {
	    .script = MAIL_OK RCPT_OK DATA_OK
	    "> 250 one\n" MAIL_OK
	    "< RCPT\n> 550 5.1.1 no\n< RSET\n> 250 ok\n" MAIL_OK RCPT_OK DATA_OK
	    "> 250 three\n< QUIT\n> 221 bye\n-\n"};
	static const char *const want[] = {"O250", "P550/5.1.1", "O250"};
	struct asked q = {0};
	bool right;

	script(s, &used);
	right = strcmp(do_open(s, &q, s->peer.path, 0), "O250") == 0;
	for (unsigned i = 0; right && i < ARRAY_LEN(want); i++) {
		q = (struct asked){0};
		right = strcmp(do_send(s, &q, &plain), want[i]) == 0 && s->ops->usable(s->sess);
	}
	shut(s);
	kit_ok(s->k, right && kit_peer_done(&s->peer),
	    "transport: a session carries mails one after the other, then says QUIT%s%s",
	    s->peer.error[0] ? ": " : "", s->peer.error);
}

/* More recipients than may leave in one write; each third is refused. */
static void many_recipients(struct suite *s)
{
	enum { N = 2500 };
	static char names[N][24], text[N * 24 + 512];
	static struct meta1_rcpt rcpt[N];
	struct row row = {.hop = OFFERS, .script = text};
	struct meta1_extent extent = {.mem = "x\r\n", .len = 3, .fd = -1};
	struct meta1_mail m = {.size = sizeof(m),
	    .nrcpt = N,
	    .sizeof_rcpt = sizeof(rcpt[0]),
	    .id = "kit",
	    .rcpt = rcpt,
	    .extent = &extent,
	    .nextent = 1,
	    .bytes = 3};
	struct asked q = {0};
	size_t n = (size_t)snprintf(text, sizeof(text), "< MAIL FROM:<> \n> 250 ok\n");
	bool right;

	for (unsigned i = 0; i < N; i++) {
		snprintf(names[i], sizeof(names[i]), "u%u@example.net", i);
		rcpt[i].addr = buf_str(names[i]);
		n += (size_t)snprintf(
		    text + n, sizeof(text) - n, "< RCPT\n> %s\n", i % 3 == 2 ? "550 no" : "250 ok");
	}
	n += (size_t)snprintf(text + n, sizeof(text) - n, "< DATA\n> 354 go\n.\n");
	for (unsigned i = 0; i < N; i++)
		if (s->speaks == SMTP ? i == 0 : i % 3 != 2)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "> 250 yes\n");
	script(s, &row);
	right = strcmp(do_open(s, &q, s->peer.path, 0), "O250") == 0;
	q = (struct asked){0};
	if (right) {
		s->nresults = 0;
		s->req = kit_req(s->k, s->inst, &q.a);
		mod_req_rcpts(s->req, on_rcpt, N);
		s->ops->send(s->sess, s->req, &m);
		right = answer(s, &q, 0)[0] == 'O' &&
			s->nresults == (s->speaks == SMTP ? N / 3 : N) && s->ops->usable(s->sess);
	}
	right = kit_peer_done(&s->peer) && right;
	shut(s);
	kit_ok(s->k, right, "transport: %u recipients%s%s", N, s->peer.error[0] ? ": " : "",
	    s->peer.error);
}

/* After a first mail: what becomes of the session, and of the next mail on it. */
static void idle(struct suite *s, const char *name, const char *then, bool usable)
{
	char text[512];
	struct row row = {.script = text};
	struct asked q = {0};
	bool right;

	snprintf(text, sizeof(text), "%s%s", MAIL_OK RCPT_OK DATA_OK "> 250 one\n", then);
	script(s, &row);
	right = strcmp(do_open(s, &q, s->peer.path, 0), "O250") == 0;
	q = (struct asked){0};
	right = right && strcmp(do_send(s, &q, &plain), "O250") == 0;
	for (int i = 0; i < 20; i++)
		kit_turn(s->k);
	right = right && s->ops->usable(s->sess) == usable;
	q = (struct asked){0};
	right = right && strstr(do_send(s, &q, &plain), " session");
	right = right && !s->ops->usable(s->sess);
	shut(s);
	kit_ok(s->k, right, "transport: %s: nothing was taken, the session is to blame (%s)", name,
	    q.text);
}

/* The asker goes away: the request ends, the connection with it. */
static void cancel(struct suite *s, const char *name, const char *text, bool past)
{
	struct row row = {.script = text};
	struct asked q = {0};
	bool right;

	script(s, &row);
	right = strcmp(do_open(s, &q, s->peer.path, 0), "O250") == 0;
	q = (struct asked){0};
	if (right) {
		begin_send(s, &q, &plain);
		silence(s);
		if (META1_HAS(s->ops, past_dot) && s->ops->past_dot)
			right = s->ops->past_dot(s->sess) == past;
		mod_req_cancel(&s->req);
		for (int i = 0; i < 5; i++)
			kit_turn(s->k);
		right = right && !q.a.told && !s->ops->usable(s->sess);
	}
	shut(s);
	kit_clock(s->k, 60000); /* a request that is not finished after cancel() is a fault */
	kit_ok(s->k, right, "transport: canceled %s", name);
	kit_answer_free(&q.a);
}

/* The first word that the module says. */
static int probe(struct suite *s)
{
	struct asked q = {0};

	kit_peer_play(&s->peer, "> 220 hop\n< zzz\n");
	do_open(s, &q, s->peer.path, 0);
	shut(s);
	return strncmp(s->peer.said, "EHLO ", 5) == 0	? SMTP
	       : strncmp(s->peer.said, "LHLO ", 5) == 0 ? LMTP
							: 0;
}

static void dialogues(struct suite *s)
{
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].who & s->speaks)
			play_row(s, &rows[i]);
	endless_reply(s);
	reuse(s);
	many_recipients(s);
	idle(s, "closed while idle", "-\n", false);
	idle(s, "421 while idle", "> 421 time is over\n", false);
	idle(s, "closed at the next MAIL", "< MAIL\n-\n", true);
	idle(s, "421 to the next MAIL", "< MAIL\n> 421 enough\n", true);
	cancel(s, "at MAIL", "< MAIL\n...\n", false);
	cancel(s, "after the dot", MAIL_OK RCPT_OK DATA_OK "...\n", true);
}

int kit_transport(struct kit *k)
{
	struct suite s = {.k = k};
	struct meta1_err err = {""};

	playing = &s;
	for (size_t i = 0; i + 1 < sizeof(big); i++)
		big[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : 'x';
	if (kit_peer_open(k, &s.peer, &err) < 0 || !(s.inst = kit_open(k, NULL, &err))) {
		kit_peer_close(&s.peer);
		kit_ok(k, false, "transport: %s", err.text);
		return -1;
	}
	s.ops = mod_ops(s.inst);
	no_hop(&s);
	s.speaks = probe(&s);
	if (s.speaks)
		dialogues(&s);
	else
		kit_skip(k, "transport: dialogues", "the module speaks neither SMTP nor LMTP");
	kit_peer_close(&s.peer);
	kit_close(k, &s.inst);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* transport_rows.c -- what a next hop says in a dialogue, and what a transport must make of it.
 * Comes from nowhere; read by transport.c. Owns the table and a content that is too large for a
 * socket. */
#include "transport.h"

#include <meta1/transport.h>

char kit_transport_big[1 << 20];

const struct row kit_transport_rows[] = {
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
	.packets = true, .send = "T host"},
    {"an answer to nothing after EHLO", BOTH, "O250", GREETED "> 250 ok\n", "", .packets = true,
	.send = "T host"},

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
	.content = kit_transport_big, .send = "T host", .clock = 180000},
    {"silent after the dot", BOTH, "O250", NULL, MAIL_OK RCPT_OK DATA_OK "...\n", .send = "T",
	.clock = 600000},
    {"refused in the content", BOTH, "O250", NULL,
	MAIL_OK RCPT_OK "< DATA\n> 354 go on\n> 552 5.3.4 too large\n...\n",
	.content = kit_transport_big, .send = "P552/5.3.4"},

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

    /* STARTTLS, RFC 3207: used when it is offered; without it where the policy lets */
    {"TLS is offered and stands", BOTH, "O250", TLS "< STARTTLS\n> 220 go on\n*\n< %\n> 250 hop\n",
	MAIL_OK RCPT_OK DATA_OK "> 250 ok\n", .send = "O250", .usable = 1, .tls = true},
    {"TLS is refused: in plain", BOTH, "O*", TLS "< STARTTLS\n> 454 not now\n",
	MAIL_OK RCPT_OK DATA_OK "> 250 ok\n", .send = "O250", .usable = 1, .tls = true},
    {"TLS breaks: anew, in plain", BOTH, "O250", TLS "< STARTTLS\n> 220 go on\n! broken\n" TLS,
	MAIL_OK RCPT_OK DATA_OK "> 250 ok\n", .send = "O250", .usable = 1, .tls = true},
    {"TLS must be, and is not offered", BOTH, "T host", .hop = GREETED, .tls = true,
	.policy = META1_TLS_ENCRYPT},
    {"TLS must be, and is refused", BOTH, "T host", .hop = TLS "< STARTTLS\n> 454 not now\n",
	.tls = true, .policy = META1_TLS_ENCRYPT},
    {"TLS must be, and breaks", BOTH, "T host", .hop = TLS "< STARTTLS\n> 220 go on\n! broken\n",
	.tls = true, .policy = META1_TLS_ENCRYPT},
    {"TLS must be proven, and is not", BOTH, "T host", .hop = TLS "< STARTTLS\n> 220 go on\n*\n",
	.tls = true, .policy = META1_TLS_VERIFY},
    {"more than the reply to STARTTLS, in plain", BOTH, "T host",
	.hop = TLS "< STARTTLS\n> 220 go on\n> 250 hop\n", .packets = true, .tls = true},

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
const unsigned kit_transport_nrows = ARRAY_LEN(kit_transport_rows);

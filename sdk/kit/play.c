/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * play.c -- one peer that the author wrote (-s): the module is asked what -k says, in order, while
 * the peer plays its script (peer.h).
 * Comes from modtest.c in place of the suites of the kind; goes to the module as its role does.
 * On failure: "not ok" with what was answered, and where the script stands.
 */
#include "pmilter.h"
#include "transport.h"

#include <meta1/auth.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const words[] = {"ok", "not found", "not found, no more", "more",
    "temporary failure", "permanent failure", "cancelled"};

static void say(struct kit *k, const char *what, bool told, const struct kit_answer *a)
{
	kit_note(k, "%s: %s%s%s", what, told ? words[a->st] : "no answer",
	    told && a->reply.text ? ": " : "", told && a->reply.text ? a->reply.text : "");
}

static void ask_map(struct kit *k, struct kit_inst *in)
{
	for (unsigned i = 0; i < k->npair; i++) {
		struct kit_answer a = {.told = false};
		bool told, ok;

		kit_ask(k, in, k->pair[i].key, &a);
		told = kit_wait(k, &a);
		say(k, "the look-up", told, &a);
		ok = told && a.st == META1_OK && buf_eq(a.reply.val[0], k->pair[i].val);
		kit_ok(k, ok, "\"%.*s\" has its value", (int)k->pair[i].key.len,
		    (const char *)k->pair[i].key.data);
		kit_answer_free(&a);
	}
}

static void send_mail(struct kit *k, struct kit_inst *in, struct kit_peer *peer)
{
	struct t_suite s = {.k = k, .peer = peer, .inst = in, .ops = kit_ops(in)};
	const struct row mail = {.name = "mail"};
	struct t_asked q = {0};
	const char *said = t_open(&s, &q, peer->path, 0);

	kit_note(k, "open: %s", said);
	if (said[0] == 'O') {
		q = (struct t_asked){0};
		said = t_send(&s, &q, &mail);
		kit_note(k, "send: %s, recipients: %s", said, s.results);
	}
	t_shut(&s);
	kit_ok(k, said[0] != '?', "the mail comes to an end");
}

static void judge_mail(struct kit *k, struct kit_inst *in)
{
	struct pm_suite s = {.k = k, .inst = in, .ops = kit_ops(in)};
	char *said = pm_whole(&s, PM_PLAN, &pm_mail, (struct pm_cut){"", 0, PM_MEMORY});

	kit_note(k, "%s", said);
	kit_ok(k, !strstr(said, "no answer"), "the mail comes to an end");
	free(said);
}

/* PLAIN is what every one that asks a server can do. */
static void log_in(struct kit *k, struct kit_inst *in)
{
	const struct meta1_auth_ops *ops = kit_ops(in);
	struct meta1_auth_peer peer = {
	    .size = sizeof(peer), .service = "smtp", .server = "kit.example", .tls_bits = 256};

	for (unsigned i = 0; i < k->npair; i++) {
		struct kit_answer a = {.told = false};
		char text[1024];
		struct meta1_buf first = {text, 0};
		void *conv = NULL;
		bool told;

		first.len = (size_t)snprintf(text, sizeof(text), "%c%.*s%c%.*s", 0,
		    (int)k->pair[i].key.len, (const char *)k->pair[i].key.data, 0,
		    (int)k->pair[i].val.len, (const char *)k->pair[i].val.data);
		ops->start(kit_data(in), kit_req(k, in, &a), &peer, "PLAIN", &first, &conv);
		told = kit_wait(k, &a);
		say(k, "PLAIN", told, &a);
		kit_ok(k, told && a.st == META1_OK, "\"%.*s\" logs in", (int)k->pair[i].key.len,
		    (const char *)k->pair[i].key.data);
		kit_answer_free(&a);
		if (conv)
			ops->end(&conv);
	}
}

int kit_play(struct kit *k)
{
	static struct kit_peer peer;
	struct meta1_err err = {""};
	struct kit_inst *in = NULL;
	bool done;

	if (kit_peer_open(k, &peer, &err) < 0) {
		kit_ok(k, false, "a peer: %s", err.text);
		return -1;
	}
	kit_peer_play(&peer, k->script);
	in = kit_open(k, NULL, &err);
	if (kit_ok(k, in != NULL, "opens%s%s", in ? "" : ": ", err.text)) {
		if (k->m->kind == META1_MAP)
			ask_map(k, in);
		else if (k->m->kind == META1_TRANSPORT)
			send_mail(k, in, &peer);
		else if (k->m->kind == META1_AUTH && k->m->roles & META1_SMTPS)
			log_in(k, in);
		else if (k->m->kind == META1_PMILTER)
			judge_mail(k, in);
	}
	for (int i = 0; i < 10; i++)
		kit_turn(k);
	done = kit_peer_done(&peer);
	kit_ok(k, done, "the script is played to its end%s%s", done ? "" : ": ", peer.error);
	kit_close(k, &in);
	kit_ok(k, true, "closes, nothing left");
	kit_peer_close(&peer);
	return 0;
}

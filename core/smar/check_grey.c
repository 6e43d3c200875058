/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_grey.c -- the last step of check.c: a recipient that would be accepted is put off when its
 * triple of client net, sender and recipient is new. Not for those who may relay, nor after a row
 * OK or QUICK: of the access map, nor for what the map of "exempt" names: cltaddr:, from: and to:
 * keys as in the access map, each with OK (exempt) or CONT (no opinion).
 * From check.c; to seek.c and grey_role.c. Owns nothing. On failure: a map that cannot say is 451.
 */
#include "smar/grey.h"

#include "mail/reply.h"

#include <stdio.h>
#include <strings.h>

static void ask(struct check *c)
{
	char net[GREY_NET_MAX], from[GREY_ADDR_MAX + 1], to[GREY_ADDR_MAX + 1], text[80];
	struct grey_conf conf;
	struct grey_said said;

	grey_conf_of(c->policy->greylisting, &conf);
	if (grey_net(&conf, c->client, net) < 0) {
		check_go_on(c, "not greylisted: the client has no address");
		return;
	}
	grey_sender(c->from_local, c->from_domain, from);
	grey_recipient(c->local_part, c->domain, to);
	said = grey_check(&conf, net, from, to, c->probe);
	check_ttl(c, 0);
	c->looked = false;
	snprintf(c->answer, sizeof(c->answer), "%s <%.60s>: %s", net, from, said.why);
	if (said.pass) {
		check_go_on(c, "not put off");
		return;
	}
	snprintf(text, sizeof(text), "greylisted, try again in %u seconds", said.wait);
	check_say(c, ACT_TEMPFAIL, 450, "4.7.1", text);
}

static void exempt(struct check *c);

static void found(void *arg, const struct smar_found *f)
{
	struct check *c = arg;

	if (!check_found(c, f))
		return;
	if (f->status == META1_OK && buf_caseeq(f->value, "OK")) {
		check_go_on(c, "not greylisted: exempt");
		return;
	}
	if (f->status == META1_OK && !buf_caseeq(f->value, "CONT"))
		log_event(LOG_L_WARN, "smar.greylist", "map=%s key=%s value=%s text=%s", f->map,
		    f->key, c->answer, "expected OK (exempt) or CONT; the row is left out");
	exempt(c);
}

/* Looks for the next kind of key; after the last the list decides. */
static void exempt(struct check *c)
{
	const struct smar_use *use = &c->policy->grey_exempt;

	switch (use->map ? c->grey++ : 3) {
	case 0:
		smar_keys_client(&c->seek.keys, "cltaddr:", c->client);
		break;
	case 1:
		smar_keys_path(&c->seek.keys, use, "from:", c->from_local, c->from_domain);
		break;
	case 2:
		smar_keys_path(&c->seek.keys, use, "to:", c->local_part, c->domain);
		break;
	default:
		ask(c);
		return;
	}
	check_seek(c, use, found);
}

/* Why the list has no say; NULL: it has. */
static const char *left_out(const struct check *c)
{
	const struct set_greylisting *s = c->policy->greylisting;

	if (c->relay || c->relay_client || c->relay_proof)
		return "not greylisted: the client may relay";
	if (c->ok || c->quick)
		return "not greylisted: OK or QUICK stood before";
	if (c->from_local[0] == '\0' && s->null_sender == NULL_SENDER_PASS)
		return "not greylisted: the null sender";
	return c->probe && !c->trace ? "not greylisted: no mail is to come" : NULL;
}

bool check_grey_on(const struct smar_policy *p)
{
	return p->greylisting && grey_role();
}

void check_grey(struct check *c)
{
	const char *why = left_out(c);

	if (why)
		check_go_on(c, why);
	else
		exempt(c);
}

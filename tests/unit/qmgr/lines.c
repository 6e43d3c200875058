/* SPDX-License-Identifier: BSD-2-Clause */
/* lines.c -- tries core/qmgr/hops.c in the whole of qmgr: mail that says of TLS what others do not
 * say has a line of its own where a domain asks for something of TLS, and what waits does not go by
 * what was asked for long ago. Domains dane.* ask. */
#include "mail/tls_required.h"
#include "world.h"

#include <stdio.h>

static struct world *begin(void)
{
	struct world *w = world_new(100);

	world_smtpc_up(w, 20);
	return w;
}

static void end(struct world *w)
{
	world_flags = 0;
	world_free(&w);
}

static void mail(struct world *w, const char *id, const char *rcpt, uint32_t flags)
{
	world_flags = flags;
	world_mail_to(w, id, rcpt);
	world_run(w);
}

/* The destination does not do what it must: it is dead for mail as this. */
static void is_dead(struct world *w, const char *id, const char *rcpt, const char *domain)
{
	struct delivery *d;

	mail(w, id, rcpt, 0);
	d = world_open(w, domain);
	assert_non_null(d);
	assert_string_equal(d->id, id);
	world_end(w, d, META1_TEMPFAIL, META1_ABOUT_HOST, 0, "4.7.5 no TLSA record fits");
	world_run(w);
}

static void goes(struct world *w, const char *id, const char *domain)
{
	struct delivery *d = world_open(w, domain);

	assert_non_null(d);
	assert_string_equal(d->id, id);
	assert_string_equal(d->key, domain); /* as smar calls it, for smtpc */
	world_end(w, d, META1_OK, META1_ABOUT_MAIL, 250, "ok");
	world_run(w);
	assert_int_equal(world_outcome(w, id, 0).state, META1_R_DELIVERED);
}

static void lines(void **state)
{
	struct world *w = begin();

	(void)state;
	is_dead(w, "S1", "a@dane.example", "dane.example");
	mail(w, "S2", "b@dane.example", 0);
	assert_null(world_open(w, "dane.example"));
	mail(w, "S3", "c@dane.example", MAIL_TLS_NO);
	goes(w, "S3", "dane.example");
	mail(w, "S4", "d@dane.example", META1_M_REQUIRETLS | MAIL_TLS_NO);
	goes(w, "S4", "dane.example");
	assert_null(world_open(w, "dane.example")); /* what went tells the others nothing */
	world_pass(w, 90);
	goes(w, "S2", "dane.example"); /* one at a time tries it */
	goes(w, "S1", "dane.example");
	end(w);
}

/* Dead for mail that wants more is not dead for the others. */
static void other_way(void **state)
{
	struct world *w = begin();
	struct delivery *d;

	(void)state;
	mail(w, "S1", "a@dane.example", META1_M_REQUIRETLS);
	d = world_open(w, "dane.example");
	world_end(w, d, META1_TEMPFAIL, META1_ABOUT_HOST, 0, "4.7.5 no TLSA record fits");
	world_run(w);
	mail(w, "S2", "b@dane.example", 0);
	goes(w, "S2", "dane.example");
	end(w);
}

/* A domain that asks for nothing has one line: what its hosts do not do they do for nobody. */
static void one_line(void **state)
{
	struct world *w = begin();

	(void)state;
	is_dead(w, "S1", "a@one.example", "one.example");
	mail(w, "S2", "b@one.example", MAIL_TLS_NO);
	mail(w, "S3", "b@one.example", META1_M_REQUIRETLS);
	assert_null(world_open(w, "one.example"));
	end(w);
}

/* Four go at a time. The fifth waits for longer than what was asked of TLS holds (300 s): it does
 * not go before smar was asked again. */
static void asked_again(const char *domain, bool asks)
{
	struct world *w = begin();
	char rcpt[64], id[8];
	struct delivery *d;
	unsigned i, asked;

	for (i = 0; i < 6; i++) {
		snprintf(id, sizeof(id), "S%u", i);
		snprintf(rcpt, sizeof(rcpt), "a@%s", domain);
		mail(w, id, rcpt, 0);
	}
	asked = w->asked;
	world_pass(w, 290);
	world_end(w, world_open(w, domain), META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "not now");
	world_run(w);
	assert_int_equal(w->asked, asked);
	world_pass(w, 20);
	w->smar_silent = true;
	d = world_open(w, domain);
	world_end(w, d, META1_TEMPFAIL, META1_ABOUT_MAIL, 450, "not now");
	world_run(w);
	assert_int_equal(w->asked, asked + asks);
	end(w);
}

static void stale(void **state)
{
	(void)state;
	asked_again("dane.example", true);
	asked_again("one.example", false);
}

/* Two domains with the same hosts: what the second was told holds for a shorter time. When that is
 * over the first one's mail is asked about anew, though its own route holds, and goes. */
static void stale_by_another(void **state)
{
	struct world *w = begin();
	unsigned asked;

	(void)state;
	w->ttl = 3600;
	mail(w, "S1", "a@dane.a.shared", 0);
	goes(w, "S1", "dane.shared");
	w->ttl = 300;
	mail(w, "S2", "b@dane.b.shared", 0);
	goes(w, "S2", "dane.shared");
	asked = w->asked;
	world_pass(w, 310);
	mail(w, "S3", "c@dane.a.shared", 0);
	goes(w, "S3", "dane.shared");
	assert_int_equal(w->asked, asked + 1);
	end(w);
}

/* The rate lets one go each 360 s, and what was asked of TLS holds for 300: what is asked about
 * anew when its turn comes cost nothing of the rate, so it goes then. */
static void stale_and_slow(void **state)
{
	struct world *w = begin();
	unsigned asked;

	(void)state;
	w->rate = "rate = 10/1h;";
	mail(w, "S1", "a@dane.example", 0);
	goes(w, "S1", "dane.example");
	world_pass(w, 1);
	mail(w, "S2", "b@dane.example", 0);
	asked = w->asked;
	world_pass(w, 350);
	assert_null(world_open(w, "dane.example"));
	world_pass(w, 20);
	assert_int_equal(w->asked, asked + 1);
	goes(w, "S2", "dane.example");
	mail(w, "S3", "c@dane.example", 0); /* what went cost it */
	world_pass(w, 300);
	assert_null(world_open(w, "dane.example"));
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(other_way),
	    cmocka_unit_test(one_line), cmocka_unit_test(stale), cmocka_unit_test(stale_by_another),
	    cmocka_unit_test(stale_and_slow)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

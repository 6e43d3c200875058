/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sts_role.c -- MTA-STS and reports of TLS in the life of smar: options, start, reload and end.
 * From smar.c; to sts.c and tlsrpt.c. Owns the one struct sts of the process. On failure: err, the
 * start or reload is refused.
 */
#include "smar/tlsrpt.h"

#include <stdlib.h>

static struct sts *it;

static void conf_of(const struct set_mta_sts *s, struct sts_conf *c)
{
	*c = (struct sts_conf){.CAcert_file = s->CAcert_file,
	    .CAcert_directory = s->CAcert_directory,
	    .fetch_timeout = s->fetch_timeout,
	    .wait = s->wait,
	    .refresh = s->refresh,
	    .negative_ttl = s->negative_ttl,
	    .max_entries = (unsigned)s->max_entries,
	    .max_memory = (size_t)s->max_memory,
	    .port = (uint16_t)s->remote_port};
}

static struct {
	void (*idle)(void);
	void (*changed)(void);
} tell;

static void idle(void *arg)
{
	(void)arg;
	tell.idle();
}

static void changed(void *arg)
{
	(void)arg;
	tell.changed();
}

static void failed(void *arg, const char *domain, enum sts_fetched what,
    const struct sts_policy *kept, const char *why)
{
	(void)arg;
	tlsrpt_fetch(domain, what, kept, why);
}

int smar_tls_start(struct role *role, struct dns *dns, void (*idle_fn)(void),
    void (*changed_fn)(void), struct meta1_err *err)
{
	const struct set_smar *s = &role->set->smar;
	struct sts_place at = {.loop = role->loop,
	    .work = role->work,
	    .dns = dns,
	    .path = s->mta_sts.file,
	    .idle = idle,
	    .changed = changed,
	    .failed = failed};
	struct tlsrpt_place reports = {.loop = role->loop,
	    .work = role->work,
	    .dns = dns,
	    .hostname = role->set->hostname,
	    .idle = idle};
	struct sts_conf c;

	tell.idle = idle_fn;
	tell.changed = changed_fn;
	if (tlsrpt_start(&reports, &s->tlsrpt, err) < 0)
		return -1;
	if (!s->mta_sts.section)
		return 0;
	conf_of(&s->mta_sts, &c);
	it = sts_new(&at, &c, err);
	sts_control_set(it, role->loop);
	return it ? 0 : -1;
}

bool smar_tls_restart(const struct set_smar *was, const struct set_smar *now)
{
	const struct set_mta_sts *a = &was->mta_sts, *b = &now->mta_sts;

	return !a->section != !b->section || (b->section && strcmp(a->file, b->file) != 0) ||
	       tlsrpt_restart(&was->tlsrpt, &now->tlsrpt);
}

void smar_tls_reload(const struct settings *set)
{
	struct sts_conf c;

	conf_of(&set->smar.mta_sts, &c);
	if (it)
		sts_configure(it, &c);
	tlsrpt_reload(&set->smar.tlsrpt, set->hostname);
}

bool smar_tls_flushed(void)
{
	return sts_flushed(it) && tlsrpt_flushed();
}

void smar_tls_stop(void)
{
	sts_control_set(NULL, NULL);
	sts_free(&it);
	tlsrpt_stop();
}

void smar_tls_control(struct ctl *ctl)
{
	sts_control_add(ctl);
	tlsrpt_control_add(ctl);
}

struct sts *sts_role(void)
{
	return it;
}

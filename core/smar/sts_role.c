/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sts_role.c -- MTA-STS in the life of smar: its options, start, reload and end.
 * From smar.c; to sts.c. Owns the one struct sts of the process. On failure: err, the start or
 * reload is refused.
 */
#include "smar/sts.h"

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

int sts_start(struct sts_place *at, const struct set_mta_sts *s, struct meta1_err *err)
{
	struct sts_conf c;

	if (!s->section)
		return 0;
	conf_of(s, &c);
	at->path = s->file;
	it = sts_new(at, &c, err);
	sts_control_set(it, at->loop);
	return it ? 0 : -1;
}

bool sts_restart(const struct set_mta_sts *was, const struct set_mta_sts *now)
{
	return !was->section != !now->section ||
	       (now->section && strcmp(was->file, now->file) != 0);
}

void sts_reload(const struct set_mta_sts *s)
{
	struct sts_conf c;

	conf_of(s, &c);
	if (it)
		sts_configure(it, &c);
}

void sts_stop(void)
{
	sts_control_set(NULL, NULL);
	sts_free(&it);
}

struct sts *sts_role(void)
{
	return it;
}

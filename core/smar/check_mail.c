/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_mail.c -- steps of check.c about what the client says of itself and of the sender.
 * From check.c; to the access map. Owns nothing.
 */
#include "smar/check.h"

#include <ctype.h>

void check_helo(struct check *c)
{
	char name[ADDR_DOMAIN_MAX + 1];
	size_t n;

	if (!c->helo) {
		check_go_on(c, "no HELO");
		return;
	}
	n = str_copy(name, sizeof(name), c->helo);
	for (char *p = name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (n > 1 && name[n - 1] == '.')
		name[n - 1] = '\0';
	smar_keys_host(&c->seek.keys, "helo:", name);
	check_access(c);
}

void check_from(struct check *c)
{
	smar_keys_path(&c->seek.keys, &c->policy->access, "from:", c->from_local, c->from_domain);
	check_access(c);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hopconf.c -- fuzz target of core/lib/row.c and hop_conf.c: a row of the access map with options
 * of smtpc, as whoever writes the map wrote it. Of a row with a mistake nothing holds, and it is
 * named; what holds is within the ranges of the options, and goes onto the wire as it is.
 */
#include "fuzz.h"
#include "lib/hop_conf.h"

static void name(const char *s, size_t size)
{
	must(memchr(s, '\0', size) != NULL);
	for (; *s; s++)
		must((unsigned char)*s > 32 && (unsigned char)*s < 127);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct hop_conf section = {.IO_timeout = 300000,
	    .connect_timeout = 60000,
	    .idle_timeout = 5000,
	    .max_mails = 100,
	    .extensions = 95};
	struct hop_conf c = section, again;
	struct meta1_err err = {""};

	if (hop_conf_read(buf_of(data, size), &c, &err) < 0) {
		must(err.text[0] != '\0' && memchr(err.text, '\n', sizeof(err.text)) == NULL);
		must(memcmp(&c, &section, sizeof(c)) == 0);
		return 0;
	}
	must(size <= HOP_CONF_MAX);
	must(c.IO_timeout >= 1000 && c.IO_timeout <= 86400000);
	must(c.connect_timeout >= 1000 && c.connect_timeout <= 3600000);
	must(c.idle_timeout >= 0 && c.idle_timeout <= 600000);
	must(c.max_mails >= 1 && c.max_mails <= 1000000);
	must(c.extensions <= 127 && (c.no_8bitmime == 0 || c.no_8bitmime == 1));
	name(c.helo_name, sizeof(c.helo_name));
	name(c.source_ipv4, sizeof(c.source_ipv4));
	name(c.source_ipv6, sizeof(c.source_ipv6));
	again = c; /* said twice is said once */
	must(hop_conf_read(buf_of(data, size), &again, &err) == 0);
	must(memcmp(&c, &again, sizeof(c)) == 0 && hop_conf_same_session(&c, &again));
	return 0;
}

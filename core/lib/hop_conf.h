/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hop_conf.h -- what smtpc knows of one next hop: options of its section, changed by the row
 * smtpc_session_conf:HOP of the access map, then by the row smtpc_rcpt_conf: of the recipients.
 * smar reads rows to say what is wrong with them, smtpc to do what they say.
 */
#ifndef META1_HOP_CONF_H
#define META1_HOP_CONF_H
#include "settings.h"

#define HOP_CONF_MAX 512 /* bytes of a row */

struct hop_conf {
	int64_t IO_timeout, connect_timeout, idle_timeout, max_mails;
	uint64_t extensions;		 /* enum meta1_offer: what is used of what a hop offers */
	int32_t no_8bitmime, tls_policy; /* TLS_POLICY_ */
	char login[301];		 /* whose credentials; "": the hop's row */
	char helo_name[256];		 /* "": our hostname */
	char source_ipv4[16], source_ipv6[46]; /* "": any */
};
/* enum meta1_offer of a mail's "without": what the option extensions leaves unused. */
uint32_t hop_conf_without(uint64_t extensions);
void hop_conf_section(const struct set_smtpc *, struct hop_conf *);
/* Changes what the row says; with a mistake in it (<0; err) nothing. */
int hop_conf_read(struct meta1_buf row, struct hop_conf *, struct meta1_err *);
/* A session with one conf serves mail with the other. */
bool hop_conf_same_session(const struct hop_conf *, const struct hop_conf *);
/* Is this a value of the option (helo_name, source_ipv4, source_ipv6)? <0: err says what is. */
int hop_conf_text(const char *option, const char *value, struct meta1_err *);

#endif

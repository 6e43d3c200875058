/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows_judge.c -- what the value of a row must look like, by what its map is used for: the same
 * parsers that answer mail with 451 when it is wrong, asked before there is any mail.
 * Comes from: rows_uses.c, of each use that a file has. Pure; owns nothing.
 * On failure: err. What is not judged is right: macros, tags of DNS lists, rows of clients' limits.
 */
#include "lib/hop_conf.h"
#include "lib/tls_need.h"
#include "mail/addr.h"
#include "smar/smar.h"
#include "smar/users.h"

#include <strings.h>

static int access_value(const struct settings *set, struct meta1_buf val, struct meta1_err *err)
{
	struct smar_access a;

	(void)set;
	return smar_access_parse(val, &a, err);
}

static int hop_value(const struct settings *set, struct meta1_buf val, struct meta1_err *err)
{
	struct hop_conf c = {.no_8bitmime = 0};

	(void)set;
	return hop_conf_read(val, &c, err);
}

/* Its words are another language than the rest's. */
static int any_value(const struct settings *set, struct meta1_buf val, struct meta1_err *err)
{
	(void)set, (void)val, (void)err;
	return 0;
}

static const struct tag {
	const char *name;
	int (*judge)(const struct settings *, struct meta1_buf, struct meta1_err *);
} tags[] = {{"cltaddr:", access_value}, {"cltname:", access_value}, {"cltresolve:", access_value},
    {"certsubject:", access_value}, {"certissuer:", access_value}, {"helo:", access_value},
    {"from:", access_value}, {"to:", access_value}, {"spf:", access_value},
    {"protectedrcpt:", any_value}, {"smtps_session_conf:", any_value},
    {"smtpc_session_conf:", hop_value}, {"smtpc_rcpt_conf:", hop_value}};

static bool is_list(const struct settings *set, struct meta1_buf key, size_t n)
{
	for (unsigned i = 0; i < set->smar.ndnsbl; i++) {
		const char *tag = set->smar.dnsbl[i].tag;

		if (tag && strlen(tag) == n && strncasecmp(key.data, tag, n) == 0)
			return true;
	}
	return false;
}

static int access_row(
    const struct settings *set, struct meta1_buf key, struct meta1_buf val, struct meta1_err *err)
{
	const char *colon = memchr(key.data, ':', key.len);
	size_t n = colon ? (size_t)(colon - (const char *)key.data) : 0;

	for (size_t i = 0; colon && i < ARRAY_LEN(tags); i++)
		if (strlen(tags[i].name) == n + 1 &&
		    strncasecmp(key.data, tags[i].name, n + 1) == 0)
			return tags[i].judge(set, val, err);
	if (colon && is_list(set, key, n))
		return access_value(set, val, err);
	return err_set(err,
	    "nothing is looked up by this key: expected cltaddr:, cltname:, cltresolve:, helo:, "
	    "from:, to:, protectedrcpt:, certsubject:, certissuer:, spf:, smtps_session_conf:, "
	    "smtpc_session_conf:, smtpc_rcpt_conf: or the tag of a dnsbl section before it");
}

static int hops_row(
    const struct settings *set, struct meta1_buf key, struct meta1_buf val, struct meta1_err *err)
{
	char *const *by = (char *const *)(uintptr_t)set->smtpc.transport_names;
	struct smar_target target[SMAR_TARGETS];
	unsigned n;

	(void)key;
	return smar_mailertable_parse(val, by, target, &n, err);
}

/* Files that it names are read when there is mail for it. */
static int alias_row(
    const struct settings *set, struct meta1_buf key, struct meta1_buf val, struct meta1_err *err)
{
	char local[ADDR_PATH_MAX + 1], domain[ADDR_DOMAIN_MAX + 1];
	const char *ours = set->hostname ? set->hostname : "localhost";
	struct smar_word word;
	struct smar_access a;
	bool some = false;
	int rc;

	(void)key;
	if (val.len >= 6 && strncasecmp(val.data, "error:", 6) == 0)
		return smar_access_parse(val, &a, err);
	while ((rc = smar_target_next(&val, &word, err)) > 0) {
		some = true;
		if (!word.include && smar_target_address(&word, ours, local, domain, err) < 0)
			return -1;
	}
	return rc < 0 || some ? rc : err_set(err, "the row names nobody");
}

static int tls_row(
    const struct settings *set, struct meta1_buf key, struct meta1_buf val, struct meta1_err *err)
{
	struct tls_need need;

	(void)set, (void)key;
	return tls_need_row(val, &need, err);
}

int smar_row_judge(const struct settings *set, unsigned kind, struct meta1_buf key,
    struct meta1_buf val, struct meta1_err *err)
{
	static int (*const judge[USES])(const struct settings *, struct meta1_buf, struct meta1_buf,
	    struct meta1_err *) = {[USE_ACCESS] = access_row,
	    [USE_MAILERTABLE] = hops_row,
	    [USE_SENDER_ROUTES] = hops_row,
	    [USE_ALIASES] = alias_row,
	    [USE_VIRTUAL] = alias_row,
	    [USE_TLS_POLICY] = tls_row};
	const struct set_use *use = &set->smar.use[kind];

	if (!judge[kind] || (use->flags & USE_F_MACROS && memmem(val.data, val.len, "${", 2)))
		return 0;
	return judge[kind](set, key, val, err);
}

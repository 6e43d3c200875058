/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keys.c -- rules about the files of the sections tls: whose a key is, who reads it, and that
 * certificates are there for who needs them.
 *
 * Comes from setup.c; certs.c makes files by the same rule. Goes to setup_fault(). Owns nothing.
 * A key that one role uses is root's, for the role's group to read; one that smtps and smtpc share
 * belongs to the one and to the group of the other. Keys are the admin's: only told.
 */
#include "setup.h"

#include <errno.h>
#include <stdio.h>

static void add(struct setup_key *out, unsigned *n, const char *key, const char *cert,
    const struct set_role *r, unsigned which)
{
	unsigned i;

	for (i = 0; i < *n && strcmp(out[i].key, key) != 0; i++)
		;
	if (i == SETUP_KEYS)
		return;
	if (i == *n)
		out[(*n)++] = (struct setup_key){.key = key, .cert = cert};
	out[i].role[which] = r;
}

static void add_all(struct setup_key *out, unsigned *n, const struct set_tls *t,
    const struct set_role *r, unsigned which)
{
	const char *const *cert = t->cert_file, *const *key = t->key_file;

	for (; cert && key && *cert && *key; cert++, key++)
		add(out, n, *key, *cert, r, which);
}

unsigned setup_keys_all(struct setup *s, struct setup_key out[SETUP_KEYS])
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->set->nsmtps; i++)
		if (s->set->smtps[i].tls)
			add_all(out, &n, &s->set->smtps[i].tls_set, &s->set->smtps[i].role, 0);
	if (s->set->smtpc.tls)
		add_all(out, &n, &s->set->smtpc.tls_set, &s->set->smtpc.role, 1);
	return n;
}

bool setup_key_owner(
    struct setup *s, const struct setup_key *k, uid_t *uid, gid_t *gid, mode_t *mode)
{
	struct setup_account server, client;

	if ((k->role[0] && !setup_account(s, k->role[0], &server)) ||
	    (k->role[1] && !setup_account(s, k->role[1], &client)))
		return false;
	*uid = k->role[0] && k->role[1] ? server.uid : 0;
	*gid = k->role[1] ? client.gid : server.gid;
	*mode = *uid ? 0440 : 0640;
	return true;
}

/* What core/lib/tls_cert.c asks of it when it reads it. */
static bool key_good(struct setup *s, const struct setup_key *k, const struct stat *st)
{
	if (st->st_mode & (S_IRWXO | S_IWGRP))
		return false;
	for (unsigned i = 0; i < 2; i++) {
		struct setup_account a;

		if (!k->role[i] || !setup_account(s, k->role[i], &a))
			continue;
		if (!setup_may(&a, st, SETUP_R) ||
		    (st->st_uid != 0 && st->st_uid != a.uid && st->st_gid != a.gid))
			return false;
	}
	return true;
}

static void lacking(struct setup *s, const char *path, const char *what)
{
	if (s->dry && s->certs)
		return; /* it would be there now */
	setup_fault(
	    s, SETUP_ADMINS, path, strerror(errno), what, "meta1-setup", "-f", s->file, "-c", NULL);
}

static void key_file(struct setup *s, const struct setup_key *k)
{
	char found[256], expected[256], owner[160], mode[8];
	struct stat st;
	uid_t uid;
	gid_t gid;
	mode_t m;

	if (stat(k->key, &st) < 0) {
		lacking(s, k->key, "a private key in PEM, as key_file says");
		return;
	}
	if (key_good(s, k, &st) || !setup_key_owner(s, k, &uid, &gid, &m))
		return;
	setup_names(owner, sizeof(owner), st.st_uid, st.st_gid);
	snprintf(found, sizeof(found), "owner %s, mode %04o", owner, (unsigned)st.st_mode & 07777u);
	setup_names(owner, sizeof(owner), uid, gid);
	snprintf(mode, sizeof(mode), "%04o", (unsigned)m);
	snprintf(expected, sizeof(expected),
	    "owner %s, mode %s: read by who uses it, by nobody else", owner, mode);
	setup_fault(s, SETUP_ADMINS, k->key, found, expected, "chown", owner, k->key, "&&", "chmod",
	    mode, k->key, NULL);
}

/* A certificate, a CA, a list: no secret. */
static void open_file(
    struct setup *s, const struct set_role *r, const char *path, const char *what, int want)
{
	struct setup_account a;
	struct stat st;
	char found[160];

	if (!path || !*path || !setup_account(s, r, &a))
		return;
	if (stat(path, &st) < 0) {
		lacking(s, path, what);
		return;
	}
	if (!setup_reach(s, &a, path) || setup_may(&a, &st, want))
		return;
	snprintf(found, sizeof(found), "mode %04o, which %s cannot read",
	    (unsigned)st.st_mode & 07777u, a.name);
	setup_fault(s, SETUP_ADMINS, path, found, "a file that all may read", "chmod",
	    want == SETUP_R ? "a+r" : "a+rx", path, NULL);
}

static void section(struct setup *s, const struct set_role *r, const struct set_tls *t)
{
	for (const char *const *c = t->cert_file; c && *c; c++)
		open_file(s, r, *c, "a certificate in PEM, as cert_file says", SETUP_R);
	open_file(s, r, t->CAcert_file, "certificates of CAs, as CAcert_file says", SETUP_R);
	open_file(
	    s, r, t->CAcert_directory, "a folder, as CAcert_directory says", SETUP_R | SETUP_X);
	open_file(s, r, t->CRL_file, "a list of what is revoked, as CRL_file says", SETUP_R);
}

void setup_keys(struct setup *s)
{
	struct setup_key key[SETUP_KEYS];
	unsigned n = setup_keys_all(s, key);

	for (unsigned i = 0; i < n; i++)
		key_file(s, &key[i]);
	for (unsigned i = 0; i < s->set->nsmtps; i++)
		if (s->set->smtps[i].tls)
			section(s, &s->set->smtps[i].role, &s->set->smtps[i].tls_set);
	if (s->set->smtpc.tls)
		section(s, &s->set->smtpc.role, &s->set->smtpc.tls_set);
}

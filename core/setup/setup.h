/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * setup.h -- meta1-setup and meta1-check: what a server needs of its machine, one program under
 * two names.
 *
 * Everything is a rule: it looks, and when what it finds is not what it expects it tells
 * setup_fault() so, with the command that mends it. meta1-check prints found, expected and command;
 * meta1-setup runs the command. So both say the same, and what is right is left alone.
 *
 * Told in the order of a run: the command line and what becomes of a fault (setup.c), accounts and
 * groups (accounts.c), files and folders and who may read them (places.c), keys and certificates
 * as files (keys.c), files with passwords (secrets.c), making certificates (certs.c).
 */
#ifndef META1_SETUP_H
#define META1_SETUP_H
#include "lib/settings.h"
#include "mcp/mcp.h"

#include <sys/stat.h>

struct setup {
	const char *file;
	bool mend;  /* meta1-setup; else only looked at */
	bool dry;   /* meta1-setup -n */
	bool certs; /* -c: what lacks of keys and certificates is made */
	struct settings *set;
	const char *group[16]; /* that were said to be missing */
	unsigned ngroup;
	struct said *said;	     /* faults, so that each is told once */
	unsigned faults, done, left; /* found; commands that were run; what is the admin's to do */
};

/* ---- setup.c ---- */
enum setup_whose {
	SETUP_OURS,  /* meta1-setup runs the command */
	SETUP_ADMINS /* it is the admin's to decide: the command is shown only */
};
/* A rule is not kept. The words of the command follow, ended by NULL; "&&" joins two; none: there
 * is nothing to run. True: it was mended. */
bool setup_fault(struct setup *, enum setup_whose, const char *what, const char *found,
    const char *expected, ...) __attribute__((sentinel));
/* Something was made without a command: said as a command is. */
void setup_did(struct setup *, const char *fmt, ...) PRINTF(2, 3);
/* What cannot be done: where, and why. */
void setup_failed(struct setup *, const char *fmt, ...) PRINTF(2, 3);

/* ---- accounts.c ---- */
#define SETUP_GROUPS 64
struct setup_account {
	char name[64];
	uid_t uid;
	gid_t gid, more[SETUP_GROUPS];
	unsigned nmore;
};
/* Who a role runs as, with the groups that mcp gives it. False: it has no account yet. */
bool setup_account(struct setup *, const struct set_role *, struct setup_account *);
/* The first section with that keyword, or NULL. */
const struct set_role *setup_role(struct setup *, const char *keyword);
/* The group that may read contents. False: there is none yet. */
bool setup_cdb_group(struct setup *, gid_t *);
void setup_names(char *out, size_t size, uid_t, gid_t); /* "meta1q:meta1c" */
void setup_accounts(struct setup *);

/* ---- places.c ---- */
enum { SETUP_R = 4, SETUP_W = 2, SETUP_X = 1 };
bool setup_may(const struct setup_account *, const struct stat *, int want);
/* Each folder above path lets the account in; a fault for the first that does not. */
bool setup_reach(struct setup *, const struct setup_account *, const char *path);
void setup_places(struct setup *);

/* ---- keys.c ---- */
#define SETUP_KEYS 16
struct setup_key { /* a key_file, the certificate beside it, and the sections that name it */
	const char *key, *cert;
	const struct set_role *role[2]; /* a section of smtps, and smtpc; NULL: not that one */
};
unsigned setup_keys_all(struct setup *, struct setup_key out[SETUP_KEYS]);
/* Whose the key's file must be for all of them to read it. False: an account is missing. */
bool setup_key_owner(struct setup *, const struct setup_key *, uid_t *, gid_t *, mode_t *);
void setup_keys(struct setup *);

/* ---- secrets.c ---- */
void setup_secrets(struct setup *);

/* ---- certs.c ---- */
struct setup_certs {
	bool make;		/* -c: what the configuration names and is not there */
	const char *name[16];	/* -a: further names of this host */
	const char *client[16]; /* -i: clients that get one */
	unsigned nname, nclient;
	const char *out; /* -o: the folder for those of clients */
};
/* <0: something could not be made; it was said. */
int setup_certs(struct setup *, const struct setup_certs *);

#endif

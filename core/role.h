/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * role.h -- what a role is: name, message table, start and stop. These files are the
 * main() of the four unprivileged roles:
 *   role.c        options, configuration, log, servers and clients, the life from start to end
 *   role_mcp.c    the channel to mcp: setup, ping, stop, reload, the death of mcp
 *   role_end.c    drain, stop, end
 *   role_fd.c     descriptors from mcp, and listeners that a reload changes
 *   role_check.c  -V … -VVVV and -C: versions and checks, without starting anything
 */
#ifndef META1_ROLE_H
#define META1_ROLE_H
#include "ipc/chan.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/settings.h"
#include "lib/work.h"
#include "mod/mod.h"

struct ctl;	 /* control socket, core/ctl/server.h */
struct role_run; /* role.c's own */

struct role_fd {       /* a descriptor from mcp, or a listening one by pass_fd_socket */
	char kind[16]; /* "listen" for SMTP, "clients": their table; role.c uses ipc and ctl */
	char name[256];
	int fd;
};

struct role { /* one a process */
	/* filled by the role's own file */
	const char *name; /* smtps */
	enum meta1_role bit;
	enum proto_who who;
	const struct chan_handler *handlers;
	const char *const *servers; /* roles it is a client of, ended by NULL: "smar", "qmgr" */
	const char *const *told;    /* roles it tells and never waits for, likewise; may be NULL */
	/* What only the role can check of a configuration, files above all; -C. NULL: nothing. */
	int (*check)(struct role *, struct meta1_err *);
	/* Modules may be opened here (mod_use(): they are open at go()); everything is there but
	 * the servers. <0: err, exit 78. */
	int (*start)(struct role *, struct meta1_err *);
	/* All servers are up, or wait_for_server passed: take work. */
	void (*go)(struct role *);
	/* No new work; call role_stopped() when what is past the dot is done. */
	void (*stop)(struct role *);
	/* Before stop: no new work, but whoever is at a mail may end it; call role_drained() when
	 * nobody is left. NULL: there is nothing to wait for but what stop waits for. */
	void (*drain)(struct role *);
	/* Some listeners are not in role->fd any more, and there will be no reload_finish(), since
	 * the process restarts: whoever waits at them has to be let in now. May be NULL. */
	void (*listeners_gone)(struct role *);
	/* Reload: prepare opens the new beside the old. 0: ready, when what is in workers is open
	 * too; <0: refused, err says why, the old goes on; 1: only a restart can change this, err
	 * says what. NULL: always 1. commit switches, else the new is dropped; at a commit
	 * role->set, section and fd are already the new ones, and listeners that are not in fd any
	 * more are closed after it. The old go after it: whoever keeps texts of settings has a
	 * reference to their conf (conf_ref), and instances of modules do. */
	int (*reload_prepare)(struct role *, struct settings *, struct meta1_err *);
	void (*reload_finish)(struct role *, bool commit);
	void (*up)(struct role *, struct chan *, const struct p_hello *);
	void (*down)(struct role *, struct chan *);
	void (*control)(struct role *, struct ctl *); /* adds the role's own requests */
	const char *store;		/* set in start(): format of the queue module */
	uint32_t writer;		/* set in start(): smtps, number as a writer */
	const char *(*libraries)(void); /* more lines for -VV: "ldns 1.8.3"; may be NULL */

	/* filled by role.c before start() */
	struct loop *loop;
	struct work *work;
	struct settings *set;
	struct set_role *section; /* ours, cast by the role to struct set_smtps, … */
	struct mod_host host;
	uint32_t index, processes;
	struct role_fd *fd; /* listening descriptors */
	unsigned nfd;
	struct ctl *ctl;
	bool draining, stopping;
	struct role_run *run;
};

/* The whole life of the process; returns its exit status. */
int role_main(struct role *, int argc, char **argv);
/* The answer to drain(): the stop may begin. */
void role_drained(struct role *);
/* The answer to stop(): the process may end. */
void role_stopped(struct role *);
/* It cannot do its work as things are: ends, and mcp starts it again after a while. */
void role_again(struct role *);
/* Channel to a server role by name, or NULL before go. */
struct chan *role_peer(struct role *, const char *name);
/* "-V" and "-VV" of any program; libraries may be NULL. */
void role_version(const char *program, int level, const char *libraries);

#endif

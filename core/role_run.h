/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * role_run.h -- what role.c, role_mcp.c and role_check.c share and no role sees: the
 * state of a process between the first message of mcp and its end.
 */
#ifndef META1_ROLE_RUN_H
#define META1_ROLE_RUN_H
#include "role.h"

#define ROLE_SERVERS   4
#define WORK_END_MS    5000  /* what runs on worker threads when all else has ended */
#define ROLE_STOP_MS   30000 /* SIGTERM without a word of mcp */
#define ROLE_ORPHAN_MS 10000 /* mcp is gone: end within this time */

struct role_fds {
	struct role_fd *fd;
	unsigned n;
};

struct role_run {
	struct role *role;
	const char *file;    /* -f */
	int conf_fd;	     /* that file and its includes as mcp has read them; -1: from disk */
	const char *section; /* -s, or what mcp said; NULL: the unnamed one */
	int status;	     /* exit status */
	bool begun, going, stopped;

	/* role_mcp.c */
	struct chan_side mcp_side;
	struct chan *mcp, *pass; /* pass: mcp's connection to pass_fd_socket */
	char run_directory[256];
	int ipc_fd, ctl_fd, pass_fd;
	char *pass_path;
	struct watch *pass_watch;
	struct settings *next; /* between the steps of a reload */
	uint64_t serial;       /* of the reload that mcp spoke of last */
	struct role_fds late;  /* likewise: all listeners, when they are others after it */
	struct role_fds gone;  /* while the commit runs: those that are none any more */

	/* role.c */
	struct chan_side side;
	struct chan_server *server;
	struct chan *peer[ROLE_SERVERS]; /* servers first, then those that are only told */
	unsigned nserver, npeer, nclient;
	struct watch *wait_server, *wait_client, *stop_timer, *sigterm, *sigusr1;
	int64_t within_ms; /* while it drains: what its stop has */
};

/* ---- role.c ---- */
/* The configuration, of mcp or from the file; what mcp gave serves once. */
struct settings *role_settings(struct role_run *, enum opt_mode);
/* The section of the role with this name (NULL: the one without, else the first), or NULL. */
struct set_role *role_section(struct settings *, const char *keyword, const char *name);
int role_log_open(struct role_run *, struct meta1_err *);
/* What modules are told of the process, from these settings. */
void role_host_fill(struct role *, const struct settings *);
/* mcp said everything: opens modules and sockets, looks for the servers. */
void role_begin(struct role_run *);
/* Who may connect to this server, by the settings in force. */
void role_ipc_users(struct role_run *);

/* ---- role_end.c ---- */
/* Ends the process with this status on the next turn of the loop. */
void role_end(struct role_run *, int status);
void role_stop(struct role_run *, int64_t within_ms, const char *why);
/* The same, but before it sessions may go on for drain_ms. */
void role_drain(struct role_run *, int64_t drain_ms, int64_t within_ms, const char *why);

/* ---- role_mcp.c ---- */
/* Takes the channel. <0: err. */
int role_mcp_open(struct role_run *, int fd, struct meta1_err *);
void role_mcp_ready(struct role_run *);
void role_mcp_stop(struct role_run *); /* nothing comes of a reload that has begun */
void role_mcp_close(struct role_run *);

/* ---- role_fd.c ---- */
struct p_fd_pass;
void role_fd_take(struct role_run *, const struct p_fd_pass *, int fd);
unsigned role_fd_listeners(const struct role *); /* SMTP listeners that came so far */
/* It takes nobody any more: whoever comes is refused, or waits for those who have the same. */
void role_fd_deaf(struct role_run *);
/* A commit: role->fd has the listeners of after it; and, the role has seen it or there was none:
 * what is not wanted is closed. false: they are the same. */
bool role_fd_turn(struct role_run *);
void role_fd_turned(struct role_run *);

/* ---- role_workers.c ---- */
void role_worker_kill(void *run, uint32_t pid);
void role_workers_control(struct role *); /* GET /v1/workers */
void role_on_worker(struct chan *, uint32_t req, const void *msg, void *run);
void role_on_worker_ended(struct chan *, uint32_t req, const void *msg, void *run);

/* ---- role_metrics.c ---- */
struct evbuffer;
/* More lines of /metrics; arg is the role. */
void role_metrics(void *arg, struct evbuffer *out, const struct ctl *);

/* ---- role_readable.c ---- */
/* Warns of files that the account of its worker cannot read. */
void role_check_readable(
    struct settings *, const struct settings_module *, const struct meta1_module *);

/* ---- role_check.c ---- */
/* level: number of -V; strict: -C. Returns the exit status. */
int role_check(struct role_run *, int level, bool strict);

#endif

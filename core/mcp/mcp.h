/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mcp.h -- the master control program: root, small, opens no module, reads nothing that a
 * peer wrote but the few fixed messages of its own children.
 *
 * Told in the order of a start: who runs as whom (account.c), which folders (dirs.c), that
 * nobody of an earlier life is there (lock.c), whether the configuration is good in the eyes
 * of those who will run it (check.c), which sockets (listen.c), a process (exec.c, child.c,
 * pass.c) and its workers (worker.c), their order (order.c), a change of the configuration
 * (reload.c, plan.c, differ.c, sections.c, relisten.c, hand.c), processes that such a change has
 * no place for (retire.c), and who may ask for one (control.c). What a service manager wants to
 * hear, and which sockets it has opened, is in service.c.
 */
#ifndef META1_MCP_H
#define META1_MCP_H
#include "ipc/chan.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/settings.h"

#include <stdio.h>
#include <sys/queue.h>
#include <sys/types.h>

#define MCP_START_MS 10000 /* a start waits so long for the role before it */
#define MCP_STOP_MS  30000 /* what is past the dot may take so long */
#define MCP_DRAIN_MS 10000 /* before a restart: what is at a mail, while others wait */
#define MCP_RETIRE_MS                                                                              \
	300000 /* the same where nobody waits, since there will be no such process                 \
		*/
#define MCP_PING_MS	10000
#define MCP_HAND_MS	20000 /* to hand folders over; nothing else is done meanwhile */
#define MCP_SILENT	3     /* unanswered pings: the role hangs */
#define MCP_SILENT_INIT 30    /* the same before it is ready: it may read a long queue */
#define MCP_BACKOFF_MS	1000
#define MCP_BACKOFF_MAX 60000
#define MCP_LONG_LIFE	60000 /* a life as long as this makes the next restart quick */
#define MCP_ORPHANS_MS	12000 /* roles whose mcp was killed end within 10 s */

/* ---- wire.c: one row a role ---- */
struct mcp_wire {
	const char *role;
	enum proto_who who;
	bool many;	   /* processes = N and several sections */
	const char *ipc;   /* socket that it answers on, or NULL */
	const char *talks; /* roles whose socket it connects to */
	const char *task;
};
extern const struct mcp_wire mcp_wiring[]; /* ended by role NULL */
const struct mcp_wire *mcp_wire(const char *role);

struct mcp;
struct mcp_section;

enum mcp_state {      /* of one process */
	MCP_DOWN,     /* to be started when its turn comes */
	MCP_ASLEEP,   /* start_action accept: started by the first connection */
	MCP_STARTING, /* not ready yet */
	MCP_UP,
	MCP_STOPPING, /* told to stop; its end is expected */
	MCP_WAITING,  /* ended; restarted when the time is over */
	MCP_OFF	      /* never ready and ended with 78: not restarted until a reload */
};

struct mcp_child { /* a place for one process of a section */
	struct mcp *m;
	struct mcp_section *sec;
	uint32_t index; /* process index for ids, unique over all smtps */
	unsigned nth;	/* within its section, from 0 */
	bool retired;	/* of no section any more: sec is its own */
	bool hurry;	/* and somebody waits for its end */
	char name[96];	/* "smtps", "smtps-internal.1": for log, lock and control socket */
	enum mcp_state state;
	pid_t pid; /* 0: none */
	struct chan *chan;
	int ctl_fd;
	int64_t started, backoff;
	unsigned unanswered; /* pings */
	uint64_t serial;
	struct watch *ping, *timer; /* timer: back-off, or the end of patience */
	struct chan *pass;	    /* pass.c */
	struct watch *pass_timer;
	bool ready;   /* in this life: it has its handlers of signals */
	bool drains;  /* MCP_STOPPING: it may still hear that it must be quicker */
	bool proved;  /* was ready with the configuration in force */
	bool told;    /* reload.c: an answer is awaited */
	bool agreed;  /* reload.c: it answered that it is ready */
	bool renewed; /* reload.c: must be restarted after the commit */
	bool awaited; /* restarted or started by the last reload; control.c waits for it */
	LIST_ENTRY(mcp_child) link; /* of m->retired */
};

struct mcp_listen {
	char name[256];	  /* "127.0.0.1:25" */
	char rights[160]; /* of a unix socket, as the configuration says them */
	char *path;	  /* unix socket to unlink at the end, or NULL */
	int *fd;	  /* one a process, or one for all */
	unsigned nfd;
	bool given; /* the service manager's, which gets it back */
	/* relisten.c */
	bool kept;    /* between the steps of a reload: stays, and so stands in two lists */
	bool late;    /* it shares its address with one that goes, and listens from the commit on */
	char *beside; /* where its file lies until the commit, or NULL */
};

struct mcp_section {
	const struct mcp_wire *wire;
	const struct set_role *set; /* in m->set */
	/* between the steps of a reload: in its settings, NULL: it goes; and how many processes */
	const struct set_role *after;
	unsigned nafter;
	bool fresh, slept; /* made by it; start_action accept, while the commit runs */
	struct mcp_listen *listen;
	unsigned nlisten;
	struct mcp_listen *next; /* between the steps of a reload: those after it, or NULL */
	unsigned nnext;
	bool relisten; /* they are others, or in another order */
	int ipc_fd;
	struct mcp_child **child;
	unsigned nchild, nfresh; /* fresh: behind them, not there before the commit */
	bool holding;		 /* it restarts, and keeps its restart_dependencies stopped */
	struct watch **wake;	 /* accept: one a listener, while asleep */
};

/* ---- service.c: systemd's protocol ---- */
#define MCP_GIVEN_MAX 64
struct mcp_service {
	int fd[MCP_GIVEN_MAX]; /* sockets that it opened and nobody took yet */
	unsigned nfd;
	char where[108]; /* "": nobody wants to hear of us */
	int64_t watchdog_ms;
	struct watch *alive;
};
struct sockaddr;
/* Reads the environment, before anything is opened. */
void mcp_service_init(struct mcp_service *);
/* The listening socket of that address, if it was given; -1: none. */
int mcp_service_take(struct mcp_service *, const struct sockaddr *);
void mcp_service_back(struct mcp_service *, int fd); /* nobody listens on it any more */
void mcp_service_say(const struct mcp *, const char *);
/* All sockets are open: says so, and from now on that mcp is alive. */
void mcp_service_ready(struct mcp *);
void mcp_service_end(struct mcp_service *);

struct mcp {
	struct mcp_service service;
	struct loop *loop;
	struct settings *set;
	const char *file; /* absolute */
	bool root, background;
	int clients_fd;		/* table of clients, shared by all smtps; -1: none yet */
	int tally_fd;		/* that of logins, likewise */
	int lock_fd, report_fd; /* report_fd: tells the foreground how the start went */
	struct mcp_section **section, **next; /* next: between the steps of a reload */
	unsigned nsection, nnext;
	LIST_HEAD(, mcp_child) retired;
	struct mcp_hand *hand, *next_hand; /* hand.c */
	struct chan_side side;
	int64_t ping_ms, hand_ms, backoff_max; /* backoff_max 0: MCP_BACKOFF_MAX */
	uint64_t life; /* of the configuration: 1, and 1 more with each reload */
	LIST_HEAD(, mcp_worker) workers;
	bool stopping, again; /* again: SIGHUP came during a reload */
	int status;
	struct watch *signal[6], *order_timer;
	struct mcp_check *check;
	struct mcp_reload *reload;
	struct mcp_control *control; /* NULL: not open */
};

/* All processes that have a section. */
#define MCP_EACH_CHILD(m, c)                                                                       \
	for (unsigned s_ = 0; s_ < (m)->nsection; s_++)                                            \
		for (unsigned k_ = 0; k_ < (m)->section[s_]->nchild; k_++)                         \
			for (struct mcp_child *c = (m)->section[s_]->child[k_]; c; c = NULL)

/* Developer builds with META1_TEST_ENV=1 in the environment: tests as root. */
bool mcp_testing(void);

/* ---- account.c ---- */
struct mcp_account {
	bool change; /* mcp is root and has to become somebody else */
	uid_t uid;
	gid_t gid;
	char name[64]; /* for initgroups and messages */
};
/* Whom the section runs as. <0: err says what to write into the file. */
int mcp_account(const struct set_role *, bool root, struct mcp_account *, struct meta1_err *);
/* Reports to set->conf what only a start finds wrong: accounts, no listener, too many
 * processes; and warns of a role that others ask and that has no section. Returns the number of
 * errors found. */
unsigned mcp_account_check(struct settings *, bool root);

/* ---- dirs.c ---- */
struct stat;
struct mcp_folder {
	char path[1024];
	const char
	    *owner; /* keyword of a role; NULL: whoever starts mcp, and others pass through */
	bool cdb;   /* its group is that which may read contents, else the owner's */
	mode_t mode;
};
/* Calls fn for each folder that the configuration needs, a parent before what is in it. The sum of
 * what fn returned; after a negative one nothing inside of it. */
typedef int (*mcp_folder_fn)(const struct mcp_folder *, void *arg);
int mcp_folders(const struct settings *, mcp_folder_fn, void *arg);
bool mcp_folder_right(
    const struct mcp_folder *, const struct stat *, uid_t uid, gid_t gid, bool root);
/* Makes what lacks, checks the rest; every wrong one on err_file with the command that
 * mends it. <0: at least one is wrong. */
int mcp_dirs(struct mcp *, FILE *err_file);
/* Whose the folder is by these settings; false: nobody's, so there is no need for it. */
bool mcp_folder_ids(struct settings *, bool root, const struct mcp_folder *, uid_t *, gid_t *);
/* Made and given to them, or checked. <0: it is wrong, and err_file has that. */
int mcp_folder_make(const struct mcp_folder *, uid_t, gid_t, bool root, FILE *err_file);
/* The command that gives it, and what is in it, to its owner. */
#define MCP_MEND_MAX 1200
void mcp_folder_mend(
    const struct mcp_folder *, uid_t from, uid_t, gid_t, char out[static MCP_MEND_MAX]);
/* The group that may read contents: CDB_gid, else that of smtpc. */
gid_t mcp_cdb_gid(struct settings *, bool root);

/* ---- lock.c ---- */
/* mcp's own lock, and the end of roles of an earlier life. <0: err names the pid. */
int mcp_lock(struct mcp *, struct meta1_err *);
/* Opens and locks NAME.lock in queue_directory. -1: err says who holds it. */
int mcp_lock_child(struct mcp *, const char *name, struct meta1_err *);
void mcp_lock_pid(int fd, pid_t pid); /* writes who it is, for messages */

/* ---- check.c ---- */
typedef void (*mcp_check_fn)(struct mcp *, bool good, const char *errors);
/* Runs "ROLE -C" for every section as its user; done comes later, once. */
void mcp_check_start(struct mcp *, struct settings *, mcp_check_fn done);
bool mcp_check_reaped(struct mcp *, pid_t pid, int status); /* true: it was a checker */
void mcp_check_cancel(struct mcp *);

/* ---- listen.c ---- */
/* RUN/ROLE.ipc, and RUN/NAME.ctl of a process, which is its account's. <0: err. */
int mcp_listen_ipc(struct mcp *, struct mcp_section *, struct meta1_err *);
int mcp_listen_child(struct mcp_child *, struct meta1_err *);
void mcp_listen_ipc_close(struct mcp *, struct mcp_section *);
void mcp_listen_child_close(struct mcp_child *);
/* A control socket for the group meta1 where there is one, of the account or (NULL) our own. Its
 * descriptor, or <0: err. */
int mcp_listen_control(
    struct mcp *, const char *path, const struct mcp_account *, struct meta1_err *);
/* (uid_t)-1 leaves it. <0: errno; nothing of somebody else has changed hands. */
int mcp_listen_chown(const char *path, uid_t, gid_t);
/* One listener: its name and rights; the file of a unix socket; its sockets, one a process that the
 * section will have, and closed. late: they share the address with others of ours, and listen when
 * mcp_listener_listen() says so. */
void mcp_listener_name(const struct set_listen *, struct mcp_listen *);
void mcp_listener_path(const struct mcp *, const struct set_listen *, char *out, size_t size);
int mcp_listener_open(struct mcp *, const struct mcp_section *, const struct set_listen *,
    bool late, struct mcp_listen *, struct meta1_err *);
void mcp_listener_listen(struct mcp_listen *);
void mcp_listener_close(struct mcp *, struct mcp_listen *);

/* ---- relisten.c: listeners that a reload adds, changes or takes away ---- */
/* For m->next. <0: err. mcp_relisten_end() must follow. */
int mcp_relisten_open(struct mcp *, struct meta1_err *);
bool mcp_relisten_give(struct mcp_child *); /* before step 1; false: it could not be sent */
void mcp_relisten_end(struct mcp *, bool commit);

/* ---- exec.c ---- */
struct mcp_exec {
	const struct set_role *set;
	int chan_fd, lock_fd; /* -1: none */
	int conf_fd;	      /* the configuration, conf_pack(); -1: it reads the files */
	int out_fd;	      /* for stdout and stderr; -1: mcp's stderr */
	bool check;	      /* add -C */
	/* Instance that it shall serve as a worker of that role; NULL: the role itself. */
	const char *worker, *user; /* user: NULL: the role's */
};
/* The words of a command line with '…', "…" and \; ended by NULL, free with mcp_words_free().
 * NULL: err. */
char **mcp_words(const char *text, struct meta1_err *);
void mcp_words_free(char ***);
bool mcp_env_passes(const char *assignment, bool root, bool testing);
/* Returns the pid, or -1 with err. */
pid_t mcp_exec(struct mcp *, const struct mcp_exec *, struct meta1_err *);
void mcp_status_words(int status, char *out, size_t size);

/* ---- child.c ---- */
struct mcp_child *mcp_child_new(
    struct mcp *, struct mcp_section *, const struct set_role *, unsigned nth, uint32_t index);
void mcp_child_free(struct mcp_child **);
bool mcp_child_running(const struct mcp_child *);
void mcp_child_start(struct mcp_child *);
/* drain_ms: sessions that are at a mail go on for so long, before the stop begins. */
void mcp_child_stop(struct mcp_child *, int64_t drain_ms, int64_t within_ms, const char *why);
/* All that can, open their log files anew. */
void mcp_child_reopen_all(const struct mcp *);
void mcp_child_ended(struct mcp_child *, int status);
int64_t mcp_child_backoff(int64_t last, int64_t lived); /* ms to wait now */
extern const struct chan_handler mcp_child_handlers[];

/* ---- worker.c: processes of isolated instances ---- */
/* Starts those of the child's section in set, and hands it their streams. */
void mcp_workers_start(struct mcp_child *, struct settings *, const struct set_role *);
bool mcp_worker_reaped(struct mcp *, pid_t pid, int status); /* true: it was one */
void mcp_worker_kill(struct mcp_child *, pid_t pid);	     /* the child says: it hangs */
void mcp_workers_end(struct mcp_child *); /* the child has ended, they do so too */
void mcp_workers_close(struct mcp *);	  /* mcp ends */
/* Accounts that cannot be used, as errors of set->conf. */
void mcp_workers_check(struct settings *, bool root);

/* ---- pass.c ---- */
void mcp_pass_start(struct mcp_child *);
void mcp_pass_stop(struct mcp_child *);

/* ---- order.c ---- */
void mcp_end(struct mcp *, int status); /* ends the loop with this status */
/* Brings what runs nearer to what should run; called after every change. */
void mcp_order_run(struct mcp *);
void mcp_order_stop(struct mcp *, int64_t within_ms); /* everything, first to last */
/* The section restarts: its restart_dependencies stop until it may start again. */
void mcp_order_hold(struct mcp_section *);
void mcp_order_rehold(struct mcp *); /* a reload may have changed who that is */
/* One whose start_action says so waits for its first connection; and no more, true: it did. */
void mcp_order_asleep(struct mcp_section *);
bool mcp_order_awake(struct mcp_section *);

/* ---- reload.c ---- */
/* try: only step 1; what there is goes on, mcp_control_reloaded() hears what would be done. */
void mcp_reload_start(struct mcp *, bool try);
void mcp_reload_done(struct mcp_child *, const struct p_reload_done *);
void mcp_reload_gone(struct mcp_child *); /* it ended before it answered */
void mcp_reload_cancel(struct mcp *);
/* One more line, with its end, for who asked for it, if he still waits for its restarts. */
void mcp_reload_note(struct mcp *, const char *line);

/* ---- plan.c: from two configurations to what becomes of each process ---- */
enum mcp_act { MCP_GOES_ON, MCP_RESTARTS, MCP_STARTS, MCP_LEAVES };
struct mcp_step {
	enum mcp_act act;
	const struct set_role *set; /* of the new settings; of the old where it leaves */
	unsigned nth;
	char why[160]; /* "" for what goes on */
};
struct mcp_plan {
	struct mcp_step *step;
	unsigned n;
	char refused[600]; /* not "": why nothing can be done, and what to do; no steps then */
};
void mcp_plan(const struct settings *old, const struct settings *new, struct mcp_plan *);
void mcp_plan_free(struct mcp_plan *);
/* The step for people; false: there is nothing to say of it. */
bool mcp_plan_says(const struct mcp_step *, char *out, size_t size);
unsigned mcp_section_size(const struct set_role *);			 /* processes */
bool mcp_section_same(const struct set_role *, const struct set_role *); /* by their names */
bool mcp_has_role(const struct settings *, const char *keyword);	 /* some section of it */
void mcp_child_name(const struct set_role *, unsigned nth, char *out, size_t size);

/* ---- differ.c: what a running role does not take by a reload ---- */
/* What cannot change while mcp runs: true, and why has both values and what to do. */
bool mcp_differ_fixed(
    const struct settings *old, const struct settings *new, char *why, size_t size);
/* The option that the processes of a section learn only by a restart, or NULL. */
const char *mcp_differ_restart(const struct settings *old, const struct settings *new,
    const struct set_role *was, const struct set_role *is);
void mcp_differ_print(void); /* both, for people */

/* ---- sections.c: what the settings say there is ---- */
/* What next has and we have not is made: sections, places of processes, their sockets, listeners.
 * <0: err; mcp_sections_end() must follow in any case. commit: they are those in force, and what
 * next has not is closed or retires. */
int mcp_sections_open(struct mcp *, const struct settings *next, struct meta1_err *);
void mcp_sections_end(struct mcp *, bool commit);
void mcp_sections_close(struct mcp *); /* mcp ends */
struct mcp_child *mcp_sections_child(struct mcp *, const struct set_role *, unsigned nth);

/* ---- retire.c: processes without a section; what is under way ends in them ---- */
void mcp_retire(struct mcp_child *, const char *why);
/* Those that nobody needs any more are told to stop, those that have ended are forgotten. */
void mcp_retire_look(struct mcp *);
void mcp_retire_close(struct mcp *);		       /* mcp ends, and nothing runs */
void mcp_retire_hurry(struct mcp *, const char *name); /* another one of that name is to start */
void mcp_retire_hurry_role(struct mcp *, const char *role); /* or another account's */
bool mcp_retire_has(const struct mcp *, const char *name);
bool mcp_retire_stop(struct mcp *, int64_t within_ms, bool again); /* true: some still run */

/* ---- hand.c: folders that change hands with a role's account ---- */
/* Those of next: what lacks is made (unless try), what is wrong stands in err_file. <0: something
 * is wrong. mcp_hand_end() must follow. */
int mcp_hand_open(struct mcp *, struct settings *next, bool try, FILE *err_file);
void mcp_hand_end(struct mcp *, bool commit);
/* Folders of a role change hands when none of its old processes runs. */
void mcp_hand_look(struct mcp *);
bool mcp_hand_waits(const struct mcp *, const char *role); /* true: some still do */
/* Between the steps of a reload: some will. */
bool mcp_hand_will(const struct mcp *, const char *role);

/* ---- control.c ---- */
int mcp_control_open(struct mcp *, struct meta1_err *);
void mcp_control_close(struct mcp *);
/* A reload is over; text: what was said of it, line by line. */
void mcp_control_reloaded(struct mcp *, bool good, const char *text);
void mcp_control_note(struct mcp *, const char *line); /* one more, until the answer */
void mcp_control_idle(struct mcp *);		       /* and now another may begin */
void mcp_control_look(struct mcp *);		       /* a role has come up, or ended */

#endif

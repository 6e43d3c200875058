/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * world.h -- a whole qmgr in one process: its files as they are, and at its ends an smtps, a smar
 * and an smtpc that do what the test says, over real channels, and a store in memory (a
 * queue module whose requests finish when the test lets them). The clock stands still
 * until world_pass().
 */
#ifndef TEST_QMGR_WORLD_H
#define TEST_QMGR_WORLD_H
#include "../unit.h"
#include "ctl/server.h"
#include "qmgr/qmgr.h"

#define WALL0	     INT64_C(1700000000)
#define WORLD_MEMORY (64u << 20)

struct delivery { /* as smtpc got it */
	uint64_t number;
	bool over;
	char id[32], key[64], from[64], rcpts[1024]; /* blanks between */
	uint32_t n;
};
struct outcome { /* as the store got it */
	char id[32], reason[256], by[256];
	uint32_t rcpt, state, tries;
	int64_t next_try;
};
struct stored { /* committed by qmgr */
	char id[32], to[64];
	char *text;
};
struct world {
	struct qmgr q;
	struct settings set;
	struct set_role section;
	struct loop *loop;
	struct chan_side near, side_smtps, side_smar, side_smtpc;
	struct chan *at_smtps, *at_smar, *at_smtpc; /* qmgr's ends */
	struct chan *as_smtps, *as_smar, *as_smtpc; /* the others' */
	int64_t now, jump; /* monotonic ms; s that the wall clock is ahead */

	uint64_t credits;		  /* intake, granted to smtps */
	unsigned asked;			  /* routes */
	bool smar_silent;		  /* it does not answer */
	uint64_t ttl;			  /* s, of its answers; 300 */
	const char *rate;		  /* of them: a row of limits, or NULL */
	char via[64];			  /* of the last question that had one */
	char from[64];			  /* of the last question */
	const struct p_generation *first; /* told before the next answer */
	struct delivery d[6000];
	unsigned nd;
	struct outcome o[6000];
	unsigned no;
	struct stored s[300];
	unsigned ns;
	const char *body; /* of the next control requests */
	bool store_holds; /* requests are not finished */
	bool store_fails; /* they finish with TEMPFAIL */
	bool store_lost;  /* no envelope can be read */
	bool store_blind; /* and nothing is known of it */
	unsigned fetches, fetched;
	bool commit_fails; /* no message is taken; outcomes are */
	bool stopped;
	int filters;	/* the last session of REPORT; <0: none */
	int before[40]; /* those before it, when nobody has ended them */
	unsigned nbefore;
	unsigned sessions; /* of REPORT, that came */
};

/* A control request; *status is 200 when it has an answer (the caller's), 0: it has none yet. */
json_t *world_ask(struct world *, const char *method, const char *path, const char *key,
    const char *value, int *status);
json_t *world_answer(struct world *, int *status); /* perhaps now */
json_int_t world_number(json_t *, const char *key);
/* What a recipient waits for, and until when. */
const char *world_why(struct world *, const char *id, unsigned rcpt, int64_t *until);
/* What was done to how many recipients; -status: it was refused. */
int64_t world_act(struct world *, const char *path, const char *key, const char *value);
/* Options of the next world_new(). */
extern int64_t world_delay_warning;
extern const char *world_double_bounce, *const *world_verp;
/* Of the next world_mail() and world_end(). */
extern const char *world_envid, *world_hold; /* hold: of world_entry() */
extern uint32_t world_flags, world_taken;
struct world *world_new(int64_t aq_max);
struct world *world_small(int64_t aq_max); /* whatever waits is unloaded */
void world_free(struct world **);
void world_run(struct world *);		      /* until nothing more happens */
void world_pass(struct world *, int64_t sec); /* time goes by, in small steps */
/* Mail from smtps; rcpts: addresses with blanks between, each perhaps with "/notify/orcpt/owner".
 * Domains: "never.…" has no host, "later.…" cannot be resolved now, "dane.…" asks for something
 * of TLS, "*.shared" and "dane.*.shared" go to one destination, the others to one each. */
void world_mail(struct world *, const char *id, const char *from, const char *rcpts);
void world_mail_to(struct world *, const char *id, const char *rcpts); /* from me@example.org */
/* What the store would tell at a restart. */
void world_entry(struct world *, const char *id, const char *from, const struct meta1_qrcpt *,
    uint32_t n, int64_t time);
void world_recovered(struct world *);
void world_result(
    struct world *, struct delivery *, uint32_t rcpt, int status, int smtp, const char *text);
void world_end(
    struct world *, struct delivery *, int status, int scope, int smtp, const char *text);
void world_smtpc_up(struct world *, unsigned window);
void world_smtpc_gone(struct world *);
/* The one delivery of that destination that is not over, or NULL. */
struct delivery *world_open(struct world *, const char *key);
/* The last outcome of a recipient; state -1: none. */
struct outcome world_outcome(struct world *, const char *id, uint32_t rcpt);

/* ---- world_ctl.c and world_store.c, for world.c ---- */

extern struct world *W; /* the one that there is */
void world_copy(char *out, size_t size, struct meta1_buf);
bool world_store_step(void); /* finishes a request; false: none is ready */
void world_store_tell(const char *id, const struct meta1_env *);
void world_store_recovered(void);
void world_store_free(void);
void world_ctl_new(void); /* nobody has added requests */

#endif

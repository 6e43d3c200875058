/* SPDX-License-Identifier: BSD-2-Clause */
/* pmilter_fix.h -- pmilter_pmilter in a host, a filter of libpmilter or a raw peer beside it, all
 * in one process and one thread: pf_turn() turns both loops. */
#ifndef META1_TEST_PMILTER_FIX_H
#define META1_TEST_PMILTER_FIX_H
#include "mod/mod.h"

#include "../unit.h"
#include <meta1/pmfapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pf {
	struct mod_host host;
	struct mod *mod;
	struct conf *conf;
	struct mod_inst *inst;
	const struct meta1_pmilter_ops *ops;
	struct meta1_err err;
	char dir[64], sock[96], where[112];
	pmg_ctx_P g; /* the filter, or NULL */
};

struct ps { /* a session */
	struct pf *f;
	void *sess;
	struct meta1_pm_about about;
	struct meta1_req *req;
	uint32_t wants;
	unsigned answers;
	enum meta1_status st;
	const struct meta1_pm_verdict *v; /* valid until the next call */
	char text[400];
};

struct pf *pf_new(const char *options); /* of pmilter_pmilter; more options than the socket */
struct pf *pf_open(const char *module, const char *options); /* NULL: *pf_why says why not */
extern struct meta1_err pf_why;
void pf_free(struct pf **);
void pf_filter(struct pf *, const struct pmilter_S *); /* listens */
void pf_filter_end(struct pf *);
void pf_turn(struct pf *);
/* Turns until *n is what is wanted; fails after 20 s. */
void pf_until(struct pf *, const unsigned *n, unsigned wanted);

void ps_begin(struct pf *, struct ps *);
/* Asks and does not wait. */
void ps_put(struct ps *, const struct meta1_pm_ask *);
/* Asks and waits for the answer. */
enum meta1_status ps_ask(struct ps *, uint32_t stage, const char *arg);
enum meta1_status ps_end(struct ps *, const struct meta1_pm_message *);
/* A message of one extent. */
struct meta1_pm_message ps_message(struct meta1_extent *, const char *text);
void ps_close(struct ps *);

int raw_listen(struct pf *);  /* at the socket; non-blocking */
int raw_connect(struct pf *); /* to the filter; blocking */

#endif

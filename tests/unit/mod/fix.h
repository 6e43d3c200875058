/* SPDX-License-Identifier: BSD-2-Clause */
/* fix.h -- what the tests of core/mod share: a host with a fake clock, faults noted. */
#ifndef TESTS_MOD_FIX_H
#define TESTS_MOD_FIX_H
#include "mod/mod.h"

#define START_MS 1000000

struct fix {
	struct mod_host host;
	struct conf *conf;
	struct mod *mod;
	struct meta1_err err;
	unsigned faults;
	char fault[512]; /* the last one */
};

struct said { /* an answer */
	unsigned times;
	enum meta1_status st;
	char val[32], text[128];
	size_t len;
	const void *ext;
};

int fix_up(void **state); /* struct fix */
int fix_down(void **state);
/* Loads NAME from the build folder. */
struct mod *fix_load(struct fix *, const char *name);
/* Opens an instance of map_try (or the module loaded last) with options. */
struct mod_inst *fix_open(struct fix *, const char *name, const char *options);
/* What mod_use() gave, when it is open. NULL: it was closed, f->err says why. */
struct mod_inst *fix_await(struct fix *, struct mod_inst *);
void fix_clock(struct fix *, int64_t ms);	   /* moves it on and turns the loop */
void fix_turns(struct fix *);			   /* a few turns */
void fix_until(struct fix *, const struct said *); /* real time, worker threads */
void fix_said(void *said, enum meta1_status, const struct meta1_reply *);
struct meta1_req *fix_ask(struct fix *, struct mod_inst *, const char *key, struct said *);

#endif

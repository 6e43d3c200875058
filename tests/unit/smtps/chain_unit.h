/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain_unit.h -- a chain of filters that are scripted, for the unit tests of core/smtps/chain*.c.
 * Each filter has a letter for its name and says of a stage what the script has for it, at once or
 * when told; what was called is written down as a line of words such as "a:mail b:mail a.reset".
 */
#ifndef CHAIN_UNIT_H
#define CHAIN_UNIT_H
#include "../until.h"
#include "mod/inst.h"
#include "smtps/chain.h"

#include <stdio.h>
#include <stdlib.h>

#define FILTERS 5
#define START	1000000
#define ROOM	10 /* recipients that may be added at END */

enum { SAYS_NOTHING, SAYS, SAYS_TEMPFAIL, SAYS_UNABLE, SAYS_LATER, SAYS_NO_ROOM };
struct line { /* of a script: all that is said at a stage */
	uint32_t stage;
	int how;
	struct meta1_pm_verdict v;
};
struct script {
	uint32_t wants;
	struct line line[8];
	struct meta1_req *open; /* SAYS_LATER */
	const struct meta1_host *host;
	unsigned sessions, asked, live;
	char header[64]; /* of the last message it saw, its first bytes */
	char rcpts[256]; /* of END: "<sender> rcpt rcpt" */
};
extern struct script script[FILTERS];

struct fix {
	struct mod_host host;
	struct set_filter set[FILTERS];
	struct smtps_chain *chain;
	struct smtps_judging *j;
	struct meta1_pm_about about;
	struct mod mod[FILTERS];
	struct conf *conf;
	char calls[2000];
	unsigned answers;
	struct smtps_answer a; /* the last */
	char content[1000];
	struct meta1_extent extent;
	struct meta1_pm_message msg;
	struct meta1_buf rcpt[2]; /* of END */
	struct meta1_pm_ask ask;
};
extern struct fix f;

int up(void **state);
int down(void **state);
/* All FILTERS instances are opened, so that each has its script; the chain has the first n. */
void start(unsigned n);
void turns(void);
void clock_on(int64_t ms);
void give(struct script *, const struct line *, struct meta1_req *); /* what was SAYS_LATER */
void question(uint32_t stage, const char *arg);
/* Asks, and gives the answer: action, or the code of a refusal, or 1000 for a hold. */
int says(uint32_t stage, const char *arg);
void script_line(unsigned i, unsigned n, uint32_t stage, int how, struct meta1_pm_verdict);
#define VERDICT(...) ((struct meta1_pm_verdict){__VA_ARGS__})
#define calls(text)                                                                                \
	do {                                                                                       \
		assert_string_equal(f.calls, text);                                                \
		f.calls[0] = '\0';                                                                 \
	} while (0)

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* filter.h -- what control.c, act.c and why.c share: queries, filters, states, addresses in JSON.
 */
#ifndef META1_QMGR_FILTER_H
#define META1_QMGR_FILTER_H
#include "ctl/server.h"
#include "qmgr/qmgr.h"

struct qmgr_filter {
	const char *id, *sender, *recipient, *domain, *reason, *state; /* NULL: any */
	int64_t older, younger;					       /* seconds */
	int64_t larger, smaller;				       /* bytes */
	bool any;						       /* something was said */
	bool more;						       /* more than the id */
	bool rcpts; /* of it something about recipients */
};
int qmgr_filter_read(struct qmgr_filter *, json_t *query, struct meta1_err *);
bool qmgr_filter_msg(const struct qmgr_filter *, const struct qmgr_msg *, int64_t now);
/* reason: qmgr_reason_line() */
bool qmgr_filter_rcpt(const struct qmgr_filter *, const struct qmgr_rcpt *, const char *reason);

/* The number in a query, or def; <0: it is none. */
int64_t qmgr_query_number(json_t *query, const char *name, int64_t def);
const char *qmgr_state(const struct qmgr_rcpt *);
/* Addresses and replies may hold any byte; JSON may not. */
json_t *qmgr_text(const char *);
/* What was put off has its destination's reason, which is not recorded. */
const char *qmgr_reason_line(const struct qmgr *, const struct qmgr_rcpt *);
/* Sets *status and err; NULL. */
json_t *qmgr_refuse(int *status, struct meta1_err *, int code, const char *what);

/* ---- page.c: messages of a page, read from the store where they are not in memory ---- */

struct qmgr_look {
	struct ctl_later *client;
	json_t *query; /* kept until the end; filter points into it */
	struct qmgr_filter filter;
	const void *what;	/* of who asked */
	uint64_t next;		/* the following page; 0: none */
	char id[META1_ID_MAX];	/* one message only */
	struct qmgr_show *show; /* n messages; qmgr_look_msg() */
	/* All that can be read is. NULL: *status and err are the answer. */
	json_t *(*answer)(struct qmgr *, struct qmgr_look *, int *status, struct meta1_err *);
};
/* Messages from cursor= on, at most limit= (def) and so many recipients that a page stays short.
 * With id= (or id) that one: 404 when it is not there. Returns NULL with CTL_LATER or an error. */
json_t *qmgr_look_page(struct qmgr *, json_t *query, int64_t def, const char *id, const void *what,
    json_t *(*answer)(struct qmgr *, struct qmgr_look *, int *, struct meta1_err *), int *status,
    struct meta1_err *);
/* Of place i: NULL when it is gone or cannot be read. */
struct qmgr_msg *qmgr_look_msg(struct qmgr *, const struct qmgr_look *, uint32_t i);
void qmgr_look_next(const struct qmgr_look *, json_t *page); /* adds "next", if there is more */
/* Of one message: recipients from cursor= on, as many as a page holds; then the page with "next".
 */
uint32_t qmgr_look_rcpts(const struct qmgr_look *, const struct qmgr_msg *, uint32_t *end);
json_t *qmgr_look_more(json_t *page, const struct qmgr_msg *, uint32_t end);
json_t *qmgr_look_unread(int *status, struct meta1_err *); /* the refusal */

#define QMGR_PAGE_MAX	  1000
#define QMGR_PAGE_DEFAULT 100
#define QMGR_PAGE_LOOK	  4000 /* recipients that a page may look at */
#define QMGR_PAGE_RCPTS	  1000 /* of the one message that is shown */

/* act.c, why.c: requests of their own */
void qmgr_act_add(struct role *, struct ctl *);
void qmgr_why_add(struct role *, struct ctl *);
void qmgr_import_add(struct role *, struct ctl *);
#endif

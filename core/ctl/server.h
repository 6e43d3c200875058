/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.h -- the control socket of a process: HTTP with JSON on a unix socket
 * (libevent's evhttp), /metrics in Prometheus' text format.
 *
 * Rights: the file is owner:meta1 0660; each request has a least right, checked
 * with SO_PEERCRED. Lists come in pages: "cursor" in the query, "next" in the answer.
 * doc/control-api.md is the schema.
 */
#ifndef META1_CTL_SERVER_H
#define META1_CTL_SERVER_H
#include "lib/loop.h"
#include "lib/settings.h"

#include <event2/buffer.h>
#include <jansson.h>

struct ctl;
enum ctl_right {
	CTL_READ, /* whoever may open the socket */
	CTL_ADMIN /* uid 0, our own uid, or one of control.admins */
};
/* query: parsed query string, may be empty; "uid" and "admin" (true) are of the peer. Returns the
 * answer (taken), or NULL with *status (404, 409, …) and err. Must not block; pages bound its work.
 */
typedef json_t *(*ctl_fn)(
    void *arg, const char *path_rest, json_t *query, int *status, struct meta1_err *);
/* An answer that needs time: within a ctl_fn, which then returns NULL and *status CTL_LATER. It
 * is answered exactly once; of a client that went away nothing is sent. */
#define CTL_LATER (-1)
struct ctl_later;
struct ctl_later *ctl_later(void);
/* json is taken; NULL: an error of that status. */
void ctl_answer(struct ctl_later **, json_t *, int status, const char *error);
/* data is emptied, and stays the caller's. */
void ctl_answer_data(struct ctl_later **, const char *type, struct evbuffer *data);
/* The request's body, within a ctl_fn; at most 64 KiB. */
struct meta1_buf ctl_body(void);
struct ctl_request {
	const char *method; /* "GET", "POST", "DELETE" */
	const char *path;   /* "/v1/queue"; ends in '/' = prefix, the rest is given */
	enum ctl_right right;
	ctl_fn fn;
	const char *doc; /* one sentence for doc/control-api.md and /v1/help */
};

struct ctl *ctl_new(
    struct loop *, int listen_fd, const char *role, uint32_t index, const struct settings *);
void ctl_add(struct ctl *, const struct ctl_request *, unsigned n, void *arg);
/* More lines for /metrics than the process's own list: one ctl_metric() call each. At most 4. */
typedef void (*ctl_metrics_fn)(void *arg, struct evbuffer *out, const struct ctl *);
void ctl_more_metrics(struct ctl *, ctl_metrics_fn, void *arg);
/* help NULL: a further line of the metric before. label: key=\"value\" or NULL. */
void ctl_metric(struct evbuffer *out, const struct ctl *, const char *name, const char *help,
    bool gauge, const char *label, int64_t value);
/* key="value" with what may not stand in it made '_'. */
void ctl_label(const char *key, const char *value, char *out, size_t size);
void ctl_settings(struct ctl *, const struct settings *); /* after a reload */
void ctl_free(struct ctl **);

#endif

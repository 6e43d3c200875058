/* SPDX-License-Identifier: BSD-2-Clause */
/* tool.h -- what the files of meta1ctl share: the command line, and small helpers. */
#ifndef META1_CTL_TOOL_H
#define META1_CTL_TOOL_H
#include "ctl/client.h"
#include "lib/settings.h"

struct tool {
	const char *run; /* run_directory */
	struct settings *set;
	bool json;
	char **args; /* after the command's words */
	int nargs;
	/* Options of the queue commands. */
	char filter[1800]; /* "&sender=…&older=…", encoded */
	bool dry_run, all, content, headers;
	char question[4000]; /* of explain and route: "?ip=…&from=…", encoded */
	/* The same words as they were said, for what the tool decides itself; NULL: not said. */
	const char *ip, *from, *to, *auth, *listener, *socket;
};
struct tool_command {
	const char *words, *args, *doc;
	int least, most; /* arguments */
	int (*fn)(struct tool *);
};

/* queue.c: the commands that begin with "queue", and their options. */
extern const struct tool_command tool_queue[];
extern const unsigned tool_nqueue;
/* An option --name; <0: err says what is wrong with its value. value NULL: it takes none. */
int tool_queue_option(struct tool *, const char *name, const char *value, struct meta1_err *);

/* ask.c */
int tool_route(struct tool *);
int tool_dns(struct tool *);
/* GET from smar, which answers "pending" until the DNS has answered it; never longer than a
 * question may take. NULL: err. */
json_t *tool_ask_smar(const struct tool *, const char *target, struct meta1_err *);
/* "/v1/route?…" of the command line. */
void tool_route_target(const struct tool *, char *out, size_t size);
/* tls.c */
int tool_tls_test(struct tool *);
/* explain.c, with its options */
int tool_explain(struct tool *);
int tool_explain_option(struct tool *, const char *name, const char *value, struct meta1_err *);
/* filters.c */
int tool_filters(struct tool *);
/* Which filters explain's mail would meet: a list; empty without policy_milter. */
/* -1: --socket names no socket of the section. */
int tool_filters_check(const struct tool *, struct meta1_err *);
json_t *tool_filters_of(const struct tool *);
void tool_filters_print(const json_t *);
/* table.c */
int tool_destinations(struct tool *);
int tool_sessions(struct tool *);
int tool_clients(struct tool *);
int tool_maps(struct tool *);
int tool_grey_table(struct tool *, const char *path);
int tool_probe_table(struct tool *, const char *path);
int tool_probe_hops(struct tool *);
int tool_sts_table(struct tool *, const char *path);
/* grey.c */
int tool_grey_list(struct tool *);
int tool_grey_remove(struct tool *);
/* sts.c */
int tool_sts_list(struct tool *);
int tool_sts_refresh(struct tool *);
int tool_sts_forget(struct tool *);
/* tls_report.c */
int tool_tls_report(struct tool *);
/* A message with all its recipients, which come in pages; path: "/v1/queue/". NULL: err, and
 * *status, -1 when there was no answer. */
json_t *tool_message(
    const struct tool *, const char *path, const char *id, int *status, struct meta1_err *);
/* map.c */
int tool_map_query(struct tool *);
int tool_map_flush(struct tool *);
int tool_probe_list(struct tool *);
int tool_probe_flush(struct tool *);
/* module.c */
int tool_module_list(struct tool *);
int tool_module_info(struct tool *);
/* reload.c */
int tool_reload(struct tool *);
int tool_module_enable(struct tool *);
int tool_module_disable(struct tool *);
/* workers.c: isolated instances of the configuration, each with its process; of one module. */
json_t *tool_workers(struct tool *);
json_t *tool_workers_of(const json_t *all, const char *module);
void tool_workers_print(const json_t *);
/* export.c, import.c: queue export and queue import. */
int tool_export(struct tool *);
int tool_import(struct tool *);

/* Calls fn for each control socket of run_directory whose name begins so, in order of name. */
int tool_each(struct tool *, const char *begins,
    int (*fn)(struct tool *, const char *path, const char *name));
int tool_fail(const struct meta1_err *);
/* What a role answered, whole, and gives it back; NULL: the error. The exit status. */
int tool_print(const struct tool *, json_t *, const struct meta1_err *);
json_t *tool_ask(const struct tool *, const char *role, const char *method, const char *target,
    struct meta1_err *);
const char *tool_text(const json_t *, const char *key); /* cleaned for a terminal */
long long tool_number(const json_t *, const char *key);
void tool_when(long long sec, char *out, size_t size);
void tool_dump(const json_t *);
/* For a path or query: only unreserved characters stay (RFC 3986). */
void tool_encode(const char *, char *out, size_t size);
#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* control.h -- smar's requests on its control socket; from smar.c. */
#ifndef META1_SMAR_CONTROL_H
#define META1_SMAR_CONTROL_H
#include "ctl/server.h"
#include "smar/smar.h"

/* idle: called when the last question of ours was answered. */
void smar_control_add(struct loop *, struct mod_host *, struct ctl *, void (*idle)(void));
/* What is in force now; the caller keeps both. */
void smar_control_set(struct smar_policy *, struct dns *);
unsigned smar_control_pending(void); /* questions of ours that are under way */
/* control_dns.c: the name servers and lists of /v1/dns, and a question to them. */
json_t *smar_control_dns(
    void *arg, const char *rest, json_t *query, int *status, struct meta1_err *err);

/* ---- questions that take a while: the first request starts one, later ones find its answer ----
 */
struct asked;
/* The place of a key, of at most 500 bytes; fresh: the caller starts the question, and its answer
 * is given to smar_control_answer() once. NULL: status and err say why. */
struct asked *smar_control_asked(const char *key, bool *fresh, int *status, struct meta1_err *err);
void smar_control_answer(struct asked *, json_t *); /* takes it */
json_t *smar_control_answered(struct asked *);	    /* a new reference; NULL: pending */
struct dns *smar_control_resolver(void);
struct smar_policy *smar_control_policy(void);
struct loop *smar_control_loop(void);

/* Nothing is in force any more, and nothing is pending. */
void smar_control_free(void);
/* An answer to ROUTE. from: NULL: whoever. */
json_t *smar_control_route(
    const struct p_routes *, const struct smar_route_by *, const char *domain, const char *from);

/* ---- explain.c ---- */
void smar_explain_add(struct role *, struct ctl *, void (*idle)(void));
void smar_explain_set(struct smar_policy *); /* in force now; NULL: none any more */
unsigned smar_explain_pending(void);
/* An address of a query as smtps reads it, with or without <>; flags as of addr_path(). */
bool smar_explain_path(json_t *query, const char *name, unsigned flags, char out[ADDR_PATH_MAX + 1],
    struct meta1_err *);

/* control_maps.c, from control.c: the same for maps. */
void smar_control_maps_add(struct loop *, struct mod_host *, struct ctl *, void (*idle)(void));
void smar_control_maps_set(struct smar_policy *);
unsigned smar_control_maps_pending(void);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* control.h -- smar's requests on its control socket; from smar.c. */
#ifndef META1_SMAR_CONTROL_H
#define META1_SMAR_CONTROL_H
#include "ctl/server.h"
#include "smar/smar.h"

/* idle: called when the last question of ours was answered. */
void smar_control_add(struct loop *, struct ctl *, void (*idle)(void));
/* What is in force now; the caller keeps both. */
void smar_control_set(struct smar_policy *, struct dns *);
unsigned smar_control_pending(void); /* questions of ours that are under way */
/* Nothing is in force any more, and nothing is pending. */
void smar_control_free(void);
/* An answer to ROUTE. */
json_t *smar_control_route(const struct p_routes *, const char *domain);

/* ---- explain.c ---- */
void smar_explain_add(struct role *, struct ctl *, void (*idle)(void));
void smar_explain_set(struct smar_policy *); /* in force now; NULL: none any more */
unsigned smar_explain_pending(void);

#endif

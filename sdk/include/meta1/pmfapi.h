/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1/pmfapi.h -- libpmilter: policy filters for meta1's smtps in C.
 *
 * A filter fills a struct pmilter_S with the callbacks that it wants, opens a context, says where
 * it listens and starts:
 *
 *	sm_pmfi_init(&ctx); sm_pmfi_setconn(ctx, "unix:/run/x.sock"); sm_pmfi_start(ctx, &filter);
 *
 * A stage without a callback is not asked. Callbacks of one session are called one after the other,
 * in the order of SMTP; those of different sessions on one thread too (the loop's), unless
 * pmfi_thrmax_h says otherwise: then on so many threads, and a callback may sleep. What a callback
 * got stays valid until it returns. The names follow MeTA1's where these are known; what differs
 * stands in libpmilter(3).
 */
#ifndef META1_PMFAPI_H
#define META1_PMFAPI_H
#include <meta1/pmilter.h>
#include <meta1/pmwire.h>
#include <stdbool.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int sm_ret_T;	/* SM_SUCCESS, or -errno */
typedef int sfsistat_T; /* what a callback says: SMTP_R_..., or a code of 400 to 599 */
typedef struct sockaddr sm_sockaddr_T;
typedef struct pmg_ctx_S *pmg_ctx_P;   /* the filter */
typedef struct pmss_ctx_S *pmss_ctx_P; /* a connection of an smtps */
typedef struct pmse_ctx_S *pmse_ctx_P; /* an SMTP session */

#define SM_SUCCESS	     0
#define sm_is_err(r)	     ((r) < 0)

/* Verdicts. */
#define SMTP_R_CONT	     1 /* go on */
#define SMTP_R_OK	     250
#define SMTP_R_ACCEPT	     2 /* this mail (connect, helo: the session) needs no more judging by us */
#define SMTP_R_DISCARD	     3 /* the client hears 250, nobody gets it */
#define SMTP_R_LATER	     4 /* the filter calls sm_pmfi_answer() itself, on the loop's thread */
#define SMTP_R_RPLCMSG	     5 /* eom: pmfi_msg_rplc tells the message that is to go instead */
#define SMTP_R_SSD	     421
#define SMTP_R_TEMP	     451
#define SMTP_R_PERM	     550

/* Stages: of macros, and as bits of pm_cap. */
#define PM_SMST_CONNECT	     META1_PM_CONNECT
#define PM_SMST_HELO	     META1_PM_HELO
#define PM_SMST_MAIL	     META1_PM_MAIL
#define PM_SMST_RCPT	     META1_PM_RCPT
#define PM_SMST_DATA	     META1_PM_DATA
#define PM_SMST_DOT	     META1_PM_END
#define PM_SMST_UNKNOWN	     META1_PM_UNKNOWN
#define PM_SMST_REFUSED	     META1_PM_REFUSED /* pmfi_rcpt for refused recipients too */

/* What a filter does to mail: pmfi_actions, pm_fct. */
#define PM_FCT_HEADERS	     META1_PMW_A_HEADERS
#define PM_FCT_RCPTS	     META1_PMW_A_RCPTS
#define PM_FCT_SENDER	     META1_PMW_A_SENDER
#define PM_FCT_RPLCMSG	     META1_PMW_A_REPLACE
#define PM_FCT_HOLD	     META1_PMW_A_HOLD
#define PM_FCT_DISCARD	     META1_PMW_A_DISCARD

/* Macros. */
#define PMM_END		     0
#define PMM_HOSTNAME	     META1_PMM_HOSTNAME
#define PMM_CLIENT_RESOLVE   META1_PMM_CLIENT_RESOLVE
#define PMM_TLS_VERSION	     META1_PMM_TLS_VERSION
#define PMM_TLS_CIPHER_SUITE META1_PMM_TLS_CIPHER_SUITE
#define PMM_TLS_CIPHER_BITS  META1_PMM_TLS_CIPHER_BITS
#define PMM_TLS_ALG_BITS     META1_PMM_TLS_ALG_BITS
#define PMM_TLS_CERT_SUBJECT META1_PMM_TLS_CERT_SUBJECT
#define PMM_TLS_CERT_ISSUER  META1_PMM_TLS_CERT_ISSUER
#define PMM_TLS_CN_SUBJECT   META1_PMM_TLS_CN_SUBJECT
#define PMM_TLS_CN_ISSUER    META1_PMM_TLS_CN_ISSUER
#define PMM_TLS_VRFY	     META1_PMM_TLS_VRFY
#define PMM_AUTH_TYPE	     META1_PMM_AUTH_TYPE
#define PMM_AUTH_AUTHEN	     META1_PMM_AUTH_AUTHEN
#define PMM_AUTH_AUTHOR	     META1_PMM_AUTH_AUTHOR
#define PMM_TAID	     META1_PMM_TAID
#define PMM_MSGID	     META1_PMM_MSGID
#define PMM_C		     META1_PMM_C
#define PMM_CLIENT_NAME	     META1_PMM_CLIENT_NAME
#define PMM_LISTENER	     META1_PMM_LISTENER
#define PMM_LOCAL_ADDR	     META1_PMM_LOCAL_ADDR
#define PMM_LOCAL_PORT	     META1_PMM_LOCAL_PORT
#define PMM_VERSION	     META1_PMM_VERSION
#define PM_MACROS_MAX	     (META1_PMM_MAX - 1) /* all of them may be asked for */
#define PMILTER_CHUNK_SIZE   META1_PMW_CHUNK_MAX

/* Kinds of sm_pmfi_hdr_mod(). */
#define SM_HDRMOD_T_APPEND   META1_PM_ADD_HEADER
#define SM_HDRMOD_T_INSERT   META1_PM_INSERT_HEADER
#define SM_HDRMOD_T_REPLACE  META1_PM_CHANGE_HEADER
#define SM_HDRMOD_T_REMOVE   100

struct pmilter_S {
	const char *pmfi_name;
	uint32_t pmfi_actions; /* PM_FCT_... that it may use; 0: all */
	uint32_t pmfi_content; /* enum meta1_pmw_content: what pmfi_msg gets */
	/* Threads: 0 of pmfi_thrmax_h: callbacks run on the loop. Else at most so many, of which
	 * pmfi_thrmax_s stay when there is nothing to do. */
	uint32_t pmfi_thrmax_s, pmfi_thrmax_h;
	uint32_t pmfi_fdmax; /* connections at a time; 0: 64 */

	/* May change what was found out from the other fields: cap stages, fct actions, feat
	 * content. srv_*: what the server offers. misc: stages that the filter has no word on,
	 * which nobody then waits for: "*pm_misc = srv_misc" of one that decides at the end alone.
	 * Here sm_pmfi_setmacs() is called. */
	sm_ret_T (*pmfi_negotiate)(pmss_ctx_P, uint32_t srv_cap, uint32_t srv_fct,
	    uint32_t srv_feat, uint32_t srv_misc, uint32_t *pm_cap, uint32_t *pm_fct,
	    uint32_t *pm_feat, uint32_t *pm_misc);
	/* name: of the client, or its address in brackets; addr: NULL for a unix socket */
	sfsistat_T (*pmfi_connect)(pmse_ctx_P, const char *name, const sm_sockaddr_T *addr);
	sfsistat_T (*pmfi_helo)(pmse_ctx_P, const char *name);
	sfsistat_T (*pmfi_mail)(pmse_ctx_P, const char *sender, const char *const *params);
	sfsistat_T (*pmfi_rcpt)(pmse_ctx_P, const char *rcpt, const char *const *params);
	sfsistat_T (*pmfi_data)(pmse_ctx_P);
	sfsistat_T (*pmfi_unknown)(pmse_ctx_P, const char *line);
	/* A part of the message, header first; anything but CONT and OK: the rest is not told. */
	sfsistat_T (*pmfi_msg)(pmse_ctx_P, const unsigned char *chunk, size_t len);
	sfsistat_T (*pmfi_eom)(pmse_ctx_P);
	/* After SMTP_R_RPLCMSG until it says 0 bytes; then how that went. */
	sm_ret_T (*pmfi_msg_rplc)(pmse_ctx_P, const unsigned char **part, size_t *len);
	sm_ret_T (*pmfi_msg_rplc_stat)(pmse_ctx_P, sm_ret_T status);
	sm_ret_T (*pmfi_abort)(pmse_ctx_P); /* the mail ends before its verdict at eom */
	sm_ret_T (*pmfi_close)(pmse_ctx_P); /* the session is over; always the last call */
};
typedef struct pmilter_S pmilter_T, *pmilter_P;

/* What is known of a session; the library's, until the callback returns. Later fields behind
 * META1_HAS(). NULL: not known. */
struct pmse_info_S {
	uint32_t size, port;
	const char *serial, *client, *name, *listener, *helo;
	const char *refused; /* within pmfi_rcpt: smtps refuses this one, with this reply */
	uint32_t nrcpt, nbad;
	uint64_t bytes, header; /* of the message; of these, its header */
};

/* ---- the filter ---- */
/* Of both: struct pmilter_S grows at its end; a filter built with a shorter one goes on to work. */
sm_ret_T sm_pmfi_start_of(pmg_ctx_P, const struct pmilter_S *, size_t size);
sm_ret_T sm_pmfi_listen_of(pmg_ctx_P, const struct pmilter_S *, size_t size);
sm_ret_T sm_pmfi_init(pmg_ctx_P *);
/* "unix:/path", "inet:PORT@ADDRESS", "inet6:PORT@ADDRESS", "inet://ADDRESS:PORT", "unix:///path" */
sm_ret_T sm_pmfi_setconn(pmg_ctx_P, const char *where);
sm_ret_T sm_pmfi_setdbg(pmg_ctx_P, uint32_t level); /* 0 to 100; to standard error */
/* Listens and runs, in the foreground, until SIGTERM, SIGINT or sm_pmfi_stop(). */
static inline sm_ret_T sm_pmfi_start(pmg_ctx_P g, const struct pmilter_S *filter)
{
	return sm_pmfi_start_of(g, filter, sizeof(*filter));
}
/* The same in two steps, for a filter with events of its own: after sm_pmfi_listen() it runs
 * the loop itself. */
static inline sm_ret_T sm_pmfi_listen(pmg_ctx_P g, const struct pmilter_S *filter)
{
	return sm_pmfi_listen_of(g, filter, sizeof(*filter));
}
struct event_base *sm_pmfi_base(pmg_ctx_P);
void sm_pmfi_stop(pmg_ctx_P); /* the loop's thread, or a signal */
void sm_pmfi_free(pmg_ctx_P *);
sm_ret_T sm_pmfi_set_ctx_g(pmg_ctx_P, void *);
void *sm_pmfi_get_ctx_g(pmg_ctx_P);

/* ---- within pmfi_negotiate ---- */
/* Macros of a stage, up to PMM_END. */
sm_ret_T sm_pmfi_setmacs(pmss_ctx_P, uint32_t stage, const uint32_t *macros);
sm_ret_T sm_pmfi_set_ctx_ss(pmss_ctx_P, void *);
void *sm_pmfi_get_ctx_ss(pmss_ctx_P);
pmg_ctx_P sm_pmfi_ss_g(pmss_ctx_P);

/* ---- of a session, within its callbacks ---- */
sm_ret_T sm_pmfi_set_ctx_se(pmse_ctx_P, void *);
void *sm_pmfi_get_ctx_se(pmse_ctx_P);
pmss_ctx_P sm_pmfi_se_ss(pmse_ctx_P);
const struct pmse_info_S *sm_pmfi_info(pmse_ctx_P);
/* *value NULL: it is not known, or was not asked for. */
sm_ret_T sm_pmfi_getmac(pmse_ctx_P, uint32_t macro, const char **value);
/* Reply of a refusal: "550", "5.7.1" or NULL, and a text whose lines end with \n. It counts when
 * the callback says a code of the same class. */
sm_ret_T sm_pmfi_setreply(pmse_ctx_P, const char *rcode, const char *xcode, const char *text);
sm_ret_T sm_pmfi_note(pmse_ctx_P, const char *text); /* a line for the server's log */
sm_ret_T sm_pmfi_wants(pmse_ctx_P, uint32_t stages); /* of this session, from now on */
sm_ret_T sm_pmfi_answer(pmse_ctx_P, sfsistat_T);     /* after SMTP_R_LATER */
/* Within pmfi_eom (or before sm_pmfi_answer() to it). pos: INSERT before the field that is number
 * pos; REPLACE and REMOVE the pos-th of that name, from 1. */
sm_ret_T sm_pmfi_hdr_mod(
    pmse_ctx_P, uint32_t kind, uint32_t pos, const char *name, const char *value);
sm_ret_T sm_pmfi_rcpt_add(pmse_ctx_P, const char *rcpt, const char *params);
sm_ret_T sm_pmfi_rcpt_del(pmse_ctx_P, const char *rcpt);
sm_ret_T sm_pmfi_mail_set(pmse_ctx_P, const char *sender, const char *params); /* sender */
sm_ret_T sm_pmfi_hold(pmse_ctx_P, const char *why); /* in the queue, until released */

#ifdef __cplusplus
}
#endif

#endif

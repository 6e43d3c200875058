/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * iso_msg.h -- what a role and the worker of an isolated instance say to each other, in the order
 * of a life. Each question has one answer with its number, a cancelled one too; a worker that owes
 * one beyond the question's deadline hangs.
 */
#ifndef META1_MOD_ISO_MSG_H
#define META1_MOD_ISO_MSG_H
#include "mod/shape.h"

#include <meta1/auth.h>
#include <meta1/pmilter.h>
#include <meta1/transport.h>

enum iso_type {
	ISO_OPEN = 1,	/* role: open this instance */
	ISO_OPENED,	/* worker: its answer */
	ISO_CLOSE,	/* role: last of all; an end of the stream without it is one of the role */
	ISO_LOOKUP,	/* role: a map's question */
	ISO_CANCEL,	/* role: of that number; the answer is not heard */
	ISO_ANSWER,	/* worker: of that number */
	ISO_UNTOLD,	/* worker: likewise; it is too large, or too much waits to be told */
	ISO_PM_ASK,	/* role: a filter's question; the first one of a session begins it */
	ISO_PM_RESET,	/* role: the mail of that session is over */
	ISO_PM_END,	/* role: the session is */
	ISO_AUTH_OFFER, /* role: which mechanisms are there for this peer? */
	ISO_AUTH_START, /* role: an exchange begins, as server */
	ISO_AUTH_LOGIN, /* the same as client */
	ISO_AUTH_STEP,	/* role: what the peer said */
	ISO_AUTH_END,	/* role: the exchange is over */
	ISO_TR_OPEN,	/* role: a session to a hop */
	ISO_TR_SEND,	/* role: one mail over it */
	ISO_TR_RCPT,	/* worker: a result, of that number */
	ISO_TR_STOP,	/* role: gives up what is under way, unless the hop may have taken it */
	ISO_TR_SHUT,	/* role: the session is over */
	ISO_DRAIN,	/* role: no new question follows; the module's drain() is the answer */
	ISO_PING,	/* role: are you there? */
	ISO_PONG,
	/* what the worker has not itself */
	ISO_LOG,
	ISO_COUNT,
	ISO_CHANGED,
	ISO_MAP, /* a question to another map of the role */
	ISO_DNS, /* to its resolver */
	ISO_FAR	 /* role: the answer to one of these two */
};

struct iso_open {
	const char *version; /* of the program: both ends are of one build */
	const char *module, *instance;
	/* of the configuration, its folder, and what the instance's section says */
	const char *file, *folder, *text;
	const char *hostname, *qdir, *directory;
	uint32_t role, process, log_level, nmap;
	uint64_t memory;	     /* bytes of data that it may have; 0: any */
	const struct meta1_buf *map; /* names of the role's maps; ISO_MAP says which */
	const struct iso_tls *tls;   /* of a transport's connections, or NULL */
};
struct iso_tls { /* as struct set_tls */
	const char *ca_file, *ca_directory, *crl_file, *ciphers;
	uint32_t ncert, nkey;
	const struct meta1_buf *cert, *key; /* names of files */
};
struct iso_opened {
	uint32_t status, pid; /* status 0: it serves; text: why not */
	const char *text;
	uint32_t props, heeds; /* of a transport */
};
struct iso_lookup {
	int64_t ms; /* that are left */
	struct meta1_buf key;
};
struct iso_answer {
	uint32_t status; /* enum meta1_status */
	const struct meta1_reply *reply;
};
struct iso_log {
	uint32_t level; /* enum meta1_level */
	const char *text;
};
struct iso_count {
	const char *name;
	int64_t value; /* to add; of a gauge: what it is */
};
struct iso_map {
	uint32_t index; /* into iso_open.map */
	int64_t ms;
	struct meta1_buf key;
};
struct iso_dns {
	uint32_t type;
	int64_t ms;
	const char *name;
};

/* A run of bytes: in the frame, or in its fd-th descriptor. */
struct iso_piece {
	struct meta1_buf mem;
	uint64_t off, len;
	int32_t fd; /* -1: mem */
};
struct iso_pm_ask {
	uint32_t session, begin; /* begin 1: the session is new */
	uint32_t stage, nparam, nrcpt, npiece;
	int64_t ms;
	const struct meta1_pm_about *about;
	struct meta1_buf arg;
	const struct meta1_buf *param, *rcpt;
	const char *refused;
	uint64_t bytes, header; /* END: of the message */
	const struct iso_piece *piece;
};
struct iso_session { /* PM_RESET, PM_END; TR_STOP, TR_SHUT */
	uint32_t session;
};
struct iso_pm_edit { /* as struct meta1_pm_edit, with pieces */
	uint32_t kind, index, flags, npiece;
	struct meta1_buf name, value, param;
	const struct iso_piece *piece;
};
struct iso_pm_answer {
	uint32_t status; /* OK: verdict and edits count */
	const struct meta1_reply *reply;
	const struct meta1_pm_verdict *verdict; /* without edits */
	uint32_t nedit;
	const struct iso_pm_edit *edit;
};

struct iso_auth { /* of all five */
	uint32_t conv;
	int64_t ms;
	const struct meta1_auth_peer *peer;
	const char *mech;    /* LOGIN: those to choose from */
	struct meta1_buf in; /* START: data NULL: there is no first word */
	const struct meta1_auth_creds *creds;
};
struct iso_tr_open {
	uint32_t session;
	int64_t ms;
	const struct meta1_hop *hop; /* without login: credentials stay with the role */
};
struct iso_tr_send {
	uint32_t session, flags, without, nrcpt, npiece;
	int64_t ms;
	uint64_t bytes;
	const char *id;
	struct meta1_buf from, envid;
	const struct meta1_rcpt *rcpt;
	const struct iso_piece *piece;
};
struct iso_tr_rcpt {
	uint32_t rcpt, status;
	const struct meta1_reply *reply;
};
struct iso_tr_answer { /* of OPEN and SEND */
	uint32_t status, usable;
	const struct meta1_reply *reply;
	const struct meta1_caps *caps; /* NULL: not known */
	const char *tls;
};
struct iso_drain {
	int64_t ms;
};

extern const struct shape iso_shape_auth, iso_shape_drain, iso_shape_session;
extern const struct shape iso_shape_tr_open, iso_shape_tr_send, iso_shape_tr_rcpt,
    iso_shape_tr_answer;
extern const struct shape iso_shape_pm_ask, iso_shape_pm_answer;
extern const struct shape iso_shape_open, iso_shape_opened, iso_shape_lookup, iso_shape_answer,
    iso_shape_log, iso_shape_count, iso_shape_map, iso_shape_dns, iso_shape_reply;

#define ISO_MAPS_MAX  256
#define ISO_POOL_MAX  (4u << 20) /* arrays and structs of one frame */
#define ISO_TEXT_MAX  (512u << 10)
#define ISO_VALUE_MAX 1000000u

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib.h -- the inside of libpmilter, in the way of a question:
 *
 *   start.c    the filter: where it listens, the loop, its end
 *   link.c     a connection: greeting, frames in and out, windows
 *   io.c       its bytes
 *   session.c  a session: its frames one after the other, callbacks, verdicts
 *   edit.c     what a filter says besides: replies, edits, notes; what it may ask
 *   pool.c     threads, when there are any
 *
 * The loop's thread owns links and sessions, but for a session that a worker has: between
 * lpm_pool_put() and lpm_link_done() that is the worker's, with its `out`. Frames for it wait in
 * its list, bounded by the windows that the filter granted; who sends more is hung up on.
 */
#ifndef LIBPMILTER_LIB_H
#define LIBPMILTER_LIB_H
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <meta1/pmfapi.h>

#define SESSION_BUCKETS	 1024
#define WAITING_MAX	 (META1_PMW_WINDOW + 4 * META1_PMW_FRAME_MAX) /* bytes a session */
#define SESSIONS_MAX	 65536					      /* of a connection */
#define LINK_WAITING_MAX (64u << 20) /* bytes, of all its sessions */
#define OUT_MAX		 (1u << 20)  /* bytes that the server does not take: nothing more is read */
#define LINE_LEN	 900	     /* bytes of a line of a reply */
#define TEXT_MAX	 16384	     /* of a note, or why a mail is held: all fits into a VERDICT */
#define STAGES_ALL                                                                                 \
	(META1_PM_CONNECT | META1_PM_HELO | META1_PM_MAIL | META1_PM_RCPT | META1_PM_DATA |        \
	    META1_PM_END | META1_PM_UNKNOWN | META1_PM_REFUSED)

struct frame { /* one that waits */
	struct frame *next;
	size_t len;
	unsigned char at[];
};

struct reply { /* of sm_pmfi_setreply(); rcode "": none */
	char rcode[4], dsn[12];
	char *text;
};

struct pmse_ctx_S {
	pmss_ctx_P link;
	pmse_ctx_P next;  /* of the bucket */
	pmse_ctx_P queue; /* of the pool */
	uint32_t id;
	int busy;  /* a worker has it */
	int later; /* its answer comes by sm_pmfi_answer() */
	int given; /* and came while it was busy: it holds when the callback says LATER */
	sfsistat_T answer;
	int closed; /* CLOSE was its last frame */
	struct frame *first, **last;
	size_t waiting;	      /* bytes of frames */
	struct evbuffer *out; /* NULL: the connection's, there are no workers */
	/* the worker's */
	struct frame *now;
	void *ctx;
	uint32_t stage;	     /* of the question that is open, or 0 */
	int mail, enough;    /* in a mail; the rest of the content is not wanted */
	sfsistat_T early;    /* verdict that pmfi_msg gave, or a callback of a quiet stage */
	sfsistat_T standing; /* of connect or helo: for every mail */
	struct reply early_reply, standing_reply; /* what sm_pmfi_setreply() said with them */
	int early_stands;			  /* early is the standing one */
	int replacing, replaced;
	const unsigned char *part; /* of the new message, not sent yet */
	size_t partlen;
	uint32_t untaken; /* bytes of the new message that the server has not acknowledged */
	struct pmse_info_S info;
	char *serial, *client, *name, *listener, *helo;
	char *macro[META1_PMM_MAX];
	uint32_t wants;
	struct reply reply;
	char *note, *hold;
};

struct pmss_ctx_S {
	pmg_ctx_P g;
	pmss_ctx_P next;
	evutil_socket_t fd; /* -1: it is gone, and waits for its sessions to end */
	struct event *rd, *wr;
	int full; /* too much of out is not taken: rd waits */
	unsigned char *in;
	size_t inlen;
	struct evbuffer *out;
	int broken; /* it cannot be written: the next turn ends it */
	void *ctx;
	int greeted, over;
	uint32_t stages, actions, content, window;
	uint32_t quiet, may_quiet; /* stages that are told without an answer; that may be */
	unsigned nsession;
	size_t waiting; /* bytes of frames, of all sessions */
	uint32_t nmac[8], macstage[8];
	uint16_t mac[8][META1_PMM_MAX];
	unsigned nask;
	pmse_ctx_P all[SESSION_BUCKETS];
};

struct pool;
struct pmg_ctx_S {
	struct event_base *base;
	struct evconnlistener *listener;
	struct event *sig[2];
	char *where, *unlink_path;
	const struct pmilter_S *filter; /* own, once it is listened for */
	struct pmilter_S own;
	void *ctx;
	uint32_t debug;
	pmss_ctx_P links;
	unsigned nlink;
	struct pool *pool;
};

/* ---- start.c ---- */
void lpm_debug(pmg_ctx_P, uint32_t level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- link.c ---- */
void lpm_link_open(pmg_ctx_P, evutil_socket_t);
void lpm_link_input(pmss_ctx_P); /* there is more in l->in */
void lpm_link_hang_up(pmss_ctx_P, const char *why);
/* The session's frame is done: its output is to go out, the next one in. */
void lpm_link_done(pmse_ctx_P);
void lpm_link_end_all(pmg_ctx_P);

/* ---- io.c ---- */
int lpm_io_open(pmss_ctx_P, evutil_socket_t); /* <0: no memory; lpm_io_free() is due anyway */
void lpm_io_take(pmss_ctx_P, size_t);	      /* so many bytes of l->in were looked at */
void lpm_io_flush(pmss_ctx_P);
void lpm_io_flush_all(pmg_ctx_P);
void lpm_io_close(pmss_ctx_P);
void lpm_io_free(pmss_ctx_P);

/* ---- session.c ---- */
pmse_ctx_P lpm_session_new(pmss_ctx_P, struct meta1_pmw_frame *);
void lpm_session_free(pmse_ctx_P *);
/* What a frame says, which was found good when it came; on whatever thread. */
void lpm_session_run(pmse_ctx_P, const void *frame, size_t len);
/* Its callback is back, on the loop: an answer that came before that counts now. */
void lpm_session_back(pmse_ctx_P);
void lpm_session_answer(pmse_ctx_P, sfsistat_T);

/* ---- edit.c ---- */
void lpm_edit_forget(pmse_ctx_P);
void lpm_edit_drop(struct reply *);
void lpm_edit_keep(pmse_ctx_P, struct reply *);	     /* the one that is set, which is none then */
void lpm_edit_use(pmse_ctx_P, const struct reply *); /* sets a copy of it */
/* A frame out of the session. <0: it does not fit. */
int lpm_edit_send(pmse_ctx_P, struct meta1_pmw_out *);

/* ---- pool.c ---- */
struct pool *lpm_pool_new(pmg_ctx_P, uint32_t stay, uint32_t most);
void lpm_pool_put(struct pool *, pmse_ctx_P);
void lpm_pool_free(struct pool **);

#endif

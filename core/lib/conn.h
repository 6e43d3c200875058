/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn.h -- one stream socket (TCP or unix), non-blocking: buffered input,
 * output gathered and written once a turn, idle time-out, bounded buffers.
 * Owns the descriptor. TLS, begun at any time, changes nothing for the owner (lib/tls.h).
 *
 * Reading: at EV_READ up to 64 KiB is read, then on_input runs; it consumes from
 * conn_in() what it can. At conn_limit() unconsumed bytes reading pauses until
 * some are consumed. An idle connection holds no buffer memory.
 * Writing: conn_write/conn_ref/conn_file queue; the flusher of the turn writes
 * with writev/sendfile; EV_WRITE is only watched after EAGAIN.
 * Any callback may call conn_close(); conn.c does not touch the conn after it.
 */
#ifndef META1_CONN_H
#define META1_CONN_H
#include "loop.h"

#include <event2/buffer.h>
#include <sys/socket.h>

struct conn;
struct tls_ctx;
struct tls_want;
struct tls_info;
enum conn_end { CONN_EOF, CONN_RESET, CONN_TIMEOUT, CONN_FAILED, CONN_TLS };
struct conn_events {
	void (*connected)(void *arg); /* after conn_connect only; may be NULL */
	void (*input)(void *arg);
	void (*drained)(void *arg); /* all output is with the kernel; may be NULL */
	/* EOF: input that came before was offered; output can still be written.
	 * Others: the connection is dead; TLS: its handshake or a record was bad.
	 * Each comes once at most; close it (now or later). */
	void (*end)(void *arg, enum conn_end, const char *why);
	void (*secured)(void *arg); /* after conn_starttls(): all is encrypted from here on */
};

/* Takes the descriptor. */
struct conn *conn_new(struct loop *, int fd, const struct conn_events *, void *arg);
/* Starts connecting; connected() or end() follows on a later turn. timeout_ms is for that
 * alone: once connected there is none until conn_timeout(). source: our address, as text, or NULL:
 * any; one that this machine has not is named in the log, and any is taken. NULL: err. */
struct conn *conn_connect(struct loop *, const struct sockaddr *, socklen_t, const char *source,
    int64_t timeout_ms, const struct conn_events *, void *arg, struct meta1_err *);
/* "192.0.2.1", "2001:db8::1", "/unix/path" into a sockaddr; 0 or -1. */
int conn_addr(const char *text, uint16_t port, struct sockaddr_storage *, socklen_t *);
/* The socket gets this address of ours. <0: it cannot, errno says why. */
int conn_addr_bind(int fd, const char *source);
/* The same for a connection: what it cannot have is logged, and it does without. */
void conn_from(struct loop *, int fd, const char *source);
/* The other way; unix: "unix". */
void conn_addr_text(const struct sockaddr *, char *out, size_t size);

struct evbuffer *conn_in(struct conn *);    /* to look at; take bytes by conn_consume */
void conn_consume(struct conn *, size_t n); /* drops n bytes of the input */
/* Next line of the input without its end. strict: only CRLF ends a line, else LF does and a
 * CR before it is cut. Returns NULL when no whole line is there; then *too_long tells
 * whether more than max bytes wait without an end. Valid until the next conn call.
 * *bare is set when the line has a CR or LF that is not a line end (strict only). */
char *conn_line(struct conn *, bool strict, size_t max, size_t *len, bool *too_long, bool *bare);
void conn_write(struct conn *, const void *, size_t);
void conn_printf(struct conn *, const char *fmt, ...) PRINTF(2, 3);
void conn_ref(struct conn *, const void *, size_t); /* not copied; valid until drained/closed */
void conn_file(struct conn *, int fd, uint64_t off, uint64_t len); /* sendfile; fd stays open */
size_t conn_unsent(struct conn *);
size_t conn_held(const struct conn *);		 /* bytes of memory in its buffers */
int64_t conn_quiet(const struct conn *);	 /* ms since a byte moved */
void conn_flush(struct conn *);			 /* write now instead of at the end of the turn */
void conn_limit(struct conn *, size_t in_bytes); /* default 128 KiB */
void conn_timeout(struct conn *, int64_t ms);	 /* no byte in or out for ms: end(TIMEOUT); 0 off */
void conn_pause(struct conn *, bool);		 /* stop or go on reading */
/* ---- TLS ---- */

#define CONN_TLS_HELD (24u << 10) /* bytes that it costs, as conn_held() counts */
/* What was written goes out plain; what is written from now on is encrypted, and waits for the
 * handshake. Plain input that was not consumed is dropped: *dropped bytes (a peer that sends more
 * before the handshake injects or is broken). secured() follows, or end(CONN_TLS) after ms at
 * the latest. <0: err; the connection stays plain. */
int conn_starttls(struct conn *, struct tls_ctx *, const struct tls_want *, int64_t ms,
    size_t *dropped, struct meta1_err *);
const struct tls_info *conn_tls_info(const struct conn *); /* NULL: not secured */

int conn_fd(struct conn *);
void conn_close(struct conn **); /* unsent output is dropped */
/* Writes what is queued, then closes by itself, within ms; no more events. linger: the peer may
 * still be sending, so it is listened to until it closes (linger.h); without it that is done only
 * when input is left. A peer that has closed, or was told nothing, is closed at once. */
void conn_finish(struct conn **, bool linger, int64_t ms);

#endif

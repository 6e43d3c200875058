/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls.h -- TLS with OpenSSL 3, told in the order in which a connection meets it:
 *
 *   tls_ctx.c     options into a context: versions, ciphers, trusted CAs, what is revoked
 *   tls_cert.c    certificates and keys: rights of the files, pairs, the one for a name (SNI)
 *   tls_ocsp.c    what OCSP says of our certificates, shown beside them
 *   tls_ticket.c  keys of session tickets, changed every hour
 *   tls.c         one connection: bytes of the wire into plain text and back; no descriptor
 *   conn_tls.c    stands between a conn's socket and its buffers; runs the handshakes
 *   tls_info.c    what a handshake achieved, and who the peer is
 *   tls_meet.c    as client: whether that is what is needed (tls_need.h)
 *
 * A context is made at the start and at a reload, beside the old one, and given back when its last
 * connection is; so certificates change without a restart, and a bad file leaves the old ones.
 * TLS 1.2 and 1.3 only, no compression, no renegotiation, no early data. A ticket is good for the
 * context and the listener that gave it.
 *
 * conn.c alone reads and writes the socket. SSL works on memory: what was read goes into one
 * buffer, what SSL says into another; both are bounded by what conn.c reads and has still to write.
 * A handshake has a time of its own as a whole, takes its turn with the others (2 ms of each turn
 * of the loop), and runs on a worker thread where a signature is slow (RSA over 2048 bits). What
 * came in plain before the handshake is dropped, never read as if it had come inside.
 *
 * Verification never ends a handshake: the result is kept, and who uses the connection decides,
 * so that a policy stands in one place.
 */
#ifndef META1_TLS_H
#define META1_TLS_H
#include "settings.h"
#include "tls_need.h"
#include "work.h"

#include <event2/buffer.h>
#include <openssl/types.h>
#include <stdatomic.h>

struct outq;

#define TLS_NAME_MAX 1024 /* bytes of a subject or issuer; the rest is cut */
#define TLS_PAIRS    32	  /* certificates of one context */

/* ---- tls_ctx.c ---- */

struct tls_ctx;
/* From the section tls { }; server or client. work: for slow signatures; may be NULL. */
struct tls_ctx *tls_ctx_new(const struct set_tls *, bool server, struct work *, struct meta1_err *);
struct tls_ctx *tls_ctx_ref(struct tls_ctx *);
void tls_ctx_free(struct tls_ctx **); /* gives one reference back */

/* ---- tls_info.c ---- */

enum tls_cert { TLS_CERT_NONE, TLS_CERT_BAD, TLS_CERT_GOOD /* of a CA that we trust */ };
struct tls_info {
	char version[12], cipher[64]; /* "TLSv1.3", "TLS_AES_256_GCM_SHA384" */
	int bits;		      /* of the cipher's key */
	enum tls_cert cert;	      /* the peer's */
	bool named;		      /* it is for the name that was wanted */
	bool resumed;
	char why[120];		     /* BAD: OpenSSL's word */
	long verify;		     /* and its number */
	char *subject, *issuer;	     /* "/CN=…"; NULL: no certificate */
	char sha256[65], key256[65]; /* of the certificate, of its public key; hex */
	int64_t not_after;	     /* seconds of 1970; 0: not known */
	struct meta1_buf der;	     /* server: a client's certificate that is GOOD; len 0: none */
	/* client: it meets the need; without one: it is trusted and named */
	bool accepted;
	const char *how;   /* in a word: "verified", "trusted", "not trusted", "DANE-EE", ... */
	char refused[240]; /* not accepted: "the certificate is ..." */
	enum meta1_tls_result result;
};
/* One word: the peer's certificate, for logs and Received lines: "NO" (there is none), "FAIL",
 * "OK". */
const char *tls_info_verify(const struct tls_info *);

/* ---- tls.c: one connection ---- */

struct tls_want {
	const char *name;   /* client: of the host, for SNI and to be matched; NULL: none */
	const char *listen; /* server: the listener, to which tickets are bound */
	const char *say;    /* the last plain words, or NULL */
	bool first;	    /* no plain text before it: what came is TLS already */
	const struct tls_need *need; /* client: or NULL; copied */
};
enum tls_step {
	TLS_AGAIN,  /* nothing more until bytes come */
	TLS_DONE,   /* the handshake is */
	TLS_CLOSED, /* the peer said so, inside TLS: nothing after it is read */
	TLS_FAILED  /* tls_why() */
};
struct tls;
struct tls *tls_new(struct tls_ctx *, const struct tls_want *, struct meta1_err *);
void tls_free(struct tls **);
bool tls_slow(const struct tls *);	 /* its handshake belongs on a worker thread */
struct evbuffer *tls_wire(struct tls *); /* what came is put in here */
struct evbuffer *tls_out(struct tls *);	 /* what is to go is taken from here */
enum tls_step tls_shake(struct tls *);	 /* on any thread, one at a time */
/* Plain text into to, at most about max bytes; *got: how many. TLS_AGAIN with max bytes: perhaps
 * there is more. */
enum tls_step tls_read(struct tls *, struct evbuffer *to, size_t max, size_t *got);
bool tls_pending(const struct tls *); /* bytes of the wire that tls_read() might still use */
/* One record at most of what is queued; false: errno, or TLS_FAILED's cause with EPROTO. */
bool tls_write(struct tls *, struct outq *from);
void tls_bye(struct tls *); /* close_notify */
const char *tls_why(const struct tls *);
void tls_idle(struct tls *); /* holds no buffer that is empty */
struct tls_info *tls_info_new(const struct tls *);
void tls_info_free(struct tls_info **);

/* ---- between the files ---- */

struct tls_pair {
	X509 *cert;
	EVP_PKEY *key;
	STACK_OF(X509) * chain;
};
struct tls_ctx {
	SSL_CTX *ssl;
	atomic_uint refs;
	bool server, slow;
	struct work *work;
	struct work_owner owner;
	struct tls_pair pair[TLS_PAIRS];
	unsigned npair;
	struct tls_tickets *tickets;
	struct tls_ocsp *ocsp; /* or NULL */
};
struct tls {
	SSL *ssl;
	struct tls_ctx *ctx;
	struct evbuffer *in, *out;
	char name[256];	       /* that was wanted */
	struct tls_need *need; /* or NULL */
	char why[160];
};
/* All pairs of the options into the context. <0: err names the file. */
int tls_cert_load(struct tls_ctx *, const struct set_tls *, struct meta1_err *);
void tls_cert_free(struct tls_ctx *);
struct tls_ocsp *tls_ocsp_new(struct tls_ctx *, const char *const *files);
/* Reads files that changed, once a second at most; from the loop. */
void tls_ocsp_look(struct tls_ocsp *);
void tls_ocsp_free(struct tls_ocsp **);
struct tls_tickets *tls_ticket_new(SSL_CTX *, struct meta1_err *);
void tls_ticket_free(struct tls_tickets **);
/* Before the handshake; false: OpenSSL cannot do it. */
bool tls_meet_prepare(SSL *, const struct tls_need *, const char *host);
bool tls_meet_name(X509 *, const char *name); /* it is for this name or address */
/* x: the peer's certificate or NULL; sets accepted, how, refused and result. */
void tls_meet_judge(const struct tls *, struct tls_info *, X509 *x);
/* What OpenSSL says, the first error of this thread, which is cleared. */
const char *tls_error(void);

#endif

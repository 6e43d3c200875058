/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1/module.h -- what every module may know.
 *
 * A module is one shared object kind_what.so that exports one const symbol,
 * its descriptor (META1_MODULE below). It links against nothing of meta1:
 * every service comes through the table handed to open(). The ops of each
 * kind stand in meta1/map.h, meta1/transport.h, meta1/queue.h.
 *
 * The laws, for all kinds:
 *  - Everything runs on the role's loop thread, but for the work function
 *    given to offload(). Nothing on the loop thread may block.
 *  - A request (struct meta1_req) is finished exactly once, now or later. The
 *    asker hears of it on a later turn of the loop, never inside the call.
 *  - At its deadline, or when the asker goes away, the asker has its answer and
 *    the module gets cancel(); the request lives on until the module finishes it.
 *  - Reply data is copied during finish(); the module keeps what it owns.
 *  - Every host call is charged to a struct meta1_ctx, one configured instance;
 *    what is left after close() is reported with the instance's name.
 *  - Structs that start with "size" only grow at their end; test a later field
 *    with META1_HAS() before use.
 *
 * ABI major 0: may still change between releases; frozen as 1.0 when a module
 * of each kind works.
 */
#ifndef META1_MODULE_H
#define META1_MODULE_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define META1_MODULE_MAGIC 0x314d544du /* "MTM1" as a little-endian word */
#define META1_ABI_MAJOR	   0u	       /* +1: something changed; older modules are refused */
#define META1_ABI_MINOR	   16u	       /* +1: something was appended; older modules still load */

/* True when the peer's struct s is long enough to hold field f. */
#define META1_HAS(s, f)	   ((s)->size >= offsetof(__typeof__(*(s)), f) + sizeof((s)->f))

enum meta1_kind { META1_MAP = 1, META1_TRANSPORT, META1_AUTH, META1_PMILTER, META1_QUEUE };

/* Roles, as bits: where a module may be loaded. TOOL is createmap, the kit and the like. */
enum meta1_role {
	META1_SMTPS = 1,
	META1_SMTPC = 2,
	META1_SMAR = 4,
	META1_QMGR = 8,
	META1_TOOL = 16
};

/* Flags of a module. */
enum meta1_mflag { META1_F_BLOCKING = 1 }; /* its ops may sleep: the host runs them off the loop */

enum meta1_status {
	META1_OK,	/* done; found; accepted                            */
	META1_NOTFOUND, /* a definite no                                    */
	META1_NOMORE,	/* map: a definite no, and derive no further keys   */
	META1_MORE,	/* auth: challenge follows; queue write: pause      */
	META1_TEMPFAIL, /* try again later; never to be read as "not found" */
	META1_PERMFAIL, /* will not work; do not repeat                     */
	META1_CANCELED	/* the asker went away                              */
};

enum meta1_level { META1_ERR, META1_WARN, META1_INFO, META1_DEBUG };

struct event_base; /* libevent's                                        */
struct meta1_ctx;  /* one configured instance: owner of all its handles */
struct meta1_req;  /* one outstanding question                          */
struct meta1_watch;
struct meta1_mapref; /* another map of the configuration */
struct meta1_conn;   /* one stream connection, see struct meta1_conn_ops */

/* Bytes; may hold any value, not terminated by NUL. */
struct meta1_buf {
	const void *data;
	size_t len;
};

/* Filled on failure: "what: why", no newline, always terminated. */
struct meta1_err {
	char text[512];
};

/*
 * Options: declared once; parser, checker, effective listing, sample files and
 * manual pages are all made from these records. Defaults and ranges are text,
 * so that they pass through the parser that reads the admin's file.
 */
enum meta1_otype {
	META1_BOOL,  /* int32_t: yes/no, true/false, on/off                        */
	META1_INT,   /* int64_t                                                    */
	META1_BYTES, /* int64_t, bytes: 64KB, 1GB                                  */
	META1_MSEC,  /* int64_t, milliseconds: 5m3s, 300ms; a bare number is seconds */
	META1_ENUM,  /* int32_t: index into range "a|b|c"                          */
	META1_FLAGS, /* uint64_t: bit i set for word i of range; dont_WORD clears  */
	META1_STR,   /* const char *                                               */
	META1_PATH,  /* const char *: a file that must exist unless META1_O_MAYLACK */
	META1_LIST   /* const char *const *, ended by NULL: one value or { a, b }  */
};
enum meta1_oflag {
	META1_O_REQUIRED = 1,
	META1_O_SECRET = 2,  /* printed as *** */
	META1_O_RESTART = 4, /* a change takes effect by restarting the role */
	META1_O_MAYLACK = 8, /* PATH: need not exist (yet) */
	META1_O_QDIR = 16,   /* PATH: a relative one is taken under queue_directory, else
				under the folder of the configuration file */
	META1_O_USER = 32,   /* STR: name or number of an account of this machine */
	META1_O_GROUP = 64   /* STR: name or number of a group of this machine */
};
struct meta1_opt {
	const char *name;  /* the C field has the same name */
	const char *def;   /* default as text; NULL: none, field stays 0 */
	const char *range; /* INT, BYTES, MSEC: "1..65535"; ENUM, FLAGS: "a|b|c"; "" any */
	const char *doc;   /* one sentence */
	uint32_t type, flags, off;
};
/* A wrong C type of the field is a compile error. */
#define META1_OPT(T, f, ty, ctype, def, range, fl, doc)                                            \
	{                                                                                          \
#f, def, range, doc, ty, fl,                                                       \
		    (uint32_t)(offsetof(T, f) + 0 * sizeof(&((T *)0)->f == (ctype *)0))            \
	}
#define META1_OPT_BOOL(T, f, d, doc)	 META1_OPT(T, f, META1_BOOL, int32_t, d, "", 0, doc)
#define META1_OPT_INT(T, f, d, r, doc)	 META1_OPT(T, f, META1_INT, int64_t, d, r, 0, doc)
#define META1_OPT_BYTES(T, f, d, r, doc) META1_OPT(T, f, META1_BYTES, int64_t, d, r, 0, doc)
#define META1_OPT_MSEC(T, f, d, r, doc)	 META1_OPT(T, f, META1_MSEC, int64_t, d, r, 0, doc)
#define META1_OPT_ENUM(T, f, d, r, doc)	 META1_OPT(T, f, META1_ENUM, int32_t, d, r, 0, doc)
#define META1_OPT_FLAGS(T, f, d, r, doc) META1_OPT(T, f, META1_FLAGS, uint64_t, d, r, 0, doc)
#define META1_OPT_STR(T, f, d, fl, doc)	 META1_OPT(T, f, META1_STR, const char *, d, "", fl, doc)
#define META1_OPT_PATH(T, f, d, fl, doc) META1_OPT(T, f, META1_PATH, const char *, d, "", fl, doc)
#define META1_OPT_LIST(T, f, d, fl, doc)                                                           \
	META1_OPT(T, f, META1_LIST, const char *const *, d, "", fl, doc)

/* What a failure is about; decides what is blamed and what is tried next. */
enum meta1_scope {
	META1_ABOUT_MAIL,    /* this mail or recipient                                     */
	META1_ABOUT_SESSION, /* this connection is of no more use, nothing was taken: again */
	META1_ABOUT_HOST,    /* the host: it counts against the host, try the next one     */
	META1_ABOUT_OFFER    /* what the host offers: try the next one, if none does: mail */
};

/* The answer to any question. Only the fields a kind names are read. */
struct meta1_reply {
	uint32_t size, nval;
	const struct meta1_buf *val; /* map: values; queue commit: the notice */
	const char *text;	     /* why, for the log and the sender; one line */
	uint32_t ttl;		     /* seconds the answer may be kept; 0: not at all */
	uint16_t smtp;		     /* three-digit reply, 0: derive from the status */
	uint16_t scope;		     /* enum meta1_scope */
	char dsn[12];		     /* enhanced status "5.1.1", or "" */
	uint32_t taken;		     /* transport, OK: enum meta1_taken */
	const void *ext;	     /* queue load: struct meta1_content */
	const char *host;	     /* transport: who said it */
	const char *source;	     /* transport, open(): our address there; NULL: not known */
	uint32_t tls, pad;	     /* transport, open(): enum meta1_tls_result */
};

/* A run of bytes: in memory (mem set) or in a file (fd >= 0). */
struct meta1_extent {
	const void *mem;
	uint64_t off, len; /* off: in the file */
	int32_t fd;	   /* -1 when mem is set */
	uint32_t pad;
};

/* What TLS must achieve before mail is said. */
enum meta1_tls_policy {
	META1_TLS_MAY,	   /* when it is offered; in plain when it is not, or fails */
	META1_TLS_NONE,	   /* not even then */
	META1_TLS_ENCRYPT, /* always, with whoever it is */
	META1_TLS_VERIFY /* always, with a certificate of a CA that we trust, for the host's name */
};
/* What came of it, in the words of reports to other domains (RFC 8460). Of a certificate: held
 * against hop.tls_need, also where mail goes without. */
enum meta1_tls_result {
	META1_TLS_UNTRIED,     /* it did not come so far, or we did not want it */
	META1_TLS_GOOD,	       /* and the certificate is what it should be */
	META1_TLS_NOT_OFFERED, /* nor taken: no STARTTLS, or it is refused */
	META1_TLS_BROKEN,      /* it failed on the way, or in another way than those below */
	META1_TLS_MISNAMED,    /* the certificate is for none of the names */
	META1_TLS_EXPIRED,
	META1_TLS_UNTRUSTED,
	META1_TLS_UNMATCHED /* no TLSA record is about it */
};
/* What it achieved; strings live as long as the connection. */
struct meta1_tls {
	uint32_t size, bits;
	const char *version, *cipher;
	int32_t trusted, named; /* 1: the certificate is of a CA we trust; is for the host's name */
	const char *why;	/* not trusted: OpenSSL's word */
	const char *subject, *issuer; /* NULL: no certificate */
	/* 1: it is what hop.tls_need asks for, without that: trusted and named. META1_TLS_VERIFY
	 * goes by this alone. how: in a word, for people: "verified", "DANE-EE"; refused: not
	 * accepted, why, as the end of "the certificate is ..." */
	int32_t accepted, pad;
	const char *how, *refused;
	uint32_t result, pad2; /* enum meta1_tls_result, from GOOD on */
};

/* Where a connection goes. */
struct meta1_hop {
	uint32_t size, port;
	const char *host; /* name, for log, TLS and the reply text */
	const char *addr; /* "192.0.2.1", "2001:db8::1" or "/path/of/a/unix/socket" */
	/* ms; 0: the module's own. io_timeout bounds the wait for any one reply but that to
	 * the final dot, whose loss would send the mail twice. */
	int64_t connect_timeout, io_timeout;
	const char *hello;  /* our name in EHLO or LHLO; NULL: the host's hostname */
	const char *source; /* our address of this connection; NULL: any */
	uint32_t tls, pad;  /* enum meta1_tls_policy */
	/* What the certificate is held against, a word of the host for conn->open(); NULL: a CA
	 * that is trusted, and the host's name. Who keeps a copy of the hop keeps it too. */
	const char *tls_need;
	/* Whose credentials are shown at this hop, a word of the host for conn->login(); NULL:
	 * nobody's. Copied into the hop that conn->open() gets, as tls_need is. */
	const char *login;
};

struct meta1_conn_events {
	void (*connected)(void *arg);
	void (*input)(void *arg); /* new bytes are there; take lines until there is none */
	/* Peer closed, error or time-out. No event follows; the module still calls close(). */
	void (*gone)(void *arg, const char *why);
	void (*secured)(void *arg); /* after starttls() */
};
/*
 * Stream connections, non-blocking, buffered, written once a loop turn. Lines
 * are bounded by the host (a reply line over 4096 bytes ends the connection).
 */
struct meta1_conn_ops {
	uint32_t size, pad;
	/* NULL: err says why at once (no descriptor, bad address). The module passes the
	 * same arg to every event. timeout: ms for the connect. */
	struct meta1_conn *(*open)(struct meta1_ctx *, const struct meta1_hop *, int64_t timeout,
	    const struct meta1_conn_events *, void *arg, struct meta1_err *);
	/* Next whole line without its line end, or data == NULL. Valid until the next call. */
	struct meta1_buf (*line)(struct meta1_conn *);
	void (*write)(struct meta1_conn *, const void *, size_t); /* copied */
	/* Not copied: the extents' bytes stay valid until answered or closed. */
	void (*send)(struct meta1_conn *, const struct meta1_extent *, uint32_t n);
	/* gone("...timed out") when no byte moved for so many ms; 0: never. */
	void (*timeout)(struct meta1_conn *, int64_t ms);
	size_t (*unsent)(struct meta1_conn *); /* bytes that the kernel has not taken */
	void (*close)(struct meta1_conn **);   /* drops what is unsent */
	/* The peer is ready for TLS: secured() follows, or gone(). name: of the host, which its
	 * certificate is held against. <0: err, nothing began: none is there, or the peer sent more
	 * than its reply, which somebody may have put in. */
	int (*starttls)(struct meta1_conn *, const char *name, struct meta1_err *);
	/* Fills what out->size has room for. 0: it is in plain; <0: and starttls() is not to be
	 * had. */
	int (*tls)(struct meta1_conn *, struct meta1_tls *out);
	/* AUTH as hop.login of open() says, by the host's modules (meta1/auth.h); words in base64,
	 * as they stand on a line. service: "smtp", "lmtp"; mechs: as the hop offers them. cb: on a
	 * later turn with arg of open(), not after close(); MORE: say it. Of login(): val[0]
	 * mechanism, val[1], if there, the initial response; of login_step(), which gets what stood
	 * behind 334: val[0] response. smtp 235 in it: the hop's success may come next, without it
	 * that is a fraud. Else: text says why not; hang up. */
	void (*login)(struct meta1_conn *, const char *service, const char *mechs,
	    void (*cb)(void *arg, enum meta1_status, const struct meta1_reply *));
	void (*login_step)(struct meta1_conn *, struct meta1_buf said,
	    void (*cb)(void *arg, enum meta1_status, const struct meta1_reply *));
	/* The hop's last word: 235, 535; 0: a success that it cannot mean yet. */
	void (*login_over)(struct meta1_conn *, int code, const char *text);
	/* Protocols without lines: what has come, at most 64 KiB at once; valid until the next
	 * call. take() drops n bytes of its front. Over 1 MiB that nobody takes no more is read. */
	struct meta1_buf (*peek)(struct meta1_conn *);
	void (*take)(struct meta1_conn *, size_t n);
	/* Our address of it, valid until close(); NULL: it is not connected, or a unix socket. */
	const char *(*source)(struct meta1_conn *);
};

/* What the host gives. Appended to, never reordered. */
struct meta1_host {
	uint32_t size, abi_major, abi_minor;
	uint32_t role;	      /* one bit of enum meta1_role */
	uint32_t process;     /* index of this process, unique over all smtps; FF is qmgr */
	const char *version;  /* of the host program */
	const char *hostname; /* as the configuration says */
	const char *qdir;     /* queue_directory, absolute */

	/* One line a call; text from a peer is escaped by the host. Secrets never. */
	void (*log)(struct meta1_ctx *, enum meta1_level, const char *fmt, ...)
	    __attribute__((format(printf, 3, 4)));
	/* Adds to a counter, or sets a gauge (name ends in "_now"); at most 64 names each. */
	void (*count)(struct meta1_ctx *, const char *name, int64_t delta);

	void *(*alloc)(struct meta1_ctx *, size_t); /* zeroed; may return NULL */
	void (*free)(struct meta1_ctx *, void *);

	/* what: EV_READ, EV_WRITE of libevent, persistent. NULL: no memory. */
	struct meta1_watch *(*watch_fd)(
	    struct meta1_ctx *, int fd, short what, void (*cb)(int fd, short what, void *), void *);
	/* Once after msec; the watch stays until unwatch() and may be armed again. */
	struct meta1_watch *(*watch_timer)(
	    struct meta1_ctx *, int64_t msec, void (*cb)(int fd, short what, void *), void *);
	void (*rearm)(struct meta1_watch *, int64_t msec); /* <0: disarm */
	void (*unwatch)(struct meta1_watch **);
	/* cb(arg) on the loop, on a later turn; from any thread. Allocates: <0 = no memory. */
	int (*post)(struct meta1_ctx *, void (*cb)(void *), void *);
	/* work(arg) on a worker thread, then done(arg) on the loop. At most 8 threads a
	 * role and 2 at a time an instance; TEMPFAIL when 1024 are waiting: neither runs. */
	enum meta1_status (*offload)(
	    struct meta1_ctx *, void (*work)(void *), void (*done)(void *), void *);
	struct event_base *(*base)(struct meta1_ctx *);
	int64_t (*now)(struct meta1_ctx *);  /* monotonic ms; the kit's clock may be false */
	int64_t (*wall)(struct meta1_ctx *); /* seconds since 1970 */

	void *(*req_alloc)(struct meta1_req *, size_t); /* zeroed, freed with the request */
	void **(*req_slot)(struct meta1_req *);		/* the module's own pointer */
	int64_t (*req_deadline)(struct meta1_req *);	/* monotonic ms */
	struct meta1_ctx *(*req_ctx)(struct meta1_req *);
	void (*finish)(struct meta1_req *, enum meta1_status, const struct meta1_reply *);
	/* transport: result of one recipient, before finish(); each at most once */
	void (*rcpt_result)(
	    struct meta1_req *, uint32_t rcpt, enum meta1_status, const struct meta1_reply *);

	/* Another map, by the name of its section; NULL when there is none. */
	struct meta1_mapref *(*map)(struct meta1_ctx *, const char *name);
	void (*map_lookup)(struct meta1_ctx *, struct meta1_mapref *, struct meta1_buf key,
	    int64_t deadline, void (*cb)(void *, enum meta1_status, const struct meta1_reply *),
	    void *);
	/* The data behind this instance changed: kept answers are dropped everywhere. */
	void (*changed)(struct meta1_ctx *);

	/* DNS. type: a number of the IANA list. OK: val[] are rdata in wire form with
	 * names uncompressed; NOTFOUND: no such name or no such data; TEMPFAIL else. */
	void (*dns)(struct meta1_ctx *, const char *name, uint16_t type, int64_t deadline,
	    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *);

	const struct meta1_conn_ops *conn;

	/* A domain as the server looks it up: lower case, A-labels in place of U-labels, no
	 * final dot. 0, or -1: it is none, or does not fit. Any thread. */
	int (*domain_key)(struct meta1_buf domain, char *out, size_t size);
};

/* The one exported symbol. */
struct meta1_module {
	uint32_t magic, size, abi_major, abi_minor;
	uint32_t kind, roles, flags;
	uint32_t libevent; /* EVENT__NUMERIC_VERSION if base() is used, else 0 */
	const char *name;  /* kind_what, equal to the file's name */
	const char *version, *summary;
	const struct meta1_opt *opt;
	uint32_t nopt, sizeof_opt, sizeof_conf, pad;
	/* Across options; no I/O. <0: err says why. May be NULL. */
	int (*check)(const void *conf, struct meta1_err *);
	/* May do blocking I/O: the role is not serving yet, or runs a reload. conf stays valid
	 * until close(). <0: err says why, nothing is left. */
	int (*open)(const struct meta1_host *, struct meta1_ctx *, const void *conf, void **inst,
	    struct meta1_err *);
	/* Finish what is under way, take nothing new; then finish the request. May be NULL. */
	void (*drain)(void *inst, struct meta1_req *);
	void (*close)(void *inst);
	const void *ops; /* struct meta1_map_ops, ... by kind; starts with its size */
};

#ifdef __cplusplus
}
#define META1_EXTERN extern "C"
#else
#define META1_EXTERN extern
#endif

/* The symbol's name is the form that lt_dlsym() tries first, so the same object
 * can be loaded or preloaded, and a renamed file is refused by itself. */
#define META1_MODULE(mname, ...)                                                                   \
	META1_EXTERN __attribute__((visibility("default")))                                        \
	const struct meta1_module mname##_LTX_meta1_module;                                        \
	const struct meta1_module mname##_LTX_meta1_module = {.magic = META1_MODULE_MAGIC,         \
	    .size = sizeof(struct meta1_module),                                                   \
	    .abi_major = META1_ABI_MAJOR,                                                          \
	    .abi_minor = META1_ABI_MINOR,                                                          \
	    .name = #mname,                                                                        \
	    .sizeof_opt = sizeof(struct meta1_opt),                                                \
	    __VA_ARGS__}

#endif

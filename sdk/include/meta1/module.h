/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1/module.h -- what every module may know.
 *
 * A module is one shared object kind_what.so that exports one const symbol, its descriptor
 * (META1_MODULE below). It links against nothing of meta1: every service comes through the table
 * handed to open(). The ops of each kind stand in a header of its own: meta1/map.h, transport.h,
 * auth.h, pmilter.h, queue.h.
 *
 * The laws, for all kinds:
 *  - Everything, a function of the host too unless "any thread" stands at it, runs on the role's
 *    loop thread, where nothing may block; but for the work function given to offload().
 *  - A request (struct meta1_req) is finished exactly once, now or later. The
 *    asker hears of it on a later turn of the loop, never inside the call.
 *  - At its deadline, or when the asker goes away, the asker has its answer and
 *    the module gets cancel(), once; it may finish the request inside of it, and what it then
 *    says is dropped. The request lives on until the module finishes it, also without cancel()
 *    where that is NULL. One that is not finished twice its time after cancel() is a fault.
 *  - What the host hands to a call (strings, keys, structs) is good during the call, unless it
 *    says longer. What a module hands to the host is copied during the call, unless it says that
 *    it stays: reply data is copied during finish(); the module keeps what it owns.
 *  - Pointers are never NULL, and strings end with NUL, unless it says so. Strings are UTF-8 or
 *    bytes that a peer sent; only struct meta1_buf holds NUL.
 *  - Times that end in _timeout, msec, ms, deadline are ms, others seconds. A deadline is of now().
 *  - Every host call is charged to a struct meta1_ctx, one configured instance;
 *    what is left after close() is reported with the instance's name.
 *  - Nothing ends the process: not exit(), not abort(), not a signal. No signal handler, umask,
 *    locale or working folder is changed: a role has other modules.
 *
 * Growing. ABI 1.x breaks nothing: a module built for 1.0 loads in every 1.x, and one built with
 * the headers of 1.3 in a server of 1.0 when it says META1_ABI_NEEDED 0 and tests what is newer.
 *  - Structs that start with "size" only grow at their end: who fills one sets size to its own
 *    sizeof, who reads one tests with META1_HAS() what came after 1.0. One that was got from the
 *    other side is never copied by "=", which reads too much or leaves a wrong size: meta1_copy().
 *  - Arrays whose elements may grow have a sizeof_ of an element beside them: go from one to the
 *    next by that, not by [i] (meta1_at()). All other structs stay as they are for ever.
 *  - Pads, bits and values of an enum that have no name here are reserved. Who fills a struct
 *    leaves them 0 (name the fields in an initializer). Who reads one ignores a bit it does not
 *    know; a status that it does not know is META1_TEMPFAIL, a value of another enum is the
 *    enum's first.
 *  - What a module cannot do without is told, so that it is refused at the start and not in the
 *    middle of a mail: META1_ABI_NEEDED, roles, needs.
 * The history of the ABI, and all of it as a list that a test holds the headers to, stand in
 * sdk/abi-history and sdk/abi.txt of the sources.
 */
#ifndef META1_MODULE_H
#define META1_MODULE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define META1_MODULE_MAGIC 0x314d544du /* "MTM1" as a little-endian word */
#define META1_ABI_MAJOR	   1u	       /* +1: something changed; older modules are refused */
#define META1_ABI_MINOR	   0u	       /* +1: something was appended; older modules still load */

/* The oldest minor of a host that the module works with: said before this file is included by a
 * module that tests with META1_HAS() all that came later. */
#ifndef META1_ABI_NEEDED
#define META1_ABI_NEEDED META1_ABI_MINOR
#endif

/* True when the peer's struct s is long enough to hold field f. */
#define META1_HAS(s, f) ((s)->size >= offsetof(__typeof__(*(s)), f) + sizeof((s)->f))

/* Copies a struct that begins with its size into one of ours; what the other does not know is 0. */
static inline void meta1_copy(void *to, uint32_t room, const void *from)
{
	uint32_t n = *(const uint32_t *)from;

	memset(to, 0, room);
	memcpy(to, from, n < room ? n : room);
	memcpy(to, &room, sizeof(room));
}

/* The i-th element of an array whose elements have sizeof_elem bytes there. */
static inline const void *meta1_at(const void *array, uint32_t sizeof_elem, uint32_t i)
{
	return (const char *)array + (size_t)sizeof_elem * i;
}

enum meta1_kind { META1_MAP = 1, META1_TRANSPORT, META1_AUTH, META1_PMILTER, META1_QUEUE };

/* Roles, as bits: where a module may be loaded. TOOL is createmap, the kit and the like. */
enum meta1_role {
	META1_SMTPS = 1,
	META1_SMTPC = 2,
	META1_SMAR = 4,
	META1_QMGR = 8,
	META1_TOOL = 16
};

/* Flags of a module. A flag that the host does not know refuses the module. */
enum meta1_mflag {
	/* Maps only: lookup() may sleep: the host runs it on a worker thread, one at a time an
	 * instance, without cancel(). There the host serves log, count, alloc, free, now, wall,
	 * post, changed and what is done with a request; the rest fails. */
	META1_F_BLOCKING = 1
};

/* What a host serves an instance beyond log, memory, watches and requests: bits of host->offers,
 * and of needs in a descriptor. A bit of needs that the host does not offer refuses the module. */
enum meta1_service {
	META1_S_CONN = 1,    /* host->conn */
	META1_S_BASE = 2,    /* base() */
	META1_S_OFFLOAD = 4, /* offload() */
	META1_S_DNS = 8,     /* dns(): in smar */
	META1_S_MAPS = 16    /* map(), map_lookup(): in smar */
};

/* Watch this of a descriptor; values of libevent's EV_READ and EV_WRITE. */
enum meta1_io { META1_READ = 2, META1_WRITE = 4 };

/* How a question ended; a kind says which of them it uses. */
enum meta1_status {
	META1_OK,	/* done; found; accepted                            */
	META1_NOTFOUND, /* a definite no                                    */
	META1_NOMORE,	/* map: a definite no, and derive no further keys   */
	META1_MORE,	/* auth: challenge follows; queue write: pause      */
	META1_TEMPFAIL, /* try again later; never to be read as "not found" */
	META1_PERMFAIL, /* will not work; do not repeat                     */
	META1_CANCELED	/* the asker went away: after cancel(), when there is nothing to say */
};

/* Of log(): the server's log_level says which are written. ERR: somebody must act. */
enum meta1_level { META1_ERR, META1_WARN, META1_INFO, META1_DEBUG };

struct event_base;   /* libevent's                                        */
struct meta1_ctx;    /* one configured instance: owner of all its handles */
struct meta1_req;    /* one outstanding question                          */
struct meta1_watch;  /* a descriptor or timer that is looked after */
struct meta1_mapref; /* another map of the configuration */
struct meta1_conn;   /* one stream connection, see struct meta1_conn_ops */

/* Bytes; may hold any value, not terminated by NUL. data may be NULL when len is 0. */
struct meta1_buf {
	const void *data;
	size_t len;
};

/* The caller's. Filled by who fails: "what: why", UTF-8, no newline, always terminated. */
struct meta1_err {
	char text[512];
};

/* Options: declared once; parser, checker, effective listing, sample files and manual pages are all
 * made from these records. Defaults and ranges are text, so that they pass through the parser that
 * reads the admin's file. */
enum meta1_otype {
	META1_BOOL,  /* int32_t: yes/no, true/false, on/off                        */
	META1_INT,   /* int64_t                                                    */
	META1_BYTES, /* int64_t, bytes: 64KB, 1GB                                  */
	META1_MSEC,  /* int64_t, milliseconds: 5m3s, 300ms; a bare number is seconds */
	META1_ENUM,  /* int32_t: index into range "a|b|c"                          */
	META1_FLAGS, /* uint64_t: bit i set for word i of range; dont_WORD clears  */
	META1_STR,   /* const char *; NULL without value and default                */
	META1_PATH,  /* const char *, absolute; it must exist unless META1_O_MAYLACK; NULL as STR */
	META1_LIST   /* const char *const *, ended by NULL: one value or { a, b }; NULL as STR */
};
enum meta1_oflag {
	META1_O_REQUIRED = 1, /* without a value the configuration is refused */
	META1_O_SECRET = 2,   /* printed as *** */
	META1_O_RESTART = 4,  /* a change takes effect by restarting the role: no reload opens it */
	META1_O_MAYLACK = 8,  /* PATH: need not exist (yet) */
	META1_O_QDIR = 16,    /* PATH: a relative one is taken under queue_directory, else
				 under the folder of the configuration file */
	META1_O_USER = 32,    /* STR: name or number of an account of this machine */
	META1_O_GROUP = 64    /* STR: name or number of a group of this machine */
};
/* One option; an element of descriptor.opt, sizeof_opt bytes each. Static, for ever. */
struct meta1_opt {
	const char *name;  /* the C field has the same name; a to z, A to Z, 0 to 9 and _ */
	const char *def;   /* default as text; NULL: none, field stays 0 */
	const char *range; /* INT, BYTES, MSEC: "1..65535"; ENUM, FLAGS: "a|b|c"; "" any */
	const char *doc;   /* one sentence */
	uint32_t type;	   /* enum meta1_otype */
	uint32_t flags;	   /* enum meta1_oflag */
	uint32_t off;	   /* of the field in the module's struct of options */
	uint32_t pad;
};
/* A wrong C type of the field is a compile error. */
#define META1_OPT(T, f, ty, ctype, def, range, fl, doc)                                            \
	{                                                                                          \
#f, def, range, doc, ty, fl,                                                       \
		    (uint32_t)(offsetof(T, f) + 0 * sizeof(&((T *)0)->f == (ctype *)0)), 0         \
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

/* The answer to any question: filled by the module with size = sizeof, the rest 0 but what the
 * kind names; finish() and rcpt_result() take NULL for one that has nothing. All of it is copied,
 * but what ext points to. Over 65536 values or 16 MiB it is TEMPFAIL. */
struct meta1_reply {
	uint32_t size;
	uint32_t nval;		     /* of val */
	const struct meta1_buf *val; /* map: values; queue commit: the notice; dns: rdata */
	const char *text;	     /* why, for the log and the sender; one line; NULL: nothing */
	uint32_t ttl;		     /* map: seconds the answer may be kept; 0: not at all */
	uint16_t smtp;		     /* three-digit reply, 0: derive from the status */
	uint16_t scope;		     /* enum meta1_scope; transport */
	char dsn[12];		     /* enhanced status "5.1.1" (RFC 3463), or "" */
	uint32_t taken;		     /* transport, OK: enum meta1_taken */
	const void *ext;    /* queue load: struct meta1_content; pmilter: struct meta1_pm_verdict */
	const char *host;   /* transport: who said it; NULL: ourselves */
	const char *source; /* transport, open(): our address there; NULL: not known */
	uint32_t tls;	    /* transport, open(): enum meta1_tls_result */
	uint32_t pad;
};

/* A run of bytes: in memory (mem set) or in a file (fd >= 0). Whose it is, and how long it stays,
 * says who hands it over. The descriptor is for pread() and sendfile(): others read it at the same
 * time, so nobody moves its place or closes it. */
struct meta1_extent {
	const void *mem;
	uint64_t off; /* in the file; 0 when mem is set */
	uint64_t len; /* bytes; may be 0 */
	int32_t fd;   /* -1 when mem is set */
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
/* What it achieved; strings live as long as the connection. Filled by the host for a module, which
 * sets size before. */
struct meta1_tls {
	uint32_t size;
	uint32_t bits;		/* strength of the cipher */
	const char *version;	/* "TLSv1.3" */
	const char *cipher;	/* as OpenSSL calls it */
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

/* Where a connection goes. Filled by the host for a transport, good during open() only; filled by a
 * module for conn->open(), copied there: connections of other kinds need size, port and addr. */
struct meta1_hop {
	uint32_t size;
	uint32_t port;	  /* 0 of a unix socket */
	const char *host; /* name, for log, TLS and the reply text */
	/* "192.0.2.1", "2001:db8::1" or "/path/of/a/unix/socket". Of a META1_T_LOCAL transport:
	 * what the route says behind "NAME:", as it stands there, "": nothing; host is then the
	 * name. */
	const char *addr;
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

/* The module's, for one use of conn->open() or many; stays until the last close(). All may be
 * called from a later turn on, none after close(). May close() within each. */
struct meta1_conn_events {
	uint32_t size, pad;
	void (*connected)(void *arg); /* NULL: not told */
	void (*input)(void *arg);     /* new bytes are there; take lines until there is none */
	/* Peer closed, error or time-out. No event follows; the module still calls close(). */
	void (*gone)(void *arg, const char *why);
	void (*secured)(void *arg); /* after starttls(); NULL when that is never called */
};
/* Stream connections, non-blocking, buffered, written once a loop turn. Lines are bounded by the
 * host (a reply line over 4096 bytes ends the connection). After gone() every function may still be
 * called and does nothing, until close(). */
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

/* What the host gives. Appended to, never reordered; no function is NULL. One an instance, good
 * until its close(). */
struct meta1_host {
	uint32_t size, abi_major, abi_minor;
	uint32_t role;	  /* one bit of enum meta1_role */
	uint32_t process; /* index of this process, unique over all smtps; FF is qmgr */
	uint32_t pad;
	uint64_t offers;      /* enum meta1_service */
	const char *version;  /* of the host program */
	const char *hostname; /* as the configuration says */
	const char *qdir;     /* queue_directory, absolute */

	/* One line a call, at most 1023 bytes; text from a peer is escaped by the host. Secrets
	 * never. */
	void (*log)(struct meta1_ctx *, enum meta1_level, const char *fmt, ...)
	    __attribute__((format(printf, 3, 4)));
	/* Adds to a counter, or sets a gauge (name ends in "_now"); at most 64 names each, of at
	 * most 64 characters a to z, 0 to 9 and _; others are ignored. name stays: a literal. */
	void (*count)(struct meta1_ctx *, const char *name, int64_t delta);

	/* Zeroed, aligned for any type; NULL: there is none, which is a temporary failure of what
	 * it was for. Freed by free() of the same instance, NULL is fine there. */
	void *(*alloc)(struct meta1_ctx *, size_t);
	void (*free)(struct meta1_ctx *, void *);

	/* what: enum meta1_io; cb as long as it holds. The descriptor stays the module's: unwatch
	 * before it is closed. NULL: no memory. */
	struct meta1_watch *(*watch_fd)(
	    struct meta1_ctx *, int fd, short what, void (*cb)(int fd, short what, void *), void *);
	/* Once after msec (0: on the next turn; <0: not yet); the watch stays until unwatch() and
	 * may be armed again. fd of cb is -1. NULL: no memory. */
	struct meta1_watch *(*watch_timer)(
	    struct meta1_ctx *, int64_t msec, void (*cb)(int fd, short what, void *), void *);
	void (*rearm)(struct meta1_watch *, int64_t msec); /* a timer; <0: disarm */
	/* Sets it to NULL; cb is not called any more. NULL in it is fine. */
	void (*unwatch)(struct meta1_watch **);
	/* cb(arg) on the loop, on a later turn, in the order of the calls; not after close(). Any
	 * thread, while the instance is open. <0: no memory. */
	int (*post)(struct meta1_ctx *, void (*cb)(void *), void *);
	/* work(arg) on a worker thread, where nothing of the host may be called but what says "any
	 * thread"; then done(arg) on the loop, on a later turn, for sure: close() waits for it. At
	 * most 8 threads a role and 2 at a time an instance, in order; TEMPFAIL when 1024 are
	 * waiting or there is no memory: neither runs. */
	enum meta1_status (*offload)(
	    struct meta1_ctx *, void (*work)(void *), void (*done)(void *), void *);
	/* The loop, for a library that has its own events with libevent: .libevent of the
	 * descriptor says the version then. Nothing of it is counted for the instance. */
	struct event_base *(*base)(struct meta1_ctx *);
	int64_t (*now)(struct meta1_ctx *);  /* monotonic ms; the kit's clock may be false */
	int64_t (*wall)(struct meta1_ctx *); /* seconds since 1970 */

	/* Zeroed, freed with the request; NULL: there is none, or over 16 MiB of a request. */
	void *(*req_alloc)(struct meta1_req *, size_t);
	void **(*req_slot)(struct meta1_req *);	     /* the module's own pointer, NULL at first */
	int64_t (*req_deadline)(struct meta1_req *); /* INT64_MAX: none */
	struct meta1_ctx *(*req_ctx)(struct meta1_req *);
	/* Ends the request, which is not the module's any more: its memory may be gone. */
	void (*finish)(struct meta1_req *, enum meta1_status, const struct meta1_reply *);
	/* transport: result of one recipient, before finish(); each at most once. rcpt: its index
	 * in mail->rcpt. */
	void (*rcpt_result)(
	    struct meta1_req *, uint32_t rcpt, enum meta1_status, const struct meta1_reply *);

	/* Another map, by the name of its section; NULL when there is none, or it is the caller.
	 * Good until close(); not for the time of open(), when that map may not be there yet. */
	struct meta1_mapref *(*map)(struct meta1_ctx *, const char *name);
	/* cb once, on a later turn, with what a map answers (meta1/map.h), at the latest at the
	 * deadline with TEMPFAIL; not after close(). The key is copied. Ref NULL: TEMPFAIL. */
	void (*map_lookup)(struct meta1_ctx *, struct meta1_mapref *, struct meta1_buf key,
	    int64_t deadline, void (*cb)(void *, enum meta1_status, const struct meta1_reply *),
	    void *);
	/* The data behind this instance changed: kept answers are dropped everywhere. */
	void (*changed)(struct meta1_ctx *);

	/* DNS. type: a number of the IANA list. cb as in map_lookup(). OK: val[] are rdata in wire
	 * form (RFC 1035) with names uncompressed; NOTFOUND: no such name or no such data; TEMPFAIL
	 * else. */
	void (*dns)(struct meta1_ctx *, const char *name, uint16_t type, int64_t deadline,
	    void (*cb)(void *, enum meta1_status, const struct meta1_reply *), void *);

	const struct meta1_conn_ops *conn; /* has a size of its own */

	/* A domain as the server looks it up: lower case, A-labels in place of U-labels (RFC 5890),
	 * no final dot. 0, or -1: it is none, or does not fit. Any thread. */
	int (*domain_key)(struct meta1_buf domain, char *out, size_t size);
};

/* The one exported symbol: static, nothing of the module runs before it was judged. */
struct meta1_module {
	/* Set by META1_MODULE(). The first four never change their place, in no ABI. */
	uint32_t magic, size, abi_major, abi_minor; /* of the headers it was built with */
	uint32_t abi_needed; /* minor that the host must have: META1_ABI_NEEDED */
	uint32_t sizeof_opt; /* of an element of opt */
	const char *name;    /* kind_what, equal to the file's name; a to z, 0 to 9 and _ */
	/* Set by the author. */
	uint32_t kind;		     /* enum meta1_kind */
	uint32_t roles;		     /* enum meta1_role: others refuse it */
	uint32_t flags;		     /* enum meta1_mflag */
	uint32_t libevent;	     /* EVENT__NUMERIC_VERSION if base() is used, else 0 */
	uint64_t needs;		     /* enum meta1_service: where one lacks it is refused */
	const char *version;	     /* the module's own, for people */
	const char *summary;	     /* one sentence; the first of its manual */
	const struct meta1_opt *opt; /* nopt of them, at most 256; NULL when there is none */
	uint32_t nopt;
	uint32_t sizeof_conf; /* of the struct that they fill, at most 1 MiB; 0: none */
	/* Across options, when each is good by itself; no I/O, and before there is an instance, in
	 * another process too. conf, here and below: that struct, filled. <0: err says why. NULL:
	 * nothing to check. */
	int (*check)(const void *conf, struct meta1_err *);
	/* A section becomes an instance. May do blocking I/O: the role is not serving yet, or runs
	 * a reload. host, ctx and conf stay valid until close(). *inst is what the ops get. <0: err
	 * says why, nothing is left, close() is not called. A reload opens the new one beside the
	 * old. */
	int (*open)(const struct meta1_host *, struct meta1_ctx *, const void *conf, void **inst,
	    struct meta1_err *);
	/* Finish what is under way, take nothing new; then finish the request. At its deadline
	 * close() comes all the same. NULL: nothing that the requests do not tell. */
	void (*drain)(void *inst, struct meta1_req *);
	/* Everything is given back and every request finished when it returns. */
	void (*close)(void *inst);
	const void *ops; /* struct meta1_map_ops, ... by kind; starts with its size */
};

#ifdef __cplusplus
}
#define META1_EXTERN extern "C"
#else
#define META1_EXTERN extern
#endif

/* The symbol's name is what lt_dlsym() tries first: the object can be loaded or preloaded, and a
 * renamed file is refused. Fields in the order of the struct, from kind on (C++ insists on it). */
#define META1_MODULE(mname, ...)                                                                   \
	META1_EXTERN __attribute__((visibility("default")))                                        \
	const struct meta1_module mname##_LTX_meta1_module;                                        \
	const struct meta1_module mname##_LTX_meta1_module = {.magic = META1_MODULE_MAGIC,         \
	    .size = sizeof(struct meta1_module),                                                   \
	    .abi_major = META1_ABI_MAJOR,                                                          \
	    .abi_minor = META1_ABI_MINOR,                                                          \
	    .abi_needed = META1_ABI_NEEDED,                                                        \
	    .sizeof_opt = sizeof(struct meta1_opt),                                                \
	    .name = #mname,                                                                        \
	    __VA_ARGS__}

#endif

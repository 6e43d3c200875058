/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1/pmwire.h -- frames between smtps and a policy filter, version 1, as
 * doc/pmilter-protocol.md tells them: numbers, and the few functions that write and read frames,
 * shared by both ends; inline, so that a module links against nothing.
 *
 * A frame: length of all of it (4 bytes), type (2), 0 (2), session (4), fields. A field: number
 * (2), length (2), bytes. All numbers are big-endian.
 */
#ifndef META1_PMWIRE_H
#define META1_PMWIRE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define META1_PMW_VERSION   1
#define META1_PMW_HEAD	    12
#define META1_PMW_FRAME_MAX 65536 /* all of a frame */
#define META1_PMW_CHUNK_MAX 32768 /* bytes of content in one */
#define META1_PMW_LINE_MAX  32	  /* lines of a reply */
#define META1_PMW_VALUE_MAX 60000 /* bytes of a header's value */
#define META1_PMW_WINDOW    262144
#define META1_PMW_WINDOWS   4194304
#define META1_PMW_OPTIONAL  0x8000u /* types: who does not know it skips it */

enum meta1_pmw_type {
	META1_PMW_HELLO = 1, /* first frame of smtps */
	META1_PMW_WELCOME,   /* first frame of the filter */
	META1_PMW_PING,	     /* either asks */
	META1_PMW_PONG,
	META1_PMW_BYE, /* either: why it hangs up */
	/* of smtps, of a session */
	META1_PMW_OPEN = 16, /* of a new session: who the client is */
	META1_PMW_CONNECT,   /* questions; each is answered by a VERDICT */
	META1_PMW_HELO,
	META1_PMW_MAIL,
	META1_PMW_RCPT,
	META1_PMW_DATA,
	META1_PMW_UNKNOWN,
	META1_PMW_CONTENT, /* what follows is a message: its sizes */
	META1_PMW_CHUNK,
	META1_PMW_END, /* question: the message is told */
	META1_PMW_RESET,
	META1_PMW_CLOSE,
	META1_PMW_TAKEN, /* of REPLACE, so many bytes */
	/* of the filter, of a session */
	META1_PMW_VERDICT = 48,
	META1_PMW_EDIT,	   /* before the VERDICT of END */
	META1_PMW_REPLACE, /* likewise: a part of the new message */
	META1_PMW_MORE,	   /* of CHUNK, so many bytes are done with */
	META1_PMW_ENOUGH   /* the rest of the content need not be told */
};

enum meta1_pmw_field {
	META1_PMW_F_VERSION = 1, /* 16 bits */
	META1_PMW_F_OLDEST,	 /* 16 bits */
	META1_PMW_F_PROGRAM,
	META1_PMW_F_HOSTNAME,
	META1_PMW_F_STAGES,	/* 32 bits, enum meta1_pm_stage */
	META1_PMW_F_ACTIONS,	/* 32 bits, enum meta1_pmw_action */
	META1_PMW_F_MACROS,	/* numbers of 16 bits */
	META1_PMW_F_ASK_MACROS, /* stage (32 bits), numbers of 16 bits */
	META1_PMW_F_CONTENT,	/* 8 bits, enum meta1_pmw_content */
	META1_PMW_F_WINDOW,	/* 32 bits, bytes a session */
	META1_PMW_F_WINDOWS,	/* 32 bits, bytes a connection */
	META1_PMW_F_TEXT,
	META1_PMW_F_SERIAL = 16, /* of the session: "S0000000000000012" */
	META1_PMW_F_CLIENT,
	META1_PMW_F_PORT, /* 32 bits */
	META1_PMW_F_NAME,
	META1_PMW_F_LISTENER,
	META1_PMW_F_ARG = 24,
	META1_PMW_F_PARAM,
	META1_PMW_F_MACRO,   /* number (16 bits), value */
	META1_PMW_F_NRCPT,   /* 32 bits */
	META1_PMW_F_NBAD,    /* 32 bits */
	META1_PMW_F_REFUSED, /* RCPT: smtps refuses it with this */
	META1_PMW_F_BYTES,   /* 64 bits */
	META1_PMW_F_HEADER,  /* 64 bits: bytes of the header with the empty line */
	META1_PMW_F_DATA,
	META1_PMW_F_ACTION = 48, /* 8 bits, enum meta1_pm_action */
	META1_PMW_F_CODE,	 /* 16 bits */
	META1_PMW_F_DSN,
	META1_PMW_F_LINE,
	META1_PMW_F_HOLD,
	META1_PMW_F_NOTE,
	META1_PMW_F_WANTS, /* 32 bits, stages */
	META1_PMW_F_KIND,  /* 8 bits, enum meta1_pm_edit_kind */
	META1_PMW_F_INDEX, /* 32 bits */
	META1_PMW_F_FLAGS, /* 32 bits, enum meta1_pm_editflag */
	META1_PMW_F_FIELD, /* name of a header field */
	META1_PMW_F_VALUE
};

/* What a filter may do to mail. */
enum meta1_pmw_action {
	META1_PMW_A_HEADERS = 1,
	META1_PMW_A_RCPTS = 2,
	META1_PMW_A_SENDER = 4,
	META1_PMW_A_REPLACE = 8,
	META1_PMW_A_HOLD = 16,
	META1_PMW_A_DISCARD = 32,
	META1_PMW_A_ALL = 63
};

/* What it is told of a message. */
enum meta1_pmw_content { META1_PMW_C_ALL, META1_PMW_C_HEADER, META1_PMW_C_NONE };

/* Macros. 1 to 17: those of MeTA1. */
enum meta1_pmw_macro {
	META1_PMM_HOSTNAME = 1,
	META1_PMM_CLIENT_RESOLVE,
	META1_PMM_TLS_VERSION,
	META1_PMM_TLS_CIPHER_SUITE,
	META1_PMM_TLS_CIPHER_BITS,
	META1_PMM_TLS_ALG_BITS,
	META1_PMM_TLS_CERT_SUBJECT,
	META1_PMM_TLS_CERT_ISSUER,
	META1_PMM_TLS_CN_SUBJECT,
	META1_PMM_TLS_CN_ISSUER,
	META1_PMM_TLS_VRFY,
	META1_PMM_AUTH_TYPE,
	META1_PMM_AUTH_AUTHEN,
	META1_PMM_AUTH_AUTHOR,
	META1_PMM_TAID,
	META1_PMM_MSGID,
	META1_PMM_C,
	META1_PMM_CLIENT_NAME,
	META1_PMM_LISTENER,
	META1_PMM_LOCAL_ADDR,
	META1_PMM_LOCAL_PORT,
	META1_PMM_VERSION,
	META1_PMM_MAX /* one more than the last */
};

static inline void meta1_pmw_store(unsigned char *p, uint64_t v, unsigned bytes)
{
	while (bytes-- > 0) {
		p[bytes] = (unsigned char)v;
		v >>= 8;
	}
}

static inline uint64_t meta1_pmw_load(const unsigned char *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | *p++;
	return v;
}

/* ---- writing: a frame that grows in a buffer; what does not fit makes it bad ---- */

struct meta1_pmw_out {
	unsigned char *at;
	size_t len, size; /* size: at most META1_PMW_FRAME_MAX */
	int bad;
};

static inline struct meta1_pmw_out meta1_pmw_begin(
    void *at, size_t size, uint32_t type, uint32_t session)
{
	struct meta1_pmw_out o = {(unsigned char *)at, META1_PMW_HEAD, size, 0};

	meta1_pmw_store(o.at + 4, (uint64_t)type << 16, 4);
	meta1_pmw_store(o.at + 8, session, 4);
	return o;
}

/* Room for so many bytes of a field; NULL: there is none. */
static inline unsigned char *meta1_pmw_room(struct meta1_pmw_out *o, uint32_t field, size_t n)
{
	unsigned char *p = o->at + o->len;

	if (o->bad || n > UINT16_MAX || o->size - o->len < n + 4) {
		o->bad = 1;
		return NULL;
	}
	meta1_pmw_store(p, (uint64_t)field << 16 | n, 4);
	o->len += n + 4;
	return p + 4;
}

static inline void meta1_pmw_put(
    struct meta1_pmw_out *o, uint32_t field, const void *data, size_t n)
{
	unsigned char *p = meta1_pmw_room(o, field, n);

	if (p && n)
		memcpy(p, data, n);
}

static inline void meta1_pmw_text(struct meta1_pmw_out *o, uint32_t field, const char *s)
{
	if (s)
		meta1_pmw_put(o, field, s, strlen(s));
}

static inline void meta1_pmw_num(
    struct meta1_pmw_out *o, uint32_t field, uint64_t v, unsigned bytes)
{
	unsigned char *p = meta1_pmw_room(o, field, bytes);

	if (p)
		meta1_pmw_store(p, v, bytes);
}

/* Bytes of the whole frame; 0: it is bad. */
static inline size_t meta1_pmw_done(struct meta1_pmw_out *o)
{
	meta1_pmw_store(o->at, o->len, 4);
	return o->bad ? 0 : o->len;
}

/* ---- reading ---- */

struct meta1_pmw_frame {
	uint32_t type, session;
	const unsigned char *at; /* fields */
	size_t len, all;	 /* all: bytes of the frame */
};

struct meta1_pmw_field_of {
	uint32_t field;
	const unsigned char *at;
	size_t len;
};

/* 1: a whole frame stands at p, well formed to its last field; 0: more must come; -1: it is
 * none, or too long. */
static inline int meta1_pmw_frame(const void *data, size_t n, struct meta1_pmw_frame *f)
{
	const unsigned char *p = (const unsigned char *)data;
	size_t at;

	if (n < 4)
		return 0;
	f->all = (size_t)meta1_pmw_load(p, 4);
	if (f->all < META1_PMW_HEAD || f->all > META1_PMW_FRAME_MAX)
		return -1;
	if (n < f->all)
		return 0;
	f->type = (uint32_t)meta1_pmw_load(p + 4, 2);
	if (meta1_pmw_load(p + 6, 2) != 0)
		return -1;
	f->session = (uint32_t)meta1_pmw_load(p + 8, 4);
	f->at = p + META1_PMW_HEAD;
	f->len = f->all - META1_PMW_HEAD;
	for (at = 0; at < f->len; at += 4 + (size_t)meta1_pmw_load(f->at + at + 2, 2))
		if (f->len - at < 4 || meta1_pmw_load(f->at + at + 2, 2) > f->len - at - 4)
			return -1;
	return 1;
}

/* Takes the next field off; 0: there is none. */
static inline int meta1_pmw_next(struct meta1_pmw_frame *f, struct meta1_pmw_field_of *out)
{
	if (f->len < 4)
		return 0;
	out->field = (uint32_t)meta1_pmw_load(f->at, 2);
	out->len = (size_t)meta1_pmw_load(f->at + 2, 2);
	out->at = f->at + 4;
	f->at += 4 + out->len;
	f->len -= 4 + out->len;
	return 1;
}

/* Number of a field, of whatever length up to 8. */
static inline uint64_t meta1_pmw_value(const struct meta1_pmw_field_of *f)
{
	return f->len <= 8 ? meta1_pmw_load(f->at, (unsigned)f->len) : UINT64_MAX;
}

#ifdef __cplusplus
}
#endif

#endif

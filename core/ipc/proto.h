/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proto.h -- the messages of proto.def as C structs, and one generic packer.
 *
 * Frame: u32 length of what follows the header (little endian) · u16 type · u16 0 ·
 * u32 request number (0: none) · fields as { u8 number, LEB128 length, bytes }.
 * Absent fields are zero; unknown numbers are skipped. All lengths are checked
 * against the table before use. STRS are { LEB128 length, bytes } one after the
 * other; NUM and NUMS are LEB128.
 */
#ifndef META1_PROTO_H
#define META1_PROTO_H
#include "lib/base.h"
#include "lib/pool.h"

#include <event2/buffer.h>

#define PROTO_HEADER	12
#define PROTO_FRAME_MAX (4u << 20) /* 10,000 recipients of 320 bytes fit */

struct proto_strs {
	const struct meta1_buf *v;
	uint32_t n;
};
struct proto_nums {
	const uint64_t *v;
	uint32_t n;
};

enum proto_who { MCP = 1, SMTPS = 2, SMTPC = 4, SMAR = 8, QMGR = 16, ANY = 31 };

/* What smtps does with a recipient, or a whole transaction at MAIL. */
enum proto_action { ACT_ACCEPT, ACT_REJECT, ACT_TEMPFAIL, ACT_DISCARD };
/* What a question of smtps is about. */
enum proto_stage { STAGE_CONNECT = 1, STAGE_HELO = 2, STAGE_MAIL = 4, STAGE_RCPT = 8 };
#define STAGE_ALL 15u
/* What a verdict on MAIL means for the recipients that follow. */
enum proto_grant {
	GRANT_RELAY = 1, /* the client may relay */
	GRANT_OK = 2,	 /* no further rows of the access map but those that protect recipients */
	GRANT_QUICK = 4	 /* not even those */
};
/* Of a next hop: what DNSSEC proves, as a trusted name server says, or the configuration states. */
enum proto_secure {
	SECURE_NAME = 1, /* that this host takes the mail of the domain */
	SECURE_ADDR = 2	 /* its address */
};
/* In flags of CHECK, beside those of the smtps section: MAIL said BODY=8BITMIME. */
#define CHECK_8BITMIME (1ull << 32)

/* What DNS says of a client's address: no name; a name that is not of it; it could not be asked. */
enum proto_resolve { RESOLVE_OK, RESOLVE_FAIL, RESOLVE_FORGED, RESOLVE_TEMP };

enum proto_tls { TLS_OFF, TLS_NO_CERT, TLS_BAD_CERT, TLS_GOOD_CERT /* its names are verified */ };

/* enum spf_result of core/smar/spf.h as an index into the words; helo: it is about that name. */
#define PROTO_SPF(result, helo) (1u + (uint32_t)(result) + ((helo) ? 16u : 0))
#define PROTO_SPF_WORDS		"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"

#define NUM(f)			uint64_t f;
#define STR(f, m)		struct meta1_buf f;
#define STRS(f, m, k)		struct proto_strs f;
#define NUMS(f, k)		struct proto_nums f;
#define MSG(U, l, from, to, deadline, F)                                                           \
	struct p_##l {                                                                             \
		uint8_t none_; /* a message may have no field */                                   \
		F                                                                                  \
	};
#include "proto.def"
#undef MSG
#undef NUM
#undef STR
#undef STRS
#undef NUMS

#define MSG(U, l, from, to, deadline, F) P_##U,
enum proto_type {
	P_NONE,
#include "proto.def"
	P_COUNT
};
#undef MSG

const char *proto_name(unsigned type);
uint64_t proto_hash(void); /* of the whole table: two programs agree or refuse */
uint32_t proto_deadline(unsigned type);
bool proto_may(unsigned type, enum proto_who from, enum proto_who to);

/* Appends one whole frame. Fields beyond their bound are a bug of ours (ensure), cut off. false:
 * the frame would be larger than the other side takes; nothing was appended. */
bool proto_pack(struct evbuffer *out, enum proto_type, uint32_t req, const void *msg);
/* The struct for the payload; strings point into it; arrays come from pool.
 * NULL: malformed or over a bound; err says which field. */
void *proto_unpack(
    struct pool *, enum proto_type, const uint8_t *payload, size_t len, struct meta1_err *);
/* "name field=value …" for the trace and tests. */
void proto_print(enum proto_type, const void *msg, char *out, size_t size);
/* The table as the Markdown of doc/ipc.md. */
void proto_document(void *stdio_file);

#endif

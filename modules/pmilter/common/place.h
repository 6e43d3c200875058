/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * place.h -- where a filter listens: options socket { type; address; port; path; } and the same as
 * fallback { }, for the modules that connect to one.
 *
 * Comes from the module's option records; goes to conn->open() as a hop. Owns nothing: strings are
 * those of the configuration.
 */
#ifndef PMILTER_PLACE_H
#define PMILTER_PLACE_H
#include <meta1/module.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum place_type { PLACE_INET, PLACE_INET6, PLACE_UNIX };

/* Fields of a module's struct conf, and their records. */
#define PLACE_FIELDS                                                                               \
	int32_t socket_type, fallback_type;                                                        \
	const char *socket_address, *socket_path, *fallback_address, *fallback_path;               \
	int64_t socket_port, fallback_port
#define PLACE_OPTIONS(T)                                                                           \
	META1_OPT_ENUM(T, socket_type, "inet", "inet|inet6|unix",                                  \
	    "What the filter listens on; a path alone says unix."),                                \
	    META1_OPT_STR(T, socket_address, NULL, 0,                                              \
		"Address of the filter: 127.0.0.1, or ::1 with inet6, unless it is said."),        \
	    META1_OPT_INT(T, socket_port, "0", "0..65535", "Port of the filter."),                 \
	    META1_OPT_PATH(T, socket_path, NULL, META1_O_MAYLACK,                                  \
		"Unix socket of the filter, which smtps' account may connect to."),                \
	    META1_OPT_ENUM(T, fallback_type, "inet", "inet|inet6|unix",                            \
		"As socket_type, of the filter that is asked when the first cannot be "            \
		"connected."),                                                                     \
	    META1_OPT_STR(T, fallback_address, NULL, 0, "As socket_address, of that one."),        \
	    META1_OPT_INT(T, fallback_port, "0", "0..65535",                                       \
		"As socket_port, of that one; 0: there is none."),                                 \
	    META1_OPT_PATH(                                                                        \
		T, fallback_path, NULL, META1_O_MAYLACK, "As socket_path, of that one.")

struct place {
	const char *addr; /* NULL: there is none */
	uint32_t port;
};

static inline struct place place_of(
    int32_t type, const char *address, int64_t port, const char *path)
{
	if (path)
		return (struct place){.addr = path};
	if (!port)
		return (struct place){.addr = NULL};
	return (struct place){.addr = address		    ? address
				      : type == PLACE_INET6 ? "::1"
							    : "127.0.0.1",
	    .port = (uint32_t)port};
}

/* Names would be a question to the DNS, in the middle of a mail. */
static inline int place_is_address(const char *s)
{
	unsigned char room[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, s, room) == 1 || inet_pton(AF_INET6, s, room) == 1;
}

/* of one that is given; <0: err says what does not fit together */
static inline int place_check(const char *what, int32_t type, const char *address, int64_t port,
    const char *path, struct meta1_err *err)
{
	/* as others write it; a path without a / at its beginning got one */
	static const char *const schemes[] = {"/unix:", "/local:", "/inet:", "/inet6:"};

	if (path && (address || port || type == PLACE_INET6)) {
		snprintf(err->text, sizeof(err->text),
		    "%s has a path and an address or port: a filter listens on one of them", what);
		return -1;
	}
	for (unsigned i = 0; path && i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strstr(path, schemes[i])) {
			snprintf(err->text, sizeof(err->text),
			    "%s: a path has no \"%s\" before it; a port is port = N;", what,
			    schemes[i] + 1);
			return -1;
		}
	if (address && !place_is_address(address)) {
		snprintf(err->text, sizeof(err->text),
		    "%s: address = %.60s: expected an address such as 127.0.0.1 or ::1, no name",
		    what, address);
		return -1;
	}
	if (!path && (type == PLACE_UNIX || (address && !port))) {
		snprintf(err->text, sizeof(err->text), "%s has no %s", what,
		    type == PLACE_UNIX ? "path, as type = unix wants" : "port");
		return -1;
	}
	return 0;
}

/* The hop of a place; host stands in messages. */
static inline struct meta1_hop place_hop(struct place p)
{
	return (struct meta1_hop){
	    .size = sizeof(struct meta1_hop), .port = p.port, .host = "filter", .addr = p.addr};
}

/* Of struct conf *c: both, checked. */
#define PLACE_SOCKET(c)                                                                            \
	place_of((c)->socket_type, (c)->socket_address, (c)->socket_port, (c)->socket_path)
#define PLACE_FALLBACK(c)                                                                          \
	place_of((c)->fallback_type, (c)->fallback_address, (c)->fallback_port, (c)->fallback_path)
#define PLACE_CHECK(c, err)                                                                        \
	(place_check("socket", (c)->socket_type, (c)->socket_address, (c)->socket_port,            \
	     (c)->socket_path, err) < 0 ||                                                         \
		    place_check("fallback", (c)->fallback_type, (c)->fallback_address,             \
			(c)->fallback_port, (c)->fallback_path, err) < 0                           \
		? -1                                                                               \
		: 0)

/* "unix:/run/x.sock", "inet:127.0.0.1:3333" */
static inline void place_text(struct place p, char *out, size_t size)
{
	if (!p.addr)
		snprintf(out, size, "nowhere");
	else if (*p.addr == '/')
		snprintf(out, size, "unix:%s", p.addr);
	else
		snprintf(out, size, "inet:%s:%u", p.addr, p.port);
}

#endif

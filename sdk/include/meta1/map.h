/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * meta1/map.h -- key to value.
 *
 * Results of lookup() and find(): OK with nval >= 1 (an empty value is a value) · NOTFOUND
 * · NOMORE (not found, and stop deriving keys) · TEMPFAIL · PERMFAIL. A map that
 * cannot say is TEMPFAIL, never NOTFOUND; PERMFAIL is for a key about which there never will be an
 * answer, not for a map that is broken: mail that needs it is refused for good. Keys arrive in
 * lower case and may hold any byte. Any other status is TEMPFAIL.
 *
 * Loaded in smar, and in tools: createmap, the kit. At most 256 look-ups of an instance are open at
 * a time; each ends at the deadline of the question that it is for (10 s), or before.
 */
#ifndef META1_MAP_H
#define META1_MAP_H
#include <meta1/module.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Pairs for create(), the host's; the bytes stay valid until the next call. 1 pair, 0 end,
 * <0 error. */
struct meta1_mapsrc {
	uint32_t size, pad;
	int (*next)(struct meta1_mapsrc *, struct meta1_buf *key, struct meta1_buf *val,
	    struct meta1_err *);
};

enum meta1_mapprop {
	META1_MAP_LOCAL = 1 /* answers at once from memory or a file of this host: nothing is kept
			     * in front of it unless the admin says so (cache_size), and a change
			     * counts at once; it has find() */
};

struct meta1_map_ops {
	uint32_t size, props; /* enum meta1_mapprop */
	/* key stays until the request is finished. NULL: find() is there. */
	void (*lookup)(void *inst, struct meta1_req *, struct meta1_buf key);
	void (*cancel)(void *inst, struct meta1_req *); /* finish it soon; NULL: it will anyway */
	/* Tools only; may block. Writes conf's file anew beside the old one, syncs it, renames it
	 * over, syncs the folder. <0: err says why and the old file is as it was. NULL: the
	 * kind of file is not made by createmap. */
	int (*create)(const void *conf, struct meta1_mapsrc *, struct meta1_err *);
	/* In place of lookup(), of a META1_MAP_LOCAL map: the answer inside the call, since a mail
	 * asks for dozens of keys. Never on a worker thread. NULL: lookup() is there. The reply
	 * comes empty with its size; what it is made to point to stays until the next call, or a
	 * later turn of the loop. */
	enum meta1_status (*find)(void *inst, struct meta1_buf key, struct meta1_reply *);
};

#ifdef __cplusplus
}
#endif

#endif

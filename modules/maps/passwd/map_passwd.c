/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_passwd.c -- the accounts of this machine: a key that is the name of one is found, its value
 * is that name. From the core's look-ups, on a worker thread since the name service may
 * sleep (META1_F_BLOCKING); to getpwnam_r. Owns nothing.
 * On failure of the name service: a temporary failure, never "not found".
 */
#include "../inst/inst.h"

#include <errno.h>
#include <meta1/map.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 256
#define ROOM_FIRST     1024u
#define ROOM_MOST      (1u << 20) /* of what the name service says of one account */
#define TTL	       60

struct conf {
	int64_t min_uid;
};
static const struct meta1_opt options[] = {
    META1_OPT_INT(struct conf, min_uid, "0", "0..4294967294",
	"Accounts with a lower number do not count: 1000 leaves out those of the system."),
};

struct map {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
};

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct map *m = inst_new(host, ctx, sizeof(*m), err);

	if (!m)
		return -1;
	*m = (struct map){host, ctx, conf};
	*inst = m;
	return 0;
}

static void map_close(void *inst)
{
	struct map *m = inst;

	m->host->free(m->ctx, m);
}

/* 0: found; ENOENT: no such account; else why it cannot be said. */
static int look_up(const char *name, uid_t *uid)
{
	struct passwd pw, *got = NULL;
	size_t size = ROOM_FIRST;
	char *room = NULL;
	int rc;

	do {
		char *more = realloc(room, size);

		if (!more) {
			rc = ENOMEM;
			break;
		}
		room = more;
		rc = getpwnam_r(name, &pw, room, size, &got);
		size *= 2;
	} while ((rc == ERANGE && size <= ROOM_MOST) || rc == EINTR);
	if (got)
		*uid = pw.pw_uid;
	free(room);
	/* what systems say for "there is none" */
	if (!got && (rc == 0 || rc == ESRCH || rc == EBADF || rc == EPERM))
		rc = ENOENT;
	return rc;
}

static void map_lookup(void *inst, struct meta1_req *req, struct meta1_buf key)
{
	struct map *m = inst;
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &key, .ttl = TTL};
	char name[NAME_MAX_BYTES + 1], why[200];
	uid_t uid = 0;
	int rc = ENOENT;

	/* the file of accounts has no name with these */
	if (key.len > 0 && key.len <= NAME_MAX_BYTES && !memchr(key.data, '\0', key.len) &&
	    !memchr(key.data, ':', key.len) && !memchr(key.data, '\n', key.len)) {
		memcpy(name, key.data, key.len);
		name[key.len] = '\0';
		rc = look_up(name, &uid);
	}
	if (rc == 0 && (int64_t)uid >= m->conf->min_uid) {
		m->host->finish(req, META1_OK, &r);
		return;
	}
	r.nval = 0;
	if (rc != 0 && rc != ENOENT) {
		snprintf(why, sizeof(why), "the name service failed: %s", strerror(rc));
		r.text = why;
		r.ttl = 0;
	}
	m->host->finish(req, rc == 0 || rc == ENOENT ? META1_NOTFOUND : META1_TEMPFAIL, &r);
}

static const struct meta1_map_ops ops = {.size = sizeof(ops), .lookup = map_lookup};

META1_MODULE(map_passwd, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL,
    .flags = META1_F_BLOCKING, .version = "0.1.0", .summary = "Accounts of this machine.",
    .opt = options, .nopt = sizeof(options) / sizeof(options[0]),
    .sizeof_conf = sizeof(struct conf), .open = map_open, .close = map_close, .ops = &ops);

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_create -- a map that makes its file: records of two lengths, key and value; with a fault in
 * how it makes it (is.h).
 */
#include "is.h"

#include <meta1/map.h>
#include <stdio.h>

#define BIG 60000 /* bytes of a key that it does not take, in some runs */

struct conf {
	const char *file;
};

struct instance {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
};

/* The length of the value that it finds, or -1. */
static long find(FILE *f, struct meta1_buf key, char *value, char *big)
{
	uint32_t n[2];

	while (f && fread(n, sizeof(n), 1, f) == 1 && n[0] <= 1u << 20 && n[1] <= 1024 &&
	       fread(big, 1, n[0], f) == n[0] && fread(value, 1, n[1], f) == n[1])
		if (n[0] == key.len && memcmp(big, key.data, key.len) == 0)
			return n[1];
	return -1;
}

static void lookup(void *inst, struct meta1_req *rq, struct meta1_buf key)
{
	struct instance *in = inst;
	static char big[1u << 20];
	char value[1024];
	FILE *f = fopen(in->conf->file, "re");
	long n = f ? find(f, key, value, big) : -1;
	struct meta1_buf v = {value, n >= 0 ? (size_t)n : 0};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &v};

	if (!f)
		in->host->finish(rq, META1_TEMPFAIL, NULL);
	else if (n < 0)
		in->host->finish(rq, META1_NOTFOUND, NULL);
	else
		in->host->finish(rq, META1_OK, &r);
	if (f)
		fclose(f);
}

static int create(const void *conf, struct meta1_mapsrc *src, struct meta1_err *err)
{
	const struct conf *c = conf;
	struct meta1_buf key, val;
	char name[512];
	FILE *f;
	int rc;

	snprintf(name, sizeof(name), "%s%s", c->file, is("destroys") ? "" : ".new");
	f = fopen(name, "we");
	while (f && (rc = src->next(src, &key, &val, err)) > 0) {
		uint32_t n[2] = {(uint32_t)key.len, (uint32_t)val.len};

		if (key.len > BIG && (is("wordless") || is("destroys"))) {
			fclose(f);
			strcpy(err->text, is("wordless") ? "" : "the key is too long");
			return -1;
		}
		fwrite(n, sizeof(n), 1, f);
		fwrite(key.data, 1, key.len, f);
		fwrite(val.data, 1, val.len, f);
	}
	if (!f || fclose(f) || is("makes_none") || (!is("destroys") && rename(name, c->file) < 0)) {
		snprintf(err->text, sizeof(err->text), "%.480s: it cannot be written", name);
		return -1;
	}
	return 0;
}

static int open_(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	struct instance *in = h->alloc(ctx, sizeof(*in));
	const struct conf *c = conf;
	FILE *f = fopen(c->file, "re");
	long size = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;

	if (f)
		fclose(f);
	if (in && f && !(is("unopened") && size > BIG) && !(is("destroys") && size == 0)) {
		*in = (struct instance){h, ctx, conf};
		*inst = in;
		return 0;
	}
	h->free(ctx, in);
	snprintf(err->text, sizeof(err->text), "%.480s: no such file, or no memory", c->file);
	return -1;
}

static void close_(void *inst)
{
	struct instance *in = inst;

	in->host->free(in->ctx, in);
}

static const struct meta1_opt opts[] = {
    META1_OPT_PATH(struct conf, file, NULL, META1_O_REQUIRED | META1_O_MAYLACK, "The file."),
};
static const struct meta1_map_ops ops = {.size = sizeof(ops), .lookup = lookup, .create = create};

META1_MODULE(map_create, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "1",
    .summary = "Makes a file of its own.", .opt = opts, .nopt = 1,
    .sizeof_conf = sizeof(struct conf), .open = open_, .close = close_, .ops = &ops);

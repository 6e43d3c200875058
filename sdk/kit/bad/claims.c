/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_claims -- a map whose descriptor is wrong in one way (is.h), and some whose options are.
 */
#include "is.h"

#include <meta1/map.h>
#include <stdio.h>

struct conf {
	int64_t number;
	int32_t word;
	uint64_t words;
};

struct instance {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
};

static void lookup(void *inst, struct meta1_req *rq, struct meta1_buf key)
{
	struct instance *in = inst;
	struct meta1_buf v = {"value", 5};
	struct meta1_reply r = {.size = sizeof(r), .nval = 1, .val = &v};
	int found = key.len == 3 && memcmp(key.data, "key", 3) == 0;

	if (is("thread_never"))
		return;
	in->host->finish(rq, found ? META1_OK : META1_NOTFOUND, found ? &r : NULL);
	if (is("thread_twice"))
		in->host->finish(rq, META1_NOTFOUND, NULL);
}

static enum meta1_status find(void *inst, struct meta1_buf key, struct meta1_reply *r)
{
	(void)inst, (void)key, (void)r;
	return META1_NOTFOUND;
}

static int open_(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	struct instance *in = h->alloc(ctx, sizeof(*in));

	(void)conf;
	if (!in)
		return snprintf(err->text, sizeof(err->text), "no memory") > 0 ? -1 : -1;
	*in = (struct instance){h, ctx};
	*inst = in;
	return 0;
}

static void close_(void *inst)
{
	struct instance *in = inst;

	in->host->free(in->ctx, in);
}

static struct meta1_opt opts[] = {
    META1_OPT_INT(struct conf, number, "1", "0..9", "A number."),
    META1_OPT_ENUM(struct conf, word, "one", "one|two", "A word."),
    META1_OPT_FLAGS(struct conf, words, "", "one|two", "Some words."),
};
static struct meta1_map_ops ops = {.size = sizeof(ops), .lookup = lookup};

/* Not by META1_MODULE(), whose descriptor cannot be changed. */
#define EXPORTED       __attribute__((visibility("default")))
#define DESCRIPTOR_(n) n##_LTX_meta1_module
#define DESCRIPTOR(n)  DESCRIPTOR_(n)
#define TEXT_(n)       #n
#define TEXT(n)	       TEXT_(n)
extern EXPORTED struct meta1_module DESCRIPTOR(BAD); /* BAD: the file's name */
struct meta1_module DESCRIPTOR(BAD) = {.magic = META1_MODULE_MAGIC,
    .size = sizeof(struct meta1_module),
    .abi_major = META1_ABI_MAJOR,
    .abi_minor = META1_ABI_MINOR,
    .sizeof_opt = sizeof(struct meta1_opt),
    .name = TEXT(BAD),
    .kind = META1_MAP,
    .roles = META1_SMAR,
    .version = "1",
    .summary = "Claims what is not so.",
    .opt = opts,
    .nopt = sizeof(opts) / sizeof(opts[0]),
    .sizeof_conf = sizeof(struct conf),
    .open = open_,
    .close = close_,
    .ops = &ops};

static void wrong_options(struct meta1_module *m)
{
	if (is("options"))
		m->nopt = 300;
	if (is("records"))
		m->sizeof_opt = 8;
	if (is("conf"))
		m->sizeof_conf = 1u << 24;
	if (is("taken"))
		opts[0].name = "cache_size";
	if (is("isolates"))
		opts[0].name = "isolate";
	if (is("knows"))
		opts[0].name = "no_such_option_at_all";
	if (is("ends"))
		opts[0].range = "9..1", opts[0].def = NULL;
	if (is("any"))
		opts[1].range = "one|no-such-word";
}

static __attribute__((constructor)) void claim(void)
{
	struct meta1_module *m = &DESCRIPTOR(BAD);

	wrong_options(m);
	if (is("magic"))
		m->magic++;
	if (is("major"))
		m->abi_major++;
	if (is("size"))
		m->size = 40;
	if (is("needed"))
		m->abi_needed = META1_ABI_MINOR + 1;
	if (is("name"))
		m->name = "map_other";
	if (is("version"))
		m->version = "";
	if (is("summary"))
		m->summary = "One.\nTwo.";
	if (is("kind"))
		m->kind = 99;
	if (is("prefix"))
		m->kind = META1_AUTH;
	if (is("roles"))
		m->roles = META1_QMGR;
	if (is("ops"))
		m->ops = NULL;
	if (is("open"))
		m->open = NULL;
	if (is("needs"))
		m->needs = 1ull << 40;
	if (is("libevent"))
		m->libevent = 0x7f000000;
	if (is("thread_twice") || is("thread_never"))
		m->flags = META1_F_BLOCKING;
	if (is("far"))
		ops.lookup = NULL, ops.find = find;
}

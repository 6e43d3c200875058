/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_template -- the smallest whole map: keys that begin with prefix have the one value.
 * Copy the folder, call file and module map_yours, and begin with lookup(). The laws are
 * told at the top of meta1/module.h, the answers of a map in meta1/map.h.
 */
#include <meta1/map.h>
#include <string.h>

/* What the admin says in the section. Parser, checks and manual come from these records. */
struct conf {
	const char *prefix, *value;
};

static const struct meta1_opt opts[] = {
    META1_OPT_STR(struct conf, prefix, "template-", 0, "Keys that begin so are found."),
    META1_OPT_STR(struct conf, value, NULL, META1_O_REQUIRED, "The value of each of them."),
};

/* One section of the configuration: there may be several. */
struct instance {
	const struct meta1_host *host;
	struct meta1_ctx *ctx;
	const struct conf *conf;
};

static int map_check(const void *conf, struct meta1_err *err)
{
	const struct conf *c = conf;

	if (*c->prefix)
		return 0;
	strcpy(err->text, "prefix: is empty: every key would be found");
	return -1;
}

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	struct instance *in = host->alloc(ctx, sizeof(*in));

	if (!in) {
		strcpy(err->text, "no memory");
		return -1;
	}
	*in = (struct instance){host, ctx, conf};
	*inst = in;
	return 0;
}

static void map_close(void *inst)
{
	struct instance *in = inst;

	in->host->free(in->ctx, in);
}

/* Answers at once; a map that has to ask somebody keeps req and calls finish() later. One in memory
 * or in a file of this host gives find() in its place, which is asked without a request. */
static void map_lookup(void *inst, struct meta1_req *req, struct meta1_buf key)
{
	struct instance *in = inst;
	struct meta1_buf value = {in->conf->value, strlen(in->conf->value)};
	struct meta1_reply reply = {.size = sizeof(reply), .nval = 1, .val = &value};
	size_t n = strlen(in->conf->prefix);

	if (key.len >= n && !memcmp(key.data, in->conf->prefix, n)) {
		in->host->count(in->ctx, "found_total", 1);
		in->host->finish(req, META1_OK, &reply);
	} else {
		in->host->finish(req, META1_NOTFOUND, NULL);
	}
}

static const struct meta1_map_ops ops = {.size = sizeof(ops), .lookup = map_lookup};

META1_MODULE(map_template, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1",
    .summary = "One value for keys that begin alike.", .opt = opts,
    .nopt = sizeof(opts) / sizeof(opts[0]), .sizeof_conf = sizeof(struct conf), .check = map_check,
    .open = map_open, .close = map_close, .ops = &ops);

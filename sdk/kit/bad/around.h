/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * around.h -- a good module with something put between it and its host: what it says, and what it
 * is told, passes by functions of ours, which are false in one way (is.h). The good module's
 * objects are linked in; its descriptor is copied when the file is loaded, and around_describe()
 * changes what is ours in it. around_patch() turns functions of an instance's copy of the host's
 * table.
 */
#ifndef META1_BAD_AROUND_H
#define META1_BAD_AROUND_H
#include "is.h"

#include <meta1/module.h>
#include <stdio.h>

#define INSTANCES 8

static struct meta1_host real; /* as the kit gave it: the same functions for every instance */
static struct around {
	struct meta1_host host;
	struct meta1_conn_ops conn;
	struct meta1_ctx *ctx;
	void *inst;
	int used;
} arounds[INSTANCES];

static void around_patch(struct around *);
static void around_describe(struct meta1_module *);

static struct around *around_of(const void *inst)
{
	int i = 0;

	while (i + 1 < INSTANCES && (!arounds[i].used || arounds[i].inst != inst))
		i++;
	return &arounds[i];
}

static int around_open(const struct meta1_module *m, const struct meta1_host *h,
    struct meta1_ctx *ctx, const void *conf, void **inst, struct meta1_err *err)
{
	struct around *a = arounds;

	while (a->used && a < &arounds[INSTANCES - 1])
		a++;
	real = *h;
	*a = (struct around){.host = *h, .conn = *h->conn, .ctx = ctx, .used = 1};
	a->host.conn = &a->conn;
	around_patch(a);
	if (m->open(&a->host, ctx, conf, inst, err) < 0) {
		a->used = 0;
		return -1;
	}
	a->inst = *inst;
	return 0;
}

static void around_close(const struct meta1_module *m, void *inst)
{
	struct around *a = around_of(inst);

	m->close(inst);
	a->used = 0;
}

#define AROUND(mname, from)                                                                        \
	extern const struct meta1_module from##_LTX_meta1_module;                                  \
	extern                                                                                     \
	    __attribute__((visibility("default"))) struct meta1_module mname##_LTX_meta1_module;   \
	struct meta1_module mname##_LTX_meta1_module;                                              \
	static const struct meta1_module *const inner = &from##_LTX_meta1_module;                  \
	static __attribute__((constructor)) void around_begin(void)                                \
	{                                                                                          \
		mname##_LTX_meta1_module = *inner;                                                 \
		mname##_LTX_meta1_module.name = #mname;                                            \
		around_describe(&mname##_LTX_meta1_module);                                        \
	}

#endif

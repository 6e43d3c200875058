/* SPDX-License-Identifier: BSD-2-Clause */
/* inst.h -- the memory of a map's instance, which begins with host, ctx and conf. */
#ifndef MAP_INST_H
#define MAP_INST_H
#include <meta1/module.h>
#include <stdio.h>

/* Zeroed. NULL: err. */
static inline void *inst_new(
    const struct meta1_host *host, struct meta1_ctx *ctx, size_t size, struct meta1_err *err)
{
	void *m = host->alloc(ctx, size);

	if (!m)
		snprintf(err->text, sizeof(err->text), "no memory");
	return m;
}

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* map_bad -- a module that is wrong in the one way that its -D says. */
#include <meta1/map.h>

#ifndef MAGIC
#define MAGIC META1_MODULE_MAGIC
#endif
#ifndef MAJOR
#define MAJOR META1_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR META1_ABI_MINOR
#endif

int nowhere_to_be_found(void);

static int open_(const struct meta1_host *h, struct meta1_ctx *ctx, const void *conf, void **inst,
    struct meta1_err *err)
{
	(void)h, (void)ctx, (void)conf, (void)inst, (void)err;
#ifdef UNRESOLVED
	return nowhere_to_be_found();
#else
	return -1;
#endif
}

static void close_(void *inst)
{
	(void)inst;
}

static void lookup(void *inst, struct meta1_req *rq, struct meta1_buf key)
{
	(void)inst, (void)rq, (void)key;
}

static const struct meta1_map_ops ops = {.size = sizeof(ops), .lookup = lookup};

#define SYMBOL_(n) n##_LTX_meta1_module
#define SYMBOL(n)  SYMBOL_(n)
#define TEXT_(n)   #n
#define TEXT(n)	   TEXT_(n)
extern __attribute__((visibility("default"))) const struct meta1_module SYMBOL(NAME);
const struct meta1_module SYMBOL(NAME) = {.magic = MAGIC,
    .size = sizeof(struct meta1_module),
    .abi_major = MAJOR,
    .abi_minor = MINOR,
    .abi_needed = MINOR,
    .kind = META1_MAP,
    .roles = META1_SMAR,
    .name = TEXT(NAME),
    .version = "1",
    .summary = "Is wrong.",
    .sizeof_opt = sizeof(struct meta1_opt),
    .open = open_,
    .close = close_,
    .ops = &ops};

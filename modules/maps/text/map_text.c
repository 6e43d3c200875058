/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_text.c -- a map of lines: key, blanks, value to the end of the line.
 * From the core's look-ups, through filemap.c; to table.c. Owns nothing.
 */
#include "table.h"

static const struct meta1_opt options[] = {
    FILEMAP_OPTIONS("a line a key: key, blanks, value to the end of the line")};

static const struct filemap_ops table_ops = {
    .make = table_make, .drop = table_drop, .count = table_count, .find = table_find};

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	return filemap_open(&table_ops, host, ctx, conf, inst, err);
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .props = META1_MAP_LOCAL, .find = filemap_find};

META1_MODULE(map_text, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Keys and values from lines of text.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct filemap_conf),
    .check = filemap_check, .open = map_open, .close = filemap_close, .ops = &ops);

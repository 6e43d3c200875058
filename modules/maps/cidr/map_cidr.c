/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map_cidr.c -- a map of lines "NETWORK value": the longest prefix that the address of the key is
 * in gives its value. IPv4 and IPv6; a word with a colon may stand before the network, as the
 * access map has it ("cltaddr:192.0.2.0/24"), and then stands before the key, too.
 * From the core's look-ups, through filemap.c; to cidr.c. Owns nothing.
 */
#include "cidr.h"

static const struct meta1_opt options[] = {
    FILEMAP_OPTIONS("lines \"NETWORK value\" or \"tag:NETWORK value\", NETWORK an address or "
		    "address/bits, where the longest prefix counts")};

static const struct filemap_ops cidr_ops = {
    .make = cidr_make, .drop = cidr_drop, .count = cidr_count, .find = cidr_find};

static int map_open(const struct meta1_host *host, struct meta1_ctx *ctx, const void *conf,
    void **inst, struct meta1_err *err)
{
	return filemap_open(&cidr_ops, host, ctx, conf, inst, err);
}

static const struct meta1_map_ops ops = {
    .size = sizeof(ops), .props = META1_MAP_LOCAL, .find = filemap_find};

META1_MODULE(map_cidr, .kind = META1_MAP, .roles = META1_SMAR | META1_TOOL, .version = "0.1.0",
    .summary = "Values by network, IPv4 and IPv6.", .opt = options,
    .nopt = sizeof(options) / sizeof(options[0]), .sizeof_conf = sizeof(struct filemap_conf),
    .check = filemap_check, .open = map_open, .close = filemap_close, .ops = &ops);

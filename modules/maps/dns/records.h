/* SPDX-License-Identifier: BSD-2-Clause */
/* records.h -- texts of DNS records, as values of map_dns. */
#ifndef MAP_DNS_RECORDS_H
#define MAP_DNS_RECORDS_H
#include "../values/values.h"

#include <stdbool.h>

/* In the order of the functions' table. */
#define DNS_RECORDS "txt|a|aaaa|mx|ptr|cname|srv"

uint16_t dns_type(int32_t record);
/* rdata in wire form, names not compressed: one value more. NULL: good; else why not. */
const char *dns_record(int32_t record, struct meta1_buf rdata, struct values *);

#endif

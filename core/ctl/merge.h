/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef META1_CTL_MERGE_H
#define META1_CTL_MERGE_H
#include <stddef.h>
#include <stdio.h>

/* Writes n answers of /metrics as one in Prometheus' text format: each family once, with its HELP
 * and TYPE, the samples of all processes together. The texts are changed. */
void merge_metrics(char **text, size_t n, FILE *out);
#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz.h -- what a fuzz target is: one function that takes bytes, and promises that are
 * checked about what a parser made of them. Linked with libFuzzer by "make fuzz", with
 * replay.c's main() for all else.
 */
#ifndef META1_FUZZ_H
#define META1_FUZZ_H
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In each NAME.c. data is a block of exactly size bytes. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise about the parsed result; the engine keeps the input that breaks it. */
#define must(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif

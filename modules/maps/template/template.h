/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * template.h -- a text with a place for the key: %s the key, %u its part before the last @ (all of
 * it when there is none), %d the part behind it, %% a percent sign. What is put in is quoted by the
 * module, so that a key is never more than a value where it stands.
 */
#ifndef MAP_TEMPLATE_H
#define MAP_TEMPLATE_H
#include <meta1/module.h>

/* What is put in for these bytes: written to out when there is room for it. Its length. */
typedef size_t (*template_quote)(const char *in, size_t len, char *out, size_t room);

/* How many places for the key it has; <0: err. */
int template_check(const char *text, const char *option, struct meta1_err *);
/* Its length, or -1: the key has no such part, or it does not fit. No NUL is added. */
long template_fill(const char *text, struct meta1_buf key, template_quote, char *out, size_t room);
/* As it is. */
size_t template_plain(const char *in, size_t len, char *out, size_t room);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * opt.h -- option records (struct meta1_opt): text to value and back. The same
 * for the core's sections and for modules.
 */
#ifndef META1_OPT_H
#define META1_OPT_H
#include "conf.h"

enum opt_mode {
	OPT_CHECK, /* files and accounts that do not exist are warnings */
	OPT_START  /* they are errors */
};

/* Fills the struct at base from the section's options; marks them used; defaults for the
 * others. Strings and lists live as long as conf. owner: name for messages ("smtps",
 * the module's). Errors go to conf. Returns the number of errors. */
unsigned opt_bind(struct conf *, struct conf_section *, const struct meta1_opt *, size_t n,
    void *base, const char *owner, enum opt_mode, const char *qdir);
/* Only the defaults. <0: a default does not parse (err names the record). */
int opt_defaults(const struct meta1_opt *, size_t n, void *base, struct meta1_err *);
/* Checks the records themselves: defaults parse, docs there, offsets inside size. */
int opt_selfcheck(
    const struct meta1_opt *, size_t n, size_t sizeof_opt, size_t size, struct meta1_err *);
/* The values of one option into *(C type of the record). <0: err says what was found and
 * expected. Nothing is copied: strings and lists (values[n] is NULL) must stay. Flags start from
 * the record's default set. INT with META1_O_GROUP takes a group's name too. */
int opt_parse(
    const struct meta1_opt *, const char *const *values, size_t n, void *field, struct meta1_err *);
/* The bit of a flag, said or negated, of a record of flags; 0: there is none. */
uint64_t opt_flag(const struct meta1_opt *, const char *text);
/* As an admin would write it; secrets as ***. */
void opt_print(const struct meta1_opt *, const void *field, char *out, size_t size);
void opt_write(const struct meta1_opt *, const void *field, void *stdio_file); /* unbounded */

/* Of modules' sections: an option A_B may be written A { B = value; }. Moves what is written so
 * into s under its whole name; what is in such a section and no option is an error. Before
 * opt_bind(). */
void opt_flatten(
    struct conf *, struct conf_section *s, const struct meta1_opt *, size_t n, const char *owner);
/* For every unused option and section below s: an error with the nearest known name. */
void opt_unknown(struct conf *, struct conf_section *s, const char *owner, const struct meta1_opt *,
    size_t n, const char *const *subsections, size_t nsub);
/* What an option of MeTA1 or Postfix that is none here is called here; NULL: not known. */
const char *opt_moved(const char *name);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * snippet.h -- files of conf.d switched on and off: conf.d/NAME.conf is a link to the shipped
 * NAME.conf.sample beside it. What an admin wrote himself is never touched.
 */
#ifndef META1_SNIPPET_H
#define META1_SNIPPET_H
#include "settings.h"

#define SNIPPET_NAME_MAX 64

/* For the configuration of that file. <0: err, and nothing has changed. */
int snippet_enable(const char *conf_file, const char *name, struct meta1_err *);
int snippet_disable(const char *conf_file, const char *name, struct meta1_err *);
/* The settings have read it. */
bool snippet_read(const struct settings *, const char *name);

/* ---- for messages about what is not there ---- */
/* The first sample beside this configuration that has the text, by the name that enables it; in the
 * conf's memory. NULL: none has. */
const char *snippet_with(struct conf *, const char *text);
/* What could be done about a module that is asked for in file and cannot be loaded: the end of a
 * message, or "". */
const char *snippet_about(struct conf *, const char *file, const char *module);
/* The Debian package that would bring it, when it is a package of its own. */
void snippet_package(const char *module, char *out, size_t size);

#endif

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

#endif

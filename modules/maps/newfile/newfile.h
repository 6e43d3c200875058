/* SPDX-License-Identifier: BSD-2-Clause */
/* newfile.h -- a map's file made anew beside the old one, for create() of the maps that have one.
 */
#ifndef MAP_NEWFILE_H
#define MAP_NEWFILE_H
#include <meta1/module.h>

#define NEWFILE_PATH 400 /* leaves room for the reason in an error */

/* The name beside it, where nothing is afterwards. <0: err. */
int newfile_name(const char *file, char fresh[NEWFILE_PATH], struct meta1_err *);
/* fd: of the new file, made with mode 0600, complete. It is for whom the old one was, and on stable
 * storage. <0: err. */
int newfile_finish(int fd, const char *fresh, const char *file, struct meta1_err *);
/* It takes the name; readers keep the old file open. <0: err, and the old one is as it was. */
int newfile_rename(const char *fresh, const char *file, struct meta1_err *);

#endif

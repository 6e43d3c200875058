/* SPDX-License-Identifier: BSD-2-Clause */
/* newfile.h -- small files that are written anew as a whole: at any time the old or the new one is
 * there. For worker threads: it sleeps. */
#ifndef META1_NEWFILE_H
#define META1_NEWFILE_H
#include "base.h"

/* All bytes to the descriptor; 0, or an errno. */
int newfile_put(int fd, const void *data, size_t n);
/* PATH.new is written, synced and renamed to PATH, its folder synced; mode 0600. 0, or an errno:
 * then what was there stays. */
int newfile_write(const char *path, const void *data, size_t n);

#endif

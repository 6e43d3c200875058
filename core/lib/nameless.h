/* SPDX-License-Identifier: BSD-2-Clause */
/* nameless.h -- a file that no folder names: it goes with its last descriptor, and with a crash. */
#ifndef META1_NAMELESS_H
#define META1_NAMELESS_H

int nameless_file(const char *folder); /* to read and write; -1: errno says why. Any thread. */

#endif

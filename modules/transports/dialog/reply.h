/* SPDX-License-Identifier: BSD-2-Clause */
/* reply.h -- one reply of a next hop, read line by line (RFC 5321 4.2). No I/O. */
#ifndef META1_DIALOG_REPLY_H
#define META1_DIALOG_REPLY_H
#include <stddef.h>

#define DIALOG_REPLY_LINES 100	/* of one reply */
#define DIALOG_REPLY_LINE  4096 /* bytes a line */
#define DIALOG_REPLY_TEXT  512	/* bytes kept of all lines together */

enum dialog_got { DIALOG_MORE, DIALOG_DONE, DIALOG_BAD };

struct dialog_reply {
	int code; /* 200..599 */
	unsigned lines;
	int over;		      /* DONE or BAD was said: the next line begins a new reply */
	char dsn[12];		      /* "5.1.1", or "" */
	char text[DIALOG_REPLY_TEXT]; /* all lines joined by blanks, printable */
	size_t len;		      /* of text */
	const char *line;	      /* what follows the code in the line just taken */
	size_t line_len;
	const char *bad; /* what was wrong, after DIALOG_BAD */
};

/* Takes one line without its end into a reply that began as zeros. line and line_len point into
 * the caller's bytes. */
enum dialog_got dialog_reply_line(struct dialog_reply *, const char *line, size_t len);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * document.c -- prints doc/ipc.md: every message between processes, from proto.def.
 *
 * Comes from proto_document(); goes into the file, which tests/system/test_docs.py holds
 * against this output. Built by make, not installed: core/ipc/document >doc/ipc.md
 */
#include "ipc/proto.h"

#include <stdio.h>

static const char head[] =
    "# Messages between the processes\n\n"
    "Made from core/ipc/proto.def by `core/ipc/document >doc/ipc.md` in the build folder; a test "
    "says when it is old.\n\n"
    "Unix stream sockets: mcp and a role share a socket pair, the others connect to "
    "`smar.ipc` and `qmgr.ipc` in\nrun_directory; the user of the peer is checked "
    "(SO_PEERCRED). A frame is length (4 bytes), type (2), zero (2) and\nrequest number (4), "
    "little endian, then fields as number (1 byte), length (LEB128) and bytes. Fields that are "
    "absent\nare zero or empty; lengths are checked against the bounds below before they are "
    "used. A wrong frame ends the\nconnection, and what it carried is done again where it can "
    "be.\n\n"
    "HELLO comes first, both ways, and compares program version, a hash of this table and the "
    "format of the store;\na difference is refused with both named. What has a request number "
    "and a deadline is a question; it is answered\nonce, or fails at the deadline. Nobody waits "
    "in a ring: smtps asks smar, qmgr asks smar; smtpc and smar ask nobody,\n"
    "and what smtpc tells smar has no answer.\n\n";

int main(void)
{
	fputs(head, stdout);
	proto_document(stdout);
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire.c -- which roles there are, how many processes of each, and who connects to whom.
 * Comes from: everything in mcp that meets the name of a role; mcp -T roles shows it. Owns nothing.
 */
#include "mcp.h"

/* The picture of the processes; doc/architecture.md shows it. */
const struct mcp_wire mcp_wiring[] = {
    {"smtps", SMTPS, true, NULL, "smar qmgr", "receives mail, writes it to the queue store"},
    {"smtpc", SMTPC, true, NULL, "qmgr smar", "delivers mail by SMTP and LMTP"},
    {"qmgr", QMGR, false, "qmgr.ipc", "smar", "schedules, records outcomes, writes reports"},
    {"smar", SMAR, false, "smar.ipc", "", "DNS, maps, who may and where to"},
    {NULL, 0, false, NULL, NULL, NULL},
};

const struct mcp_wire *mcp_wire(const char *role)
{
	for (const struct mcp_wire *w = mcp_wiring; w->role; w++) {
		if (strcmp(w->role, role) == 0)
			return w;
	}
	return NULL;
}

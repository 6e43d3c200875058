/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main.c -- the program qmgr: core/role.c lives the life that qmgr.c describes.
 * Owns the one struct qmgr of the process.
 */
#include "qmgr/qmgr.h"

int main(int argc, char **argv)
{
	static struct qmgr q;
	int status;

	q.role = qmgr_role;
	status = role_main(&q.role, argc, argv);
	qmgr_free(&q);
	return status;
}

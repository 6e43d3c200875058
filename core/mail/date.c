/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * date.c -- one date text for Received lines and reports.
 * Comes from smtps/received.c and qmgr/dsn.c; goes to libc. Owns nothing; cannot fail
 * (a time that no calendar has is shown as 1970). The programs set no locale, so the
 * names of days and months are English.
 */
#include "mail/date.h"

#include <time.h>

const char *date_text(int64_t wall, bool utc, char out[DATE_SIZE])
{
	time_t t = (time_t)wall;
	struct tm tm;

	if (!(utc ? gmtime_r(&t, &tm) : localtime_r(&t, &tm))) {
		t = 0;
		gmtime_r(&t, &tm);
	}
	strftime(out, DATE_SIZE, "%a, %d %b %Y %H:%M:%S %z", &tm);
	return out;
}

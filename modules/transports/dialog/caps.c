/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * caps.c -- keywords of a reply to EHLO or LHLO to what may be used.
 *
 * Comes from dialog.c, line by line; envelope.c reads the result. Owns nothing.
 * What cannot be understood is taken as not offered; a size that overflows is
 * no limit.
 */
#include "caps.h"

#include <meta1/auth.h>
#include <meta1/transport.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *word;
	size_t len, off; /* off: of the flag in struct dialog_caps */
	uint32_t offer;	 /* enum meta1_offer */
} words[] = {
    {"PIPELINING", 10, offsetof(struct dialog_caps, pipelining), META1_OFFER_PIPELINING},
    {"8BITMIME", 8, offsetof(struct dialog_caps, eightbit), META1_OFFER_8BITMIME},
    {"SIZE", 4, offsetof(struct dialog_caps, size), META1_OFFER_SIZE},
    {"DSN", 3, offsetof(struct dialog_caps, dsn), META1_OFFER_DSN},
    {"SMTPUTF8", 8, offsetof(struct dialog_caps, smtputf8), META1_OFFER_SMTPUTF8},
    {"IGNOREQUOTA", 11, offsetof(struct dialog_caps, ignorequota), META1_OFFER_IGNOREQUOTA},
    {"TRACE", 5, offsetof(struct dialog_caps, trace), META1_OFFER_TRACE},
    {"STARTTLS", 8, offsetof(struct dialog_caps, starttls), 0},
    {"REQUIRETLS", 10, offsetof(struct dialog_caps, requiretls), META1_OFFER_REQUIRETLS},
};

static uint32_t *flag_of(struct dialog_caps *caps, size_t i)
{
	return (uint32_t *)(void *)((char *)caps + words[i].off);
}

uint32_t dialog_caps_offers(struct dialog_caps caps)
{
	uint32_t offers = 0;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		offers |= *flag_of(&caps, i) ? words[i].offer : 0;
	return offers;
}

struct dialog_caps dialog_caps_without(struct dialog_caps caps, uint32_t without)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (words[i].offer & without)
			*flag_of(&caps, i) = 0;
	if (!caps.size)
		caps.max_size = 0;
	return caps;
}

static uint64_t number(const char *p, size_t len)
{
	uint64_t v = 0;
	size_t i;

	for (i = 0; i < len && p[i] >= '0' && p[i] <= '9'; i++) {
		if (v > (UINT64_MAX - 9) / 10)
			return 0;
		v = v * 10 + (uint64_t)(p[i] - '0');
	}
	return i == len || p[i] == ' ' || p[i] == '\t' ? v : 0;
}

static int mech_byte(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

void dialog_caps_auth(char *names, size_t size, const char *line, size_t len)
{
	size_t have = strlen(names), i = 5, n;

	/* "AUTH=LOGIN" is an old form of the same */
	if (len < 5 || strncasecmp(line, "AUTH", 4) != 0 || (line[4] != ' ' && line[4] != '='))
		return;
	for (; i < len; i += n + 1) {
		for (n = 0; i + n < len && mech_byte((unsigned char)line[i + n]); n++)
			;
		if (n == 0 || n > META1_AUTH_MECH_MAX || have + n + 2 > size ||
		    (i + n < len && line[i + n] != ' '))
			continue;
		if (have)
			names[have++] = ' ';
		memcpy(names + have, line + i, n);
		names[have += n] = '\0';
	}
}

void dialog_caps_line(struct dialog_caps *caps, const char *line, size_t len)
{
	size_t i, n = 0, arg;
	uint32_t *flag;

	while (n < len && line[n] != ' ' && line[n] != '\t' && line[n] != '=')
		n++;
	for (arg = n; arg < len && (line[arg] == ' ' || line[arg] == '\t' || line[arg] == '=');
	     arg++)
		;
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (words[i].len != n || strncasecmp(line, words[i].word, n) != 0)
			continue;
		flag = flag_of(caps, i);
		*flag = 1;
		if (flag == &caps->size)
			caps->max_size = number(line + arg, len - arg);
	}
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * idn.c -- the two forms of an internationalised domain name, by libidn2: IDNA 2008 with the
 * mappings of UTS 46 (case, width, normal form; not the old ones of IDNA 2003, so that "ß" is
 * a letter of its own).
 *
 * Comes from addr.c, the one place that makes keys of domains, and core/smar/keys.c, which
 * also asks maps for the other form; goes to libidn2. Owns nothing.
 * On failure: no result; a name that cannot be converted is no name.
 */
#include "mail/idn.h"

#include <idn2.h>

#define NAME_MAX_BYTES 1024 /* far above what a name may have in either form */

static int give(char *name, char *out, size_t size)
{
	size_t n = strlen(name);

	if (n < size)
		memcpy(out, name, n + 1);
	idn2_free(name);
	return n < size ? 0 : -1;
}

int idn_ascii(struct meta1_buf name, char *out, size_t size)
{
	uint8_t text[NAME_MAX_BYTES + 1], *ascii = NULL;

	if (name.len == 0 || name.len > NAME_MAX_BYTES || memchr(name.data, 0, name.len) != NULL)
		return -1;
	memcpy(text, name.data, name.len);
	text[name.len] = '\0';
	if (idn2_lookup_u8(text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return -1;
	return give((char *)ascii, out, size);
}

/* A label begins with "xn--". */
static bool has_a_label(const char *name)
{
	const char *p = name;

	while (p != NULL) {
		if (strncmp(p, "xn--", 4) == 0)
			return true;
		p = strchr(p, '.');
		p = p != NULL ? p + 1 : NULL;
	}
	return false;
}

bool idn_text(const char *name, char *out, size_t size)
{
	char *text = NULL;

	if (!has_a_label(name) || strlen(name) > NAME_MAX_BYTES ||
	    idn2_to_unicode_8z8z(name, &text, 0) != IDN2_OK)
		return false;
	return give(text, out, size) == 0;
}

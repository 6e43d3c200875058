/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keys.c -- the keys that stand for a client, a path or a domain, most specific
 * first, made one at a time because most askers stop early. No I/O.
 * From check.c, local.c and route.c; to seek.c. Owns nothing. A key that does not fit
 * is left out (addresses are bounded before they come here).
 */
#include "smar/smar.h"

#include "mail/idn.h"

#include <arpa/inet.h>
#include <stdio.h>

static bool fits(int n, size_t size)
{
	return n > 0 && (size_t)n < size;
}

static bool next_literal(struct smar_keys *k, char *out, size_t size)
{
	if (k->form++ > 0)
		return false;
	return fits(snprintf(out, size, "%s%s", k->tag, k->local), size);
}

/* The address with all bits behind the prefix cleared. */
static void masked(const struct smar_keys *k, size_t len, char *out, socklen_t size)
{
	unsigned char ip[16] = {0};
	size_t whole = (size_t)k->bits / 8;

	memcpy(ip, k->ip, whole);
	if (k->bits % 8 != 0)
		ip[whole] = (unsigned char)(k->ip[whole] & (0xff00 >> (k->bits % 8)));
	inet_ntop(len == 4 ? AF_INET : AF_INET6, ip, out, size);
}

static bool next_ip4(struct smar_keys *k, char *out, size_t size)
{
	const unsigned char *a = k->ip;
	char net[INET_ADDRSTRLEN];

	if (k->bits < 0)
		return false;
	if (k->sub == 0 && k->bits % 8 == 0 && k->bits > 0) { /* a.b.c.d, a.b.c, a.b, a */
		int n = snprintf(out, size, "%s%u.%u.%u.%u", k->tag, a[0], a[1], a[2], a[3]);

		if (!fits(n, size))
			return false;
		for (int cut = k->bits / 8; cut < 4; cut++)
			*strrchr(out + strlen(k->tag), '.') = '\0';
		k->sub = 1;
		if (k->bits == 32)
			k->bits--, k->sub = 0;
		return true;
	}
	masked(k, 4, net, sizeof(net));
	k->sub = 0;
	return fits(snprintf(out, size, "%s%s/%d", k->tag, net, k->bits--), size);
}

static bool next_ip6(struct smar_keys *k, char *out, size_t size)
{
	char net[INET6_ADDRSTRLEN];
	int bits = k->bits;

	if (bits < 0)
		return false;
	masked(k, 16, net, sizeof(net));
	k->bits -= 4;
	if (bits == 128)
		return fits(snprintf(out, size, "%s%s", k->tag, net), size);
	return fits(snprintf(out, size, "%s%s/%d", k->tag, net, bits), size);
}

void smar_keys_client(struct smar_keys *k, const char *tag, const char *client)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	memset(k, 0, sizeof(*k));
	k->tag = tag;
	str_copy(k->local, sizeof(k->local), client);
	k->next = next_literal;
	if (inet_pton(AF_INET, client, k->ip) == 1) {
		k->next = next_ip4;
		k->bits = 32;
	} else if (inet_pton(AF_INET6, client, k->ip) == 1) {
		bool v4 = memcmp(k->ip, mapped, sizeof(mapped)) == 0;

		if (v4)
			memmove(k->ip, k->ip + 12, 4);
		k->next = v4 ? next_ip4 : next_ip6;
		k->bits = v4 ? 32 : 128;
	}
}

/* ".parent" of the domain, shorter each time; false: none is left. */
static bool next_parent(struct smar_keys *k, char *out, size_t size)
{
	const char *dot = k->now;

	if (k->now[0] == '[')
		return false;
	for (unsigned i = 0; dot && i <= k->sub; i++)
		dot = strchr(dot + (i > 0), '.');
	if (!dot)
		return false;
	k->sub++;
	return fits(snprintf(out, size, "%s%s", k->tag, dot), size);
}

enum { PATH_WHOLE, PATH_DETAIL, PATH_ANY, PATH_USER, PATH_DOMAIN, PATH_PARENT };
static bool next_path(struct smar_keys *k, char *out, size_t size)
{
	bool detail = k->local[k->user] == '+';
	int user = (int)k->user, n = 0;

	for (;;) {
		switch (k->form++) {
		case PATH_WHOLE:
			if (!detail)
				continue;
			n = snprintf(out, size, "%s%s@%s", k->tag, k->local, k->now);
			break;
		case PATH_DETAIL: /* any detail that is not empty */
			if (!detail || k->local[k->user + 1] == '\0')
				continue;
			n = snprintf(out, size, "%s%.*s++@%s", k->tag, user, k->local, k->now);
			break;
		case PATH_ANY: /* any detail, even none; an exact user goes first without one */
		case PATH_USER:
			if ((k->form - 1 == PATH_ANY) == detail)
				n = snprintf(
				    out, size, "%s%.*s+*@%s", k->tag, user, k->local, k->now);
			else
				n = snprintf(
				    out, size, "%s%.*s@%s", k->tag, user, k->local, k->now);
			break;
		case PATH_DOMAIN:
			n = snprintf(out, size, "%s%s", k->tag, k->now);
			break;
		default:
			return next_parent(k, out, size);
		}
		if (fits(n, size))
			return true;
	}
}

static void start(struct smar_keys *k, const char *tag, const char *domain,
    bool (*next)(struct smar_keys *, char *, size_t))
{
	memset(k, 0, sizeof(*k));
	k->tag = tag;
	k->next = next;
	str_copy(k->domain, sizeof(k->domain), domain);
	k->now = k->domain;
	if (!idn_text(k->domain, k->text, sizeof(k->text)))
		k->text[0] = '\0';
}

void smar_keys_path(struct smar_keys *k, const char *tag, const char *local, const char *domain)
{
	const char *plus;

	start(k, tag, domain, next_path);
	if (local[0] == '\0' && domain[0] == '\0') {
		str_copy(k->local, sizeof(k->local), "<>");
		k->next = next_literal;
		return;
	}
	str_copy(k->local, sizeof(k->local), local);
	/* A '+' at the start names a user, not a detail; one in quotes is only a letter. */
	plus = k->local[0] == '"' ? NULL : strchr(k->local, '+');
	k->user = plus && plus > k->local ? (size_t)(plus - k->local) : strlen(k->local);
}

static bool next_domain(struct smar_keys *k, char *out, size_t size)
{
	if (k->form == 0) {
		k->form = 1;
		return fits(snprintf(out, size, "%s", k->now), size);
	}
	if (k->form == 1) {
		if (next_parent(k, out, size))
			return true;
		k->form = 2;
		return fits(snprintf(out, size, "."), size);
	}
	return false;
}

void smar_keys_domain(struct smar_keys *k, const char *domain)
{
	start(k, "", domain, next_domain);
}

bool smar_keys_next(struct smar_keys *k, char *out, size_t size)
{
	unsigned form = k->form, sub = k->sub;

	if (k->again) {
		k->again = false;
		k->form = k->was_form;
		k->sub = k->was_sub;
		k->now = k->text;
		if (k->next(k, out, size)) {
			k->now = k->domain;
			return true;
		}
		k->now = k->domain;
		k->form = form;
		k->sub = sub;
	}
	if (!k->next(k, out, size))
		return false;
	k->again = k->text[0] != '\0' && strstr(out, "xn--") != NULL;
	k->was_form = form;
	k->was_sub = sub;
	return true;
}

int smar_keys_split(struct meta1_buf path, const char *instead, char *local, char *domain)
{
	const char *p = path.data;
	size_t at = path.len;

	while (at > 0 && p[at - 1] != '@')
		at--;
	if (at == 0) { /* <> or a bare local part */
		if (path.len > ADDR_PATH_MAX)
			return -1;
		for (size_t i = 0; i < path.len; i++)
			local[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]);
		local[path.len] = '\0';
		str_copy(domain, ADDR_DOMAIN_MAX + 1, path.len > 0 ? instead : "");
		return 0;
	}
	if (at - 1 > ADDR_PATH_MAX || memchr(p, '\0', path.len))
		return -1;
	for (size_t i = 0; i < at - 1; i++)
		local[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]);
	local[at - 1] = '\0';
	return addr_domain_key(buf_of(p + at, path.len - at), domain, ADDR_DOMAIN_MAX + 1);
}

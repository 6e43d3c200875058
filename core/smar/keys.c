/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keys.c -- the keys that stand for a client, a path or a domain, most specific
 * first, made one at a time because most askers stop early. No I/O.
 * What is asked depends on the flags of the section that uses the map (struct smar_use).
 * From check.c, local.c and route.c; to seek.c. Owns nothing. A key that does not fit
 * is left out (addresses are bounded before they come here).
 */
#include "smar/smar.h"

#include "mail/idn.h"

#include <arpa/inet.h>

/* Dozens of keys a mail: put together here, since printf() was most of their cost. */
#define KEY(out, size, ...) key_of(out, size, (const char *const[]){__VA_ARGS__, NULL})

/* The parts, one behind the other. false: nothing, or it does not fit; out is as it was. */
static bool key_of(char *out, size_t size, const char *const *part)
{
	size_t n = 0;

	for (unsigned i = 0; part[i]; i++)
		n += strlen(part[i]);
	if (n == 0 || n >= size)
		return false;
	while (*part)
		out = stpcpy(out, *part++);
	return true;
}

static char *put_number(char *p, unsigned v)
{
	if (v >= 100)
		*p++ = (char)('0' + v / 100);
	if (v >= 10)
		*p++ = (char)('0' + v / 10 % 10);
	*p++ = (char)('0' + v % 10);
	return p;
}

static char *put_hex(char *p, unsigned v)
{
	static const char digit[] = "0123456789abcdef";

	for (int shift = v > 0xfff ? 12 : v > 0xff ? 8 : v > 15 ? 4 : 0; shift >= 0; shift -= 4)
		*p++ = digit[v >> shift & 15];
	return p;
}

#define NET_TEXT (INET6_ADDRSTRLEN + 4)

static bool next_literal(struct smar_keys *k, char *out, size_t size)
{
	if (k->form++ > 0)
		return false;
	return KEY(out, size, k->tag, k->name ? k->name : k->local);
}

/* The address with all bits behind the prefix cleared. */
static void masked(const struct smar_keys *k, unsigned char ip[16])
{
	size_t whole = (size_t)k->bits / 8;

	memset(ip, 0, 16);
	memcpy(ip, k->ip, whole);
	if (k->bits % 8 != 0)
		ip[whole] = (unsigned char)(k->ip[whole] & (0xff00 >> (k->bits % 8)));
}

static char *put_ip4(char *p, const unsigned char *ip, int parts)
{
	for (int i = 0; i < parts; i++) {
		if (i > 0)
			*p++ = '.';
		p = put_number(p, ip[i]);
	}
	return p;
}

static bool next_ip4(struct smar_keys *k, char *out, size_t size)
{
	char net[NET_TEXT], *p;
	unsigned char ip[16];

	if (k->bits < 0)
		return false;
	if (k->sub == 0 && k->bits % 8 == 0 && k->bits > 0) { /* a.b.c.d, a.b.c, a.b, a */
		p = put_ip4(net, k->ip, k->bits / 8);
		k->sub = 1;
		if (k->bits == 32)
			k->bits--, k->sub = 0;
	} else {
		masked(k, ip);
		p = put_ip4(net, ip, 4);
		*p++ = '/';
		p = put_number(p, (unsigned)k->bits--);
		k->sub = 0;
	}
	*p = '\0';
	return KEY(out, size, k->tag, net);
}

/* As inet_ntop() has it: the first longest run of zeros is "::" (RFC 5952). Addresses with IPv4 in
 * them have more than these bits zero. */
static char *put_ip6(char *p, const unsigned char *ip)
{
	int run = -1, len = 1;
	unsigned w[8];

	for (int i = 0; i < 8; i++)
		w[i] = (unsigned)ip[2 * i] << 8 | ip[2 * i + 1];
	for (int i = 0, n; i < 8; i += n + 1) {
		for (n = 0; i + n < 8 && w[i + n] == 0; n++)
			;
		if (n > len)
			run = i, len = n;
	}
	for (int i = 0; i < 8; i++) {
		if (i == run) {
			*p++ = ':';
			i += len - 1;
			if (i == 7)
				*p++ = ':';
			continue;
		}
		if (i > 0)
			*p++ = ':';
		p = put_hex(p, w[i]);
	}
	return p;
}

static bool next_ip6(struct smar_keys *k, char *out, size_t size)
{
	static const unsigned char low[8];
	char net[NET_TEXT], *p;
	unsigned char ip[16];
	int bits = k->bits;

	if (bits < 0)
		return false;
	masked(k, ip);
	k->bits -= 4;
	if (memcmp(ip, low, sizeof(low)) == 0) {
		inet_ntop(AF_INET6, ip, net, INET6_ADDRSTRLEN);
		p = net + strlen(net);
	} else {
		p = put_ip6(net, ip);
	}
	if (bits != 128) {
		*p++ = '/';
		p = put_number(p, (unsigned)bits);
	}
	*p = '\0';
	return KEY(out, size, k->tag, net);
}

void smar_keys_client(struct smar_keys *k, const char *tag, const char *client)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

	smar_keys_word(k, tag, client);
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
	for (unsigned i = 0; dot && i <= k->skip + k->sub; i++)
		dot = strchr(dot + (i > 0), '.');
	if (!dot)
		return false;
	k->sub++;
	return KEY(out, size, k->tag, dot);
}

/* The forms of a path in their order. Parents are as many keys as there are dots, but for the
 * longest of very many. */
enum {
	PATH_WHOLE,  /* user+detail */
	PATH_DETAIL, /* user++: any detail that is not empty */
	PATH_ANY,    /* user+*: any detail, even none; without one the exact user goes first */
	PATH_USER,
	PATH_DOMAIN,
	PATH_PARENT,
	LOCAL_WHOLE, /* the same without @ and domain */
	LOCAL_DETAIL,
	LOCAL_ANY,
	LOCAL_USER,
	PATH_END
};

/* user, with the delimiter and what follows it; false: the address has no such form. */
static bool user_form(const struct smar_keys *k, unsigned form, char *out, size_t size)
{
	bool detail = k->local[k->user] != '\0';
	char rest[3] = {detail ? k->local[k->user] : k->delimiters[0], '\0', '\0'};
	char user[sizeof(k->local)];

	if (!detail && (form == PATH_ANY || form == PATH_USER))
		form = form == PATH_ANY ? PATH_USER : PATH_ANY;
	if (form == PATH_WHOLE)
		return detail && KEY(out, size, k->local);
	memcpy(user, k->local, k->user);
	user[k->user] = '\0';
	switch (form) {
	case PATH_DETAIL:
		rest[1] = '+';
		return detail && k->local[k->user + 1] != '\0' && KEY(out, size, user, rest);
	case PATH_ANY:
		rest[1] = '*';
		return rest[0] != '\0' && KEY(out, size, user, rest);
	default:
		return (!detail || k->implicit) && KEY(out, size, user);
	}
}

static bool next_path(struct smar_keys *k, char *out, size_t size)
{
	char user[ADDR_PATH_MAX + 3];
	unsigned form;

	while (k->form < PATH_END) {
		form = k->form++;
		k->domained = form < LOCAL_WHOLE;
		if (k->domained ? k->no_full : !k->alone)
			continue;
		if (form == PATH_DOMAIN)
			return KEY(out, size, k->tag, k->now);
		if (form == PATH_PARENT) {
			if (!next_parent(k, out, size))
				continue;
			k->form = PATH_PARENT;
			return true;
		}
		if (!user_form(k, k->domained ? form : form - LOCAL_WHOLE, user, sizeof(user)))
			continue;
		if (KEY(out, size, k->tag, user, k->domained ? "@" : "", k->domained ? k->now : ""))
			return true;
	}
	return false;
}

static void start(struct smar_keys *k, const char *tag, const char *domain,
    bool (*next)(struct smar_keys *, char *, size_t))
{
	unsigned dots = 0;

	memset(k, 0, sizeof(*k));
	k->tag = tag;
	k->next = next;
	k->domained = true;
	str_copy(k->domain, sizeof(k->domain), domain);
	k->now = k->domain;
	for (const char *p = k->domain; *p; p++)
		dots += *p == '.';
	k->skip = dots > SMAR_PARENTS_MAX ? dots - SMAR_PARENTS_MAX : 0;
	if (!idn_text(k->domain, k->text, sizeof(k->text)))
		k->text[0] = '\0';
}

void smar_keys_path(struct smar_keys *k, const struct smar_use *use, const char *tag,
    const char *local, const char *domain)
{
	start(k, tag, domain, next_path);
	k->path = true;
	k->delimiters = use->delimiters ? use->delimiters : "";
	k->alone = use->flags & USE_F_LOCALPART;
	k->no_full = k->alone && !(use->flags & USE_F_FULL_ADDRESS);
	k->implicit = use->flags & USE_F_DETAIL;
	if (local[0] == '\0' && domain[0] == '\0') {
		smar_keys_word(k, tag, "<>");
		k->null = true;
		return;
	}
	str_copy(k->local, sizeof(k->local), local);
	/* A '+' at the start names a user, not a detail; one in quotes is only a letter. */
	k->user = strlen(k->local);
	if (k->local[0] != '"' && k->user > 1)
		k->user = 1 + strcspn(k->local + 1, k->delimiters);
}

static bool next_domain(struct smar_keys *k, char *out, size_t size)
{
	if (k->form == 0) {
		k->form = 1;
		return KEY(out, size, k->tag, k->now);
	}
	if (k->form == 1) {
		if (next_parent(k, out, size))
			return true;
		k->form = 2;
		return k->rest && KEY(out, size, ".");
	}
	return false;
}

void smar_keys_domain(struct smar_keys *k, const char *domain)
{
	start(k, "", domain, next_domain);
	k->rest = true;
}

void smar_keys_host(struct smar_keys *k, const char *tag, const char *name)
{
	start(k, tag, name, next_domain);
}

void smar_keys_word(struct smar_keys *k, const char *tag, const char *word)
{
	memset(k, 0, sizeof(*k));
	k->tag = tag;
	str_copy(k->local, sizeof(k->local), word);
	k->next = next_literal;
}

void smar_keys_name(struct smar_keys *k, const char *tag, const char *word)
{
	smar_keys_word(k, tag, "");
	k->name = word;
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
	k->again = k->domained && k->text[0] != '\0' && strstr(out, "xn--") != NULL;
	k->was_form = form;
	k->was_sub = sub;
	return true;
}

/* In lower case; "user" in quotes that it does not need is user, or a row for user would not
 * meet it. */
static void fold_local(struct meta1_buf in, char *out)
{
	const char *p = in.data;
	char plain[ADDR_PATH_MAX + 1];
	size_t n = 0;

	for (size_t i = 0; i < in.len; i++)
		out[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]);
	out[in.len] = '\0';
	if (in.len < 3 || out[0] != '"')
		return;
	for (size_t i = 1; i + 1 < in.len; i++) {
		i += out[i] == '\\' && i + 2 < in.len;
		plain[n++] = out[i];
	}
	plain[n] = '\0';
	if (addr_dot_string(buf_of(plain, n)))
		memcpy(out, plain, n + 1);
}

int smar_keys_split(struct meta1_buf path, const char *instead, char *local, char *domain)
{
	const char *p = path.data;
	size_t at = path.len;

	while (at > 0 && p[at - 1] != '@')
		at--;
	if ((at > 0 ? at - 1 : path.len) > ADDR_PATH_MAX ||
	    (path.len > 0 && memchr(p, '\0', path.len)))
		return -1;
	fold_local(buf_of(p, at > 0 ? at - 1 : path.len), local);
	if (at == 0) { /* <> or a bare local part */
		str_copy(domain, ADDR_DOMAIN_MAX + 1, path.len > 0 ? instead : "");
		return 0;
	}
	return addr_domain_key(buf_of(p + at, path.len - at), domain, ADDR_DOMAIN_MAX + 1);
}

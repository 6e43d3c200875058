/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netlist.c -- lists of networks, and whether an address is in one.
 * Comes from settings_check.c (is it one?) and the roles that trust peers; goes nowhere.
 * Owns the list, an array; each look goes through all of it: such lists are short.
 * On failure: false; what is no address is in no list.
 */
#include "lib/netlist.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>

struct netlist {
	unsigned n;
	struct net net[];
};

static bool is_mask(const char *text, unsigned max, unsigned *bits)
{
	size_t n = strspn(text, "0123456789");

	if (n == 0 || n > 3 || text[n] != '\0' || (n > 1 && *text == '0'))
		return false;
	*bits = (unsigned)atoi(text);
	return *bits <= max;
}

static bool zero_behind(const struct net *net, unsigned max)
{
	unsigned i;

	for (i = net->bits; i < max; i++)
		if ((net->bin[i / 8] & 0x80u >> i % 8) != 0)
			return false;
	return true;
}

bool netlist_parse(const char *text, struct net *net)
{
	const char *slash = strchr(text, '/');
	size_t n = slash != NULL ? (size_t)(slash - text) : strlen(text);
	char host[INET6_ADDRSTRLEN];
	unsigned max;

	memset(net, 0, sizeof(*net));
	if (strcmp(text, "unix") == 0) {
		net->family = AF_UNIX;
		return true;
	}
	if (n >= sizeof(host))
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	net->family = strchr(host, ':') != NULL ? AF_INET6 : AF_INET;
	if (inet_pton(net->family, host, net->bin) != 1)
		return false;
	max = net->family == AF_INET6 ? 128 : 32;
	net->bits = max;
	return slash == NULL || (is_mask(slash + 1, max, &net->bits) && zero_behind(net, max));
}

struct netlist *netlist_new(const char *const *words)
{
	struct netlist *l;
	size_t n = 0, i;

	while (words != NULL && words[n] != NULL)
		n++;
	if (n == 0)
		return NULL;
	l = base_alloc(sizeof(*l) + n * sizeof(l->net[0]));
	for (i = 0; i < n; i++)
		if (netlist_parse(words[i], &l->net[l->n]))
			l->n++;
	return l;
}

void netlist_free(struct netlist **lp)
{
	free(*lp);
	*lp = NULL;
}

static bool within(const struct net *net, const struct net *addr)
{
	unsigned whole = net->bits / 8, rest = net->bits % 8;

	return net->family == addr->family && memcmp(net->bin, addr->bin, whole) == 0 &&
	       (rest == 0 || (net->bin[whole] ^ addr->bin[whole]) >> (8 - rest) == 0);
}

bool netlist_has(const struct netlist *l, const char *addr)
{
	struct net a;
	unsigned i;

	if (l == NULL || strchr(addr, '/') != NULL || !netlist_parse(addr, &a))
		return false;
	for (i = 0; i < l->n; i++)
		if (within(&l->net[i], &a))
			return true;
	return false;
}

void netlist_plain(char *addr)
{
	if (strncmp(addr, "::ffff:", 7) == 0 && strchr(addr, '.') != NULL)
		memmove(addr, addr + 7, strlen(addr + 7) + 1);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * start.c -- the filter: its context, where it listens, the loop, its end.
 *
 * Comes from the filter's main(); goes to link.c with each connection. Owns the listener, the file
 * of a unix socket, the loop. A socket's file that an earlier life left is removed, any other file
 * is an error.
 * On failure: -errno; with a debug level of 1 and more a line on standard error.
 */
#include "lib.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FDMAX 64

void lpm_debug(pmg_ctx_P g, uint32_t level, const char *fmt, ...)
{
	va_list ap;

	if (g->debug < level)
		return;
	va_start(ap, fmt);
	fprintf(
	    stderr, "%s: ", g->filter && g->filter->pmfi_name ? g->filter->pmfi_name : "pmilter");
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

sm_ret_T sm_pmfi_init(pmg_ctx_P *out)
{
	pmg_ctx_P g = calloc(1, sizeof(*g));

	*out = NULL;
	if (g)
		g->base = event_base_new();
	if (!g || !g->base) {
		free(g);
		return -ENOMEM;
	}
	*out = g;
	return SM_SUCCESS;
}

sm_ret_T sm_pmfi_setdbg(pmg_ctx_P g, uint32_t level)
{
	g->debug = level;
	return level > 100 ? -EINVAL : SM_SUCCESS;
}

struct event_base *sm_pmfi_base(pmg_ctx_P g)
{
	return g->base;
}

/* ---- where it listens ---- */

union where {
	struct sockaddr sa;
	struct sockaddr_un sun;
	struct sockaddr_in sin;
	struct sockaddr_in6 six;
};

static int unix_where(const char *path, union where *w, socklen_t *len)
{
	size_t n = strlen(path);

	if (strncmp(path, "///", 3) == 0) { /* unix:///path */
		path += 2;
		n -= 2;
	}
	if (*path != '/' || n >= sizeof(w->sun.sun_path))
		return -EINVAL;
	w->sun.sun_family = AF_UNIX;
	memcpy(w->sun.sun_path, path, n + 1);
	*len = sizeof(w->sun);
	return 0;
}

/* "PORT@ADDRESS", "PORT", or "//ADDRESS:PORT" */
static int inet_where(const char *s, int family, union where *w, socklen_t *len)
{
	char addr[80] = "", *end;
	const char *port = s, *at = strchr(s, '@'), *colon = strrchr(s, ':');
	unsigned long n;

	if (strncmp(s, "//", 2) == 0 && colon && colon - s - 2 < (long)sizeof(addr)) {
		snprintf(addr, sizeof(addr), "%.*s", (int)(colon - s - 2), s + 2);
		port = colon + 1;
	} else if (at) {
		snprintf(addr, sizeof(addr), "%s", at + 1);
	}
	n = strtoul(port, &end, 10);
	if (end == port || (*end && *end != '@') || n == 0 || n > 65535)
		return -EINVAL;
	if (family == AF_INET6) {
		w->six.sin6_family = AF_INET6;
		w->six.sin6_port = htons((uint16_t)n);
		*len = sizeof(w->six);
		return inet_pton(AF_INET6, *addr ? addr : "::1", &w->six.sin6_addr) == 1 ? 0
											 : -EINVAL;
	}
	w->sin.sin_family = AF_INET;
	w->sin.sin_port = htons((uint16_t)n);
	*len = sizeof(w->sin);
	return inet_pton(AF_INET, *addr ? addr : "127.0.0.1", &w->sin.sin_addr) == 1 ? 0 : -EINVAL;
}

static int parse(const char *s, union where *w, socklen_t *len)
{
	memset(w, 0, sizeof(*w));
	if (strncmp(s, "unix:", 5) == 0)
		return unix_where(s + 5, w, len);
	if (strncmp(s, "inet:", 5) == 0)
		return inet_where(s + 5, AF_INET, w, len);
	if (strncmp(s, "inet6:", 6) == 0)
		return inet_where(s + 6, AF_INET6, w, len);
	return -EINVAL;
}

sm_ret_T sm_pmfi_setconn(pmg_ctx_P g, const char *where)
{
	union where w;
	socklen_t len;
	char *copy;

	if (!where || parse(where, &w, &len) < 0) {
		lpm_debug(g, 1,
		    "cannot listen at %s: expected unix:/PATH, inet:PORT@ADDRESS or "
		    "inet6:PORT@ADDRESS",
		    where ? where : "nowhere");
		return -EINVAL;
	}
	copy = strdup(where);
	if (!copy)
		return -ENOMEM;
	free(g->where);
	g->where = copy;
	return SM_SUCCESS;
}

static void on_accept(
    struct evconnlistener *lis, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg)
{
	pmg_ctx_P g = arg;
	uint32_t most = g->filter->pmfi_fdmax ? g->filter->pmfi_fdmax : FDMAX;

	(void)lis;
	(void)sa;
	(void)len;
	if (g->nlink >= most) {
		lpm_debug(g, 1, "a connection beyond pmfi_fdmax is refused");
		evutil_closesocket(fd);
		return;
	}
	lpm_link_open(g, fd);
}

static sm_ret_T listen_at(pmg_ctx_P g)
{
	union where w;
	socklen_t len;
	struct stat st;

	if (!g->where || parse(g->where, &w, &len) < 0)
		return -EINVAL;
	if (w.sa.sa_family == AF_UNIX) {
		if (lstat(w.sun.sun_path, &st) == 0 &&
		    (!S_ISSOCK(st.st_mode) || unlink(w.sun.sun_path) < 0))
			return -EEXIST;
	}
	g->listener = evconnlistener_new_bind(g->base, on_accept, g,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, 128, &w.sa,
	    (int)len);
	if (!g->listener)
		return errno ? -errno : -EIO;
	if (w.sa.sa_family == AF_UNIX)
		g->unlink_path = strdup(w.sun.sun_path);
	return SM_SUCCESS;
}

/* ---- life ---- */

sm_ret_T sm_pmfi_listen_of(pmg_ctx_P g, const struct pmilter_S *given, size_t size)
{
	struct sigaction sa;
	sm_ret_T r;

	if (g->listener || !given)
		return -EINVAL;
	memcpy(&g->own, given, size < sizeof(g->own) ? size : sizeof(g->own));
	g->filter = &g->own;
	/* a server that goes away must not end the filter */
	if (sigaction(SIGPIPE, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
	if (g->own.pmfi_thrmax_h && !g->pool) {
		g->pool = lpm_pool_new(g, g->own.pmfi_thrmax_s, g->own.pmfi_thrmax_h);
		if (!g->pool)
			return -ENOMEM;
	}
	r = listen_at(g);
	lpm_debug(g, 1, "%s %s%s%s", r < 0 ? "cannot listen at" : "listens at",
	    g->where ? g->where : "nowhere: sm_pmfi_setconn()", r < 0 ? ": " : "",
	    r < 0 ? strerror(-r) : "");
	return r;
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	sm_pmfi_stop(arg);
}

sm_ret_T sm_pmfi_start_of(pmg_ctx_P g, const struct pmilter_S *filter, size_t size)
{
	static const int sigs[] = {SIGTERM, SIGINT};
	sm_ret_T r = sm_pmfi_listen_of(g, filter, size);

	if (sm_is_err(r))
		return r;
	for (unsigned i = 0; i < 2; i++) {
		g->sig[i] = evsignal_new(g->base, sigs[i], on_signal, g);
		if (g->sig[i])
			evsignal_add(g->sig[i], NULL);
	}
	event_base_dispatch(g->base);
	return SM_SUCCESS;
}

void sm_pmfi_stop(pmg_ctx_P g)
{
	event_base_loopbreak(g->base);
}

void sm_pmfi_free(pmg_ctx_P *gp)
{
	pmg_ctx_P g = *gp;

	*gp = NULL;
	if (!g)
		return;
	if (g->listener)
		evconnlistener_free(g->listener);
	if (g->unlink_path)
		unlink(g->unlink_path);
	lpm_link_end_all(g);
	while (g->links && event_base_loop(g->base, EVLOOP_ONCE) == 0)
		;
	lpm_pool_free(&g->pool);
	for (unsigned i = 0; i < 2; i++)
		if (g->sig[i])
			event_free(g->sig[i]);
	event_base_free(g->base);
	free(g->where);
	free(g->unlink_path);
	free(g);
}

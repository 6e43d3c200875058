/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.c -- the control socket: HTTP with JSON, and /metrics.
 * Comes from role.c (ctl_new) and the roles' control() (ctl_add); goes to libevent's evhttp.
 * Owns the HTTP server and the listening descriptor; request tables stay the roles'.
 * On failure: a bad request ends that client's connection with 4xx and a JSON error; nothing else.
 */
#include "ctl/server.h"
#include "lib/log.h"
#include "lib/metric.h"

#include <ctype.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TABLES_MAX   8
#define REQUEST_MAX  65536 /* bytes of headers, and of a body */
#define IDLE_SECONDS 30
#define ADMINS_MAX   64
#define PAUSE_MS     100 /* without accepting, when there is no descriptor */

struct ctl {
	struct ctl *next;
	struct loop *loop;
	struct evhttp *http;
	struct evconnlistener *listener; /* evhttp's */
	struct watch *pause;
	int64_t said; /* when the lack of descriptors was logged */
	char role[16];
	uint32_t index;
	time_t started;
	struct {
		const struct ctl_request *req;
		unsigned n;
		void *arg;
	} table[TABLES_MAX];
	unsigned ntables;
	uid_t admins[ADMINS_MAX];
	unsigned nadmins;
	struct {
		ctl_metrics_fn fn;
		void *arg;
	} more[4];
	unsigned nmore;
};

static struct ctl *all; /* one a process, but in tests */

METRIC_COUNTER(m_requests, "control_requests_total", "Requests on the control socket.");
METRIC_COUNTER(m_refused, "control_refused_total", "Control requests refused for lack of rights.");

/* ---- answers ---- */

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *text;
	} t[] = {{200, "OK"}, {400, "Bad Request"}, {403, "Forbidden"}, {404, "Not Found"},
	    {405, "Method Not Allowed"}, {409, "Conflict"}, {503, "Service Unavailable"}};
	size_t i;

	for (i = 0; i < ARRAY_LEN(t); i++)
		if (t[i].status == status)
			return t[i].text;
	return "Error";
}

static void send_buf(struct evhttp_request *req, int status, const char *type, struct evbuffer *b)
{
	evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", type);
	evhttp_send_reply(req, status, reason_of(status), b);
}

static void send_json(struct evhttp_request *req, int status, json_t *j)
{
	struct evbuffer *b = evbuffer_new();
	char *s = json_dumps(j, JSON_COMPACT);

	if (s)
		evbuffer_add_printf(b, "%s\n", s);
	send_buf(req, s ? status : 503, "application/json", b);
	free(s);
	evbuffer_free(b);
	json_decref(j);
}

static void send_error(struct evhttp_request *req, int status, const char *text)
{
	send_json(req, status, json_pack("{s:s}", "error", text));
}

/* ---- metrics ---- */

void ctl_metric(struct evbuffer *out, const struct ctl *c, const char *name, const char *help,
    bool gauge, const char *label, int64_t value)
{
	if (help)
		evbuffer_add_printf(out, "# HELP meta1_%s_%s %s\n# TYPE meta1_%s_%s %s\n", c->role,
		    name, help, c->role, name, gauge ? "gauge" : "counter");
	evbuffer_add_printf(out, "meta1_%s_%s{process=\"%u\"%s%s} %lld\n", c->role, name, c->index,
	    label ? "," : "", label ? label : "", (long long)value);
}

void ctl_label(const char *key, const char *value, char *out, size_t size)
{
	char clean[101];

	str_copy(clean, sizeof(clean), value);
	for (char *c = clean; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("_.-/", *c))
			*c = '_';
	snprintf(out, size, "%s=\"%s\"", key, clean);
}

static void metrics(struct ctl *c, struct evhttp_request *req)
{
	struct evbuffer *b = evbuffer_new();
	struct metric *m;

	for (m = metric_first(); m; m = m->next)
		ctl_metric(b, c, m->name, m->help, m->gauge, NULL, m->value);
	ctl_metric(b, c, "log_lines_dropped_total", "Log lines that could not be written.", false,
	    NULL, (int64_t)log_dropped());
	for (unsigned i = 0; i < c->nmore; i++)
		c->more[i].fn(c->more[i].arg, b, c);
	send_buf(req, 200, "text/plain; version=0.0.4", b);
	evbuffer_free(b);
}

/* ---- requests ---- */

static json_t *help(struct ctl *c)
{
	json_t *list = json_array();
	unsigned t, i;

	for (t = 0; t < c->ntables; t++)
		for (i = 0; i < c->table[t].n; i++) {
			const struct ctl_request *r = &c->table[t].req[i];

			json_array_append_new(list,
			    json_pack("{s:s s:s s:s s:s}", "method", r->method, "path", r->path,
				"right", r->right == CTL_ADMIN ? "admin" : "read", "doc", r->doc));
		}
	return json_pack("{s:o}", "requests", list);
}

static bool peer(struct evhttp_request *req, struct ucred *cred)
{
	struct evhttp_connection *ec = evhttp_request_get_connection(req);
	struct bufferevent *be = ec ? evhttp_connection_get_bufferevent(ec) : NULL;
	socklen_t len = sizeof(*cred);

	return be && !getsockopt(bufferevent_getfd(be), SOL_SOCKET, SO_PEERCRED, cred, &len);
}

static bool is_admin(const struct ctl *c, uid_t uid)
{
	unsigned i;

	if (!uid || uid == geteuid())
		return true;
	for (i = 0; i < c->nadmins; i++)
		if (c->admins[i] == uid)
			return true;
	return false;
}

static const char *method_of(struct evhttp_request *req)
{
	switch (evhttp_request_get_command(req)) {
	case EVHTTP_REQ_GET:
		return "GET";
	case EVHTTP_REQ_POST:
		return "POST";
	case EVHTTP_REQ_DELETE:
		return "DELETE";
	default:
		return "";
	}
}

/* An entry whose path ends in '/' serves what is below it, and gets the rest. */
static bool matches(const struct ctl_request *r, const char *path, const char **rest)
{
	size_t n = strlen(r->path);

	if (r->path[n - 1] == '/' && !strncmp(r->path, path, n) && path[n]) {
		*rest = path + n;
		return true;
	}
	*rest = "";
	return !strcmp(r->path, path);
}

/* NULL: it is not to be understood. What is left out would make a filter take more. */
static json_t *query_of(const char *text)
{
	struct evkeyvalq kv;
	struct evkeyval *k;
	json_t *q = json_object();
	bool bad = false;

	if (!text)
		return q;
	if (evhttp_parse_query_str(text, &kv)) {
		json_decref(q);
		return NULL;
	}
	for (k = kv.tqh_first; k; k = k->next.tqe_next)
		bad |= json_object_get(q, k->key) ||
		       json_object_set_new(q, k->key, json_string(k->value)) < 0;
	evhttp_clear_headers(&kv);
	if (bad)
		json_decref(q);
	return bad ? NULL : q;
}

/* What every process says of itself; a role's own /v1/status adds to it. */
static json_t *process_status(const struct ctl *c)
{
	return json_pack("{s:s s:i s:i s:s s:I}", "role", c->role, "process", (int)c->index, "pid",
	    (int)getpid(), "version", PACKAGE_VERSION, "uptime",
	    (json_int_t)(time(NULL) - c->started));
}

/* ---- answers that need time ---- */

struct ctl_later {
	struct evhttp_request *req; /* NULL: the client went away */
};

static struct evhttp_request *running; /* within a ctl_fn */

static void client_gone(struct evhttp_connection *conn, void *arg)
{
	(void)conn;
	((struct ctl_later *)arg)->req = NULL;
}

struct ctl_later *ctl_later(void)
{
	struct ctl_later *l = base_alloc(sizeof(*l));

	l->req = running;
	evhttp_connection_set_closecb(evhttp_request_get_connection(running), client_gone, l);
	return l;
}

struct meta1_buf ctl_body(void)
{
	struct evbuffer *b = evhttp_request_get_input_buffer(running);

	return buf_of(evbuffer_pullup(b, -1), evbuffer_get_length(b));
}

/* The request to answer, or NULL: the client went away. */
static struct evhttp_request *later_end(struct ctl_later **lp)
{
	struct evhttp_request *req = (*lp)->req;

	if (req)
		evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL, NULL);
	free(*lp);
	*lp = NULL;
	return req;
}

void ctl_answer(struct ctl_later **lp, json_t *out, int status, const char *error)
{
	struct evhttp_request *req = later_end(lp);

	if (!req)
		json_decref(out);
	else if (out)
		send_json(req, 200, out);
	else
		send_error(req, status, error);
}

void ctl_answer_data(struct ctl_later **lp, const char *type, struct evbuffer *data)
{
	struct evhttp_request *req = later_end(lp);

	if (req)
		send_buf(req, 200, type, data);
}

static void run(struct ctl *c, struct evhttp_request *req, const struct ctl_request *r, void *arg,
    const char *rest, const char *query_text)
{
	struct meta1_err err = {.text = "refused"};
	struct ucred cred = {.uid = (uid_t)-1};
	bool known = peer(req, &cred);
	json_t *query, *out;
	int status = 200;

	if (r->right == CTL_ADMIN && (!known || !is_admin(c, cred.uid))) {
		m_refused.value++;
		send_error(
		    req, 403, "this needs root or a user named in control { admins = { … }; }");
		return;
	}
	query = query_of(query_text);
	if (!query) {
		send_error(req, 400, "the query is not UTF-8, or says something twice");
		return;
	}
	if (r->right == CTL_ADMIN)
		log_event(LOG_L_INFO, "control.admin", "uid=%d method=%s path=%s rest=%s",
		    (int)cred.uid, r->method, r->path, rest);
	json_object_set_new(query, "uid", json_integer(known ? (json_int_t)cred.uid : -1));
	json_object_set_new(query, "admin", json_boolean(known && is_admin(c, cred.uid)));
	running = req;
	out = r->fn(arg, rest, query, &status, &err);
	running = NULL;
	json_decref(query);
	if (!out && status == CTL_LATER)
		return;
	if (out && !strcmp(r->path, "/v1/status"))
		json_object_update_missing_new(out, process_status(c));
	if (out)
		send_json(req, status, out);
	else
		send_error(req, status == 200 ? 400 : status, err.text);
}

static void on_request(struct evhttp_request *req, void *arg)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
	const char *raw = evhttp_uri_get_path(uri), *method = method_of(req), *rest;
	bool other_method = false;
	struct ctl *c = arg;
	unsigned t, i;
	char *path;

	m_requests.value++;
	path = evhttp_uridecode(raw && *raw ? raw : "/", 0, NULL);
	if (!path) {
		send_error(req, 400, "the path cannot be decoded");
		return;
	}
	if (!strcmp(path, "/metrics") && !strcmp(method, "GET")) {
		metrics(c, req);
		free(path);
		return;
	}
	if (!strcmp(path, "/v1/help") && !strcmp(method, "GET")) {
		send_json(req, 200, help(c));
		free(path);
		return;
	}
	for (t = 0; t < c->ntables; t++)
		for (i = 0; i < c->table[t].n; i++) {
			const struct ctl_request *r = &c->table[t].req[i];

			if (!matches(r, path, &rest))
				continue;
			if (strcmp(r->method, method)) {
				other_method = true;
				continue;
			}
			run(c, req, r, c->table[t].arg, rest, evhttp_uri_get_query(uri));
			free(path);
			return;
		}
	if (!strcmp(path, "/v1/status") && !strcmp(method, "GET")) {
		send_json(req, 200, process_status(c));
		free(path);
		return;
	}
	send_error(req, other_method ? 405 : 404,
	    other_method ? "this path does not take that method; see /v1/help"
			 : "no such request; see /v1/help");
	free(path);
}

/* ---- accepting ---- */

static void accept_again(int fd, short what, void *arg)
{
	struct ctl *c = arg;

	(void)fd, (void)what;
	evconnlistener_enable(c->listener);
}

/* A client that waits for a descriptor would wake us again and again. */
static void accept_failed(struct evconnlistener *l, void *arg)
{
	int cause = errno;
	struct ctl *c = all;

	(void)arg; /* evhttp's */
	while (c->listener != l)
		c = c->next;
	if (log_rarely(&c->said, loop_now(c->loop)))
		log_event(LOG_L_WARN, "control.accept", "cause=%s pause_ms=%d", strerror(cause),
		    PAUSE_MS);
	evconnlistener_disable(l);
	loop_rearm(c->pause, PAUSE_MS);
}

static int accept_on(struct ctl *c, int listen_fd)
{
	struct evhttp_bound_socket *b = evhttp_accept_socket_with_handle(c->http, listen_fd);

	if (!b)
		return -1;
	c->listener = evhttp_bound_socket_get_listener(b);
	evconnlistener_set_error_cb(c->listener, accept_failed);
	c->pause = loop_timer(c->loop, -1, accept_again, c);
	return 0;
}

struct ctl *ctl_new(
    struct loop *l, int listen_fd, const char *role, uint32_t index, const struct settings *set)
{
	struct ctl *c = base_alloc(sizeof(*c));

	str_copy(c->role, sizeof(c->role), role);
	c->index = index;
	c->started = time(NULL);
	c->loop = l;
	c->next = all;
	all = c;
	c->http = evhttp_new(loop_base(l));
	if (!c->http || accept_on(c, listen_fd) < 0) {
		log_event(LOG_L_ERR, "control.failed", "error=%s", strerror(errno));
		ctl_free(&c);
		return NULL;
	}
	evhttp_set_allowed_methods(c->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_DELETE);
	evhttp_set_max_headers_size(c->http, REQUEST_MAX);
	evhttp_set_max_body_size(c->http, REQUEST_MAX);
	evhttp_set_timeout(c->http, IDLE_SECONDS);
	evhttp_set_gencb(c->http, on_request, c);
	ctl_settings(c, set);
	return c;
}

void ctl_add(struct ctl *c, const struct ctl_request *req, unsigned n, void *arg)
{
	ensure(c->ntables < TABLES_MAX);
	c->table[c->ntables].req = req;
	c->table[c->ntables].n = n;
	c->table[c->ntables++].arg = arg;
}

void ctl_more_metrics(struct ctl *c, ctl_metrics_fn fn, void *arg)
{
	ensure(c->nmore < ARRAY_LEN(c->more));
	c->more[c->nmore].fn = fn;
	c->more[c->nmore++].arg = arg;
}

/* Names to numbers once, not at each request: getpwnam may ask a slow server. */
void ctl_settings(struct ctl *c, const struct settings *set)
{
	const char *const *a;
	struct passwd *pw;
	char *end;
	long n;

	c->nadmins = 0;
	for (a = set ? set->control_admins : NULL; a && *a && c->nadmins < ADMINS_MAX; a++) {
		n = strtol(*a, &end, 10);
		if (**a && !*end)
			c->admins[c->nadmins++] = (uid_t)n;
		else if ((pw = getpwnam(*a)))
			c->admins[c->nadmins++] = pw->pw_uid;
	}
}

void ctl_free(struct ctl **cp)
{
	struct ctl *c = *cp, **p;

	if (!c)
		return;
	*cp = NULL;
	for (p = &all; *p != c; p = &(*p)->next)
		;
	*p = c->next;
	loop_unwatch(&c->pause);
	if (c->http)
		evhttp_free(c->http);
	free(c);
}

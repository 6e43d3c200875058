/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.c -- one line an event, gathered and written once a loop turn.
 * Comes from log_event() anywhere; goes to stderr, a file or the syslog socket.
 * Owns the descriptor and at most 1 MiB of lines that could not be written.
 * On failure: a line that cannot be written or kept is counted, and the next line says so.
 */
#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048
#define PAIR_ROOM      64 /* for a key's marks, a number, the end of the line */
#define KEEP_MAX       (1u << 20)
#define RARELY_MS      60000

static struct {
	struct loop *loop;
	int fd, level, facility; /* facility: syslog number, or -1 */
	int pid;
	bool json, own_fd;
	char ident[64];
	char *file;
	char *buf; /* whole lines */
	size_t len, cap;
	uint64_t dropped, said;
	struct task flush;
} lg = {.fd = STDERR_FILENO, .level = LOG_L_NORMAL, .facility = -1, .ident = "meta1"};

static const struct {
	const char *name;
	int number;
} facilities[] = {{"mail", LOG_MAIL}, {"daemon", LOG_DAEMON}, {"user", LOG_USER},
    {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1}, {"local2", LOG_LOCAL2}, {"local3", LOG_LOCAL3},
    {"local4", LOG_LOCAL4}, {"local5", LOG_LOCAL5}, {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7}};

static const char *level_name(int level)
{
	return level < LOG_L_WARN     ? "error"
	       : level < LOG_L_INFO   ? "warning"
	       : level < LOG_L_NORMAL ? "notice"
	       : level < LOG_L_DEBUG  ? "info"
				      : "debug";
}

static int level_priority(int level)
{
	return level < LOG_L_WARN     ? LOG_ERR
	       : level < LOG_L_INFO   ? LOG_WARNING
	       : level < LOG_L_NORMAL ? LOG_NOTICE
	       : level < LOG_L_DEBUG  ? LOG_INFO
				      : LOG_DEBUG;
}

/* Writes whole lines as far as the descriptor takes them. Syslog: one datagram a line. */
static void write_out(void)
{
	size_t done = 0, n;
	const char *nl;
	ssize_t got;

	while (done < lg.len) {
		n = lg.len - done;
		if (lg.facility >= 0) {
			nl = memchr(lg.buf + done, '\n', n);
			n = (size_t)(nl - (lg.buf + done)) + 1;
			got = send(lg.fd, lg.buf + done, n - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
			/* a dead or full syslog loses the line, never the mail's time */
			if (got < 0)
				lg.dropped++;
			done += n;
			continue;
		}
		got = write(lg.fd, lg.buf + done, n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	if (done)
		memmove(lg.buf, lg.buf + done, lg.len - done);
	lg.len -= done;
}

static void flush_task(void *arg)
{
	(void)arg;
	write_out();
}

/* ---- one line ---- */

struct line {
	char b[LINE_MAX_BYTES];
	size_t n;
};

static void put(struct line *l, const char *s, size_t n)
{
	if (n > sizeof(l->b) - 2 - l->n)
		n = sizeof(l->b) - 2 - l->n;
	memcpy(l->b + l->n, s, n);
	l->n += n;
}

static void puts_(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

/* A value: bare when harmless, else quoted; control bytes as \xHH (JSON: \u00HH). */
static void put_value(struct line *l, const char *s, size_t n, bool text)
{
	bool quote = lg.json ? text : n == 0;
	char e[8];
	size_t i;

	for (i = 0; !lg.json && i < n && !quote; i++)
		quote = (unsigned char)s[i] <= ' ' || s[i] == '"' || s[i] == '\\' || s[i] == 0x7f ||
			s[i] == '=';
	if (quote)
		put(l, "\"", 1);
	for (i = 0; i < n && l->n < sizeof(l->b) - 16; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c == '"' || c == '\\') {
			put(l, "\\", 1);
			put(l, s + i, 1);
		} else if (c < ' ' || c == 0x7f || (lg.json && c > 0x7f)) {
			snprintf(e, sizeof(e), lg.json ? "\\u%04x" : "\\x%02x", c);
			puts_(l, e);
		} else {
			put(l, s + i, 1);
		}
	}
	if (quote)
		put(l, "\"", 1);
}

/* Renders one conversion. spec is "%…" of len bytes. */
static void put_conv(struct line *l, const char *spec, size_t len, va_list *ap)
{
	char f[16], out[64];
	const char *s;
	int n;

	if (len >= sizeof(f))
		len = sizeof(f) - 1;
	memcpy(f, spec, len);
	f[len] = '\0';
	if (!strcmp(f, "%s")) {
		s = va_arg(*ap, const char *);
		s = s ? s : "";
		put_value(l, s, strlen(s), true);
		return;
	}
	if (!strcmp(f, "%.*s")) {
		n = va_arg(*ap, int);
		s = va_arg(*ap, const char *);
		put_value(l, s ? s : "", s && n > 0 ? strnlen(s, (size_t)n) : 0, true);
		return;
	}
	if (strstr(f, "ll"))
		snprintf(out, sizeof(out), f, va_arg(*ap, long long));
	else if (strstr(f, "l"))
		snprintf(out, sizeof(out), f, va_arg(*ap, long));
	else if (strstr(f, "z"))
		snprintf(out, sizeof(out), f, va_arg(*ap, size_t));
	else
		snprintf(out, sizeof(out), f, va_arg(*ap, int));
	put_value(l, out, strlen(out), strpbrk(f, "xX") != NULL);
}

/* key=conv key=<conv> …: text around a conversion joins the value. */
static void put_pairs(struct line *l, const char *fmt, va_list *ap)
{
	const char *eq, *p, *end;
	struct line v;

	for (p = fmt; *p; p = end) {
		while (*p == ' ')
			p++;
		if (!(eq = strchr(p, '=')))
			break;
		/* half a pair would be no JSON: long values of others must not break a line */
		if ((size_t)(eq - p) + PAIR_ROOM > sizeof(l->b) - l->n)
			break;
		put(l, lg.json ? ",\"" : " ", lg.json ? 2 : 1);
		put(l, p, (size_t)(eq - p));
		puts_(l, lg.json ? "\":" : "=");
		p = eq + 1;
		end = p + strcspn(p, " ");
		if (*p == '%' && end == p + 1 + strcspn(p + 1, "sduxX") + 1) {
			put_conv(l, p, (size_t)(end - p), ap);
			continue;
		}
		/* mixed text such as <%s>: render plainly, then quote as one value */
		v.n = 0;
		while (p < end) {
			size_t n = strcspn(p, "% ");

			if (n > (size_t)(end - p))
				n = (size_t)(end - p);
			put(&v, p, n);
			p += n;
			if (p < end && *p == '%') {
				struct line t = {.n = 0};
				bool json = lg.json;

				n = 1 + strcspn(p + 1, "sduxX") + 1;
				if (!strncmp(p, "%s", 2)) {
					const char *s = va_arg(*ap, const char *);

					puts_(&v, s ? s : "");
				} else if (!strncmp(p, "%.*s", 4)) {
					int k = va_arg(*ap, int);
					const char *s = va_arg(*ap, const char *);

					put(&v, s ? s : "", s && k > 0 ? strnlen(s, (size_t)k) : 0);
				} else {
					lg.json = false;
					put_conv(&t, p, n, ap);
					lg.json = json;
					put(&v, t.b, t.n);
				}
				p += n;
			}
		}
		put_value(l, v.b, v.n, true);
	}
}

static void put_head(struct line *l, int level, const char *event)
{
	struct timespec ts;
	struct tm tm;
	char t[64], h[256];
	size_t n;

	if (!lg.pid)
		lg.pid = (int)getpid();
	clock_gettime(CLOCK_REALTIME, &ts);
	localtime_r(&ts.tv_sec, &tm);
	if (lg.facility >= 0) {
		strftime(t, sizeof(t), "%b %e %H:%M:%S", &tm);
		snprintf(h, sizeof(h), "<%d>%s %s[%d]: ", lg.facility | level_priority(level), t,
		    lg.ident, lg.pid);
		puts_(l, h);
		t[0] = '\0';
	} else {
		n = strftime(t, sizeof(t), "%Y-%m-%dT%H:%M:%S", &tm);
		n += (size_t)snprintf(t + n, 5, ".%03u", (unsigned)(ts.tv_nsec / 1000000) % 1000);
		strftime(t + n, sizeof(t) - n, "%z", &tm);
	}
	if (lg.json)
		snprintf(h, sizeof(h),
		    "{\"time\":\"%s\",\"prog\":\"%s\",\"pid\":%d,\"level\":\"%s\","
		    "\"event\":\"%s\"",
		    t, lg.ident, lg.pid, level_name(level), event);
	else if (lg.facility >= 0)
		snprintf(h, sizeof(h), "%s %s", level_name(level), event);
	else
		snprintf(
		    h, sizeof(h), "%s %s[%d] %s %s", t, lg.ident, lg.pid, level_name(level), event);
	puts_(l, h);
}

static void keep(const struct line *l)
{
	if (lg.len + l->n > KEEP_MAX) {
		lg.dropped++;
		return;
	}
	if (lg.len + l->n > lg.cap) {
		lg.cap = lg.cap ? lg.cap * 2 : 16384;
		lg.buf = base_realloc(lg.buf, lg.cap);
	}
	memcpy(lg.buf + lg.len, l->b, l->n);
	lg.len += l->n;
	if (lg.loop)
		loop_flush(lg.loop, &lg.flush);
	else
		write_out();
}

bool log_on(enum log_level level)
{
	return (int)level <= lg.level;
}

bool log_rarely(int64_t *said, int64_t now)
{
	if (*said && now - *said < RARELY_MS)
		return false;
	*said = now;
	return true;
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
	struct line l;
	va_list ap;

	if (!log_on(level))
		return;
	if (lg.dropped > lg.said) {
		uint64_t n = lg.dropped - lg.said;

		lg.said = lg.dropped;
		log_event(LOG_L_WARN, "log.dropped", "lines=%llu", (unsigned long long)n);
	}
	l.n = 0;
	put_head(&l, (int)level, event);
	va_start(ap, fmt);
	put_pairs(&l, fmt, &ap);
	va_end(ap);
	if (lg.json)
		l.b[l.n++] = '}';
	l.b[l.n++] = '\n';
	keep(&l);
}

uint64_t log_dropped(void)
{
	return lg.dropped;
}

static int open_file(struct meta1_err *err)
{
	int fd = open(lg.file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);

	if (fd < 0)
		return err_set(err, "log file %s: %s", lg.file, strerror(errno));
	return fd;
}

static int open_syslog(struct meta1_err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_set(err, "syslog: %s", strerror(errno));
	/* without a syslog daemon lines are counted as dropped; mail goes on */
	(void)connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	return fd;
}

int log_open(struct loop *loop, const struct log_conf *c, struct meta1_err *err)
{
	int fd = STDERR_FILENO, facility = -1;
	size_t i;

	free(lg.file);
	lg.file = NULL;
	if (c->file) {
		lg.file = base_strdup(c->file);
		if ((fd = open_file(err)) < 0)
			return -1;
	} else if (c->facility) {
		for (i = 0; i < ARRAY_LEN(facilities) && facility < 0; i++)
			if (!strcmp(facilities[i].name, c->facility))
				facility = facilities[i].number;
		if (facility < 0)
			return err_set(err,
			    "log facility %s: expected mail, daemon, user or local0 to local7",
			    c->facility);
		if ((fd = open_syslog(err)) < 0)
			return -1;
	}
	if (lg.own_fd)
		close(lg.fd);
	lg.fd = fd;
	lg.own_fd = fd != STDERR_FILENO;
	lg.facility = facility;
	lg.json = c->json;
	lg.level = c->level;
	lg.pid = (int)getpid();
	if (c->ident)
		str_copy(lg.ident, sizeof(lg.ident), c->ident);
	if (!lg.flush.fn)
		task_init(&lg.flush, flush_task, NULL);
	task_cancel(&lg.flush);
	lg.loop = loop;
	return 0;
}

void log_reopen(void)
{
	struct meta1_err err;
	int fd;

	if (!lg.file)
		return;
	if ((fd = open_file(&err)) < 0) {
		log_event(LOG_L_ERR, "log.reopen", "error=%s", err.text);
		return;
	}
	write_out();
	close(lg.fd);
	lg.fd = fd;
}

void log_close(void)
{
	if (lg.flush.fn)
		task_cancel(&lg.flush);
	write_out();
	lg.loop = NULL;
	if (lg.own_fd)
		close(lg.fd);
	lg.fd = STDERR_FILENO;
	lg.own_fd = false;
	lg.facility = -1;
	free(lg.buf);
	free(lg.file);
	lg.buf = NULL;
	lg.file = NULL;
	lg.len = lg.cap = 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter-regex.c -- refuses mail by regular expressions: an example of libpmilter that is of use.
 *
 *	filter-regex -c RULES [-l unix:/run/filter-regex.sock] [-n]
 *
 * A rule is a line; the first that fits is the verdict. -n only checks the file.
 *
 *	reject   "no thanks"  header /^subject$/i /viagra|cialis/i
 *	tempfail "later"      connect /\.dynamic\./i
 *	discard  ""           from   /^bounce@example\.net$/
 *	hold     "look at it" body   /BEGIN PGP/
 *	accept   ""           to     /^postmaster@/i
 *
 * Comes from smtps through the library, on one thread; nothing here sleeps. A session is a carry of
 * the line that is not whole yet, bounded by LINE_MAX_LEN; a longer line is matched in pieces.
 */
#include <ctype.h>
#include <meta1/pmfapi.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define RULES_MAX    1000
#define LINE_MAX_LEN 8192

enum what { CONNECT, HELO, FROM, TO, HEADER, BODY, WHATS };
static const char *const whats[] = {"connect", "helo", "from", "to", "header", "body"};
enum act { REJECT, TEMPFAIL, DISCARD, HOLD, ACCEPT, ACTS };
static const char *const acts[] = {"reject", "tempfail", "discard", "hold", "accept"};

struct rule {
	enum act act;
	enum what what;
	char *text;
	regex_t re, value; /* value: of a header field, re is its name's */
};

struct session {
	const struct rule *held; /* HOLD at connect or helo: of all its mails */
	const struct rule *hit;	 /* of this mail: acts at its end */
	char line[LINE_MAX_LEN + 1];
	size_t len;
	int body; /* the header is over */
	char name[100];
};

static struct rule rules[RULES_MAX];
static unsigned nrule;

/* ---- rules ---- */

static int word(char **p, const char *const *list, unsigned n)
{
	size_t len;

	*p += strspn(*p, " \t");
	len = strcspn(*p, " \t\n");
	for (unsigned i = 0; i < n; i++)
		if (strlen(list[i]) == len && strncmp(*p, list[i], len) == 0) {
			*p += len;
			return (int)i;
		}
	return -1;
}

/* What stands between two marks; \ before a mark takes it as it is. */
static char *quoted(char **p, char mark)
{
	char *out, *to;

	*p += strspn(*p, " \t");
	if (**p != mark)
		return NULL;
	out = to = ++*p;
	while (**p && **p != mark) {
		if (**p == '\\' && (*p)[1] == mark)
			++*p;
		*to++ = *(*p)++;
	}
	if (**p != mark)
		return NULL;
	++*p;
	*to = '\0';
	return out;
}

static const char *regex(char **p, regex_t *re)
{
	static char why[200];
	char *text = quoted(p, '/');
	int flags = REG_EXTENDED | REG_NOSUB, bad;

	if (!text)
		return "expected /regular expression/";
	if (**p == 'i') {
		flags |= REG_ICASE;
		++*p;
	}
	bad = regcomp(re, text, flags);
	if (bad)
		regerror(bad, re, why, sizeof(why));
	return bad ? why : NULL;
}

static const char *rule_read(char *p, struct rule *r)
{
	int act = word(&p, acts, ACTS), what;
	char *text = act < 0 ? NULL : quoted(&p, '"');
	const char *bad;

	if (act < 0)
		return "expected reject, tempfail, discard, hold or accept";
	if (!text)
		return "expected \"text of the reply\"";
	what = word(&p, whats, WHATS);
	if (what < 0)
		return "expected connect, helo, from, to, header or body";
	*r = (struct rule){.act = (enum act)act, .what = (enum what)what, .text = strdup(text)};
	bad = regex(&p, &r->re);
	if (!bad && r->what == HEADER)
		bad = regex(&p, &r->value);
	return bad ? bad : p[strspn(p, " \t\r\n")] ? "more than a rule on the line" : NULL;
}

static int rules_read(const char *file)
{
	FILE *f = fopen(file, "r");
	char line[4096];
	unsigned n = 0, bad = 0;

	if (!f) {
		perror(file);
		return -1;
	}
	while (fgets(line, sizeof(line), f)) {
		const char *p = line + strspn(line, " \t\r\n"), *why;

		n++;
		if (!*p || *p == '#')
			continue;
		why = nrule == RULES_MAX ? "too many rules" : rule_read(line, &rules[nrule]);
		if (why)
			fprintf(stderr, "%s:%u: %s\n", file, n, why);
		bad += why != NULL;
		nrule += why == NULL;
	}
	fclose(f);
	return bad ? -1 : 0;
}

static const struct rule *match(enum what what, const char *text, const char *value)
{
	for (unsigned i = 0; i < nrule; i++)
		if (rules[i].what == what && regexec(&rules[i].re, text, 0, NULL, 0) == 0 &&
		    (what != HEADER || regexec(&rules[i].value, value, 0, NULL, 0) == 0))
			return &rules[i];
	return NULL;
}

/* ---- verdicts ---- */

static sfsistat_T say(pmse_ctx_P s, const struct rule *r)
{
	int temp = r && r->act == TEMPFAIL;

	if (!r)
		return SMTP_R_CONT;
	if (r->act == ACCEPT || r->act == DISCARD)
		return r->act == ACCEPT ? SMTP_R_ACCEPT : SMTP_R_DISCARD;
	sm_pmfi_note(s, r->text);
	if (r->act == HOLD) {
		sm_pmfi_hold(s, *r->text ? r->text : "filter-regex");
		return SMTP_R_CONT;
	}
	sm_pmfi_setreply(s, temp ? "451" : "554", temp ? "4.7.1" : "5.7.1", r->text);
	return temp ? SMTP_R_TEMP : 554;
}

static struct session *session(pmse_ctx_P s)
{
	struct session *x = sm_pmfi_get_ctx_se(s);

	if (!x) {
		x = calloc(1, sizeof(*x));
		sm_pmfi_set_ctx_se(s, x);
	}
	return x;
}

/* HOLD is possible at the end only. */
static sfsistat_T now(pmse_ctx_P s, const struct rule *r)
{
	struct session *x;

	if (!r || r->act != HOLD)
		return say(s, r);
	x = session(s);
	if (!x)
		return SMTP_R_TEMP;
	if (!x->held && (r->what == CONNECT || r->what == HELO))
		x->held = r;
	if (!x->hit)
		x->hit = r;
	return SMTP_R_CONT;
}

/* ---- callbacks ---- */

static sfsistat_T on_connect(pmse_ctx_P s, const char *name, const sm_sockaddr_T *addr)
{
	(void)addr;
	return now(s, match(CONNECT, name, NULL));
}

static sfsistat_T on_helo(pmse_ctx_P s, const char *name)
{
	return now(s, match(HELO, name, NULL));
}

static sfsistat_T on_mail(pmse_ctx_P s, const char *sender, const char *const *params)
{
	struct session *x = session(s);

	(void)params;
	if (!x)
		return SMTP_R_TEMP;
	*x = (struct session){.held = x->held, .hit = x->held};
	return now(s, match(FROM, sender, NULL));
}

static sfsistat_T on_rcpt(pmse_ctx_P s, const char *rcpt, const char *const *params)
{
	(void)params;
	return now(s, match(TO, rcpt, NULL));
}

/* A whole line, or what there is room for of it. */
static const struct rule *line(struct session *x)
{
	char *colon;

	while (x->len && (x->line[x->len - 1] == '\r' || x->line[x->len - 1] == '\n'))
		x->len--;
	x->line[x->len] = '\0';
	if (x->body)
		return match(BODY, x->line, NULL);
	if (!x->len) {
		x->body = 1;
		return NULL;
	}
	if (*x->line == ' ' || *x->line == '\t')
		return match(HEADER, x->name, x->line + 1);
	colon = strchr(x->line, ':');
	if (!colon)
		return NULL;
	*colon++ = '\0';
	snprintf(x->name, sizeof(x->name), "%.99s", x->line);
	return match(HEADER, x->name, colon + strspn(colon, " \t"));
}

static sfsistat_T on_msg(pmse_ctx_P s, const unsigned char *p, size_t n)
{
	struct session *x = session(s);

	if (!x)
		return SMTP_R_TEMP;
	for (size_t i = 0; i < n && !x->hit; i++) {
		x->line[x->len++] = (char)(p[i] ? p[i] : ' ');
		if (p[i] == '\n' || x->len == LINE_MAX_LEN) {
			x->hit = line(x);
			x->len = 0;
		}
	}
	/* the verdict of HOLD needs pmfi_eom; all others may come now */
	return x->hit && x->hit->act != HOLD ? say(s, x->hit) : SMTP_R_CONT;
}

static sfsistat_T on_eom(pmse_ctx_P s)
{
	struct session *x = session(s);

	return x ? say(s, x->hit) : SMTP_R_TEMP;
}

static sm_ret_T on_close(pmse_ctx_P s)
{
	free(sm_pmfi_get_ctx_se(s));
	return SM_SUCCESS;
}

static const struct pmilter_S filter = {.pmfi_name = "filter-regex",
    .pmfi_actions = PM_FCT_HOLD | PM_FCT_DISCARD,
    .pmfi_connect = on_connect,
    .pmfi_helo = on_helo,
    .pmfi_mail = on_mail,
    .pmfi_rcpt = on_rcpt,
    .pmfi_msg = on_msg,
    .pmfi_eom = on_eom,
    .pmfi_close = on_close};

int main(int argc, char **argv)
{
	const char *where = "unix:/run/filter-regex.sock", *file = NULL;
	int check = 0, opt;
	pmg_ctx_P g;

	while ((opt = getopt(argc, argv, "c:l:n")) != -1) {
		if (opt == 'c')
			file = optarg;
		else if (opt == 'l')
			where = optarg;
		else if (opt == 'n')
			check = 1;
		else
			return 64;
	}
	if (!file || optind != argc) {
		fputs("usage: filter-regex -c RULES [-l WHERE] [-n]\n", stderr);
		return 64;
	}
	if (rules_read(file) < 0)
		return 78;
	if (check)
		return 0;
	if (sm_is_err(sm_pmfi_init(&g)))
		return 71;
	sm_pmfi_setdbg(g, 1);
	if (sm_is_err(sm_pmfi_setconn(g, where)) || sm_is_err(sm_pmfi_start(g, &filter)))
		return 69;
	sm_pmfi_free(&g);
	return 0;
}

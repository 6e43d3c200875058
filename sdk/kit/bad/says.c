/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pmilter_says -- a filter whose verdict is wrong in one way (is.h).
 */
#include "is.h"

#include <stdint.h>

struct sess;
struct meta1_pm_ask;
static void change(struct sess *, const struct meta1_pm_ask *);
static uint32_t wants(void);
static int refuses(void);
#define BAD	     pmilter_says
#define WANTS	     wants()
#define CHANGE(s, a) change(s, a)
#define OPENS	     !refuses()
#include "filter.h"

static uint32_t wants(void)
{
	return META1_PM_CONNECT | META1_PM_MAIL | META1_PM_RCPT | META1_PM_DATA | META1_PM_END |
	       (is("beyond") ? 1u << 20 : 0);
}

static int refuses(void)
{
	return is("closed");
}

static void refuse(struct meta1_pm_verdict *v)
{
	v->action = META1_PM_REFUSE;
	v->nedit = 0;
	if (is("class"))
		v->smtp = 450, strcpy(v->dsn, "5.7.1");
	if (is("unended"))
		memset(v->dsn, '5', sizeof(v->dsn));
	if (is("lineless"))
		v->nline = 1, v->line = NULL;
	if (is("held"))
		v->hold = "to be looked at";
}

static void edit(struct meta1_pm_verdict *v, struct meta1_pm_edit *e)
{
	static struct meta1_extent x = {.fd = 9999, .len = 1};

	if (is("addressless"))
		e->kind = META1_PM_ADD_RCPT, e->value = (struct meta1_buf){NULL, 0};
	if (is("hostless"))
		e->kind = META1_PM_ADD_RCPT, e->value = (struct meta1_buf){"user@", 5};
	if (is("kind"))
		e->kind = 99;
	if (is("valueless"))
		e->value = (struct meta1_buf){NULL, 0};
	if (is("sizeless"))
		v->sizeof_edit = 0;
	if (is("many"))
		v->nedit = 5000;
	if (!is("extentless") && !is("closed_file") && !is("behind"))
		return;
	e->kind = META1_PM_BODY;
	e->nextent = 1;
	e->extent = is("extentless") ? NULL : &x;
	if (is("behind")) {
		x.fd = 0;
		x.off = 1u << 30;
	}
}

static void change(struct sess *s, const struct meta1_pm_ask *a)
{
	struct meta1_pm_verdict *v = &s->verdict;

	if (is("unsized"))
		v->size = 8;
	if (is("action"))
		v->action = 9;
	if (is("two_lines"))
		v->note = "one\ntwo";
	if (a->stage == META1_PM_END)
		edit(v, &s->edit);
	if (a->stage == META1_PM_END &&
	    (is("class") || is("unended") || is("lineless") || is("held")))
		refuse(v);
}

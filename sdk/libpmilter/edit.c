/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * edit.c -- what a filter says within a callback besides its verdict, and what it may ask.
 *
 * Comes from the filter; edits go out at once, the rest waits for the verdict. Owns texts.
 * On failure: -EINVAL: not now, or not well formed; -EMSGSIZE: too large; -ENOMEM. Nothing was
 * sent.
 */
#include "lib.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void lpm_edit_forget(pmse_ctx_P s)
{
	lpm_edit_drop(&s->reply);
	free(s->hold);
	s->hold = NULL;
}

void lpm_edit_drop(struct reply *r)
{
	free(r->text);
	*r = (struct reply){.text = NULL};
}

void lpm_edit_keep(pmse_ctx_P s, struct reply *r)
{
	lpm_edit_drop(r);
	*r = s->reply;
	s->reply = (struct reply){.text = NULL};
}

void lpm_edit_use(pmse_ctx_P s, const struct reply *r)
{
	lpm_edit_drop(&s->reply);
	s->reply = *r;
	s->reply.text = r->text ? strdup(r->text) : NULL; /* without memory: the code alone */
}

int lpm_edit_send(pmse_ctx_P s, struct meta1_pmw_out *o)
{
	size_t n = meta1_pmw_done(o);

	if (!n)
		return -EMSGSIZE;
	if (!s->out && s->link->fd < 0)
		return SM_SUCCESS; /* nobody hears it */
	return evbuffer_add(s->out ? s->out : s->link->out, o->at, n) < 0 ? -ENOMEM : SM_SUCCESS;
}

static sm_ret_T set(char **to, const char *text)
{
	char *p = text ? strdup(text) : NULL;

	if (text && !p)
		return -ENOMEM;
	free(*to);
	*to = p;
	return SM_SUCCESS;
}

/* ---- edits: in END only, and what was agreed upon ---- */

static sm_ret_T allowed(pmse_ctx_P s, uint32_t action)
{
	return s->stage == META1_PM_END && (s->link->actions & action) ? SM_SUCCESS : -EINVAL;
}

static sm_ret_T edit(pmse_ctx_P s, uint32_t action, uint32_t kind, uint32_t pos, const char *name,
    const char *value, const char *params)
{
	unsigned char buf[META1_PMW_FRAME_MAX];
	struct meta1_pmw_out o = meta1_pmw_begin(buf, sizeof(buf), META1_PMW_EDIT, s->id);

	if (sm_is_err(allowed(s, action)))
		return -EINVAL;
	if (value && strlen(value) > META1_PMW_VALUE_MAX)
		return -EMSGSIZE;
	meta1_pmw_num(&o, META1_PMW_F_KIND, kind, 1);
	meta1_pmw_num(&o, META1_PMW_F_INDEX, pos, 4);
	meta1_pmw_text(&o, META1_PMW_F_FIELD, name);
	meta1_pmw_text(&o, META1_PMW_F_VALUE, value);
	meta1_pmw_text(&o, META1_PMW_F_PARAM, params);
	return lpm_edit_send(s, &o);
}

sm_ret_T sm_pmfi_hdr_mod(
    pmse_ctx_P s, uint32_t kind, uint32_t pos, const char *name, const char *value)
{
	if (kind == SM_HDRMOD_T_REMOVE) {
		kind = META1_PM_CHANGE_HEADER;
		value = NULL;
	} else if (!value) {
		return -EINVAL;
	}
	if (!name || !*name || kind < META1_PM_ADD_HEADER || kind > META1_PM_CHANGE_HEADER)
		return -EINVAL;
	return edit(s, META1_PMW_A_HEADERS, kind, pos, name, value, NULL);
}

sm_ret_T sm_pmfi_rcpt_add(pmse_ctx_P s, const char *rcpt, const char *params)
{
	return rcpt && *rcpt ? edit(s, META1_PMW_A_RCPTS, META1_PM_ADD_RCPT, 0, NULL, rcpt, params)
			     : -EINVAL;
}

sm_ret_T sm_pmfi_rcpt_del(pmse_ctx_P s, const char *rcpt)
{
	return rcpt && *rcpt ? edit(s, META1_PMW_A_RCPTS, META1_PM_DEL_RCPT, 0, NULL, rcpt, NULL)
			     : -EINVAL;
}

sm_ret_T sm_pmfi_mail_set(pmse_ctx_P s, const char *sender, const char *params)
{
	return sender ? edit(s, META1_PMW_A_SENDER, META1_PM_SENDER, 0, NULL, sender, params)
		      : -EINVAL;
}

sm_ret_T sm_pmfi_hold(pmse_ctx_P s, const char *why)
{
	if (sm_is_err(allowed(s, META1_PMW_A_HOLD)) || !why)
		return -EINVAL;
	return strlen(why) > TEXT_MAX ? -EMSGSIZE : set(&s->hold, why);
}

/* ---- replies ---- */

static bool code_ok(const char *p)
{
	return p && (*p == '4' || *p == '5') && isdigit((unsigned char)p[1]) &&
	       isdigit((unsigned char)p[2]) && !p[3];
}

static bool dsn_ok(const char *p, char class)
{
	unsigned len = (unsigned)strlen(p), dots = 0;

	for (unsigned i = 0; i < len; i++) {
		if (p[i] != '.' && !isdigit((unsigned char)p[i]))
			return false;
		dots += p[i] == '.';
	}
	return len >= 5 && len <= 9 && dots == 2 && p[0] == class && p[1] == '.';
}

static bool text_fits(const char *text)
{
	unsigned n = 0;

	for (; text && *text; n++) {
		size_t len = strcspn(text, "\n");

		if (len > LINE_LEN || n == META1_PMW_LINE_MAX)
			return false;
		text += len + (text[len] == '\n');
	}
	return true;
}

sm_ret_T sm_pmfi_setreply(pmse_ctx_P s, const char *rcode, const char *xcode, const char *text)
{
	if (!code_ok(rcode) || (xcode && !dsn_ok(xcode, *rcode)))
		return -EINVAL;
	if (!text_fits(text))
		return -EMSGSIZE;
	if (sm_is_err(set(&s->reply.text, text)))
		return -ENOMEM;
	memcpy(s->reply.rcode, rcode, 4);
	*s->reply.dsn = '\0';
	if (xcode)
		memcpy(s->reply.dsn, xcode, strlen(xcode) + 1);
	return SM_SUCCESS;
}

sm_ret_T sm_pmfi_note(pmse_ctx_P s, const char *text)
{
	if (!text)
		return -EINVAL;
	return strlen(text) > TEXT_MAX ? -EMSGSIZE : set(&s->note, text);
}

sm_ret_T sm_pmfi_wants(pmse_ctx_P s, uint32_t stages)
{
	s->wants = stages & s->link->stages;
	return SM_SUCCESS;
}

/* ---- what it may ask ---- */

sm_ret_T sm_pmfi_getmac(pmse_ctx_P s, uint32_t macro, const char **value)
{
	*value = NULL;
	if (macro == 0 || macro >= META1_PMM_MAX)
		return -EINVAL;
	*value = s->macro[macro];
	return SM_SUCCESS;
}

const struct pmse_info_S *sm_pmfi_info(pmse_ctx_P s)
{
	return &s->info;
}

sm_ret_T sm_pmfi_setmacs(pmss_ctx_P l, uint32_t stage, const uint32_t *macros)
{
	unsigned at = l->nask;
	uint32_t n = 0;

	if (!l->greeted || !macros || at == sizeof(l->mac) / sizeof(l->mac[0]))
		return -EINVAL;
	for (; macros[n] != PMM_END; n++) {
		if (n == PM_MACROS_MAX || macros[n] >= META1_PMM_MAX)
			return -EINVAL;
		l->mac[at][n] = (uint16_t)macros[n];
	}
	l->macstage[at] = stage;
	l->nmac[at] = n;
	l->nask++;
	return SM_SUCCESS;
}

/* ---- pointers of the filter's own ---- */

sm_ret_T sm_pmfi_set_ctx_g(pmg_ctx_P g, void *p)
{
	g->ctx = p;
	return SM_SUCCESS;
}

void *sm_pmfi_get_ctx_g(pmg_ctx_P g)
{
	return g->ctx;
}

sm_ret_T sm_pmfi_set_ctx_ss(pmss_ctx_P l, void *p)
{
	l->ctx = p;
	return SM_SUCCESS;
}

void *sm_pmfi_get_ctx_ss(pmss_ctx_P l)
{
	return l->ctx;
}

pmg_ctx_P sm_pmfi_ss_g(pmss_ctx_P l)
{
	return l->g;
}

sm_ret_T sm_pmfi_set_ctx_se(pmse_ctx_P s, void *p)
{
	s->ctx = p;
	return SM_SUCCESS;
}

void *sm_pmfi_get_ctx_se(pmse_ctx_P s)
{
	return s->ctx;
}

pmss_ctx_P sm_pmfi_se_ss(pmse_ctx_P s)
{
	return s->link;
}

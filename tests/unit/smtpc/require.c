/* SPDX-License-Identifier: BSD-2-Clause */
/* require.c -- which headers say TLS-Required: No, and what follows for hops; what REQUIRETLS bars.
 */
#include "../unit.h"
#include "mail/tls_required.h"
#include "smtpc/smtpc.h"

static struct hop_conf conf = {.tls_policy = TLS_POLICY_MAY};

static struct smtpc_hop hop_with(const char *need, bool soft)
{
	return (struct smtpc_hop){.to = {.size = sizeof(struct meta1_hop),
				      .host = "mx.test",
				      .addr = "192.0.2.1",
				      .tls = META1_TLS_VERIFY,
				      .tls_need = need},
	    .conf = &conf,
	    .need = need,
	    .words = "verify",
	    .soft = soft};
}

/* Cut into extents of so many bytes. */
static bool ignored(const char *text, size_t cut, bool soft, uint32_t flags)
{
	static struct meta1_extent x[2000];
	struct smtpc_hop hop[2] = {hop_with("verify", soft), hop_with("verify", soft)};
	struct smtpc_delivery d = {.hop = hop, .nhop = 2, .mail = {.flags = flags}};
	size_t len = strlen(text);

	for (size_t at = 0; at < len; at += cut)
		x[d.mail.nextent++] =
		    (struct meta1_extent){.mem = text + at, .len = len - at < cut ? len - at : cut};
	d.mail.extent = x;
	smtpc_require_header(&d);
	assert_int_equal(hop[0].to.tls, hop[1].to.tls);
	assert_int_equal(hop[0].to.tls_need == NULL, hop[0].to.tls == META1_TLS_MAY);
	return hop[0].to.tls == META1_TLS_MAY;
}

static void headers(void **state)
{
	static const struct {
		const char *text;
		bool no;
	} t[] = {
	    {"TLS-Required: No\r\n\r\nx\r\n", true},
	    {"Subject: a\r\ntls-required:no \t\r\nTo: b\r\n\r\n", true},
	    {"Subject: a\r\nTLS-REQUIRED: \tNO\r\n\r\nx\r\n", true},
	    {"TLS-Required: Yes\r\n\r\n", false},
	    {"TLS-Required: None\r\n\r\n", false},
	    {"TLS-Required: No really\r\n\r\n", false},
	    {"TLS-Required:\r\n\r\n", false},
	    {"X-TLS-Required: No\r\n\r\n", false},
	    {"TLS-Required : No\r\n\r\n", false},
	    {" TLS-Required: No\r\n\r\n", false},
	    {"Subject: a\r\n\r\nTLS-Required: No\r\n\r\n", false}, /* of the body */
	    {"TLS-Required: No\r\n", false},			   /* the header has no end */
	    {"\r\n", false},
	    {"", false},
	    {"Subject: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n"
	     "TLS-Required: No\r\n\r\n",
		true},
	};
	static const size_t cut[] = {1, 2, 7, 1000};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		for (size_t k = 0; k < ARRAY_LEN(cut); k++) {
			if (ignored(t[i].text, cut[k], true, 0) != t[i].no)
				fail_msg("%s, cut at %zu", t[i].text, cut[k]);
			/* what an admin wants holds, and REQUIRETLS goes before it */
			assert_false(ignored(t[i].text, cut[k], false, 0));
			assert_false(ignored(t[i].text, cut[k], true, META1_M_REQUIRETLS));
			/* it is marked, and need not be looked into */
			assert_true(ignored(t[i].text, cut[k], true, MAIL_TLS_NO));
			assert_false(ignored(t[i].text, cut[k], false, MAIL_TLS_NO));
		}
}

/* A content that is a file of its own is not looked into. */
static void file(void **state)
{
	struct meta1_extent x = {.fd = 0, .len = 100};
	struct smtpc_hop hop = hop_with("verify", true);
	struct smtpc_delivery d = {.hop = &hop, .nhop = 1, .mail = {.extent = &x, .nextent = 1}};

	(void)state;
	smtpc_require_header(&d);
	assert_int_equal(hop.to.tls, META1_TLS_VERIFY);
}

static const struct meta1_transport_ops heeds_all = {
    .size = sizeof(heeds_all), .heeds = META1_M_SMTPUTF8 | META1_M_REQUIRETLS};
static const struct meta1_transport_ops heeds_none = {.size = sizeof(heeds_none)};
static struct smtpc_transport all = {.ops = &heeds_all}, none = {.ops = &heeds_none};

static void hops(void **state)
{
	static const struct {
		const char *host, *addr;
		uint32_t tls;
		uint64_t secure;
		const char *need;
		bool required;
		uint32_t then;
		bool barred;
	} t[] = {
	    {"mx.test", "192.0.2.1", META1_TLS_MAY, 0, "encrypt", false, META1_TLS_MAY, false},
	    {"mx.test", "192.0.2.1", META1_TLS_MAY, 0, "encrypt", true, META1_TLS_VERIFY, true},
	    {"mx.test", "192.0.2.1", META1_TLS_MAY, SECURE_ADDR, "encrypt", true, META1_TLS_VERIFY,
		true},
	    {"mx.test", "192.0.2.1", META1_TLS_MAY, SECURE_NAME, "encrypt", true, META1_TLS_VERIFY,
		false},
	    {"mx.test", "192.0.2.1", META1_TLS_ENCRYPT, SECURE_NAME, "encrypt", true,
		META1_TLS_VERIFY, false},
	    {"mx.test", "192.0.2.1", META1_TLS_VERIFY, 0, "verify by=sts", true, META1_TLS_VERIFY,
		false},
	    {"mx.test", "192.0.2.1", META1_TLS_VERIFY, 0, "encrypt", true, META1_TLS_VERIFY, true},
	    {"192.0.2.1", "192.0.2.1", META1_TLS_NONE, 0, "encrypt", true, META1_TLS_VERIFY, false},
	    {"gw.test", "/run/lmtp", META1_TLS_MAY, 0, "encrypt", true, META1_TLS_VERIFY, false},
	    {"mx.test", "192.0.2.1", META1_TLS_MAY, 0, "verify by=sts testing=1", true,
		META1_TLS_VERIFY, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct p_deliver m = {.flags = t[i].required ? META1_M_REQUIRETLS : 0,
		    .secure = {(uint64_t *)(uintptr_t)&t[i].secure, 1}};
		struct smtpc_hop hop = hop_with(t[i].need, false);
		struct smtpc_delivery d = {.mail = {.flags = (uint32_t)m.flags}, .transport = &all};
		const struct meta1_reply *r;

		hop.to.host = t[i].host;
		hop.to.addr = t[i].addr;
		hop.to.tls = t[i].tls;
		smtpc_require_hop(&m, 0, &hop);
		assert_int_equal(hop.to.tls, t[i].then);
		assert_int_equal(hop.soft, strstr(t[i].need, "sts") != NULL);
		assert_int_equal(hop.to.tls_need == NULL, t[i].tls != t[i].then);
		r = smtpc_require_bars(&d, &hop);
		assert_int_equal(r != NULL, t[i].barred);
		if (r)
			assert_string_equal(r->dsn, "5.7.10");
	}
}

/* What a mail must have, and a transport does not know; UTF-8 only where there is some. */
static void heeded(void **state)
{
	static const struct {
		struct smtpc_transport *by;
		uint32_t flags;
		const char *from, *to, *dsn; /* NULL: it may go */
	} t[] = {
	    {&all, META1_M_SMTPUTF8 | META1_M_REQUIRETLS, "a\303\244@x.test", "b@y.test", NULL},
	    {&none, 0, "a@x.test", "b@y.test", NULL},
	    {&none, META1_M_REQUIRETLS, "a@x.test", "b@y.test", "5.7.30"},
	    {&none, META1_M_SMTPUTF8, "a@x.test", "b@y.test", NULL},
	    {&none, META1_M_SMTPUTF8, "a\303\244@x.test", "b@y.test", "5.6.7"},
	    {&none, META1_M_SMTPUTF8, "a@x.test", "b\303\244@y.test", "5.6.7"},
	    {&none, META1_M_SMTPUTF8 | META1_M_HEADER_8BIT, "a@x.test", "b@y.test", "5.6.7"},
	    {&none, 0x01000000, "a@x.test", "b@y.test", "5.3.3"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct meta1_rcpt rcpt = {.addr = buf_str(t[i].to)};
		struct smtpc_hop hop = hop_with("verify by=sts", false);
		struct smtpc_delivery d = {
		    .mail = {.flags = t[i].flags, .from = buf_str(t[i].from), .nrcpt = 1},
		    .rcpt = &rcpt,
		    .transport = t[i].by};
		const struct meta1_reply *r;

		hop.sure = true;
		smtpc_require_heeded(&d);
		r = smtpc_require_bars(&d, &hop);
		assert_int_equal(r != NULL, t[i].dsn != NULL);
		if (r)
			assert_string_equal(r->dsn, t[i].dsn);
	}
}

static void failed(void **state)
{
	struct meta1_reply r = {.size = sizeof(r), .dsn = "4.7.5", .text = "why"};
	struct smtpc_delivery d = {.mail = {.flags = 0}};

	(void)state;
	assert_null(smtpc_require_failed(&d, &r));
	d.mail.flags = META1_M_REQUIRETLS;
	assert_string_equal(smtpc_require_failed(&d, &r)->dsn, "5.7.10");
	assert_string_equal(smtpc_require_failed(&d, &r)->text, "why");
	r.smtp = 421; /* the hop says so, of itself */
	assert_null(smtpc_require_failed(&d, &r));
	r.smtp = 0;
	memcpy(r.dsn, "4.4.1", 6);
	assert_null(smtpc_require_failed(&d, &r));
	assert_null(smtpc_require_failed(&d, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(headers), cmocka_unit_test(file),
	    cmocka_unit_test(hops), cmocka_unit_test(heeded), cmocka_unit_test(failed)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* dns_server.c -- what is learnt of a name server by the answers that it gives. No packets. */
#include "smar/smar.h"

#include "../unit.h"

/* What is learnt of a server, told by results and seconds: e and E are questions with EDNS0, silent
 * and answered, p and P those without, R: the same question answered without, n: EDNS0 is refused.
 */
static void edns_rules(void **state)
{
	static const struct {
		const char *past;
		int64_t after; /* s since the last */
		bool edns;
	} cases[] = {
	    {"", 0, true},
	    {"E", 0, true},
	    {"e", 0, false}, /* it never answered one: is it that? */
	    {"ep", 0, true}, /* no, it is away */
	    {"epepep", 0, true},
	    {"eP", 0, false}, /* yes */
	    {"eP", 899, false},
	    {"eP", 901, true}, /* perhaps it has learnt it */
	    {"Eeee", 0, true}, /* one that has answered loses packets */
	    {"Eeeee", 0, false},
	    {"EeeeE", 0, true},
	    {"EeeeeP", 0, true}, /* the other ones may have gone to somebody behind it */
	    {"EeeeeR", 0, false},
	    {"n", 0, false},
	    {"nPPP", 899, false},
	    {"nPPP", 901, true},
	    {"nee", 901, true}, /* late ones, sent before */
	    {"eee", 0, false},	/* side by side */
	    {"eeepp", 0, true},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct dns_server s = {.text = "127.0.0.1"};
		int64_t now = 1000000;

		for (const char *p = cases[i].past; *p; p++) {
			bool silent = *p == 'e' || *p == 'p';
			struct dns_result r = {.read = silent	   ? DNS_FAIL
						       : *p == 'n' ? DNS_NOEDNS
								   : DNS_GOOD,
			    .silent = silent};

			struct dns_tried t = {.result = &r,
			    .edns = strchr("eEn", *p) != NULL,
			    .again = *p == 'R',
			    .ms = 1};

			dns_server_note(&s, &t, now++, 1);
		}
		if (dns_server_edns(&s, now + cases[i].after * 1000) != cases[i].edns)
			fail_msg("%s, %d s later", cases[i].past, (int)cases[i].after);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(edns_rules)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

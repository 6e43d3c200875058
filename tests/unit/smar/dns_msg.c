/* SPDX-License-Identifier: BSD-2-Clause */
/* dns_msg.c -- packets: what is asked, what is read, what is refused. */
#include "packet.h"

#include <stdio.h>

static struct packet p;
static struct dns_result r;

static enum dns_read take(const char *name, uint16_t type)
{
	struct dns_question q = {.id = 7, .type = type, .edns = true};
	/* A copy of the exact size: reading beyond its end is seen. */
	uint8_t *copy = malloc(p.n ? p.n : 1);
	enum dns_read got;

	memcpy(copy, p.b, p.n);
	str_copy(q.name, sizeof(q.name), name);
	got = dns_msg_read(copy, p.n, &q, &r);
	free(copy);
	return got;
}

static void done(void)
{
	dns_data_unref(&r.data);
}

static void query(void **state)
{
	struct dns_question q = {.id = 0x1234, .type = DNS_MX, .edns = true, .name = "a.test"};
	uint8_t out[512];
	size_t n = dns_msg_query(&q, out, sizeof(out));

	(void)state;
	assert_int_equal(n, 12 + 8 + 4 + 11);
	assert_memory_equal(out, "\x12\x34\x01\x00\0\1\0\0\0\0\0\1\1a\4test\0\0\17\0\1", 24);
	assert_memory_equal(out + 24, "\0\0\51\4\320", 5); /* OPT, 1232 bytes */
	q.edns = false;
	assert_int_equal(dns_msg_query(&q, out, sizeof(out)), 24);
	assert_int_equal(dns_msg_query(&q, out, 20), 0);
	str_copy(q.name, sizeof(q.name), "a..test");
	assert_int_equal(dns_msg_query(&q, out, sizeof(out)), 0);
}

static void good(void **state)
{
	(void)state;
	put_head(&p, 7, 0, "A.test", DNS_MX);
	put_rr(&p, 0, "a.TEST", DNS_MX, 300, "10 mx1.test");
	put_rr(&p, 0, "a.test", DNS_MX, 200, "20 mx2.test");
	put_rr(&p, 0, "b.test", DNS_MX, 1, "20 stranger.test");
	assert_int_equal(take("a.test", DNS_MX), DNS_GOOD);
	assert_int_equal(r.data->status, META1_OK);
	assert_int_equal(r.data->n, 2);
	assert_int_equal(r.data->ttl, 200);
	assert_memory_equal(r.data->rdata[0].data, "\0\12\3mx1\4test", 12);
	assert_int_equal(r.data->rdata[0].len, 12);
	assert_string_equal(r.data->name, "a.test");
	done();
}

/* A name in rdata that points back into the packet comes out whole. */
static void compressed(void **state)
{
	(void)state;
	put_head(&p, 7, 0, "a.test", DNS_MX);
	put_rr(&p, 0, "a.test", 99, 60, "xxxxxxx");
	p.n -= 7 + 10 + 8;
	put16(&p, 0xc00c);
	put16(&p, DNS_MX);
	put16(&p, 1);
	put32(&p, 60);
	put16(&p, 7);
	put16(&p, 10);
	put8(&p, 2);
	put16(&p, 'm' << 8 | 'x');
	put16(&p, 0xc00e);
	assert_int_equal(take("a.test", DNS_MX), DNS_GOOD);
	assert_int_equal(r.data->n, 1);
	assert_memory_equal(r.data->rdata[0].data, "\0\12\2mx\4test", 11);
	done();
}

static void cnames(void **state)
{
	(void)state;
	put_head(&p, 7, 0, "a.test", DNS_A);
	put_rr(&p, 0, "b.test", DNS_CNAME, 20, "c.test"); /* any order */
	put_rr(&p, 0, "a.test", DNS_CNAME, 50, "b.test");
	put_rr(&p, 0, "c.test", DNS_A, 90, "192.0.2.1");
	assert_int_equal(take("a.test", DNS_A), DNS_GOOD);
	assert_int_equal(r.data->n, 1);
	assert_int_equal(r.data->ttl, 20);
	assert_string_equal(r.data->name, "c.test");
	done();
	/* the target is somewhere else */
	put_head(&p, 7, 0, "a.test", DNS_A);
	put_rr(&p, 0, "a.test", DNS_CNAME, 50, "Else.where");
	assert_int_equal(take("a.test", DNS_A), DNS_FOLLOW);
	assert_string_equal(r.follow, "else.where");
	assert_int_equal(r.ttl, 50);
	assert_null(r.data);
	/* round and round */
	put_head(&p, 7, 0, "a.test", DNS_A);
	put_rr(&p, 0, "a.test", DNS_CNAME, 50, "b.test");
	put_rr(&p, 0, "b.test", DNS_CNAME, 50, "a.test");
	assert_int_equal(take("a.test", DNS_A), DNS_FAIL);
	/* to a name that cannot be asked for */
	put_head(&p, 7, 0, "a.test", DNS_A);
	put_rr(&p, 0, "a.test", DNS_CNAME, 50, "b\001.test");
	assert_int_equal(take("a.test", DNS_A), DNS_FAIL);
}

static void negative(void **state)
{
	(void)state;
	put_head(&p, 7, 3, "a.test", DNS_MX);
	put_rr(&p, 1, "test", DNS_SOA, 900, "30");
	assert_int_equal(take("a.test", DNS_MX), DNS_GOOD);
	assert_int_equal(r.data->status, META1_NOTFOUND);
	assert_true(r.data->nxdomain);
	assert_int_equal(r.data->ttl, 30);
	done();
	put_head(&p, 7, 0, "a.test", DNS_MX);
	put_rr(&p, 1, "test", DNS_SOA, 86400, "86400");
	assert_int_equal(take("a.test", DNS_MX), DNS_GOOD);
	assert_int_equal(r.data->status, META1_NOTFOUND);
	assert_false(r.data->nxdomain);
	assert_int_equal(r.data->ttl, 300);
	done();
	put_head(&p, 7, 0, "a.test", DNS_MX);
	assert_int_equal(take("a.test", DNS_MX), DNS_GOOD);
	assert_int_equal(r.data->ttl, 5);
	done();
	/* a referral says nothing about the name */
	put_head(&p, 7, 0, "a.test", DNS_MX);
	put_rr(&p, 1, "test", DNS_NS, 86400, "ns.test");
	assert_int_equal(take("a.test", DNS_MX), DNS_FAIL);
}

static void failures(void **state)
{
	(void)state;
	put_head(&p, 7, 2, "a.test", DNS_MX);
	assert_int_equal(take("a.test", DNS_MX), DNS_FAIL);
	assert_string_equal(r.why, "server answers SERVFAIL");
	put_head(&p, 7, 5, "a.test", DNS_MX);
	assert_int_equal(take("a.test", DNS_MX), DNS_FAIL);
	put_head(&p, 7, 1, "a.test", DNS_MX);
	assert_int_equal(take("a.test", DNS_MX), DNS_NOEDNS);
	p.b[5] = 0; /* FORMERR with a header alone */
	p.n = 12;
	assert_int_equal(take("a.test", DNS_MX), DNS_NOEDNS);
	put_head(&p, 7, 0x200, "a.test", DNS_MX);
	assert_int_equal(take("a.test", DNS_MX), DNS_TRUNCATED);
}

static void strangers(void **state)
{
	(void)state;
	put_head(&p, 8, 0, "a.test", DNS_MX);
	assert_int_equal(take("a.test", DNS_MX), DNS_IGNORE); /* ID */
	put_head(&p, 7, 0, "b.test", DNS_MX);
	assert_int_equal(take("a.test", DNS_MX), DNS_IGNORE); /* name */
	put_head(&p, 7, 0, "a.test", DNS_A);
	assert_int_equal(take("a.test", DNS_MX), DNS_IGNORE); /* type */
	put_head(&p, 7, 0, "a.test", DNS_MX);
	p.b[p.n - 1] = 3;
	assert_int_equal(take("a.test", DNS_MX), DNS_IGNORE); /* class */
	put_head(&p, 7, 0, "a.test", DNS_MX);
	p.b[2] &= 0x7f;
	assert_int_equal(take("a.test", DNS_MX), DNS_IGNORE); /* a question */
	put_head(&p, 7, 0, "a.test", DNS_MX);
	p.b[5] = 2;
	assert_int_equal(take("a.test", DNS_MX), DNS_IGNORE); /* two questions */
	p.n = 11;
	assert_int_equal(take("a.test", DNS_MX), DNS_IGNORE);
}

/* Every shorter form of a good packet is refused, none is read beyond its end. */
static void every_cut(void **state)
{
	size_t whole;

	(void)state;
	put_head(&p, 7, 0, "a.test", DNS_MX);
	put_rr(&p, 0, "a.test", DNS_MX, 300, "10 mx1.test");
	put_rr(&p, 0, "mx1.test", DNS_AAAA, 300, "2001:db8::1");
	put_rr(&p, 1, "test", DNS_SOA, 300, "30");
	for (whole = p.n; p.n > 0;) {
		p.n--;
		assert_int_not_equal(take("a.test", DNS_MX), DNS_GOOD);
		assert_null(r.data);
	}
	/* And every byte changed: any verdict, no report of the sanitizers. */
	for (size_t i = 12; i < whole; i++) {
		static const uint8_t values[] = {0, 1, 0x3f, 0xc0, 0xff};
		uint8_t was = p.b[i];

		p.n = whole;
		for (size_t k = 0; k < sizeof(values); k++) {
			p.b[i] = values[k];
			take("a.test", DNS_MX);
			done();
		}
		p.b[i] = was;
	}
}

static void wrong_lengths(void **state)
{
	static const char *const tlsa[] = {"", "\3", "\3\1\1", "\3\1\1\1"};

	(void)state;
	/* odd TLSA records are no failure of the server: who reads them judges each for itself */
	for (size_t i = 0; i < ARRAY_LEN(tlsa); i++) {
		put_head(&p, 7, 0, "a.test", DNS_TLSA);
		put_rr(&p, 0, "a.test", DNS_TLSA, 300, tlsa[i]);
		put_rr(&p, 0, "a.test", DNS_TLSA, 300, "\3\1\1good");
		assert_int_equal(take("a.test", DNS_TLSA), DNS_GOOD);
		assert_int_equal(r.data->n, 2);
		assert_int_equal(r.data->rdata[0].len, strlen(tlsa[i]));
		assert_int_equal(r.data->rdata[1].len, 7);
		done();
	}
	/* TXT whose string is longer than the record */
	put_head(&p, 7, 0, "a.test", DNS_TXT);
	put_rr(&p, 0, "a.test", 99, 300, "x");
	p.b[p.n - 10] = DNS_TXT;
	assert_int_equal(take("a.test", DNS_TXT), DNS_FAIL);
	/* A of 3 bytes, MX of 2 and of no name */
	for (int len = 0; len < 4; len++) {
		put_head(&p, 7, 0, "a.test", DNS_A);
		put_rr(&p, 0, "a.test", 99, 300, "");
		p.b[p.n - 9] = DNS_A;
		p.b[p.n - 1] = (uint8_t)len;
		for (int k = 0; k < len; k++)
			put8(&p, 1);
		assert_int_equal(take("a.test", DNS_A), DNS_FAIL);
	}
	for (int len = 0; len < 3; len++) {
		put_head(&p, 7, 0, "a.test", DNS_MX);
		put_rr(&p, 0, "a.test", 99, 300, "");
		p.b[p.n - 9] = DNS_MX;
		p.b[p.n - 1] = (uint8_t)len;
		for (int k = 0; k < len; k++)
			put8(&p, 1);
		assert_int_equal(take("a.test", DNS_MX), DNS_FAIL);
	}
}

/* A name sent as A.tesT: back in that case it is good; in another it is asked again over TCP, and
 * believed there. */
static void random_case(void **state)
{
	static const struct {
		const char *back;
		bool tcp, ad;
		enum dns_read read;
	} row[] = {
	    {"A.tesT", false, true, DNS_GOOD},
	    {"A.tesT", true, false, DNS_GOOD},
	    {"a.test", false, true, DNS_TRUNCATED},
	    {"a.test", true, true, DNS_GOOD},
	    {"b.tesT", false, true, DNS_IGNORE},
	    {"b.tesT", true, true, DNS_IGNORE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct dns_question q = {.id = 7, .type = DNS_A, .mixed = true, .name = "A.tesT"};

		q.tcp = row[i].tcp;
		q.ad = row[i].ad;
		put_head(&p, 7, 0x20, row[i].back, DNS_A); /* AD */
		put_rr(&p, 0, row[i].back, DNS_A, 60, "192.0.2.1");
		assert_int_equal(dns_msg_read(p.b, p.n, &q, &r), row[i].read);
		if (row[i].read == DNS_GOOD) {
			assert_int_equal(r.secure, row[i].ad);
			assert_int_equal(r.folded, row[i].back[0] == 'a');
		}
		done();
	}
}

static void many(void **state)
{
	(void)state;
	put_head(&p, 7, 0, "a.test", DNS_A);
	for (int i = 0; i < 1024; i++)
		put_rr(&p, 0, "a.test", DNS_A, 300, "192.0.2.1");
	assert_int_equal(take("a.test", DNS_A), DNS_GOOD);
	assert_int_equal(r.data->n, 1024);
	done();
	put_rr(&p, 0, "a.test", DNS_A, 300, "192.0.2.1");
	assert_int_equal(take("a.test", DNS_A), DNS_FAIL);
	/* counts that promise more than is there */
	put_head(&p, 7, 0, "a.test", DNS_A);
	p.b[6] = p.b[7] = 0xff;
	assert_int_equal(take("a.test", DNS_A), DNS_FAIL);
	/* a name that points to itself */
	put_head(&p, 7, 0, "a.test", DNS_A);
	p.b[7] = 1;
	put16(&p, 0xc000 | (unsigned)p.n);
	for (int i = 0; i < 8; i++)
		put16(&p, 1);
	assert_int_equal(take("a.test", DNS_A), DNS_FAIL);
}

/* Each pointer leads to the one before: 8,000 steps for every name that begins there. */
static void chained_pointers(void **state)
{
	static const unsigned lengths[] = {10, 8000};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		size_t at, len;

		put_head(&p, 7, 0, "a.test", DNS_A);
		p.b[7] = 2;
		put8(&p, 0);
		at = p.n - 1;
		put16(&p, 65280);
		put16(&p, 1);
		put32(&p, 60);
		len = lengths[i] * 2;
		put16(&p, (unsigned)len);
		for (unsigned k = 0; k < lengths[i]; k++) {
			put16(&p, 0xc000 | (unsigned)at);
			at = p.n - 2;
		}
		put16(&p, 0xc000 | (unsigned)at);
		put16(&p, DNS_A);
		put16(&p, 1);
		put32(&p, 60);
		put16(&p, 4);
		put32(&p, 0x7f000001);
		assert_int_equal(take("a.test", DNS_A), lengths[i] > 16 ? DNS_FAIL : DNS_GOOD);
		done();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(query),
	    cmocka_unit_test(good),
	    cmocka_unit_test(compressed),
	    cmocka_unit_test(cnames),
	    cmocka_unit_test(negative),
	    cmocka_unit_test(failures),
	    cmocka_unit_test(strangers),
	    cmocka_unit_test(every_cut),
	    cmocka_unit_test(wrong_lengths),
	    cmocka_unit_test(random_case),
	    cmocka_unit_test(many),
	    cmocka_unit_test(chained_pointers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

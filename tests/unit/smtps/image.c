/* SPDX-License-Identifier: BSD-2-Clause */
/* Unit test of core/smtps/image.c alone: where our line goes, and what a reload does to a file. */
#include "../until.h"
#include "dialog.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* needs the headers above */
#include <cmocka.h>

static void closed_nothing(void *arg)
{
	(void)arg;
}

/* Where our Received line goes in what a filter left of the content; ours is 7 bytes before it. */
static void places(void **state)
{
	static const char text[] = "A: b\r\nC: d\r\n\r\nhi\r\n";
	static const struct {
		struct {
			int from, len; /* of the image; from -1: other bytes */
		} ext[4];
		uint64_t place;
	} t[] = {{{{0, 25}}, 7},			/* all of it, in one piece */
	    {{{0, 7}, {7, 18}}, 7},			/* in two */
	    {{{-1, 10}, {0, 25}}, 17},			/* something above */
	    {{{0, 7}, {-1, 9}, {7, 18}}, 16},		/* something between */
	    {{{0, 7}, {-1, 9}, {13, 12}}, 16},		/* the first field is another */
	    {{{0, 7}, {-1, 9}, {19, 6}}, 0},		/* no field of the client is left */
	    {{{-1, 20}}, 0},				/* nothing is */
	    {{{-1, 5}, {13, 6}, {-1, 5}, {19, 6}}, 5}}; /* ours is not there any more */
	struct dialog d;
	struct smtps_image *m;
	const struct meta1_extent *e;

	(void)state;
	dialog_open(&d);
	m = smtps_image_new(&d.srv, NULL, NULL);
	smtps_image_ours(m, S("O: uv\r\n"));
	assert_int_equal(smtps_image_write(m, S(text)), META1_OK);
	smtps_image_close(m, closed_nothing);
	e = smtps_image_message(m)->extent;
	assert_int_equal(smtps_image_message(m)->bytes, 25);
	assert_int_equal(smtps_image_place(m, NULL, 0), 7);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct meta1_extent x[4] = {{.len = 0}};
		unsigned n = 0;

		for (; n < 4 && t[i].ext[n].len > 0; n++)
			x[n] = (struct meta1_extent){.fd = -1,
			    .mem = t[i].ext[n].from < 0 ? text
							: (const char *)e->mem + t[i].ext[n].from,
			    .len = (uint64_t)t[i].ext[n].len};
		if (smtps_image_place(m, x, n) != t[i].place)
			fail_msg("row %zu: expected %llu found %llu", i,
			    (unsigned long long)t[i].place,
			    (unsigned long long)smtps_image_place(m, x, n));
	}
	smtps_image_free(&m);
	dialog_close(&d);
}

/* All threads wait until it is unlocked. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void wait_there(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
}

static void closed_flag(void *arg)
{
	*(bool *)arg = true;
}

/* The file is begun while a reload replaces the settings: a thread looks at nothing of them. */
static void over_a_reload(void **state)
{
	char dir[] = "/tmp/meta1-image-XXXXXX", in[64];
	size_t size = 300000;
	char *text = base_alloc(size);
	struct work_owner others;
	struct smtps_image *m;
	struct dialog d;
	bool closed = false;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(in, sizeof(in), "%s/in", dir);
	assert_int_equal(mkdir(in, 0700), 0);
	memset(text, 'x', size);
	dialog_open(&d);
	d.role.work = work_new(d.role.loop);
	d.role.host.qdir = dir;
	work_owner_init(&others, 64);
	pthread_mutex_lock(&gate);
	for (int i = 0; i < 64; i++)
		assert_true(work_do(d.role.work, &others, wait_there, closed_nothing, NULL));
	m = smtps_image_new(&d.srv, NULL, &closed);
	assert_int_equal(smtps_image_write(m, text, size), META1_OK);
	smtps_image_close(m, closed_flag);
	d.role.host.qdir = "/nowhere"; /* as if the old one were gone */
	pthread_mutex_unlock(&gate);
	LOOP_UNTIL(d.role.loop, closed);
	assert_non_null(smtps_image_message(m));
	assert_int_equal(smtps_image_message(m)->bytes, size);
	smtps_image_free(&m);
	work_free(&d.role.work);
	dialog_close(&d);
	free(text);
	rmdir(in);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(places),
	    cmocka_unit_test(over_a_reload),
	};

	dialog_quiet();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

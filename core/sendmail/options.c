/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options.c -- the command line of sendmail, as decades of programs write it.
 *
 * Comes from: argv. Goes to: struct sendmail_options. Owns nothing.
 * A letter that changes what is sent is obeyed; one that tells another server how to queue or
 * report is taken and ignored; one that asks for what this program does not do is refused, as is
 * one that nobody knows: status 64.
 */
#include "sendmail/sendmail.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

/* What is not listed here is refused. Letters with a colon have a value. */
#define LETTERS "+A:B:b:C:d:e:F:f:Gh:IiL:mN:no:O:p:R:r:S:tUV:vX:x"

static int usage(void)
{
	fprintf(stderr, "usage: sendmail [-itv] [-f sender] [-F name] [-N "
			"never|success,failure,delay] [-R full|hdrs]\n"
			"\t[-V envid] [-B 7bit|8bitmime] [-S socket|host:port] [recipient ...]\n"
			"       sendmail -bs    standard input speaks SMTP\n"
			"       sendmail -bp    the queue, as mailq\n"
			"See sendmail(8).\n");
	return EX_USAGE;
}

static int mode(struct sendmail_options *o, const char *value)
{
	static const struct {
		const char *letter;
		enum sendmail_mode mode;
		const char *refused;
	} modes[] = {
	    {"m", SEND_MAIL, NULL},
	    {"s", SEND_PASS, NULL},
	    {"p", SEND_LIST, NULL},
	    {"i", SEND_NOTHING, NULL}, /* newaliases: smar reads alias files by itself */
	    {"d", SEND_MAIL, "mcp(8) runs the server"},
	    {"D", SEND_MAIL, "mcp(8) runs the server"},
	    {"t", SEND_MAIL, "meta1ctl explain shows how an address is treated"},
	    {"v", SEND_MAIL, "meta1ctl explain shows how an address is treated"},
	};

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		if (strcmp(value, modes[i].letter) != 0)
			continue;
		o->mode = modes[i].mode;
		return modes[i].refused
			   ? sendmail_fail(EX_USAGE, "-b%s: %s", value, modes[i].refused)
			   : 0;
	}
	sendmail_fail(EX_USAGE, "-b%s: there is no such mode", value);
	return usage();
}

/* -o and -O: i is obeyed, all else is for another server. */
static void set_option(struct sendmail_options *o, const char *value)
{
	if (strcmp(value, "i") == 0 || strncasecmp(value, "IgnoreDots=t", 12) == 0)
		o->dots = true;
}

static bool words_of(const char *value, const char *allowed)
{
	char text[64], *save, *word;

	if (str_copy(text, sizeof(text), value) != strlen(value) || !*value)
		return false;
	for (word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		const char *at = strcasestr(allowed, word);

		if (!at || (at > allowed && at[-1] != ' ') || at[strlen(word)] != ' ')
			return false;
	}
	return true;
}

/* Values that go into a command of SMTP. */
static int check(const struct sendmail_options *o)
{
	if (o->notify && !words_of(o->notify, "success failure delay ") &&
	    strcasecmp(o->notify, "never") != 0)
		return sendmail_fail(
		    EX_USAGE, "-N %s: expected never, or success,failure,delay", o->notify);
	if (o->ret && strcasecmp(o->ret, "full") != 0 && strcasecmp(o->ret, "hdrs") != 0)
		return sendmail_fail(EX_USAGE, "-R %s: expected full or hdrs", o->ret);
	if (o->body && strcasecmp(o->body, "7bit") != 0 && strcasecmp(o->body, "8bitmime") != 0)
		return sendmail_fail(EX_USAGE, "-B %s: expected 7bit or 8bitmime", o->body);
	for (const char *p = o->envid; p && *p; p++)
		if ((unsigned char)*p < 32 || (unsigned char)*p > 126)
			return sendmail_fail(EX_USAGE, "-V: expected printable ASCII");
	return 0;
}

/* One letter with its value. */
static int letter(struct sendmail_options *o, int c, const char *value)
{
	const struct {
		int letter;
		bool *is;
		const char **value;
	} all[] = {{'i', &o->dots, NULL}, {'t', &o->from_header, NULL}, {'v', &o->verbose, NULL},
	    {'f', NULL, &o->sender}, {'r', NULL, &o->sender}, {'F', NULL, &o->full_name},
	    {'N', NULL, &o->notify}, {'R', NULL, &o->ret}, {'V', NULL, &o->envid},
	    {'B', NULL, &o->body}, {'S', NULL, &o->server}};

	if (c == '?')
		return usage();
	if (c == 'b')
		return mode(o, value);
	if (c == 'o' || c == 'O')
		set_option(o, value);
	if (c == 'I')
		o->mode = SEND_NOTHING;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (all[i].letter == c && all[i].is)
			*all[i].is = true;
		else if (all[i].letter == c)
			*all[i].value = value;
	}
	return 0; /* any other is known, and of no effect here */
}

int sendmail_options(struct sendmail_options *o, int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	int c, rc;

	*o = (struct sendmail_options){.mode = SEND_MAIL};
	name = name ? name + 1 : argv[0];
	if (strcmp(name, "newaliases") == 0)
		o->mode = SEND_NOTHING;
	while ((c = getopt(argc, argv, LETTERS)) != -1)
		if ((rc = letter(o, c, optarg)) != 0)
			return rc;
	o->rcpt = argv + optind;
	o->nrcpt = argc - optind;
	if (!o->server)
		o->server = getenv("META1_SUBMIT");
	if (!o->server || !*o->server)
		o->server = SENDMAIL_SOCKET;
	return check(o);
}

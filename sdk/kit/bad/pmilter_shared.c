/* SPDX-License-Identifier: BSD-2-Clause */
/* One note for all sessions: the next answer is in it too. */
#define CHANGE(s, a)                                                                               \
	do {                                                                                       \
		static char note[32];                                                              \
		snprintf(note, sizeof(note), "stage %u", a->stage);                                \
		s->verdict.note = note;                                                            \
	} while (0)
#include "filter.h"

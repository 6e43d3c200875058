/* SPDX-License-Identifier: BSD-2-Clause */
/* unit.h -- cmocka with the includes it wants. */
#ifndef META1_UNIT_H
#define META1_UNIT_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif

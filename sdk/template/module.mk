# SPDX-License-Identifier: BSD-2-Clause
# What every module's Makefile has in common; it says NAME, KIND and CHECK and includes this. A
# module needs the installed SDK and nothing else: PKG_CONFIG_PATH says where when it is not in the
# usual place.
CFLAGS ?= -O2 -g -Wall -Wextra
SDK_CFLAGS := $(shell pkg-config --cflags meta1-module)
SDK_LIBS := $(shell pkg-config --libs meta1-module)
MODULES := $(shell pkg-config --variable=moduledir meta1-module)
BIN := $(shell pkg-config --variable=bindir meta1-module)
MANDIR ?= /usr/local/share/man

ifeq ($(filter $(KIND),maps transports auth pmilter queue),)
$(error KIND = $(KIND): expected the folder of its kind: maps, transports, auth, pmilter or queue)
endif

all: $(NAME).so $(NAME).5 $(NAME).conf.sample

$(NAME).so: $(NAME).c
	$(CC) $(SDK_CFLAGS) $(CFLAGS) -o $@ $< $(LDFLAGS) $(SDK_LIBS) $(LIBS)

# Both are made from the table of options.
$(NAME).5: $(NAME).so
	$(BIN)/meta1-modtool doc ./$(NAME).so >$@.tmp && mv $@.tmp $@
$(NAME).conf.sample: $(NAME).so
	$(BIN)/meta1-modtool sample ./$(NAME).so >$@.tmp && mv $@.tmp $@

check: all
	$(BIN)/meta1-modtest ./$(NAME).so $(CHECK)

install: all
	install -D -m 0755 $(NAME).so $(DESTDIR)$(MODULES)/$(KIND)/$(NAME).so
	install -D -m 0644 $(NAME).5 $(DESTDIR)$(MANDIR)/man5/$(NAME).5

clean:
	rm -f $(NAME).so $(NAME).5 $(NAME).conf.sample *.tmp

.PHONY: all check install clean

# SPDX-License-Identifier: GPL-2.0
#
# Front door for people: everything it does, a script in scripts/ does. The modules' own build rules are in Kbuild.

MAKEFLAGS += --no-print-directory
# `make demo SHELL=1` means a shell in the guest; for make itself that name is the program that runs recipes.
ifeq ($(origin SHELL),command line)
demo_shell := $(filter-out 0,$(SHELL))
override SHELL := /bin/sh
MAKEOVERRIDES :=
endif
.DEFAULT_GOAL := modules

## modules        build the modules; KDIR=... names the kernel tree (default: the fast test kernel)
.PHONY: modules
modules:
	@scripts/modules $(if $(KDIR),"$(KDIR)",fast)

## test           what judges a change, quick scenarios: style, host tests, KUnit, test bus, guests
.PHONY: test
test:
	@scripts/test

## test-all       all of it: every scenario with every choice of drivers, on all kernels (many hours); goes on where it was
##                stopped: what has passed on these sources is not run again; PART="guest/debug/*" AGAIN=1
.PHONY: test-all
test-all:
	@scripts/test-all

## test-list      what make test-all has run on these sources, and what is missing; PART=
.PHONY: test-list
test-list:
	@scripts/test-all list

## test-record    notes what has passed in Documentation/test-results.tsv, so that a clone elsewhere goes on from there
.PHONY: test-record
test-record:
	@scripts/test-all record

## check-style    rustfmt, clippy, shellcheck, checkpatch, SPDX lines, where unsafe may stand
.PHONY: check-style
check-style:
	@scripts/check-style

## host-test      tests of the protocol crate and of the test host, in seconds
.PHONY: host-test
host-test:
	@scripts/host-test

## fuzz           fuzz what host and daemon may send, a minute a target; TARGET=name SECONDS=n
.PHONY: fuzz
fuzz:
	@scripts/fuzz "$(or $(TARGET),all)" $(SECONDS)

## kunit          load every module into the debug kernel in plain QEMU and run the KUnit suites in them
.PHONY: kunit
kunit:
	@scripts/kunit

## loop           run the storage driver over the test bus hv_loop in plain QEMU; SCENARIO= KERNEL= DRIVERS=
.PHONY: loop
loop:
	@scripts/loop $(SCENARIO)

## guest          run the guest scenarios; SCENARIO="a b" HOST=qemu|rlis DRIVERS=c|rust|mixed|rustbus KERNEL=fast|debug
.PHONY: guest
guest:
	@scripts/guest $(SCENARIO)

## demo           a guest on the test host with bus, disk and services of ours, and a live report; SHELL=1 adds a shell in it
.PHONY: demo
demo:
	@scripts/demo $(if $(demo_shell),shell)

## bench          instructions for a read, C and Rust storage driver in one run: table, JSON and SVG in build/bench;
##                then those of the bus for a packet and an interrupt, of the network driver for a frame, and of memory for a page
.PHONY: bench
bench:
	@scripts/bench
	@scripts/bench-ring
	@scripts/bench-net
	@scripts/bench-balloon

## dist           the source tarball build/dist/rlis-VERSION.tar.xz, with the portable Rust tree in it
.PHONY: dist
dist:
	@scripts/dist

## deb rpm        the packages rlis-dkms, from the tarball, checked by lintian and rpmlint
.PHONY: deb rpm
deb rpm:
	@scripts/package $@

## kmod           packages with the modules built for one kernel, signed: KDIR= KEY= CERT= KIND=deb|rpm
.PHONY: kmod
kmod:
	@scripts/kmod "$(KDIR)"

## package-test   packages made, installed, booted from and removed in a clean Debian with its stock kernels; PARTS=
.PHONY: package-test
package-test:
	@tests/packaging/run $(PARTS)

## paths          print where things lie, one name=path a line
.PHONY: paths
paths:
	@scripts/paths

## cache          print what the cache holds and which entries are in use
.PHONY: cache
cache:
	@scripts/cache list

## refresh        forget the sysroots, so that the next run takes today's packages from the archive
.PHONY: refresh
refresh:
	@scripts/cache refresh

## clean          remove what was built in this checkout (the cache stays)
.PHONY: clean
clean:
	rm -rf build

## clean-cache    remove the entries of the cache that this checkout does not use
.PHONY: clean-cache
clean-cache:
	@scripts/cache prune

## help           this list
.PHONY: help
help:
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^## /  /p' Makefile

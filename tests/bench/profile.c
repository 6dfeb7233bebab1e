// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin of QEMU's TCG: counts how often each instruction of the guest's kernel is executed.
 *
 *   -plugin profile.so,out=FILE
 *
 * At exit FILE gets a line for each block of code that was translated and executed: how often, then the addresses of its
 * instructions, in hexadecimal. Blocks may overlap and come twice; the counts of an address add up.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = QEMU_PLUGIN_API;

/* A block, as it was translated once. All CPUs run in one thread (thread=single). */
struct block {
	struct block *next;
	uint64_t times;
	size_t count;
	uint64_t address[];
};

static struct block *blocks;
static char *path;

static void executed(unsigned int vcpu, void *userdata)
{
	((struct block *)userdata)->times++;
}

/* Up to version 5 the id came in front. */
static void translated(void *first, void *second)
{
	struct qemu_plugin_tb *tb = (uintptr_t)first > UINT16_MAX ? first : second;
	size_t count = qemu_plugin_tb_n_insns(tb), i;
	struct block *block = calloc(1, sizeof(*block) + count * sizeof(block->address[0]));

	if (!block)
		abort();
	block->count = count;
	for (i = 0; i < count; i++)
		block->address[i] = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, i));
	block->next = blocks;
	blocks = block;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, block);
}

/* Those of the kernel are in the upper half. */
static int is_of_the_kernel(const struct block *block)
{
	return block->count && block->address[0] >> 63;
}

static void ended(void)
{
	FILE *out = fopen(path, "w");
	size_t i;

	if (!out) {
		perror(path);
		return;
	}
	for (const struct block *block = blocks; block; block = block->next) {
		if (!block->times || !is_of_the_kernel(block))
			continue;
		fprintf(out, "%" PRIu64, block->times);
		for (i = 0; i < block->count; i++)
			fprintf(out, " %" PRIx64, block->address[i]);
		fputc('\n', out);
	}
	fclose(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		fputs("profile: out=FILE is missing\n", stderr);
		return -1;
	}
	path = strdup(argv[0] + 4);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return path ? 0 : -1;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * shmget and friends over anonymous memory, which forked children share: enough for fio, in a kernel without
 * CONFIG_SYSVIPC. To be preloaded.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/shm.h>

#define SEGMENTS 16
static struct { void *at; size_t size; } segments[SEGMENTS];

int shmget(key_t key, size_t size, int flags)
{
	(void)key;
	(void)flags;
	for (int id = 0; id < SEGMENTS; id++) {
		if (segments[id].at)
			continue;
		void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

		if (at == MAP_FAILED)
			return -1;
		segments[id].at = at;
		segments[id].size = size;
		return id;
	}
	errno = ENOSPC;
	return -1;
}

void *shmat(int id, const void *at, int flags)
{
	(void)flags;
	if (id < 0 || id >= SEGMENTS || !segments[id].at || at) {
		errno = EINVAL;
		return (void *)-1;
	}
	return segments[id].at;
}

int shmdt(const void *at)
{
	for (int id = 0; id < SEGMENTS; id++) {
		if (segments[id].at == at) {
			segments[id].at = NULL;
			return munmap((void *)at, segments[id].size);
		}
	}
	errno = EINVAL;
	return -1;
}

int shmctl(int id, int command, struct shmid_ds *state)
{
	(void)id;
	(void)command;
	(void)state;
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Prototypes of helpers_mem.c, read by the C compiler and by bindgen.
 */
#ifndef RLIS_SYS_HELPERS_MEM_H
#define RLIS_SYS_HELPERS_MEM_H

#include <linux/types.h>

unsigned long rlis_helper_mem_balloon_take(unsigned int order);
void rlis_helper_mem_balloon_give_back(unsigned long pfn);
unsigned long rlis_helper_mem_total_pages(void);
long rlis_helper_mem_available_pages(void);
unsigned long rlis_helper_mem_committed_pages(void);
void rlis_helper_mem_pause(void);

#endif

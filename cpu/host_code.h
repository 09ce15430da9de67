/* SPDX-License-Identifier: GPL-2.0-or-later
 * Memory for small pieces of generated host code that live until the process ends: one memfd,
 * mapped once writable and once executable, never both. Callers hold their own lock.
 */
#ifndef CPU_HOST_CODE_H
#define CPU_HOST_CODE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct HostCode {
    unsigned char *rw, *rx; /* the same memory */
    size_t used, size;
} HostCode;

/* False: the host gives no executable memory. */
bool host_code_init(HostCode *hc, size_t size);
/* Copies code in; its executable address, 16-byte aligned, or NULL when full. */
void *host_code_add(HostCode *hc, const void *code, size_t len);

#endif

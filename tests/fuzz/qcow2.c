/* SPDX-License-Identifier: GPL-2.0-or-later
 * libFuzzer on qcow2 images: the input says which image, how it is damaged, and what is done to it
 * then.
 */
#include <fcntl.h>

#include "tests/unit/qcow2_abuse.h"

static MemDisk whole[NR_VICTIMS];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    box_setup(NULL);
    for (unsigned i = 0; i < NR_VICTIMS; i++) {
        make_victim(i);
        whole[i] = *mem_disk(0);
        memset(mem_disk(0), 0, sizeof(MemDisk));
    }
    box_teardown(NULL);
    return 0;
}

/* Byte 0: the image; 1: what is done. Then patches: where (2 bytes, in units of 8 or below 256 in
 * bytes), how many bytes, and these. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const MemDisk *from = &whole[data[0] % NR_VICTIMS];
    MemDisk *d = mem_disk(0);
    mem_clear(d);
    mem_reserve(d, from->size);
    memcpy(d->data, from->data, from->size);
    for (size_t at = 2; at + 3 < size;) {
        unsigned place = data[at] << 8 | data[at + 1], len = 1 + data[at + 2] % 16;
        uint64_t offset = place < 256 ? place : (uint64_t)place * 8 % d->size;
        len = (unsigned)MIN(MIN((uint64_t)len, size - at - 3), d->size - offset);
        memcpy(d->data + offset, data + at + 3, len);
        at += 3 + len;
    }
    box_seed = 88172645463325252ull;
    (void)abuse(0, data[1]);
    return 0;
}

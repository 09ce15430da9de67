/* SPDX-License-Identifier: GPL-2.0-or-later
 * Memory for small pieces of generated host code; see the header.
 */
#include "cpu/host_code.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/container.h"

bool host_code_init(HostCode *hc, size_t size)
{
    int fd = memfd_create("vireo-thunks", MFD_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    void *rw = MAP_FAILED, *rx = MAP_FAILED;
    if (ftruncate(fd, (off_t)size) == 0) {
        rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    }
    close(fd);
    if (rw == MAP_FAILED || rx == MAP_FAILED) {
        if (rw != MAP_FAILED) {
            munmap(rw, size);
        }
        if (rx != MAP_FAILED) {
            munmap(rx, size);
        }
        return false;
    }
    *hc = (HostCode){ .rw = rw, .rx = rx, .size = size };
    return true;
}

void *host_code_add(HostCode *hc, const void *code, size_t len)
{
    size_t at = ROUND_UP(hc->used, 16);
    if (at + len > hc->size) {
        return NULL;
    }
    memcpy(hc->rw + at, code, len);
    hc->used = at + len;
    return hc->rx + at;
}

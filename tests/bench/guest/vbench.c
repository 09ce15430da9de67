/* SPDX-License-Identifier: GPL-2.0-or-later
 * vbench NAME: runs one workload, a fixed amount of work, and prints a checksum. */
#define _GNU_SOURCE
#include "vbench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

unsigned long reps(double n)
{
    const char *scale = getenv("VB_SCALE");
    double v = n * (scale ? atof(scale) : 1);
    return v < 1 ? 1 : (unsigned long)v;
}

uint32_t rnd(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

void die(const char *what)
{
    perror(what);
    exit(2);
}

void *map(size_t size, int prot)
{
    void *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("mmap");
    return p;
}

static int run(const struct bench *b, const char *name)
{
    for (; b->name; b++) {
        if (!strcmp(name, "list"))
            printf("%s\n", b->name);
        else if (!strcmp(name, b->name))
            return printf("%s %016llx\n", name, (unsigned long long)b->run()), 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "true")) /* what fork_exec executes */
        return 0;
    if (argc > 1 && (run(cpu_benches, argv[1]) || run(sys_benches, argv[1])))
        return 0;
    return argc > 1 && !strcmp(argv[1], "list") ? 0 : 1;
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 * Malformed qcow2 images: fields that cannot be, one by one with the message they get, and real
 * images with random damage in their header and tables. Each has a process of its own, which must
 * end by itself and use little time and memory; what it prints are warnings, one a line.
 */
#include <fcntl.h>
#include <sys/resource.h>

#include "tests/unit/qcow2_abuse.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { MAX_KIB = 0, SLOWER = 8 }; /* sanitizers have memory of their own */
#else
enum { MAX_KIB = 64 * 1024, SLOWER = 1 };
#endif
enum { CPU_S = 1, HANGS_S = 120 };

/* ---- one field ---- */

typedef struct Field {
    unsigned offset, size; /* in the header */
    uint64_t value;
    const char *want;
} Field;

static const Field fields[] = {
    { 0, 4, 0x12345678, "not in qcow2 format" },
    { 4, 4, 1, "version 1" },
    { 4, 4, 4, "version 4" },
    { 8, 8, 1ull << 40, "backing file is not in the first cluster" },
    { 8, 8, 8, "backing file" },
    { 20, 4, 8, "2^8 bytes" },
    { 20, 4, 22, "2^22 bytes" },
    { 20, 4, 0xffffffff, "2^4294967295 bytes" },
    { 24, 8, 1ull << 63, "too many for its cluster size" },
    { 24, 8, 1ull << 36, "too small for its size" },
    { 32, 4, 1, "encrypted (AES)" },
    { 32, 4, 2, "encrypted (LUKS)" },
    { 32, 4, 9, "encryption method 9" },
    { 36, 4, 0xffffffff, "L1 table is larger" },
    { 36, 4, 0x100000, "past the end of the file" },
    { 36, 4, 0, "too small for its size" },
    { 40, 8, 0, "impossible place" },
    { 40, 8, 0x10001, "impossible place" },
    { 40, 8, 1ull << 60, "impossible place" },
    { 40, 8, 1ull << 50, "past the end of the file" },
    { 48, 8, 0, "refcount table is at an impossible place" },
    { 48, 8, 123, "refcount table is at an impossible place" },
    { 48, 8, 1ull << 50, "refcount table is past the end" },
    { 56, 4, 0, "empty or larger than 8 MiB" },
    { 56, 4, 0xffffffff, "empty or larger than 8 MiB" },
    { 60, 4, 0xffffffff, "more than 65536 snapshots" },
    { 60, 4, 60000, "snapshot table" },
    { 64, 8, 77, "snapshot table is at an impossible place" },
    { 64, 8, 1ull << 50, "snapshot table is past the end" },
    { 72, 8, 1ull << 40, "does not know" },
    { 72, 8, 2, "marked corrupt" },
    { 72, 8, 4, "does not name it" },
    { 72, 8, 8, "compression type 0" },
    { 72, 8, 16, "subclusters need clusters of 16 KiB" },
    { 96, 4, 7, "refcounts of 2^7 bits" },
    { 100, 4, 12, "it has 12 bytes" },
    { 100, 4, 0xfffffff8, "it has 4294967288 bytes" },
    { 104, 1, 2, "compression type 2" },
};

static void put_field(uint8_t *p, const Field *f)
{
    for (unsigned i = 0; i < f->size; i++) {
        p[i] = (uint8_t)(f->value >> 8 * (f->size - 1 - i));
    }
}

static void test_fields(void **state)
{
    (void)state;
    make_victim(0);
    MemDisk *d = mem_disk(0);
    uint8_t head[112];
    memcpy(head, d->data, sizeof(head));
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        Error *err = NULL;
        memcpy(d->data, head, sizeof(head));
        put_field(d->data + fields[i].offset, &fields[i]);
        if (fields[i].offset == 8) {
            d->data[19] = 20;
        }
        BlockNode *n = mem_image(d, "", (BlockFlags){ .discard = true }, &err);
        if (n) {
            fail_msg("header field at %u = 0x%llx: the image opens", fields[i].offset,
                     (unsigned long long)fields[i].value);
        }
        if (!strstr(error_text(err), fields[i].want) || strchr(error_text(err), '\n')) {
            fail_msg("want '%s', got '%s'", fields[i].want, error_text(err));
        }
        error_free(err);
    }
}

/* ---- random damage ---- */

/* Bytes that look like something: offsets within the file, lengths, flags. */
static void damage(MemDisk *d)
{
    unsigned nr = 1 + (unsigned)below(4);
    for (unsigned i = 0; i < nr; i++) {
        uint64_t at = below(2) ? below(112) : ROUND_DOWN(below(d->size - 8), 8);
        uint64_t value = rnd();
        switch (below(6)) {
        case 0: value = 0; break;
        case 1: value = ROUND_DOWN(below(d->size), 512); break;
        case 2: value = ROUND_DOWN(below(d->size), 512) | 1ull << 63; break;
        case 3: value = 1ull << below(64); break;
        case 4: value = below(100); break;
        default: break;
        }
        value = __builtin_bswap64(value);
        memcpy(d->data + at, &value, MIN(1 + below(8), d->size - at));
    }
    if (!below(10)) {
        d->size = below(d->size);
        memset(d->data + d->size, 0, d->room - d->size);
    }
}

/* Ends itself; the parent looks how. */
static void child(unsigned how)
{
    char *path = box_path("stderr");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    alarm(HANGS_S);
    (void)abuse(0, how);
    _exit(0);
}

static void check_stderr(uint64_t seed)
{
    static const char start[] = "vireo: warning: ";
    char line[1024], *path = box_path("stderr");
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, start, strlen(start)) || !strchr(line, '\n')) {
            fail_msg("damage %llu: it says %s", (unsigned long long)seed, line);
        }
    }
    if (f) {
        fclose(f);
    }
    free(path);
}

/* Of processor time, which others on the machine do not use up. */
static void check_time(const struct rusage *usage, uint64_t seed)
{
    const char *text = getenv("SLOW");
    double slow = MAX(text ? atof(text) : 0, (double)SLOWER);
    double seconds = (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
                     (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
    if (seconds > CPU_S * slow) {
        mem_save(mem_disk(0), "slow.qcow2");
        fail_msg("damage %llu: %.2f s of processor time", (unsigned long long)seed, seconds);
    }
}

static long one_image(unsigned kind, uint64_t seed)
{
    static MemDisk whole[NR_VICTIMS];
    if (!whole[kind].data) {
        make_victim(kind);
        whole[kind] = *mem_disk(0);
        memset(mem_disk(0), 0, sizeof(MemDisk));
    }
    MemDisk *d = mem_disk(0);
    mem_clear(d);
    mem_reserve(d, whole[kind].size);
    memcpy(d->data, whole[kind].data, whole[kind].size);
    box_seed = seed * 0x9e3779b97f4a7c15ull | 1;
    (void)rnd();
    damage(d);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        child((unsigned)rnd());
    }
    int status;
    struct rusage usage;
    assert_int_equal(wait4(pid, &status, 0, &usage), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        mem_save(d, "crash.qcow2");
        fail_msg("image %u with damage %llu: status 0x%x", kind, (unsigned long long)seed, status);
    }
    check_time(&usage, seed);
    check_stderr(seed);
    return usage.ru_maxrss;
}

static void test_damage(void **state)
{
    (void)state;
    const char *text = getenv("QCOW2_IMAGES"), *from = getenv("QCOW2_FROM");
    unsigned nr = text ? (unsigned)atoi(text) : 240, start = from ? (unsigned)atoi(from) : 0;
    long most = 0;
    for (unsigned i = start; i < start + nr; i++) {
        long kib = one_image(i % NR_VICTIMS, i + 1);
        most = MAX(most, kib);
        if (MAX_KIB && kib > MAX_KIB) {
            fail_msg("damage %u: %ld KiB of memory, at most %d wanted", i + 1, kib, (int)MAX_KIB);
        }
    }
    print_message("# %u images, at most %ld KiB\n", nr, most);
}

#define TEST(fn)                                                                                   \
    {                                                                                              \
#fn, fn, NULL, NULL, NULL                                                                  \
    }
int main(void)
{
    const struct CMUnitTest tests[] = { TEST(test_fields), TEST(test_damage) };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, box_setup, box_teardown);
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 * A line a block, "START SIZE NAME" in hexadecimal (perf's jit-interface.txt). The name is the
 * mode's and the linear address of the block's first instruction: kernel64:0xffffffff81000000.
 *
 * A dropped block keeps its line: nothing else comes to lie there before the cache is emptied. Then
 * the file begins anew, since perf takes any of two lines for one address. Samples from before that
 * come out under the names of what lies there now; a cache that is large enough is never emptied.
 */
#include "accel/jit/perfmap.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "util/alloc.h"

struct PerfMap {
    FILE *file;
    bool lossy; /* that has been said */
};

PerfMap *perfmap_open(Error **errp)
{
    char path[64];
    snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
    /* /tmp is everybody's: no link may lead it elsewhere. */
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f) {
        error_set_errno(errp, errno, "-perfmap: cannot write '%s'", path);
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    setvbuf(f, NULL, _IOLBF, 0); /* whole lines, however the process ends */
    PerfMap *m = xcalloc(1, sizeof(*m));
    m->file = f;
    return m;
}

void perfmap_close(PerfMap *m)
{
    if (m) {
        fclose(m->file);
        free(m);
    }
}

static void check(PerfMap *m)
{
    if (ferror(m->file) && !m->lossy) {
        m->lossy = true;
        warn_report("/tmp/perf-%d.map is incomplete: %s", (int)getpid(), strerror(errno));
    }
}

static void add_stubs(const PerfMap *m, const Jit *j)
{
    static const struct {
        const char *name;
        size_t offset;
    } row[] = { /* as they lie behind each other */
        { "load_vectors", offsetof(JitStubs, load_vectors) },
        { "load_fpu", offsetof(JitStubs, load_fpu) },
        { "enter", offsetof(JitStubs, enter) },
        { "leave_rip", offsetof(JitStubs, leave_rip) },
        { "leave_at", offsetof(JitStubs, leave_at) },
        { "by_cache2", offsetof(JitStubs, by_cache2) },
        { "by_cache", offsetof(JitStubs, by_cache) },
        { "leave_link", offsetof(JitStubs, leave_link) },
        { "far", offsetof(JitStubs, far) },
        { "leave_interp", offsetof(JitStubs, leave_interp) },
        { "leave_stale", offsetof(JitStubs, leave_stale) },
        { "slow", offsetof(JitStubs, slow) },
        { "look", offsetof(JitStubs, look) },
        { "share", offsetof(JitStubs, share) },
        { "share_lost", offsetof(JitStubs, share_lost) },
        { "commit", offsetof(JitStubs, commit) },
        { "segment", offsetof(JitStubs, segment) },
        { "raise_gp", offsetof(JitStubs, raise_gp) },
        { "exec", offsetof(JitStubs, exec) },
        { "exec_end", offsetof(JitStubs, exec_end) },
    };
    uintptr_t start[ARRAY_SIZE(row) + 1];
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        memcpy(&start[i], (const char *)&j->stubs + row[i].offset, sizeof(start[i]));
        bool writable = start[i] - (uintptr_t)j->rw < j->size;
        start[i] += writable ? (uintptr_t)j->e.to_rx : 0;
    }
    start[ARRAY_SIZE(row)] = (uintptr_t)(j->after_stubs + j->e.to_rx);
    fprintf(m->file, "%lx %lx stub:save_vectors\n", (unsigned long)(uintptr_t)j->rx,
            (unsigned long)(start[0] - (uintptr_t)j->rx));
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        fprintf(m->file, "%lx %lx stub:%s\n", (unsigned long)start[i],
                (unsigned long)(start[i + 1] - start[i]), row[i].name);
    }
}

void perfmap_restart(PerfMap *m, const Jit *j)
{
    rewind(m->file);
    if (ftruncate(fileno(m->file), 0)) {
        check(m);
    }
    add_stubs(m, j);
    check(m);
}

void perfmap_block(PerfMap *m, const Tb *tb, uint64_t lin)
{
    fprintf(m->file, "%lx %x %s:0x%lx\n", (unsigned long)(uintptr_t)tb->entry, tb->code_len,
            tb_mode_name(tb->mode), (unsigned long)lin);
    check(m);
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 * Region trees, flat views and the dispatcher: by example, and random trees against a model that
 * asks the tree byte by byte.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "memory/region.h"
#include "util/vm_lock.h"

/* A device that notes its calls. */
typedef struct Probe {
    RegionOps ops;
    Region io;
    char log[256];
    uint8_t reg[16];
} Probe;

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned size)
{
    Probe *p = opaque;
    assert_true(vm_locked());
    char item[32];
    snprintf(item, sizeof(item), "r%u@%x ", size, (unsigned)offset);
    strcat(p->log, item);
    uint64_t val = 0;
    memcpy(&val, p->reg + offset, size);
    return val;
}

static void probe_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Probe *p = opaque;
    assert_true(vm_locked());
    char item[64];
    snprintf(item, sizeof(item), "w%u@%x=%llx ", size, (unsigned)offset,
             (unsigned long long)val);
    strcat(p->log, item);
}

static void probe_init(Probe *p, unsigned sizes, bool unaligned)
{
    memset(p, 0, sizeof(*p));
    p->ops = (RegionOps){ .read = probe_read, .write = probe_write, .sizes = sizes,
                          .unaligned = unaligned };
    for (unsigned i = 0; i < sizeof(p->reg); i++) {
        p->reg[i] = 0x10 + i;
    }
    region_init_io(&p->io, NULL, &p->ops, p, sizeof(p->reg));
}

static void check_load(AddressSpace *as, Probe *p, uint64_t addr, unsigned size, uint64_t want,
                       const char *calls)
{
    p->log[0] = 0;
    assert_int_equal(address_space_load(as, addr, size), want);
    assert_string_equal(p->log, calls);
}

static void check_store(AddressSpace *as, Probe *p, uint64_t addr, uint64_t val, unsigned size,
                        const char *calls)
{
    p->log[0] = 0;
    address_space_store(as, addr, val, size);
    assert_string_equal(p->log, calls);
}

static void test_sizes(void **state)
{
    (void)state;
    Region root;
    AddressSpace as;
    Probe p;
    region_init_container(&root, "ports", 65536);
    address_space_init(&as, "io", &root);
    as.ports = true;

    probe_init(&p, 1, false);
    region_add(&root, 0x60, &p.io, 0);
    check_load(&as, &p, 0x60, 4, 0x13121110, "r1@0 r1@1 r1@2 r1@3 ");
    check_store(&as, &p, 0x61, 0xabcd, 2, "w1@1=cd w1@2=ab ");
    check_load(&as, &p, 0x6f, 2, 0xff1f, "r1@f "); /* the other half is a hole */
    check_load(&as, &p, 0x1234, 4, 0xffffffff, "");
    check_load(&as, &p, 0x5f, 2, 0x10ff, "r1@0 ");
    region_del(&p.io);

    probe_init(&p, 4, false);
    region_add(&root, 0x60, &p.io, 0);
    check_load(&as, &p, 0x61, 1, 0x11, "r4@0 ");
    check_load(&as, &p, 0x62, 4, 0x15141312, "r4@0 r4@4 ");
    check_store(&as, &p, 0x66, 0xab, 1, "w4@4=ab0000 ");
    check_load(&as, &p, 0x60, 8, 0x1716151413121110, "r4@0 r4@4 ");
    region_del(&p.io);

    probe_init(&p, 1 | 2, false);
    region_add(&root, 0x60, &p.io, 0);
    check_load(&as, &p, 0x61, 4, 0x14131211, "r1@1 r2@2 r1@4 ");
    region_del(&p.io);

    probe_init(&p, 0, true);
    region_add(&root, 0x60, &p.io, 0);
    check_load(&as, &p, 0x61, 4, 0x14131211, "r4@1 ");
    check_store(&as, &p, 0x63, 0x1122334455667788, 8, "w8@3=1122334455667788 ");
    vm_lock(); /* also when the caller has the lock */
    check_load(&as, &p, 0x61, 2, 0x1211, "r2@1 ");
    vm_unlock();
    region_del(&p.io);
    address_space_fini(&as);
}

static void test_ram(void **state)
{
    (void)state;
    Error *err = NULL;
    RamBlock *ram = ram_block_new("test", 4 * PAGE_SIZE, &err);
    assert_non_null(ram);
    Region root, a, rom, mirror;
    AddressSpace as;
    Probe p;
    region_init_container(&root, "system", UINT64_MAX);
    address_space_init(&as, "memory", &root);
    region_init_ram(&a, "ram", ram, 0, 2 * PAGE_SIZE);
    region_init_rom(&rom, "rom", ram, 2 * PAGE_SIZE, 2 * PAGE_SIZE);
    region_add(&root, 0, &a, 0);
    region_add(&root, 0x10000, &rom, 0);
    region_init_alias(&mirror, "top", &rom, PAGE_SIZE, PAGE_SIZE);
    region_add(&root, UINT64_MAX - PAGE_SIZE + 1, &mirror, 0);
    probe_init(&p, 0, false);
    region_add(&root, 0x100, &p.io, 1);

    address_space_store(&as, 0x1ffe, 0x11223344, 4); /* half of it falls off the end */
    assert_int_equal(address_space_load(&as, 0x1ffe, 4), 0x3344);
    address_space_store(&as, 0x11000, 5, 1);
    assert_int_equal(address_space_load(&as, 0x11000, 1), 0); /* ROM */
    address_space_write_rom(&as, 0x11000, "\x77\x88", 2);
    assert_int_equal(address_space_load(&as, UINT64_MAX - 0xfff, 2), 0x8877);
    assert_int_equal(address_space_load(&as, UINT64_MAX, 1), 0);
    assert_int_equal(address_space_load(&as, 0x200000000, 8), 0);

    uint8_t buf[0x200];
    memset(buf, 0xee, sizeof(buf));
    assert_false(dma_write(&as, 0xf0, buf, 0x40)); /* registers are out of reach */
    assert_int_equal(ram->host[0xff], 0xee);
    assert_int_equal(ram->host[0x100], 0);
    assert_int_equal(ram->host[0x110], 0xee);
    assert_string_equal(p.log, "");
    assert_false(dma_read(&as, 0xf0, buf, 0x30));
    assert_int_equal(buf[0x10], 0);
    assert_int_equal(buf[0x20], 0xee);
    assert_true(dma_read(&as, 0x200, buf, 0x100));
    assert_false(dma_write(&as, 0x10000, buf, 1));
    assert_false(dma_read(&as, 0x9000, buf, 0x200));
    address_space_read(&as, 0xfc, buf, 0x18);
    assert_string_equal(p.log, "r8@0 r8@8 ");
    assert_int_equal(buf[3], 0xee);
    assert_int_equal(buf[4], 0x10);
    assert_int_equal(buf[0x14], 0xee);

    /* dirty pages */
    ram_track(ram, DIRTY_DISPLAY, true);
    unsigned long bits = 0;
    assert_true(ram_collect_dirty(ram, 0, ram->size, DIRTY_DISPLAY, &bits));
    assert_int_equal(bits, 0xf);
    assert_false(ram_collect_dirty(ram, 0, ram->size, DIRTY_DISPLAY, NULL));
    assert_true(ram_write_is_tracked(ram, 0x1000));
    address_space_store(&as, 0x1008, 1, 4);
    assert_false(ram_write_is_tracked(ram, 0x1000));
    bits = 0;
    assert_true(ram_collect_dirty(ram, 0, ram->size, DIRTY_DISPLAY, &bits));
    assert_int_equal(bits, 2);
    ram_track(ram, DIRTY_DISPLAY, false);
    assert_false(ram_write_is_tracked(ram, 0x0));

    /* code */
    const uint32_t *stamp = ram_code_stamp(ram, 0x1000);
    uint32_t was = *stamp;
    ram_track_code(ram, 0x1040, 65); /* granules 1 and 2 */
    assert_true(ram_write_is_tracked(ram, 0x1fff));
    address_space_store(&as, 0x1000, 1, 8);
    address_space_store(&as, 0x10c0, 1, 8);
    assert_int_equal(*stamp, was);
    address_space_store(&as, 0x103c, 1, 8);
    assert_int_equal(*stamp, was + 1);
    assert_false(ram_write_is_tracked(ram, 0x1fff));
    ram_track_code(ram, 0x1080, 1);
    dma_write(&as, 0x0fff, buf, 0x200);
    assert_int_equal(*stamp, was + 2);
    address_space_fini(&as);
    ram_block_free(ram);
}

/* A second decoder of a page while the first is still making writes to it slow. */
static unsigned protects, nested;
static void (*protect_before)(RamBlock *b, uint64_t offset, bool wait);

static void count_protect(RamBlock *b, uint64_t offset, bool wait)
{
    assert_true(wait);
    assert_int_equal(offset, 0x1000);
    protects++;
    if (nested) {
        nested--;
        ram_track_code(b, 0x1040, 1); /* the same granule */
        ram_track_code(b, 0x1080, 1); /* another */
        ram_track_code(b, 0x1080, 1);
    }
}

static void test_two_decoders(void **state)
{
    (void)state;
    Error *err = NULL;
    RamBlock *ram = ram_block_new("decoders", 0x4000, &err);
    assert_non_null(ram);
    protect_before = ram_protect_hook;
    ram_protect_hook = count_protect;
    nested = 1;
    ram_track_code(ram, 0x1040, 1);
    assert_int_equal(protects, 4); /* each of them made sure by itself */
    ram_track_code(ram, 0x1040, 1);
    ram_track_code(ram, 0x10c0, 1);
    assert_int_equal(protects, 4); /* nobody is at it, and it was done */
    ram_written(ram, 0x1040, 1);
    ram_track_code(ram, 0x1040, 1);
    assert_int_equal(protects, 5);
    ram_protect_hook = protect_before;
    ram_block_free(ram);
}

/* One decodes a number, another thread writes it all the time: what was decoded must be stale once
 * it was written again. */
static struct {
    RamBlock *ram;
    uint32_t written; /* atomic: how often */
    bool stop;        /* atomic */
} storm;

static void *write_numbers(void *opaque)
{
    volatile uint32_t *at = (volatile uint32_t *)(storm.ram->host + 0x1044);
    for (uint32_t n = 1; !__atomic_load_n(&storm.stop, __ATOMIC_ACQUIRE); n++) {
        *at = n;
        ram_written(storm.ram, 0x1044, 4);
        __atomic_store_n(&storm.written, n, __ATOMIC_SEQ_CST);
    }
    return opaque;
}

static void test_decoded_while_written(void **state)
{
    (void)state;
    Error *err = NULL;
    storm.ram = ram_block_new("storm", 0x4000, &err);
    assert_non_null(storm.ram);
    const uint32_t *stamp = ram_code_stamp(storm.ram, 0x1044);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_numbers, NULL), 0);
    unsigned lost = 0;
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t seen = ram_track_code(storm.ram, 0x1044, 4);
        uint32_t val = __atomic_load_n((uint32_t *)(storm.ram->host + 0x1044), __ATOMIC_SEQ_CST);
        for (unsigned n = 0; __atomic_load_n(&storm.written, __ATOMIC_SEQ_CST) <= val; n++) {
            if (n > 1000) {
                sched_yield();
            }
        }
        lost += __atomic_load_n(stamp, __ATOMIC_SEQ_CST) == seen;
    }
    __atomic_store_n(&storm.stop, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    ram_block_free(storm.ram);
    assert_int_equal(lost, 0);
}

/* ---- random trees against a model ---- */

enum { SPAN = 64, NR_REGIONS = 24 };
static Region pool[NR_REGIONS], random_root;
static const RegionOps no_ops;

/* Which leaf answers at byte a of r, NULL if none; *offset in it. */
static Region *model(Region *r, int64_t a, bool *readonly, uint64_t *offset)
{
    if (!r->enabled || a < 0 || (r->size != UINT64_MAX && a >= (int64_t)r->size)) {
        return NULL;
    }
    bool below = *readonly || r->readonly;
    list_for_each(pos, &r->children) {
        Region *child = container_of(pos, Region, sibling);
        bool ro = below;
        Region *hit = model(child, a - (int64_t)child->offset, &ro, offset);
        if (hit) {
            *readonly = ro;
            return hit;
        }
    }
    *readonly = below;
    if (r->kind == REGION_ALIAS) {
        return model(r->target, a + (int64_t)r->target_offset, readonly, offset);
    }
    *offset = a;
    return r->kind == REGION_IO ? r : NULL;
}

static void check_view(AddressSpace *as, unsigned seed)
{
    const FlatView *v = as->view;
    for (size_t i = 1; i < v->nr; i++) {
        assert_true(v->range[i - 1].start + v->range[i - 1].size <= v->range[i].start);
    }
    for (uint64_t a = 0; a < SPAN + 4; a++) {
        bool readonly = false;
        uint64_t offset = 0;
        Region *want = model(&random_root, a, &readonly, &offset);
        const FlatRange *got = flat_view_find(v, a);
        if (!!want != !!got || (want && (got->region != want || got->readonly != readonly ||
                                         got->offset + (a - got->start) != offset))) {
            fail_msg("seed %u, address %llu: want %s+%llu, got %s", seed, (unsigned long long)a,
                     want ? want->name : "hole", (unsigned long long)offset,
                     got ? got->region->name : "hole");
        }
    }
}

static void random_tree(AddressSpace *as, unsigned seed)
{
    static char names[NR_REGIONS][16];
    srand(seed);
    memory_begin();
    for (int i = 0; i < NR_REGIONS; i++) {
        Region *r = &pool[i];
        uint64_t size = 1 + rand() % (SPAN / 2);
        snprintf(names[i], sizeof(names[i]), "r%d", i);
        switch (i < 3 ? 0 : rand() % 4) {
        case 0: region_init_container(r, names[i], size + SPAN / 4); break;
        case 1: region_init_alias(r, names[i], &pool[rand() % i], rand() % 16, size); break;
        default:
            region_init_io(r, NULL, &no_ops, NULL, size);
            r->name = names[i];
        }
        r->readonly = rand() % 8 == 0;
        r->enabled = rand() % 8 != 0;
    }
    /* Parents have lower numbers than aliases' users: no loops. */
    for (int i = NR_REGIONS - 1; i >= 0; i--) {
        Region *parent = i && rand() % 2 ? &pool[rand() % i] : &random_root;
        if (parent != &random_root && (parent->kind != REGION_CONTAINER || parent >= &pool[3] ||
                                       i < 3 || pool[i].kind == REGION_ALIAS)) {
            parent = &random_root;
        }
        region_add(parent, rand() % SPAN, &pool[i], rand() % 3 - 1);
    }
    memory_commit();
    check_view(as, seed);
    for (int n = 0; n < 10; n++) {
        Region *r = &pool[rand() % NR_REGIONS];
        switch (rand() % 4) {
        case 0: region_set_enabled(r, !r->enabled); break;
        case 1: region_set_offset(r, rand() % SPAN); break;
        case 2: region_set_readonly(r, !r->readonly); break;
        default: region_set_target_offset(r, rand() % 16); break;
        }
        check_view(as, seed);
    }
    memory_begin();
    for (int i = 0; i < NR_REGIONS; i++) {
        region_del(&pool[i]);
    }
    memory_commit();
    assert_int_equal(as->view->nr, 0);
}

static void test_random(void **state)
{
    (void)state;
    AddressSpace as;
    region_init_container(&random_root, "root", SPAN);
    address_space_init(&as, "random", &random_root);
    for (unsigned seed = 1; seed <= 500; seed++) {
        random_tree(&as, seed);
    }
    address_space_fini(&as);
}

/* Readers on other threads while the view changes: for the sanitizers. */
static bool stop;
static void *reader(void *opaque)
{
    AddressSpace *as = opaque;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        uint64_t v = address_space_load(as, 0, 4);
        assert_true(v == 0 || v == 0x12345678);
    }
    return NULL;
}

static void test_concurrent(void **state)
{
    (void)state;
    Error *err = NULL;
    RamBlock *ram = ram_block_new("test", PAGE_SIZE, &err);
    Region root, a;
    AddressSpace as;
    region_init_container(&root, "system", UINT64_MAX);
    address_space_init(&as, "memory", &root);
    region_init_ram(&a, "ram", ram, 0, PAGE_SIZE);
    region_add(&root, 0, &a, 0);
    address_space_store(&as, 0, 0x12345678, 4);
    pthread_t t;
    pthread_create(&t, NULL, reader, &as);
    for (int i = 0; i < 2000; i++) {
        vm_lock();
        region_set_enabled(&a, i & 1);
        vm_unlock();
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(t, NULL);
    address_space_fini(&as);
    ram_block_free(ram);
}

static unsigned nr_changes;
static void on_change(MemoryListener *l, AddressSpace *as)
{
    (void)l;
    (void)as;
    nr_changes++;
}

static void test_listener(void **state)
{
    (void)state;
    Region root, c;
    AddressSpace as;
    Probe p;
    MemoryListener l = { .changed = on_change };
    region_init_container(&root, "system", UINT64_MAX);
    address_space_init(&as, "memory", &root);
    memory_listener_add(&as, &l);
    region_init_container(&c, "empty", 4096);
    region_add(&root, 0, &c, 0);
    assert_int_equal(nr_changes, 0); /* nothing to see */
    probe_init(&p, 0, false);
    memory_begin();
    region_add(&c, 0, &p.io, 0);
    region_set_offset(&c, 0x5000);
    memory_commit();
    assert_int_equal(nr_changes, 1);
    FlatView *v = address_space_view(&as);
    region_del(&c);
    assert_int_equal(nr_changes, 2);
    assert_non_null(flat_view_find(v, 0x5000)); /* the old view is still whole */
    flat_view_unref(v);
    memory_listener_del(&l);
    address_space_fini(&as);
}

/* ---- doorbells ---- */

static unsigned nr_told;
static void on_properties(MemoryListener *l, AddressSpace *as)
{
    (void)l;
    (void)as;
    nr_told++;
}

static uint64_t rung(int fd)
{
    uint64_t n = 0;
    return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

typedef struct Seen {
    uint64_t addr[4];
    unsigned nr;
} Seen;

static void see(void *opaque, uint64_t addr, const IoEventFd *e)
{
    Seen *s = opaque;
    (void)e;
    assert_true(s->nr < 4);
    s->addr[s->nr++] = addr;
}

static void test_ioeventfd(void **state)
{
    (void)state;
    Region root;
    AddressSpace as;
    Probe p;
    MemoryListener l = { .properties = on_properties };
    int any = eventfd(0, EFD_NONBLOCK), seven = eventfd(0, EFD_NONBLOCK);
    region_init_container(&root, "system", UINT64_MAX);
    address_space_init(&as, "memory", &root);
    memory_listener_add(&as, &l);
    probe_init(&p, 0, false);
    region_add(&root, 0x1000, &p.io, 0);
    assert_int_equal(nr_told, 1);
    region_add_ioeventfd(&p.io, 4, 2, true, 7, seven);
    region_add_ioeventfd(&p.io, 8, 0, false, 0, any);
    assert_int_equal(nr_told, 3);
    address_space_store(&as, 0x1004, 7, 2); /* a doorbell */
    assert_int_equal(rung(seven), 1);
    assert_string_equal(p.log, "");
    address_space_store(&as, 0x1004, 8, 2); /* another value, another size, another place */
    address_space_store(&as, 0x1004, 7, 4);
    address_space_store(&as, 0x1005, 7, 1);
    assert_int_equal(rung(seven), 0);
    assert_string_equal(p.log, "w2@4=8 w4@4=7 w1@5=7 ");
    address_space_store(&as, 0x1008, 1, 1);
    address_space_store(&as, 0x1008, 9, 4);
    assert_int_equal(rung(any), 2);
    assert_int_equal(address_space_load(&as, 0x1008, 1), 0x18); /* reads are the device's */
    Seen seen = { .nr = 0 };
    address_space_each_ioeventfd(&as, see, &seen);
    assert_int_equal(seen.nr, 2);
    assert_true(seen.addr[0] == 0x1004 && seen.addr[1] == 0x1008);
    region_set_offset(&p.io, 0x2000); /* they move with the region */
    assert_int_equal(nr_told, 4);
    seen.nr = 0;
    address_space_each_ioeventfd(&as, see, &seen);
    assert_true(seen.addr[0] == 0x2004);
    region_del_ioeventfd(&p.io, 4, 2, true, 7, seven);
    region_del_ioeventfd(&p.io, 8, 0, false, 0, any);
    assert_int_equal(nr_told, 6);
    address_space_store(&as, 0x2004, 7, 2);
    assert_int_equal(rung(seven), 0);
    region_del(&p.io);
    memory_listener_del(&l);
    address_space_fini(&as);
    close(any);
    close(seven);
}

/* What an engine hears that writes RAM without a word. */
static struct {
    RamBlock *ram;
    unsigned syncs, tracks, guards;
    uint64_t guarded;
} heard;

static void hear_sync(RamBlock *b, uint64_t offset, uint64_t len)
{
    heard.syncs++;
    if (offset <= 0x2000 && 0x2000 < offset + len) { /* its log says that page 2 was written */
        __atomic_fetch_or(&b->dirty[2], DIRTY_ALL, __ATOMIC_SEQ_CST);
    }
}

static void hear_tracked(RamBlock *b)
{
    heard.tracks += b == heard.ram;
}

static void hear_guard(RamBlock *b, uint64_t offset)
{
    heard.guards++;
    heard.guarded = offset;
    assert_true(ram_write_is_tracked(b, offset)); /* the granules are there already */
}

static void test_engine_hooks(void **state)
{
    Error *err = NULL;
    (void)state;
    RamBlock *b = heard.ram = ram_block_new("ram", 0x4000, &err);
    ram_dirty_sync_hook = hear_sync;
    ram_tracked_hook = hear_tracked;
    ram_guard_hook = hear_guard;
    ram_track(b, DIRTY_DISPLAY, true);
    assert_int_equal(heard.tracks, 1);
    unsigned long bits = 0;
    assert_true(ram_collect_dirty(b, 0, b->size, DIRTY_DISPLAY, &bits));
    assert_int_equal(bits, 0xf);
    bits = 0;
    assert_true(ram_collect_dirty(b, 0, b->size, DIRTY_DISPLAY, &bits));
    assert_int_equal(bits, 4);
    assert_int_equal(heard.syncs, 2);
    ram_track(b, DIRTY_DISPLAY, false);
    assert_int_equal(heard.tracks, 2);

    uint32_t stamp = ram_track_code(b, 0x1010, 16);
    assert_int_equal(heard.guards, 1);
    assert_int_equal(heard.guarded, 0x1000);
    ram_track_code(b, 0x1800, 16); /* the page is guarded */
    assert_int_equal(heard.guards, 1);
    uint32_t other = *ram_code_stamp(b, 0x2000);
    ram_forget_code(b);
    assert_int_not_equal(*ram_code_stamp(b, 0x1000), stamp);
    assert_int_equal(*ram_code_stamp(b, 0x2000), other);
    assert_false(ram_write_is_tracked(b, 0x1000));
    ram_track_code(b, 0x1010, 16);
    assert_int_equal(heard.guards, 2);
    ram_dirty_sync_hook = NULL;
    ram_tracked_hook = NULL;
    ram_guard_hook = NULL;
    ram_block_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),      cmocka_unit_test(test_ram),
        cmocka_unit_test(test_two_decoders), cmocka_unit_test(test_decoded_while_written),
        cmocka_unit_test(test_random),     cmocka_unit_test(test_listener),
        cmocka_unit_test(test_engine_hooks),
        cmocka_unit_test(test_concurrent), cmocka_unit_test(test_ioeventfd),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 * Writes numbered sectors to a disk and tells over COM1 of each flush that has come back: '.', and
 * 'E' of a request that failed, 'D' at the end. test_writer.py knows what it writes where, and
 * looks at the image when the process has been killed, or has been paused by errors of the host.
 *
 * COM1 says first what to do: 'v' virtio-blk (legacy interface, addr=4), 'i' the first IDE disk (PIO)
 * or 'a' AHCI (addr=4, port 0, queued); a seed; a number of rounds, 0 for no end. In round r the
 * flush of what round r - 1 wrote goes out first, and where the controller can, with round r's
 * writes beside it.
 */
#include "guest.h"

enum { SLOT = 4, COM1 = 0x3f8, SECTOR = 512 };
enum { DISK_SECTORS = 65536, MAX_OPS = 8, MAX_WRITE = 16, MAX_ZEROES = 256 };
enum { BUFFER = MAX_ZEROES * SECTOR };

typedef struct Op {
    uint32_t sector, nr;
    bool zeroes;
    uint32_t *data; /* BUFFER bytes */
} Op;
static Op op[MAX_OPS];
static unsigned nr_ops;

/* ---- COM1 ---- */

static void say(char c)
{
    while (!(inb(COM1 + 5) & 0x20)) {
        cpu_pause();
    }
    outb(COM1, (uint8_t)c);
}
static uint8_t hear(void)
{
    while (!(inb(COM1 + 5) & 1)) {
        cpu_pause();
    }
    return inb(COM1);
}
static uint32_t hear32(void)
{
    uint32_t v = 0;
    for (unsigned i = 0; i < 4; i++) {
        v |= (uint32_t)hear() << 8 * i;
    }
    return v;
}

/* ---- virtio-blk, by VIRTIO 4.1.4.8 (legacy) and 2.7 ---- */

enum { V_PORT = 0xc000, V_FEATURES = 4, V_PFN = 8, V_NOTIFY = 16, V_STATUS = 18 };
enum { V_F_FLUSH = 1 << 9, V_F_ZEROES = 1 << 14, V_OUT = 1, V_FLUSH = 4, V_ZEROES = 13 };
enum { V_NUM = 256, V_NEXT = 1, V_WRITE = 2 };
typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
} Desc;
typedef struct Header {
    uint32_t type, reserved;
    uint64_t sector;
} Header;
typedef struct Range {
    uint64_t sector;
    uint32_t nr, unmap;
} Range;
static struct {
    Desc *desc;
    volatile uint16_t *avail, *used;
    uint16_t seen;
    Header header[MAX_OPS + 1];
    Range range[MAX_OPS];
    volatile uint8_t status[MAX_OPS + 1];
} v;

static void virtio_start(void)
{
    uint8_t *ring = alloc(4 * PAGE);
    pci_config_write(SLOT << 3, 0x10, V_PORT);
    pci_config_write(SLOT << 3, 4, 5);
    outb(V_PORT + V_STATUS, 0);
    outb(V_PORT + V_STATUS, 3);
    outl(V_PORT + V_FEATURES, inl(V_PORT) & (V_F_FLUSH | V_F_ZEROES));
    outl(V_PORT + V_PFN, (uint32_t)(Word)ring / PAGE);
    outb(V_PORT + V_STATUS, 7);
    v.desc = (Desc *)ring;
    v.avail = (uint16_t *)(ring + 16 * V_NUM);
    v.used = (uint16_t *)(ring + 2 * PAGE);
    v.avail[0] = 1; /* no interrupts */
}

/* Request n has descriptors 3n to 3n + 2. */
static void virtio_offer(unsigned n, uint32_t type, uint64_t sector, const void *data, uint32_t len)
{
    Desc *d = v.desc + 3 * n;
    v.header[n] = (Header){ type, 0, sector };
    v.status[n] = 0xff;
    d[0] = (Desc){ (Word)&v.header[n], sizeof(Header), V_NEXT, (uint16_t)(3 * n + (len ? 1 : 2)) };
    d[1] = (Desc){ (Word)data, len, V_NEXT, (uint16_t)(3 * n + 2) };
    d[2] = (Desc){ (Word)&v.status[n], 1, V_WRITE, 0 };
    v.avail[2 + v.avail[1] % V_NUM] = (uint16_t)(3 * n);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    v.avail[1]++;
}

static void virtio_round(bool flush)
{
    unsigned nr = nr_ops + flush;
    bool told = !flush;
    for (unsigned i = 0; i < nr_ops; i++) {
        if (op[i].zeroes) {
            v.range[i] = (Range){ op[i].sector, op[i].nr, op[i].sector & 1 };
            virtio_offer(i, V_ZEROES, 0, &v.range[i], sizeof(Range));
        } else {
            virtio_offer(i, V_OUT, op[i].sector, op[i].data, op[i].nr * SECTOR);
        }
    }
    if (flush) {
        virtio_offer(nr_ops, V_FLUSH, 0, NULL, 0);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    outw(V_PORT + V_NOTIFY, 0);
    while ((uint16_t)(v.used[1] - v.seen) < nr || !told) {
        if (!told && v.status[nr_ops] != 0xff) {
            say(v.status[nr_ops] ? 'E' : '.');
            told = true;
        }
        cpu_pause();
    }
    for (unsigned i = 0; i < nr_ops; i++) {
        if (v.status[i]) {
            say('E');
        }
    }
    v.seen = v.used[1];
}

/* ---- IDE, by ATA8-ACS ---- */

enum { I_PORT = 0x1f0, I_STATUS = I_PORT + 7, I_ERR = 1, I_DRQ = 8, I_BSY = 0x80 };
enum { CMD_WRITE = 0x30, CMD_FLUSH = 0xe7, CMD_WRITE_FPDMA = 0x61 };

static void ide_start(void)
{
    pci_config_write(1 << 3 | 1, 0x40, 0x80008000u); /* decode both channels */
    pci_config_write(1 << 3 | 1, 4, 1);
}
static uint8_t ide_wait(void)
{
    uint8_t status;
    while ((status = inb(I_STATUS)) & I_BSY) {
        cpu_pause();
    }
    return status;
}
static void ide_command(uint8_t command, uint32_t sector, uint32_t nr)
{
    outb(I_PORT + 6, (uint8_t)(0xe0 | sector >> 24));
    outb(I_PORT + 2, (uint8_t)nr);
    outb(I_PORT + 3, (uint8_t)sector);
    outb(I_PORT + 4, (uint8_t)(sector >> 8));
    outb(I_PORT + 5, (uint8_t)(sector >> 16));
    outb(I_STATUS, command);
}
static void ide_write(const Op *o)
{
    const void *data = o->data;
    ide_command(CMD_WRITE, o->sector, o->nr);
    for (uint32_t i = 0; i < o->nr && ide_wait() & I_DRQ; i++) {
        Word words = SECTOR / 2;
        __asm__ volatile("rep outsw" : "+S"(data), "+c"(words) : "d"(I_PORT) : "memory");
    }
    if (ide_wait() & I_ERR) {
        say('E');
    }
}
static void ide_round(bool flush)
{
    if (flush) {
        ide_command(CMD_FLUSH, 0, 0);
        say(ide_wait() & I_ERR ? 'E' : '.');
    }
    for (unsigned i = 0; i < nr_ops; i++) {
        ide_write(&op[i]);
    }
}

/* ---- AHCI, by AHCI 1.3.1 3 and 4 ---- */

enum {
    A_GHC = 0x04,
    A_PORT = 0x100,
    A_CLB = 0,
    A_FB = 8,
    A_IS = 0x10,
    A_CMD = 0x18,
    A_TFD = 0x20,
    A_SERR = 0x30,
    A_SACT = 0x34,
    A_CI = 0x38,
    TABLE = 256,
    FLUSH_SLOT = 31
};
#define A_BAR 0xe1000000u
static uint32_t *a_list;
static uint8_t *a_tables;

static volatile uint32_t *a_reg(unsigned reg)
{
    return (volatile uint32_t *)(Word)(A_BAR + A_PORT + reg);
}
static void ahci_start(void)
{
    pci_config_write(SLOT << 3, 0x24, A_BAR);
    pci_config_write(SLOT << 3, 4, 6);
    *(volatile uint32_t *)(Word)(A_BAR + A_GHC) = 0x80000000u;
    a_list = alloc(PAGE);
    a_tables = alloc(32 * TABLE);
    *a_reg(A_CLB) = (uint32_t)(Word)a_list;
    *a_reg(A_FB) = (uint32_t)(Word)alloc(PAGE);
    *a_reg(A_SERR) = 0xffffffffu;
    *a_reg(A_CMD) = 0x10;
    while (*a_reg(A_TFD) & (I_BSY | I_DRQ)) {
        cpu_pause();
    }
    *a_reg(A_CMD) = 0x11;
}
/* Slot n: a register FIS and one region. */
static void ahci_prepare(unsigned n, uint8_t command, const Op *o)
{
    uint8_t *t = a_tables + n * TABLE;
    uint32_t *prd = (uint32_t *)(t + 0x80), bytes = o ? o->nr * SECTOR : 0;
    memset(t, 0, TABLE);
    t[0] = 0x27, t[1] = 0x80, t[2] = command, t[7] = 0x40;
    if (o) {
        t[3] = (uint8_t)o->nr, t[11] = (uint8_t)(o->nr >> 8), t[12] = (uint8_t)(n << 3);
        t[4] = (uint8_t)o->sector, t[5] = (uint8_t)(o->sector >> 8);
        t[6] = (uint8_t)(o->sector >> 16);
        prd[0] = (uint32_t)(Word)o->data;
        prd[3] = bytes - 1;
    }
    a_list[8 * n] = 5 | 1 << 6 | (o ? 1 << 16 : 0); /* five dwords, to the device */
    a_list[8 * n + 1] = 0;
    a_list[8 * n + 2] = (uint32_t)(Word)t;
}
static void ahci_run(uint32_t slots, bool queued)
{
    if (queued) {
        *a_reg(A_SACT) = slots;
    }
    *a_reg(A_CI) = slots;
    while ((*a_reg(A_CI) | *a_reg(A_SACT)) & slots && !(*a_reg(A_IS) & 1u << 30)) {
        cpu_pause();
    }
    if (*a_reg(A_TFD) & I_ERR || *a_reg(A_IS) & 1u << 30) {
        say('E');
    } else if (!queued) {
        say('.');
    }
    *a_reg(A_IS) = 0xffffffffu;
}
static void ahci_round(bool flush)
{
    if (flush) {
        ahci_prepare(FLUSH_SLOT, CMD_FLUSH, NULL);
        ahci_run(1u << FLUSH_SLOT, false);
    }
    for (unsigned i = 0; i < nr_ops; i++) {
        ahci_prepare(i, CMD_WRITE_FPDMA, &op[i]);
    }
    ahci_run((1u << nr_ops) - 1, true);
}

/* ---- what is written ---- */

/* Each 16 bytes of a sector say who wrote it, when, and where. */
static void fill(const Op *o, uint32_t seed, uint32_t round, uint32_t n)
{
    uint32_t *p = o->data;
    if (o->zeroes) {
        memset(p, 0, o->nr * SECTOR);
        return;
    }
    for (uint32_t i = 0; i < o->nr; i++) {
        for (unsigned k = 0; k < SECTOR / 16; k++, p += 4) {
            p[0] = seed, p[1] = round, p[2] = n, p[3] = o->sector + i;
        }
    }
}
static void make_ops(uint32_t seed, uint32_t round)
{
    nr_ops = 1 + below(MAX_OPS);
    for (unsigned i = 0; i < nr_ops; i++) {
        Op *o = &op[i];
        o->zeroes = below(8) == 0;
        o->nr = 1 + below(o->zeroes ? MAX_ZEROES : MAX_WRITE);
        o->sector = below(DISK_SECTORS - o->nr);
        fill(o, seed, round, i);
    }
}

void guest_main(void)
{
    char kind = (char)hear();
    uint32_t seed = hear32(), rounds = hear32();
    void (*run_round)(bool flush) = kind == 'v'   ? virtio_round
                                    : kind == 'i' ? ide_round
                                                  : ahci_round;
    for (unsigned i = 0; i < MAX_OPS; i++) {
        op[i].data = alloc(BUFFER);
    }
    seed_cpu(seed);
    if (kind == 'v') {
        virtio_start();
    } else if (kind == 'i') {
        ide_start();
    } else {
        ahci_start();
    }
    for (uint32_t round = 0; !rounds || round < rounds; round++) {
        make_ops(seed, round);
        run_round(round > 0);
    }
    nr_ops = 0;
    if (kind != 'a') {
        run_round(true);
    } else {
        ahci_prepare(FLUSH_SLOT, CMD_FLUSH, NULL);
        ahci_run(1u << FLUSH_SLOT, false);
    }
    say('D');
    guest_finish();
}

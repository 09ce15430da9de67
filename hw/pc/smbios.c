/* SPDX-License-Identifier: GPL-2.0-or-later
 * SMBIOS 2.8 (DMTF DSP0134 2.8.0): what the machine is called, its CPUs and its memory.
 *
 * Types 0 BIOS, 1 system, 2 board, 3 chassis, 4 processor, 16 memory array, 17 memory device, 19
 * mapped range, 32 boot status, 127 end. Firmware copies the tables and fixes the entry point.
 */
#include "hw/pc/smbios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/model.h"
#include "cpu/state.h"
#include "hw/pc/fw_cfg.h"
#include "hw/pc/kernel_plan.h"
#include "hw/pc/pc.h"

enum { MAX_TABLES = 0x10000, ENTRY_LEN = 0x1f };
enum { HANDLE_BIOS = 0x0000, HANDLE_SYSTEM = 0x0100, HANDLE_BOARD = 0x0200,
       HANDLE_CHASSIS = 0x0300, HANDLE_CPU = 0x0400, HANDLE_ARRAY = 0x1000,
       HANDLE_DIMM = 0x1100, HANDLE_RANGE = 0x1300, HANDLE_STATUS = 0x2000,
       HANDLE_END = 0x7f00 };
#define DIMM_MAX (16 * GiB)

typedef struct Smbios {
    uint8_t bytes[MAX_TABLES];
    size_t len, start; /* start: of the structure being written */
    unsigned nr, nr_strings, longest;
    char strings[512];
    size_t strings_len;
} Smbios;

/* Starts a structure whose formatted area has len bytes, all zero. */
static uint8_t *begin(Smbios *s, uint8_t type, uint8_t len, uint16_t handle)
{
    s->start = s->len;
    s->nr_strings = 0;
    s->strings_len = 0;
    if (s->len + len + sizeof(s->strings) + 2 > sizeof(s->bytes)) {
        return NULL; /* hundreds of sockets or DIMMs: the list just ends */
    }
    uint8_t *p = s->bytes + s->len;
    memset(p, 0, len);
    p[0] = type;
    p[1] = len;
    put_le16(p + 2, handle);
    s->len += len;
    return p;
}

/* The number of a string in the structure's string set; 0 for an empty one. */
static uint8_t text(Smbios *s, const char *str)
{
    size_t len = strlen(str) + 1;
    if (len == 1 || s->strings_len + len > sizeof(s->strings)) {
        return 0;
    }
    memcpy(s->strings + s->strings_len, str, len);
    s->strings_len += len;
    return ++s->nr_strings;
}

static void end(Smbios *s)
{
    memcpy(s->bytes + s->len, s->strings, s->strings_len);
    s->len += s->strings_len;
    s->bytes[s->len++] = 0;
    if (s->nr_strings == 0) {
        s->bytes[s->len++] = 0;
    }
    s->nr++;
    s->longest = MAX(s->longest, (unsigned)(s->len - s->start));
}

static void add_bios(Smbios *s)
{
    uint8_t *p = begin(s, 0, 24, HANDLE_BIOS);
    p[0x04] = text(s, "SeaBIOS");
    p[0x05] = text(s, "unknown");
    put_le16(p + 0x06, 0xe800);  /* segment */
    p[0x08] = text(s, "04/01/2014"); /* the date SeaBIOS itself gives */
    put_le64(p + 0x0a, 1 << 3);  /* characteristics are not given */
    p[0x13] = 1 << 4 | 1 << 2;   /* a virtual machine; targeted content distribution */
    p[0x16] = p[0x17] = 0xff;    /* no embedded controller */
    end(s);
}

static void add_system(Smbios *s, const MachineConfig *config)
{
    uint8_t *p = begin(s, 1, 27, HANDLE_SYSTEM);
    p[0x04] = text(s, "Vireo");
    p[0x05] = text(s, "Standard PC (i440FX + PIIX3, 1996)");
    p[0x06] = text(s, "pc");
    /* The first three fields are little-endian (7.2.1). */
    static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
    for (unsigned i = 0; i < 16; i++) {
        p[0x08 + i] = config->uuid[order[i]];
    }
    p[0x18] = 6; /* woken by the power switch */
    end(s);
}

static void add_board(Smbios *s)
{
    uint8_t *p = begin(s, 2, 15, HANDLE_BOARD);
    p[0x04] = text(s, "Vireo");
    p[0x05] = text(s, "440FX");
    p[0x09] = 1; /* hosting board */
    put_le16(p + 0x0b, HANDLE_CHASSIS);
    p[0x0d] = 0x0a; /* motherboard */
    end(s);
}

/* -name is the asset tag: what an owner sticks on the box. */
static void add_chassis(Smbios *s, const char *name)
{
    uint8_t *p = begin(s, 3, 22, HANDLE_CHASSIS);
    p[0x04] = text(s, "Vireo");
    p[0x05] = 1; /* other */
    p[0x08] = text(s, name ? name : "");
    p[0x09] = p[0x0a] = p[0x0b] = 3; /* safe */
    p[0x0c] = 2;
    end(s);
}

static void add_cpu(Smbios *s, const Machine *m, unsigned socket, unsigned cores,
                    unsigned threads)
{
    uint8_t *p = begin(s, 4, 42, HANDLE_CPU + socket);
    if (!p) {
        return;
    }
    char name[16];
    snprintf(name, sizeof(name), "CPU %u", socket);
    p[0x04] = text(s, name);
    p[0x05] = 3;    /* central processor */
    p[0x06] = 1;    /* family: other */
    p[0x07] = text(s, "Vireo");
    uint32_t leaf[4] = { 0 };
    if (m->nr_cpus) {
        cpu_cpuid(m->cpu[0], 1, 0, leaf);
    }
    put_le32(p + 0x08, leaf[0]);
    put_le32(p + 0x0c, leaf[3]);
    p[0x10] = text(s, m->nr_cpus && m->cpu[0]->model ? cpu_model_name(m->cpu[0]->model) : "");
    put_le16(p + 0x14, 2000);
    put_le16(p + 0x16, 2000);
    p[0x18] = 0x41; /* populated, enabled */
    p[0x19] = 1;
    put_le16(p + 0x1a, 0xffff); /* caches are not described */
    put_le16(p + 0x1c, 0xffff);
    put_le16(p + 0x1e, 0xffff);
    p[0x23] = p[0x24] = MIN(cores, 255u);
    p[0x25] = MIN(cores * threads, 255u);
    put_le16(p + 0x26, 2); /* characteristics unknown */
    put_le16(p + 0x28, 1);
    end(s);
}

static void add_memory_array(Smbios *s, uint64_t size, unsigned nr_dimms)
{
    uint8_t *p = begin(s, 16, 23, HANDLE_ARRAY);
    p[0x04] = 1; /* other location */
    p[0x05] = 3; /* system memory */
    p[0x06] = 3; /* no error correction */
    uint64_t kb = size / KiB;
    put_le32(p + 0x07, kb < 0x80000000u ? kb : 0x80000000u);
    put_le16(p + 0x0b, 0xfffe);
    put_le16(p + 0x0d, nr_dimms);
    put_le64(p + 0x0f, kb < 0x80000000u ? 0 : size);
    end(s);
}

static void add_dimm(Smbios *s, unsigned n, uint64_t size)
{
    uint8_t *p = begin(s, 17, 40, HANDLE_DIMM + n);
    if (!p) {
        return;
    }
    char name[16];
    snprintf(name, sizeof(name), "DIMM %u", n);
    put_le16(p + 0x04, HANDLE_ARRAY);
    put_le16(p + 0x06, 0xfffe);
    put_le16(p + 0x08, 0xffff);
    put_le16(p + 0x0a, 0xffff);
    uint64_t mb = size / MiB;
    put_le16(p + 0x0c, mb < 0x7fff ? mb : 0x7fff);
    p[0x0e] = 9; /* DIMM */
    p[0x10] = text(s, name);
    p[0x12] = 7; /* RAM */
    put_le16(p + 0x13, 1 << 1);
    p[0x17] = text(s, "Vireo");
    put_le32(p + 0x1c, mb < 0x7fff ? 0 : mb);
    end(s);
}

static void add_range(Smbios *s, unsigned n, uint64_t start, uint64_t size)
{
    uint8_t *p = begin(s, 19, 31, HANDLE_RANGE + n);
    if (!p) {
        return;
    }
    uint64_t last_kb = (start + size) / KiB - 1;
    if (last_kb < UINT32_MAX) {
        put_le32(p + 0x04, start / KiB);
        put_le32(p + 0x08, last_kb);
    } else {
        put_le32(p + 0x04, UINT32_MAX);
        put_le32(p + 0x08, UINT32_MAX);
        put_le64(p + 0x0f, start);
        put_le64(p + 0x17, start + size - 1);
    }
    put_le16(p + 0x0c, HANDLE_ARRAY);
    p[0x0e] = 1;
    end(s);
}

static uint8_t checksum(const uint8_t *p, size_t len)
{
    uint8_t sum = 0;
    while (len--) {
        sum -= *p++;
    }
    return sum;
}

static void write_entry(const Smbios *s, uint8_t *e)
{
    memset(e, 0, ENTRY_LEN);
    memcpy(e, "_SM_", 4);
    e[0x05] = ENTRY_LEN;
    e[0x06] = 2;
    e[0x07] = 8;
    put_le16(e + 0x08, s->longest);
    memcpy(e + 0x10, "_DMI_", 5);
    put_le16(e + 0x16, s->len);
    put_le16(e + 0x1c, s->nr);
    e[0x1e] = 0x28;
    e[0x15] = checksum(e + 0x10, 0x0f);
    e[0x04] = checksum(e, ENTRY_LEN);
}

void smbios_build(struct PcMachine *pc)
{
    const Machine *m = pc->machine;
    const MachineConfig *config = &m->config;
    Smbios *s = calloc(1, sizeof(*s));
    if (!s) {
        return;
    }
    add_bios(s);
    add_system(s, config);
    add_board(s);
    add_chassis(s, config->name);
    unsigned cores = config->cores ? config->cores : 1;
    unsigned threads = config->threads ? config->threads : 1;
    unsigned dies = config->dies ? config->dies : 1;
    unsigned in_socket = cores * threads * dies;
    unsigned sockets = (m->nr_cpus + in_socket - 1) / in_socket;
    for (unsigned i = 0; i < MAX(sockets, 1u); i++) {
        add_cpu(s, m, i, cores * dies, threads);
    }
    unsigned dimms = (config->ram_size + DIMM_MAX - 1) / DIMM_MAX;
    add_memory_array(s, config->ram_size, dimms);
    for (unsigned i = 0; i < dimms; i++) {
        add_dimm(s, i, MIN(DIMM_MAX, config->ram_size - i * DIMM_MAX));
    }
    add_range(s, 0, 0, pc->ram_below_4g);
    if (pc->ram_above_4g) {
        add_range(s, 1, 4 * GiB, pc->ram_above_4g);
    }
    begin(s, 32, 11, HANDLE_STATUS);
    end(s);
    begin(s, 127, 4, HANDLE_END);
    end(s);

    uint8_t entry[ENTRY_LEN];
    write_entry(s, entry);
    fw_cfg_add_file_copy(m->fw_cfg, "etc/smbios/smbios-anchor", entry, sizeof(entry));
    fw_cfg_add_file_copy(m->fw_cfg, "etc/smbios/smbios-tables", s->bytes, s->len);
    free(s);
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 * Firmware configuration device (docs/specs/README.md: fw_cfg), x86 layout:
 *
 *   0x510 (16 bit, write)  selects an item and rewinds it
 *   0x511 ( 8 bit, read)   the item's next byte, 0 past its end
 *   0x514 (64 bit, big-endian, high half first)  address of a command block for DMA; writing
 *         the low half starts it; reading gives "QEMU CFG"
 *
 * The command block, big-endian: control (31:16 item, 4 write, 3 select, 2 skip, 1 read, 0 error),
 * length, address. Items are read-only for the guest: writes report an error.
 */
#include "hw/pc/fw_cfg.h"

#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hw/core/machine.h"

enum { PORT_SELECTOR = 0x510, PORT_DMA = 0x514, OFFSET_SELECTOR = 0, OFFSET_DATA = 1 };
enum { ID_TRADITIONAL = 1, ID_DMA = 2 };
enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };

typedef struct FwCfgItem {
    unsigned key;
    char name[FW_CFG_NAME_MAX]; /* files; "" for the numbered ones */
    uint8_t *data;
    size_t len;
} FwCfgItem;

typedef struct FwCfg {
    Device dev;
    uint16_t selector; /* state */
    uint32_t offset;
    uint64_t dma_address;
    FwCfgItem *items; /* wiring: sorted by key */
    size_t nr_items;
    Region io, dma;
} FwCfg;

/* ---- items ---- */

static FwCfgItem *find_key(const FwCfg *s, unsigned key)
{
    for (size_t i = 0; i < s->nr_items; i++) {
        if (s->items[i].key == key) {
            return &s->items[i];
        }
    }
    return NULL;
}

static FwCfgItem *find_file(const FwCfg *s, const char *name)
{
    for (size_t i = 0; i < s->nr_items; i++) {
        if (s->items[i].name[0] && strcmp(s->items[i].name, name) == 0) {
            return &s->items[i];
        }
    }
    return NULL;
}

static FwCfgItem *append(FwCfg *s, unsigned key)
{
    FwCfgItem *items = realloc(s->items, (s->nr_items + 1) * sizeof(*items));
    assert(items);
    s->items = items;
    FwCfgItem *item = &items[s->nr_items++];
    *item = (FwCfgItem) { .key = key };
    return item;
}

void fw_cfg_add_bytes(Device *fw_cfg, unsigned key, void *data, size_t len)
{
    FwCfg *s = container_of(fw_cfg, FwCfg, dev);
    FwCfgItem *item = find_key(s, key);
    if (!item) {
        item = append(s, key);
    }
    free(item->data);
    item->data = data;
    item->len = len;
}

static void *copy_of(const void *data, size_t len)
{
    void *copy = malloc(len ? len : 1);
    assert(copy);
    memcpy(copy, data, len);
    return copy;
}

void fw_cfg_add_u16(Device *fw_cfg, unsigned key, uint16_t val)
{
    val = htole16(val);
    fw_cfg_add_bytes(fw_cfg, key, copy_of(&val, sizeof(val)), sizeof(val));
}

void fw_cfg_add_u32(Device *fw_cfg, unsigned key, uint32_t val)
{
    val = htole32(val);
    fw_cfg_add_bytes(fw_cfg, key, copy_of(&val, sizeof(val)), sizeof(val));
}

void fw_cfg_add_u64(Device *fw_cfg, unsigned key, uint64_t val)
{
    val = htole64(val);
    fw_cfg_add_bytes(fw_cfg, key, copy_of(&val, sizeof(val)), sizeof(val));
}

static int by_name(const void *a, const void *b)
{
    const FwCfgItem *x = a, *y = b;
    bool x_file = x->name[0], y_file = y->name[0];
    if (x_file != y_file) {
        return x_file - y_file;
    }
    return x_file ? strcmp(x->name, y->name) : (int)x->key - (int)y->key;
}

/* The directory lists files by name, and their keys follow the same order, so that the same
 * machine always has the same keys. */
static void rebuild_directory(FwCfg *s)
{
    qsort(s->items, s->nr_items, sizeof(*s->items), by_name);
    uint32_t count = 0;
    for (size_t i = 0; i < s->nr_items; i++) {
        if (s->items[i].name[0]) {
            s->items[i].key = FW_CFG_FILE_FIRST + count++;
        }
    }
    size_t len = 4 + count * 64u;
    uint8_t *dir = calloc(1, len), *entry = dir + 4;
    assert(dir);
    uint32_t be = htobe32(count);
    memcpy(dir, &be, 4);
    for (size_t i = 0; i < s->nr_items; i++) {
        const FwCfgItem *item = &s->items[i];
        if (!item->name[0]) {
            continue;
        }
        uint32_t size = htobe32(item->len);
        uint16_t key = htobe16(item->key);
        memcpy(entry, &size, 4);
        memcpy(entry + 4, &key, 2);
        memcpy(entry + 8, item->name, FW_CFG_NAME_MAX);
        entry += 64;
    }
    fw_cfg_add_bytes(&s->dev, FW_CFG_FILE_DIR, dir, len);
}

void fw_cfg_add_file(Device *fw_cfg, const char *name, void *data, size_t len)
{
    FwCfg *s = container_of(fw_cfg, FwCfg, dev);
    assert(*name && strlen(name) < FW_CFG_NAME_MAX);
    FwCfgItem *item = find_file(s, name);
    if (!item) {
        item = append(s, FW_CFG_ARCH_LOCAL - 1);
        strcpy(item->name, name);
    }
    free(item->data);
    item->data = data;
    item->len = len;
    rebuild_directory(s);
}

void fw_cfg_add_file_copy(Device *fw_cfg, const char *name, const void *data, size_t len)
{
    fw_cfg_add_file(fw_cfg, name, copy_of(data, len), len);
}

const uint8_t *fw_cfg_file(Device *fw_cfg, const char *name, size_t *len)
{
    const FwCfgItem *item = find_file(container_of(fw_cfg, FwCfg, dev), name);
    if (!item) {
        return NULL;
    }
    *len = item->len;
    return item->data;
}

/* ---- the traditional interface ---- */

static void select_item(FwCfg *s, uint16_t key)
{
    s->selector = key;
    s->offset = 0;
}

static uint8_t next_byte(FwCfg *s)
{
    const FwCfgItem *item = find_key(s, s->selector);
    return item && s->offset < item->len ? item->data[s->offset++] : 0;
}

static uint64_t io_read(void *opaque, uint64_t offset, unsigned size)
{
    FwCfg *s = opaque;
    return offset == OFFSET_DATA && size == 1 ? next_byte(s)
                                              : region_bad_read(&s->io, offset, size);
}

static void io_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    FwCfg *s = opaque;
    if (offset == OFFSET_SELECTOR && size == 2) {
        select_item(s, val);
    } else {
        region_bad_write(&s->io, offset, val, size);
    }
}

static const RegionOps io_ops = { io_read, io_write, .sizes = 1 | 2 };

/* ---- DMA ---- */

/* Moves len bytes of the item to memory; past its end come zeroes. */
static bool dma_out(FwCfg *s, uint64_t addr, uint32_t len)
{
    static const uint8_t zeroes[PAGE_SIZE];
    const FwCfgItem *item = find_key(s, s->selector);
    AddressSpace *memory = &s->dev.machine->memory;
    while (len > 0) {
        const uint8_t *from = zeroes;
        uint32_t n = MIN(len, (uint32_t)sizeof(zeroes));
        if (item && s->offset < item->len) {
            from = item->data + s->offset;
            n = MIN(len, item->len - s->offset);
            s->offset += n;
        }
        /* The first byte that is not RAM ends it: a guest cannot keep us here for 4 GiB. */
        if (!dma_write(memory, addr, from, n)) {
            return false;
        }
        addr += n;
        len -= n;
    }
    return true;
}

static void dma_run(FwCfg *s)
{
    AddressSpace *memory = &s->dev.machine->memory;
    struct {
        uint32_t control, length;
        uint64_t address;
    } command;
    uint64_t at = s->dma_address;
    s->dma_address = 0;
    if (!dma_read(memory, at, &command, sizeof(command))) {
        log_guest("fw_cfg: DMA command block at 0x%llx is not in RAM", (unsigned long long)at);
        return;
    }
    uint32_t control = be32toh(command.control), length = be32toh(command.length);
    bool ok = true;
    if (control & DMA_SELECT) {
        select_item(s, control >> 16);
    }
    if (control & DMA_READ) {
        ok = dma_out(s, be64toh(command.address), length);
    } else if (control & DMA_WRITE) {
        ok = false;
    } else if (control & DMA_SKIP) {
        const FwCfgItem *item = find_key(s, s->selector);
        uint64_t to = (uint64_t)s->offset + length;
        s->offset = item ? MIN(to, item->len) : 0;
    }
    uint32_t result = htobe32(ok ? 0 : DMA_ERROR);
    dma_write(memory, at, &result, sizeof(result));
}

static uint64_t dma_reg_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)opaque;
    static const char signature[8] = "QEMU CFG";
    uint64_t val = 0;
    memcpy(&val, signature + offset, size);
    return val;
}

static void dma_reg_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    FwCfg *s = opaque;
    uint32_t half = be32toh((uint32_t)val);
    if (size != 4) {
        region_bad_write(&s->dma, offset, val, size);
    } else if (offset == 0) {
        s->dma_address = (uint64_t)half << 32;
    } else {
        s->dma_address = (s->dma_address & ~0xffffffffull) | half;
        dma_run(s);
    }
}

static const RegionOps dma_ops = { dma_reg_read, dma_reg_write, .sizes = 1 | 2 | 4 };

/* ---- the device ---- */

static bool fw_cfg_realize(Device *dev, Error **errp)
{
    (void)errp;
    FwCfg *s = container_of(dev, FwCfg, dev);
    region_init_io(&s->io, dev, &io_ops, s, 2);
    region_add(&dev->machine->io_root, PORT_SELECTOR, &s->io, 0);
    region_init_io(&s->dma, dev, &dma_ops, s, 8);
    s->dma.name = "fw_cfg.dma";
    region_add(&dev->machine->io_root, PORT_DMA, &s->dma, 0);
    fw_cfg_add_bytes(dev, FW_CFG_SIGNATURE, copy_of("QEMU", 4), 4);
    fw_cfg_add_u32(dev, FW_CFG_ID, ID_TRADITIONAL | ID_DMA);
    rebuild_directory(s);
    return true;
}

static void fw_cfg_unrealize(Device *dev)
{
    FwCfg *s = container_of(dev, FwCfg, dev);
    region_del(&s->io);
    region_del(&s->dma);
    for (size_t i = 0; i < s->nr_items; i++) {
        free(s->items[i].data);
    }
    free(s->items);
    s->items = NULL;
    s->nr_items = 0;
}

static void fw_cfg_info(Device *dev, void (*print)(void *opaque, const char *line),
                        void *opaque)
{
    const FwCfg *s = container_of(dev, FwCfg, dev);
    for (size_t i = 0; i < s->nr_items; i++) {
        const FwCfgItem *item = &s->items[i];
        char line[128];
        snprintf(line, sizeof(line), "0x%04x  %8zu bytes  %s", item->key, item->len,
                 item->name);
        print(opaque, line);
    }
}

static const StateField fw_cfg_state[] = {
    STATE_U16(FwCfg, selector),
    STATE_U32(FwCfg, offset),
    STATE_U64(FwCfg, dma_address),
    STATE_END,
};

DEVICE_TYPE(fw_cfg) = {
    DEVICE_INFO("fw_cfg", BUS_NONE, FwCfg, "Firmware configuration"),
    .internal = true,
    .state = fw_cfg_state,
    .state_version = 1,
    .realize = fw_cfg_realize,
    .unrealize = fw_cfg_unrealize,
    .info = fw_cfg_info,
};

/* SPDX-License-Identifier: GPL-2.0-or-later
 * The machine of libFuzzer's targets; see box.h.
 */
#include "tests/fuzz/box.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "accel/accel.h"
#include "block/block.h"
#include "chardev/chardev.h"
#include "net/net.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

enum { MAX_IMAGES = 4 };

Machine machine;
PciBus pci;
static char image[MAX_IMAGES][64];
static unsigned nr_images;

/* ---- the machine ---- */

void box_must(bool ok, Error *err)
{
    if (!ok) {
        error_report(err);
        abort();
    }
}

static void make(const char *text, const char *first, bool (*fn)(Dict *opts, Error **errp))
{
    Error *err = NULL;
    Dict *opts = dict_parse(text, first, &err);
    box_must(opts && fn(opts, &err), err);
    dict_free(opts);
}

static bool new_device(Dict *opts, Error **errp)
{
    return device_create(&machine, opts, errp) != NULL;
}

static bool new_drive(Dict *opts, Error **errp)
{
    return drive_create(opts, errp) != NULL;
}

static bool new_chardev(Dict *opts, Error **errp)
{
    return chardev_create(opts, errp) != NULL;
}

static bool new_netdev(Dict *opts, Error **errp)
{
    return net_backend_create(opts, errp);
}

void box_device(const char *text)
{
    make(text, "driver", new_device);
}

void box_drive(const char *text)
{
    make(text, NULL, new_drive);
}

void box_chardev(const char *text)
{
    make(text, "backend", new_chardev);
}

void box_netdev(const char *text)
{
    make(text, "type", new_netdev);
}

static void remove_images(void)
{
    while (nr_images) {
        unlink(image[--nr_images]);
    }
}

const char *box_image(long size)
{
    char *name = image[nr_images++];
    snprintf(name, sizeof(image[0]), "/tmp/vireo-fuzz-XXXXXX");
    int fd = mkstemp(name);
    if (fd < 0 || ftruncate(fd, size)) {
        abort();
    }
    close(fd);
    return name;
}

static unsigned map_irq(PciDevice *dev, unsigned pin)
{
    (void)dev;
    return pin;
}

static void set_irq(void *opaque, unsigned line, bool level)
{
    (void)opaque, (void)line, (void)level;
}

void box_machine(void)
{
    Error *err = NULL;
    static Region ram;
    vm_lock();
    box_must(main_loop_init(&err), err);
    guest_clock_set_manual();
    machine_setup(&machine);
    machine.ram = ram_block_new("ram", BOX_RAM, &err);
    box_must(machine.ram, err);
    region_init_ram(&ram, "ram", machine.ram, 0, BOX_RAM);
    region_add(&machine.memory_root, 0, &ram, 0);
    pci_bus_init(&pci, "pci.0", NULL, &machine, &machine.memory_root, &machine.io_root);
    pci.map_irq = map_irq;
    pci.set_irq = set_irq;
    atexit(remove_images);
}

/* Asked by virtio; there are no engines here. */
bool vcpus_ring_eventfds(const Machine *m)
{
    (void)m;
    return false;
}

/* ---- the guest ---- */

void store(uint64_t gpa, uint64_t val, unsigned size)
{
    address_space_store(&machine.memory, gpa, val, size);
}

uint64_t load(uint64_t gpa, unsigned size)
{
    return address_space_load(&machine.memory, gpa, size);
}

void config(unsigned slot, unsigned reg, uint32_t val, unsigned size)
{
    pci_config_store(&pci, slot << 11 | reg, val, size);
}

void out(uint16_t port, uint32_t val, unsigned size)
{
    address_space_store(&machine.io, port, val, size);
}

uint32_t in(uint16_t port, unsigned size)
{
    return (uint32_t)address_space_load(&machine.io, port, size);
}

/* ---- the input ---- */

uint8_t byte(Input *input)
{
    if (!input->left) {
        return 0;
    }
    input->left--;
    return *input->data++;
}

uint32_t word(Input *input)
{
    uint32_t low = byte(input);
    return low | (uint32_t)byte(input) << 8;
}

uint32_t dword(Input *input)
{
    uint32_t low = word(input);
    return low | word(input) << 16;
}

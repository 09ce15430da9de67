/* SPDX-License-Identifier: GPL-2.0-or-later
 * The PCI core and the PIIX3's interrupt routing, with a device of the test's own: BARs of every
 * kind, shared INTx lines, MSI with masking, reset, slots.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "hw/core/machine.h"
#include "hw/isa/piix3.h"
#include "hw/pci/i440fx.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci.h"
#include "util/main_loop.h"
#include "util/vm_lock.h"

enum { BAR_IO, BAR_MEM, BAR_MEM64, BAR_MSIX = 4, NR_VECTORS = 70, MSIX_PBA = 0x800 };
enum { IO_SIZE = 0x20, MEM_SIZE = 0x1000, MEM64_SIZE = 0x10000 };
enum { DEVFN_A = 3 << 3, DEVFN_B = 7 << 3, RAM = 4 << 20 };

typedef struct Card {
    PciDevice pci;
    PciMsix msix;
    Region io, mem, mem64, msix_bar;
    unsigned moves;
} Card;

static uint64_t card_read(void *opaque, uint64_t offset, unsigned size)
{
    (void)size;
    return (uintptr_t)opaque + offset;
}

static void card_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    (void)opaque;
    (void)offset;
    (void)val;
    (void)size;
}

static const RegionOps card_ops = { card_read, card_write, .sizes = 1 };

static void bar_changed(PciDevice *pci, unsigned bar, uint64_t address)
{
    (void)bar;
    (void)address;
    container_of(pci, Card, pci)->moves++;
}

static bool card_realize(Device *dev, Error **errp)
{
    Card *s = container_of(dev, Card, pci.dev);
    region_init_io(&s->io, dev, &card_ops, (void *)0x10, IO_SIZE);
    region_init_io(&s->mem, dev, &card_ops, (void *)0x40, MEM_SIZE);
    region_init_io(&s->mem64, dev, &card_ops, (void *)0x80, MEM64_SIZE);
    pci_register_bar(&s->pci, BAR_IO, PCI_BAR_IO, &s->io);
    pci_register_bar(&s->pci, BAR_MEM, 0, &s->mem);
    pci_register_bar(&s->pci, BAR_MEM64, PCI_BAR_MEM64 | PCI_BAR_PREFETCH, &s->mem64);
    s->pci.config[0x80] = 0x5a;
    s->pci.wmask[0x80] = 0xf0;
    region_init_container(&s->msix_bar, "msix", MEM_SIZE);
    pci_register_bar(&s->pci, BAR_MSIX, 0, &s->msix_bar);
    return (pci_msix_init(&s->pci, &s->msix, NR_VECTORS, &s->msix_bar, BAR_MSIX, 0, MSIX_PBA) &&
            pci_msi_init(&s->pci, 4, true)) ||
           error_set(errp, "no room");
}

static void card_unrealize(Device *dev)
{
    pci_msix_fini(&container_of(dev, Card, pci.dev)->msix);
}

static void card_refresh(Device *dev)
{
    pci_msix_refresh(&container_of(dev, Card, pci.dev)->msix);
}

static const PciInfo card_info = {
    .vendor = 0x1234, .device = 0x5678, .class_code = 0xff0000, .intx_pin = 1,
    .bar_changed = bar_changed,
};
static const StateField card_state[] = {
    STATE_STRUCT(Card, msix, PciMsix, pci_msix_state),
    STATE_END,
};

DEVICE_TYPE(test_card) = {
    PCI_DEVICE_INFO("test-card", Card, "PCI device of test_pci", &card_info),
    .state = card_state,
    .state_version = 1,
    .realize = card_realize,
    .unrealize = card_unrealize,
    .refresh = card_refresh,
};

typedef struct Box {
    Machine m;
    Device *host, *piix3;
    PciBus *bus;
    Card *a, *b;
    IrqLine isa[16];
    unsigned level; /* ISA interrupts now, a bit each */
} Box;

static void isa_changed(void *opaque, unsigned n, bool level)
{
    Box *box = opaque;
    box->level = (box->level & ~(1u << n)) | (unsigned)level << n;
}

static Device *add(Box *box, const char *type, int devfn)
{
    Error *err = NULL;
    Device *dev = device_new(&box->m, device_type_find(type));
    if (devfn >= 0) {
        device_setf(dev, "addr", "%x.%x", devfn >> 3, devfn & 7);
    }
    if (!device_realize(dev, &box->bus->bus, NULL, "card[*]", &err)) {
        fail_msg("%s: %s", type, error_text(err));
    }
    return dev;
}

static int setup(void **state)
{
    Error *err = NULL;
    Box *box = calloc(1, sizeof(*box));
    vm_lock();
    assert_true(main_loop_init(&err));
    box->m.config.ram_size = RAM;
    machine_setup(&box->m);
    box->m.ram = ram_block_new("ram", RAM, &err);
    assert_non_null(box->m.ram);
    Region *ram = calloc(1, sizeof(*ram));
    region_init_ram(ram, "ram", box->m.ram, 0, RAM);
    region_add(&box->m.memory_root, 0, ram, 0);
    box->host = device_new(&box->m, &type_i440fx_host);
    assert_true(device_realize(box->host, NULL, NULL, "host", &err));
    box->bus = i440fx_pci_bus(box->host);
    add(box, "i440FX", 0);
    box->piix3 = add(box, "PIIX3", 1 << 3);
    for (unsigned i = 0; i < 16; i++) {
        irq_line_init(&box->isa[i], isa_changed, box, i);
        irq_connect(&box->piix3->irq_out[i], &box->isa[i]);
    }
    box->a = container_of(add(box, "test-card", DEVFN_A), Card, pci.dev);
    box->b = container_of(add(box, "test-card", DEVFN_B), Card, pci.dev);
    machine_reset_devices(&box->m);
    *state = box;
    return 0;
}

static uint32_t cfg(Box *box, unsigned devfn, unsigned reg, unsigned size)
{
    return pci_config_load(box->bus, devfn << 8 | reg, size);
}

static void cfg_set(Box *box, unsigned devfn, unsigned reg, uint32_t val, unsigned size)
{
    pci_config_store(box->bus, devfn << 8 | reg, val, size);
}

static int reset(void **state)
{
    Box *box = *state;
    pci_set_intx(&box->a->pci, false);
    pci_set_intx(&box->b->pci, false);
    machine_reset_devices(&box->m);
    return 0;
}

static void test_sizing(void **state)
{
    Box *box = *state;
    static const struct {
        unsigned reg;
        uint32_t want;
    } cases[] = {
        { PCI_BAR0, 0xffffffe1 },     { PCI_BAR0 + 4, 0xfffff000 },
        { PCI_BAR0 + 8, 0xffff000c }, { PCI_BAR0 + 12, 0xffffffff },
        { PCI_BAR0 + 16, 0xfffff000 }, { PCI_BAR0 + 20, 0 },
        { PCI_ROM_BAR, 0 },
    };
    cfg_set(box, DEVFN_A, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cfg_set(box, DEVFN_A, cases[i].reg, 0xffffffff, 4);
        assert_int_equal(cfg(box, DEVFN_A, cases[i].reg, 4), cases[i].want);
    }
    /* Sizing with the decoders on maps nothing anywhere. */
    assert_int_equal(box->a->moves, 0);
}

static void test_mapping(void **state)
{
    Box *box = *state;
    AddressSpace *mem = &box->m.memory, *io = &box->m.io;
    cfg_set(box, DEVFN_A, PCI_BAR0, 0xc001, 4);
    cfg_set(box, DEVFN_A, PCI_BAR0 + 4, 0xe0000000, 4);
    cfg_set(box, DEVFN_A, PCI_BAR0 + 8, 0x30000, 4);
    cfg_set(box, DEVFN_A, PCI_BAR0 + 12, 0x2, 4);
    assert_int_equal(address_space_load(io, 0xc001, 1), 0xff);
    cfg_set(box, DEVFN_A, PCI_COMMAND, PCI_COMMAND_IO, 2);
    assert_int_equal(address_space_load(io, 0xc001, 1), 0x11);
    assert_int_not_equal(address_space_load(mem, 0xe0000002, 1), 0x42);
    cfg_set(box, DEVFN_A, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    assert_int_equal(address_space_load(mem, 0xe0000002, 1), 0x42);
    assert_int_equal(address_space_load(mem, 0x200030003, 1), 0x83);
    assert_int_equal(box->a->pci.bar[BAR_MEM64].mapped, 0x200030000);
    /* A BAR over RAM stays hidden. */
    cfg_set(box, DEVFN_A, PCI_BAR0 + 4, 0x100000, 4);
    address_space_store(mem, 0x100002, 0x77, 1);
    assert_int_equal(address_space_load(mem, 0x100002, 1), 0x77);
    /* Byte-wise writes move it as well. */
    cfg_set(box, DEVFN_A, PCI_BAR0 + 7, 0xe1, 1);
    assert_int_equal(address_space_load(mem, 0xe1100004, 1), 0x44);
    machine_reset_devices(&box->m);
    assert_int_equal(address_space_load(io, 0xc001, 1), 0xff);
    assert_int_equal(cfg(box, DEVFN_A, PCI_BAR0, 4), 1);
    assert_int_equal(box->a->pci.bar[BAR_MEM64].mapped, UINT64_MAX);
}

static void test_config(void **state)
{
    Box *box = *state;
    assert_int_equal(cfg(box, DEVFN_A, 0, 4), 0x56781234);
    cfg_set(box, DEVFN_A, 0, 0, 4);
    assert_int_equal(cfg(box, DEVFN_A, 0, 4), 0x56781234);
    assert_int_equal(cfg(box, DEVFN_A, PCI_SUBVENDOR_ID, 4), 0x11001af4);
    cfg_set(box, DEVFN_A, 0x80, 0xff, 1);
    assert_int_equal(cfg(box, DEVFN_A, 0x80, 1), 0xfa);
    box->a->pci.config[PCI_STATUS + 1] |= 0x20; /* received master abort */
    cfg_set(box, DEVFN_A, PCI_STATUS, 0x2000, 2);
    assert_int_equal(cfg(box, DEVFN_A, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
    machine_reset_devices(&box->m);
    assert_int_equal(cfg(box, DEVFN_A, 0x80, 1), 0x5a);
    /* Nothing there: master abort. */
    assert_int_equal(cfg(box, 9 << 3, 0, 4), 0xffffffff);
    assert_int_equal(cfg(box, 9 << 3, 0, 1), 0xff);
    assert_int_equal(pci_config_load(box->bus, 1 << 16 | DEVFN_A << 8, 2), 0xffff);
}

/* Slots 3 and 7 have INTA# on the same PIRQ: (slot + pin) mod 4. */
static void test_shared_lines(void **state)
{
    Box *box = *state;
    unsigned pirq = (3 + 0 - 1) & 3;
    cfg_set(box, 1 << 3, PIIX3_REG_PIRQRC + pirq, 11, 1);
    pci_set_intx(&box->a->pci, true);
    assert_int_equal(box->level, 1u << 11);
    assert_int_equal(cfg(box, DEVFN_A, PCI_STATUS, 2) & PCI_STATUS_INTX, PCI_STATUS_INTX);
    pci_set_intx(&box->b->pci, true);
    pci_set_intx(&box->a->pci, false);
    assert_int_equal(box->level, 1u << 11);
    /* The disable bit takes a device off its line and leaves its status. */
    cfg_set(box, DEVFN_B, PCI_COMMAND, PCI_COMMAND_INTX_OFF, 2);
    assert_int_equal(box->level, 0);
    assert_int_equal(cfg(box, DEVFN_B, PCI_STATUS, 2) & PCI_STATUS_INTX, PCI_STATUS_INTX);
    cfg_set(box, DEVFN_B, PCI_COMMAND, 0, 2);
    assert_int_equal(box->level, 1u << 11);
    /* Routing changes while it is asserted; IRQs that a PIRQ cannot have; off. */
    cfg_set(box, 1 << 3, PIIX3_REG_PIRQRC + pirq, 5, 1);
    assert_int_equal(box->level, 1u << 5);
    cfg_set(box, 1 << 3, PIIX3_REG_PIRQRC + pirq, 8, 1);
    assert_int_equal(box->level, 0);
    cfg_set(box, 1 << 3, PIIX3_REG_PIRQRC + pirq, 0x85, 1);
    assert_int_equal(box->level, 0);
    cfg_set(box, 1 << 3, PIIX3_REG_PIRQRC + pirq, 5, 1);
    assert_int_equal(box->level, 1u << 5);
    machine_reset_devices(&box->m);
    assert_int_equal(box->level, 0);
    assert_int_equal(box->bus->irq_count[pirq], 0);
}

static void test_msi(void **state)
{
    Box *box = *state;
    PciDevice *pci = &box->a->pci;
    unsigned cap = cfg(box, DEVFN_A, PCI_CAP_PTR, 1);
    assert_int_equal(cfg(box, DEVFN_A, cap, 1), PCI_CAP_MSI);
    assert_int_equal(cfg(box, DEVFN_A, cap + 2, 2), 0x184); /* 4 vectors, 64 bit, masking */
    uint32_t *ram = (uint32_t *)(box->m.ram->host + 0x8000);
    *ram = 0;
    cfg_set(box, DEVFN_A, cap + 4, 0x8003, 4);
    assert_int_equal(cfg(box, DEVFN_A, cap + 4, 4), 0x8000);
    cfg_set(box, DEVFN_A, cap + 12, 0x4343, 2);
    cfg_set(box, DEVFN_A, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
    pci_msi_notify(pci, 1); /* disabled */
    assert_int_equal(*ram, 0);
    cfg_set(box, DEVFN_A, cap + 2, 0x21, 2); /* all four vectors */
    pci_msi_notify(pci, 2);
    assert_int_equal(*ram, 0x4342);
    cfg_set(box, DEVFN_A, cap + 16, 0xffffffff, 4);
    assert_int_equal(cfg(box, DEVFN_A, cap + 16, 4), 0xf);
    pci_msi_notify(pci, 1);
    assert_int_equal(*ram, 0x4342);
    assert_int_equal(cfg(box, DEVFN_A, cap + 20, 4), 2);
    cfg_set(box, DEVFN_A, cap + 16, 0xd, 4);
    assert_int_equal(*ram, 0x4341);
    assert_int_equal(cfg(box, DEVFN_A, cap + 20, 4), 0);
}

static void test_msix(void **state)
{
    Box *box = *state;
    AddressSpace *mem = &box->m.memory;
    PciMsix *msix = &box->a->msix;
    unsigned cap = msix->cap;
    const uint64_t table = 0xe0000000, entry = table + 69 * 16;
    assert_int_equal(cfg(box, DEVFN_A, cap, 1), PCI_CAP_MSIX);
    assert_int_equal(cfg(box, DEVFN_A, cap + 2, 2), NR_VECTORS - 1);
    assert_int_equal(cfg(box, DEVFN_A, cap + 4, 4), BAR_MSIX);
    assert_int_equal(cfg(box, DEVFN_A, cap + 8, 4), MSIX_PBA | BAR_MSIX);
    cfg_set(box, DEVFN_A, PCI_BAR0 + 4 * BAR_MSIX, table, 4);
    cfg_set(box, DEVFN_A, PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, 2);
    uint32_t *ram = (uint32_t *)(box->m.ram->host + 0x8000);
    *ram = 0;
    assert_int_equal(address_space_load(mem, entry + 12, 4), 1); /* masked out of reset */
    address_space_store(mem, entry, 0x8003, 8);
    address_space_store(mem, entry + 8, 0x1234, 4);
    assert_int_equal(address_space_load(mem, entry, 8), 0x8000);
    pci_msix_notify(msix, 69); /* disabled: lost */
    cfg_set(box, DEVFN_A, cap + 2, 0xc000, 2);
    assert_true(pci_msix_enabled(msix));
    address_space_store(mem, entry + 12, 0, 4);
    pci_msix_notify(msix, 69);
    pci_msix_notify(msix, NR_VECTORS); /* no such vector */
    assert_int_equal(*ram, 0);
    assert_int_equal(address_space_load(mem, table + MSIX_PBA + 8, 8), 1 << 5);
    address_space_store(mem, table + MSIX_PBA + 8, 0, 8); /* read-only */
    assert_int_equal(address_space_load(mem, table + MSIX_PBA + 8, 4), 1 << 5);
    cfg_set(box, DEVFN_A, cap + 3, 0x80, 1); /* the function's mask goes */
    assert_int_equal(*ram, 0x1234);
    assert_int_equal(address_space_load(mem, table + MSIX_PBA + 8, 8), 0);
    address_space_store(mem, entry + 12, 0xffffffff, 4);
    assert_int_equal(address_space_load(mem, entry + 12, 4), 1);
    *ram = 0;
    pci_msix_notify(msix, 69);
    assert_int_equal(*ram, 0);
    address_space_store(mem, entry + 8, 0x4321, 4);
    address_space_store(mem, entry + 12, 0, 4);
    assert_int_equal(*ram, 0x4321);
    pci_msix_notify(msix, 69);
    machine_reset_devices(&box->m);
    assert_false(pci_msix_enabled(msix));
    assert_int_equal(msix->entry[69].control, 1);
    assert_int_equal(msix->entry[69].addr, 0);
}

static void ring(int fd)
{
    uint64_t one = 1;
    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
    for (unsigned i = 0; i < 3; i++) {
        main_loop_step(0);
    }
}

/* An eventfd's events are a vector, and wait while it is masked. */
static void test_msix_irqfd(void **state)
{
    Box *box = *state;
    AddressSpace *mem = &box->m.memory;
    PciMsix *msix = &box->a->msix;
    IrqFd f;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    const uint64_t table = 0xe0000000, entry = table + 3 * 16;
    uint32_t *ram = (uint32_t *)(box->m.ram->host + 0x8000);
    *ram = 0;
    cfg_set(box, DEVFN_A, PCI_BAR0 + 4 * BAR_MSIX, table, 4);
    cfg_set(box, DEVFN_A, PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, 2);
    pci_msix_add_irqfd(msix, 3, &f, fd);
    address_space_store(mem, entry, 0x8000, 8);
    address_space_store(mem, entry + 8, 0x77, 4);
    address_space_store(mem, entry + 12, 0, 4);
    ring(fd);
    assert_int_equal(*ram, 0); /* MSI-X is off */
    cfg_set(box, DEVFN_A, msix->cap + 2, 0x8000, 2);
    ring(fd);
    assert_int_equal(*ram, 0x77);
    *ram = 0;
    address_space_store(mem, entry + 12, 1, 4);
    ring(fd);
    assert_int_equal(*ram, 0);
    address_space_store(mem, entry + 8, 0x78, 4);
    address_space_store(mem, entry + 12, 0, 4);
    main_loop_step(0);
    assert_int_equal(*ram, 0x78); /* the one that waited */
    pci_msix_del_irqfd(msix, 3);
    *ram = 0;
    ring(fd);
    assert_int_equal(*ram, 0);
    close(fd);
}

static void test_bus_master(void **state)
{
    Box *box = *state;
    uint8_t buf[4] = { 1, 2, 3, 4 };
    assert_false(pci_dma_write(&box->a->pci, 0x9000, buf, 4));
    assert_false(pci_dma_read(&box->a->pci, 0x9000, buf, 4));
    assert_int_equal(buf[0], 0);
    cfg_set(box, DEVFN_A, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
    buf[0] = 9;
    assert_true(pci_dma_write(&box->a->pci, 0x9000, buf, 4));
    assert_int_equal(box->m.ram->host[0x9000], 9);
    /* Registers are out of reach: a device does not talk to a device. */
    cfg_set(box, DEVFN_A, PCI_BAR0 + 4, 0xe0000000, 4);
    cfg_set(box, DEVFN_A, PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, 2);
    assert_false(pci_dma_write(&box->a->pci, 0xe0000000, buf, 4));
}

static void test_slots(void **state)
{
    Box *box = *state;
    Error *err = NULL;
    Device *dev = device_new(&box->m, &type_test_card);
    device_set(dev, "addr", "3");
    assert_false(device_realize(dev, &box->bus->bus, NULL, "x", &err));
    assert_non_null(strstr(error_text(err), "taken by 'test-card'"));
    error_free(err);
    err = NULL;
    dev = device_new(&box->m, &type_test_card);
    device_set(dev, "addr", "3.1");
    assert_false(device_realize(dev, &box->bus->bus, NULL, "x", &err));
    assert_non_null(strstr(error_text(err), "multifunction=on"));
    error_free(err);
    Device *next = add(box, "test-card", -1);
    assert_int_equal(container_of(next, PciDevice, dev)->devfn, 2 << 3);
    device_unrealize(next);
    assert_null(box->bus->slot[2 << 3]);
    next = add(box, "test-card", -1);
    assert_int_equal(container_of(next, PciDevice, dev)->devfn, 2 << 3);
    device_unrealize(next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_sizing, reset),
        cmocka_unit_test_teardown(test_mapping, reset),
        cmocka_unit_test_teardown(test_config, reset),
        cmocka_unit_test_teardown(test_shared_lines, reset),
        cmocka_unit_test_teardown(test_msi, reset),
        cmocka_unit_test_teardown(test_msix, reset),
        cmocka_unit_test_teardown(test_msix_irqfd, reset),
        cmocka_unit_test_teardown(test_bus_master, reset),
        cmocka_unit_test_teardown(test_slots, reset),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}

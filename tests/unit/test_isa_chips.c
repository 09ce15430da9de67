/* SPDX-License-Identifier: GPL-2.0-or-later
 * What needs a CPU or a device at the other end of an ISA chip: the 8259's INTA cycles, the
 * 8237's transfers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/state.h"
#include "hw/core/machine.h"
#include "hw/intc/i8259.h"
#include "hw/isa/i8237.h"
#include "hw/isa/isa.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

static Machine machine;
static IsaBus isa;
static CpuState cpu;
static Device *pic;

typedef struct Peer { /* a device on DMA channels */
    Device dev;
    uint8_t buf[64];
    unsigned chunk, calls, last_pos, last_len;
    bool reads;
} Peer;
static Peer *peer;

DEVICE_TYPE(dma_peer) = {
    DEVICE_INFO("dma-peer", BUS_ISA, Peer, "Device on DMA channels, for tests"),
};

static unsigned peer_dma(void *opaque, unsigned channel, unsigned pos, unsigned len)
{
    Peer *p = opaque;
    unsigned n = MIN(p->chunk, len - pos);
    p->calls++;
    p->last_pos = pos;
    p->last_len = len;
    if (p->reads) {
        isa_dma_read(isa.dma, channel, p->buf + pos, pos, n);
    } else {
        isa_dma_write(isa.dma, channel, p->buf + pos, pos, n);
    }
    isa_dma_set_dreq(isa.dma, channel, pos + n < len && p->chunk);
    return pos + n;
}

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    vm_lock();
    assert_true(main_loop_init(&err));
    guest_clock_set_manual();
    machine_setup(&machine);
    machine.ram = ram_block_new("ram", 2 * MiB, &err);
    assert_non_null(machine.ram);
    static Region ram;
    region_init_ram(&ram, "ram", machine.ram, 0, 2 * MiB);
    region_add(&machine.memory_root, 0, &ram, 0);
    isa_bus_init(&isa, NULL, &machine);
    pic = device_new(&machine, &type_isa_i8259);
    assert_true(device_realize(pic, &isa.bus, NULL, "pic", &err));
    i8259_connect_cpu(pic, &cpu);
    assert_true(device_realize(device_new(&machine, &type_i8237), &isa.bus, NULL, "dma", &err));
    Device *dev = device_new(&machine, &type_dma_peer);
    peer = container_of(dev, Peer, dev);
    assert_true(device_realize(dev, &isa.bus, NULL, "peer", &err));
    assert_true(isa_dma_attach(dev, 2, peer_dma, peer, &err));
    assert_true(isa_dma_attach(dev, 5, peer_dma, peer, &err));
    machine_reset_devices(&machine);
    return 0;
}

static void outb(unsigned port, uint8_t val)
{
    address_space_store(&machine.io, port, val, 1);
}

static uint8_t inb(unsigned port)
{
    return address_space_load(&machine.io, port, 1);
}

static void line(unsigned n, bool level)
{
    irq_line_set(&pic->irq_in[n], level);
}

static bool intr(void)
{
    return cpu.request & CPU_REQ_INTR;
}

static void init_pic(uint8_t icw4)
{
    static const uint8_t vector[2] = { 0x20, 0x70 }, icw3[2] = { 4, 2 };
    for (unsigned i = 0; i < 16; i++) {
        line(i, false);
    }
    for (unsigned i = 0; i < 2; i++) {
        unsigned base = i ? 0xa0 : 0x20;
        outb(base, 0x11);
        outb(base + 1, vector[i]);
        outb(base + 1, icw3[i]);
        outb(base + 1, icw4);
    }
}

static int ack(void)
{
    return cpu.pic_ack(cpu.pic_opaque);
}

static void test_inta(void **state)
{
    (void)state;
    init_pic(1);
    assert_false(intr());
    line(1, true);
    assert_true(intr());
    assert_int_equal(ack(), 0x21);
    assert_false(intr());
    line(0, true);
    assert_int_equal(ack(), 0x20);
    outb(0x20, 0x20);
    outb(0x20, 0x20);
    line(14, true);
    assert_true(intr());
    assert_int_equal(ack(), 0x76);
    line(9, true);
    assert_false(intr()); /* the cascade is in service */
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
    assert_true(intr());
    assert_int_equal(ack(), 0x71);
}

static void test_spurious(void **state)
{
    (void)state;
    init_pic(1);
    line(4, true);
    line(4, false);
    assert_false(intr());
    assert_int_equal(ack(), 0x27);
    outb(0x20, 0x0b);
    assert_int_equal(inb(0x20), 0); /* nothing is in service */
    line(12, true);
    outb(0xa1, 0xff);
    assert_int_equal(ack(), 0x27);
    /* The slave's line goes away between INT and INTA: only a level-triggered cascade shows it. */
}

static void test_auto_eoi_slave(void **state)
{
    (void)state;
    init_pic(3);
    line(10, true);
    line(11, true);
    assert_int_equal(ack(), 0x72);
    assert_true(intr()); /* the next one is a new edge on the cascade */
    assert_int_equal(ack(), 0x73);
    assert_false(intr());
}

static void test_reset_keeps_pins(void **state)
{
    (void)state;
    init_pic(1);
    line(5, true);
    machine_reset_devices(&machine);
    assert_false(intr());
    outb(0x4d0, 0x20);
    assert_true(intr()); /* level: the pin is still high */
    line(5, false);
    outb(0x4d0, 0);
}

static void program(unsigned channel, uint8_t mode, uint32_t gpa, unsigned units)
{
    static const uint16_t page[8] = { 0x87, 0x83, 0x81, 0x82, 0x8f, 0x8b, 0x89, 0x8a };
    bool second = channel >= 4;
    unsigned n = channel & 3, base = second ? 0xc0 : 0, step = second ? 2 : 1;
    unsigned addr = second ? gpa >> 1 & 0xffff : gpa & 0xffff;
    outb(base + 10 * step, 4 | n);
    outb(base + 12 * step, 0);
    outb(base + 11 * step, mode | n);
    outb(base + 2 * n * step, addr);
    outb(base + 2 * n * step, addr >> 8);
    outb(base + (2 * n + 1) * step, units - 1);
    outb(base + (2 * n + 1) * step, (units - 1) >> 8);
    outb(page[channel], gpa >> 16);
    inb(base + 8 * step); /* clears TC */
    outb(base + 10 * step, n);
}

static void run(unsigned channel)
{
    peer->calls = 0;
    isa_dma_set_dreq(isa.dma, channel, true);
    for (unsigned i = 0; i < 20; i++) {
        main_loop_step(0);
    }
}

static void test_dma_write(void **state)
{
    (void)state;
    outb(0xd6, 0xc0); /* cascade on channel 4 */
    outb(0xd4, 0x00);
    memcpy(peer->buf, "0123456789abcdef", 16);
    peer->reads = false;
    peer->chunk = 6;
    program(2, 0x44, 0x12fff8, 16);
    run(2);
    assert_int_equal(peer->calls, 3);
    assert_int_equal(peer->last_pos, 12);
    assert_int_equal(peer->last_len, 16);
    assert_memory_equal(machine.ram->host + 0x12fff8, "01234567", 8);
    assert_memory_equal(machine.ram->host + 0x120000, "89abcdef", 8); /* wraps in its page */
    assert_int_equal(inb(8) & 0x04, 0x04);
    assert_int_equal(inb(8) & 0x04, 0);
    run(2);
    assert_int_equal(peer->calls, 0); /* masked by terminal count */
    isa_dma_set_dreq(isa.dma, 2, false);
}

static void test_dma_autoinit_and_words(void **state)
{
    (void)state;
    peer->reads = true;
    peer->chunk = 8;
    memset(peer->buf, 0, sizeof(peer->buf));
    memcpy(machine.ram->host + 0x10002, "ABCDEFGH", 8);
    program(5, 0x58, 0x10002, 4);
    run(5);
    assert_int_equal(peer->calls, 1);
    assert_int_equal(peer->last_len, 8);
    assert_memory_equal(peer->buf, "ABCDEFGH", 8);
    assert_int_equal(inb(0xd0) & 0x02, 0x02);
    run(5);
    assert_int_equal(peer->calls, 1); /* starts over */
    assert_int_equal(peer->last_pos, 0);
}

static void test_dma_verify_decrement_cascade(void **state)
{
    (void)state;
    peer->reads = false;
    peer->chunk = 16;
    memcpy(peer->buf, "xyz", 3);
    memset(machine.ram->host + 0x1000, 0, 16);
    program(2, 0x40, 0x1000, 3); /* verify */
    run(2);
    assert_int_equal(machine.ram->host[0x1000], 0);
    program(2, 0x64, 0x1002, 3); /* decrement */
    run(2);
    assert_memory_equal(machine.ram->host + 0x1000, "zyx", 3);
    outb(0xd4, 0x04); /* channel 4 masked: the first chip gets no bus */
    program(2, 0x44, 0x1000, 3);
    run(2);
    assert_int_equal(peer->calls, 0);
    outb(0xd4, 0x00);
    run(2);
    assert_int_equal(peer->calls, 1);
}

static void test_dma_attach_errors(void **state)
{
    (void)state;
    Error *err = NULL;
    assert_false(isa_dma_attach(&peer->dev, 4, peer_dma, peer, &err));
    error_free(err);
    err = NULL;
    assert_false(isa_dma_attach(&peer->dev, 2, peer_dma, peer, &err));
    error_free(err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inta),
        cmocka_unit_test(test_spurious),
        cmocka_unit_test(test_auto_eoi_slave),
        cmocka_unit_test(test_reset_keeps_pins),
        cmocka_unit_test(test_dma_write),
        cmocka_unit_test(test_dma_autoinit_and_words),
        cmocka_unit_test(test_dma_verify_decrement_cascade),
        cmocka_unit_test(test_dma_attach_errors),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, NULL);
}

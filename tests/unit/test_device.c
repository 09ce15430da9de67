/* SPDX-License-Identifier: GPL-2.0-or-later
 * Types, properties, state tables, buses, lines and the two-pass reset, on devices of the test's
 * own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hw/core/machine.h"
#include "hw/core/unbuilt.h"
#include "util/main_loop.h"
#include "util/timer.h"
#include "util/vm_lock.h"

typedef struct Sub {
    uint8_t a, b[2];
} Sub;

typedef struct Gadget {
    Device dev;
    uint32_t num, mode;
    uint8_t small;
    bool flag;
    uint64_t size;
    char *str, *drive;
    uint8_t mac[6];
    int32_t addr, signed32;
    uint16_t reg;
    uint8_t fifo[20];
    Sub sub[2];
    bool on;
    uint32_t kept;
    Timer timer;
    IrqLine in[3];
    Irq out[2];
    Region io;
    unsigned refreshed, resets;
} Gadget;

static const char *const modes[] = { "slow", "fast", NULL };
static const Property base_props[] = {
    PROP_U32("num", Gadget, num, .def = 7, .min = 2, .max = 100, .help = "a number"),
    PROP_U8("small", Gadget, small, .def = 1),
    PROP_BOOL("flag", Gadget, flag, .def = true, .live = true),
    PROP_END,
};
static const Property gadget_props[] = {
    PROP_SIZE("size", Gadget, size, .def = 4 * MiB),
    PROP_STR("str", Gadget, str, .def_str = "hello"),
    PROP_DRIVE("drive", Gadget, drive),
    PROP_MAC("mac", Gadget, mac, .def = 0x525400123456),
    PROP_PCI_ADDR("addr", Gadget, addr, .def = -1),
    PROP_I32("signed", Gadget, signed32, .def = -5),
    PROP_ENUM("mode", Gadget, mode, .names = modes),
    PROP_U32("max-num", Gadget, num, .def = 9),
    PROP_END,
};
static const StateField sub_state[] = {
    STATE_U8(Sub, a, .reset = 1),
    STATE_U8S(Sub, b, .reset = 2),
    STATE_END,
};
static const StateField gadget_state[] = {
    STATE_U16(Gadget, reg, .reset = 0x1234),
    STATE_U8S(Gadget, fifo, .reset = 0xee),
    STATE_STRUCT(Gadget, sub, Sub, sub_state),
    STATE_BOOL(Gadget, on, .reset = 1),
    STATE_U32(Gadget, kept, .keep = true),
    STATE_TIMER(Gadget, timer),
    STATE_END,
};

static char order[64];

static bool base_realize(Device *dev, Error **errp)
{
    (void)dev;
    (void)errp;
    strcat(order, "base ");
    return true;
}

static void base_unrealize(Device *dev)
{
    (void)dev;
    strcat(order, "~base ");
}

static const RegionOps no_ops;
static void on_timer(void *opaque)
{
    (void)opaque;
}

static bool gadget_realize(Device *dev, Error **errp)
{
    Gadget *g = container_of(dev, Gadget, dev);
    strcat(order, "gadget ");
    timer_init(&g->timer, on_timer, g);
    device_init_irq_in(dev, g->in, 3, NULL, NULL);
    device_init_irq_out(dev, g->out, 2);
    region_init_io(&g->io, dev, &no_ops, g, 4);
    assert_string_equal(g->io.name, "gadget");
    region_add(&dev->machine->io_root, 0x100 + 8 * g->small, &g->io, 0);
    return g->num != 13 || error_set(errp, "13 is refused");
}

static void gadget_reset(Device *dev)
{
    Gadget *g = container_of(dev, Gadget, dev);
    assert_int_equal(g->reg, 0x1234);
    g->resets++;
}

static void gadget_refresh(Device *dev)
{
    Gadget *g = container_of(dev, Gadget, dev);
    g->refreshed++;
    irq_set(&g->out[0], g->on);
}

DEVICE_TYPE(gadget_base) = {
    DEVICE_INFO("gadget-base", BUS_ISA, Gadget, "Parent"),
    .abstract = true,
    .props = base_props,
    .realize = base_realize,
    .unrealize = base_unrealize,
};
static const char *const gadget_aliases[] = { "gizmo", NULL };
DEVICE_TYPE(gadget) = {
    DEVICE_INFO("gadget", BUS_ISA, Gadget, "Test device"),
    .parent = &type_gadget_base,
    .aliases = gadget_aliases,
    .props = gadget_props,
    .state = gadget_state,
    .realize = gadget_realize,
    .reset = gadget_reset,
    .refresh = gadget_refresh,
};
DEVICE_TYPE(inner) = {
    DEVICE_INFO("gadget-inner", BUS_ISA, Gadget, "Part of a board"),
    .internal = true,
};

static Machine machine;
static Bus bus;

static Device *create(const char *text, const char *want_error)
{
    Error *err = NULL;
    Dict *d = dict_parse(text, "driver", &err);
    Device *dev = device_create(&machine, d, &err);
    dict_free(d);
    if (!dev) {
        if (!want_error || !strstr(error_text(err), want_error)) {
            fail_msg("'%s': want error '%s', got '%s'", text, want_error ? want_error : "none",
                     error_text(err));
        }
        error_free(err);
    } else if (want_error) {
        fail_msg("'%s': want error '%s', got none", text, want_error);
    }
    return dev;
}

static void test_properties(void **state)
{
    (void)state;
    Device *dev = device_new(&machine, device_type_find("gizmo"));
    Gadget *g = container_of(dev, Gadget, dev);
    assert_int_equal(g->num, 9); /* the child's default comes last */
    assert_int_equal(g->small, 1);
    assert_true(g->flag);
    assert_int_equal(g->size, 4 * MiB);
    assert_string_equal(g->str, "hello");
    assert_null(g->drive);
    assert_int_equal(g->mac[0], 0x52);
    assert_int_equal(g->mac[5], 0x56);
    assert_int_equal(g->addr, -1);
    assert_int_equal(g->signed32, -5);

    static const struct {
        const char *name, *text, *want; /* want NULL: refused */
    } cases[] = {
        { "num", "0x20", "32" },       { "num", "1", NULL },
        { "num", "101", NULL },        { "num", "-1", NULL },
        { "small", "255", "255" },     { "small", "256", NULL },
        { "flag", "off", "off" },      { "flag", "perhaps", NULL },
        { "size", "1G", "1073741824" }, { "size", "x", NULL },
        { "str", "a b", "a b" },       { "mac", "0:1:2:3:4:ff", "00:01:02:03:04:ff" },
        { "mac", "00:01:02", NULL },   { "mac", "00:01:02:03:04:05:06", NULL },
        { "addr", "0x1f.7", "1f.7" },  { "addr", "5", "05.0" },
        { "addr", "20", NULL },        { "addr", "3.8", NULL },
        { "addr", "", NULL },          { "signed", "-7", "-7" },
        { "signed", "4294967296", NULL }, { "mode", "fast", "fast" },
        { "mode", "medium", NULL },    { "max_num", "5", "5" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        Error *err = NULL;
        bool ok = property_set(dev, cases[i].name, cases[i].text, &err);
        if (ok != (cases[i].want != NULL)) {
            fail_msg("%s=%s: %s", cases[i].name, cases[i].text, ok ? "taken" : error_text(err));
        }
        error_free(err);
        if (ok) {
            char *got = property_get(dev, property_find(dev, cases[i].name));
            assert_string_equal(got, cases[i].want);
            free(got);
        }
    }
    device_discard(dev);
}

static void test_errors(void **state)
{
    (void)state;
    create("gadgte", "did you mean 'gadget'?");
    create("zzzzzz", "-device help lists all");
    create("gadget-base", "part of the machine");
    create("gadget-inner", "part of the machine");
    create("gadget,nmu=3", "no property 'nmu', did you mean 'num'?");
    create("gadget,id=1x", "cannot be an id");
    create("gadget,bus=pci.0", "no bus 'pci.0'; ISA buses here: isa.0");
    create("gadget,num=13", "13 is refused");
    create("", "no device named");
    assert_true(list_empty(&machine.devices));
    assert_int_equal(machine.io.view->nr, 0); /* what a failed realize mapped is gone */
}

static void test_life(void **state)
{
    (void)state;
    order[0] = 0;
    Device *a = create("gadget,id=one,small=2", NULL);
    create("gadget,id=one", "already a device with the id 'one'");
    assert_string_equal(order, "base gadget ");
    Device *b = create("gadget,small=3", NULL);
    assert_ptr_equal(device_find(&machine, "one"), a);
    char *path = object_path(&a->obj);
    assert_string_equal(path, "/machine/peripheral/one");
    free(path);
    path = object_path(&b->obj);
    assert_string_equal(path, "/machine/peripheral-anon/device[0]");
    assert_ptr_equal(object_resolve(path, NULL), &b->obj);
    free(path);
    bool ambiguous;
    assert_ptr_equal(object_resolve("peripheral/one", &ambiguous), &a->obj);
    assert_ptr_equal(object_resolve("one", &ambiguous), &a->obj);
    assert_null(object_resolve("two", &ambiguous));
    assert_false(ambiguous);
    assert_null(object_resolve("/machine/one", NULL));

    Error *err = NULL;
    assert_false(property_set(a, "num", "5", &err));
    error_free(err);
    err = NULL;
    assert_true(property_set(a, "flag", "off", &err));

    Gadget *g = container_of(a, Gadget, dev), *h = container_of(b, Gadget, dev);
    irq_connect(&g->out[0], &h->in[1]);
    g->reg = 5;
    g->kept = 77;
    g->sub[1].b[1] = 99;
    g->fifo[19] = 1;
    timer_arm(&g->timer, 1000);
    machine_reset_devices(&machine);
    assert_int_equal(g->reg, 0x1234);
    assert_int_equal(g->fifo[19], 0xee);
    assert_int_equal(g->sub[1].a, 1);
    assert_int_equal(g->sub[1].b[1], 2);
    assert_int_equal(g->kept, 77);
    assert_false(timer_armed(&g->timer));
    assert_true(h->in[1].level);
    assert_int_equal(g->resets, 1);
    assert_int_equal(g->refreshed, 1);
    create("gadget,id=late", "running machine");

    timer_arm(&g->timer, 1000);
    assert_int_equal(machine.io.view->nr, 2);
    device_unrealize(a);
    assert_int_equal(machine.io.view->nr, 1);
    assert_int_equal(timer_next_deadline(TIMER_GUEST), UINT64_MAX);
    assert_null(device_find(&machine, "one"));
    device_unrealize(b);
    assert_true(list_empty(&bus.devices));
}

static void count_line(void *opaque, const char *line)
{
    char **all = opaque;
    size_t len = *all ? strlen(*all) : 0;
    *all = realloc(*all, len + strlen(line) + 2);
    strcpy(*all + len, line);
    strcat(*all, "\n");
}

static void test_printing(void **state)
{
    (void)state;
    char *text = NULL;
    Error *err = NULL;
    machine.was_reset = false;
    device_list_types(count_line, &text);
    assert_non_null(strstr(text, "name \"gadget\", bus ISA, alias \"gizmo\", desc \"Test device\""));
    assert_null(strstr(text, "gadget-inner"));
    text[0] = 0;
    assert_true(device_type_help("gadget", count_line, &text, &err));
    assert_non_null(strstr(text, "  num=<uint32>  - a number (default: 9)"));
    assert_non_null(strstr(text, "  mode=<word of slow, fast> (default: slow)"));
    text[0] = 0;
    Device *dev = create("gadget,id=one", NULL);
    device_print_qtree(&machine, count_line, &text);
    assert_non_null(strstr(text, "  bus: isa.0\n    type ISA\n    dev: gadget, id \"one\"\n"));
    text[0] = 0;
    object_print_tree(object_root(), count_line, &text);
    assert_non_null(strstr(text, "/one (gadget)\n"));
    text[0] = 0;
    state_print(gadget_state, dev, count_line, &text);
    assert_non_null(strstr(text, "reg = 0x0000\n"));
    assert_non_null(strstr(text, "sub[1].b[0] = 0x00 0x00\n"));
    device_unrealize(dev);
    free(text);
}

static int setup(void **state)
{
    (void)state;
    Error *err = NULL;
    assert_true(main_loop_init(&err));
    guest_clock_set_manual();
    vm_lock();
    machine_setup(&machine);
    bus_init(&bus, BUS_ISA, "isa.0", NULL, &machine);
    return 0;
}

static void check_built(const DeviceType *t, void *opaque)
{
    (void)opaque;
    assert_null(unbuilt_device(t->name));
    for (const char *const *a = t->aliases; a && *a; a++) {
        assert_null(unbuilt_device(*a));
    }
}

/* A name leaves the list of those not built when it is built. */
static void test_unbuilt(void **state)
{
    (void)state;
    device_types_each(check_built, NULL);
    assert_non_null(unbuilt_device("e1000-82544gc"));
    assert_non_null(unbuilt_property("virtio-net-pci", "x-txtimer"));
    assert_null(unbuilt_property("virtio-net-pci", "write-cache"));
    assert_null(unbuilt_device(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_properties), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_life),       cmocka_unit_test(test_printing),
        cmocka_unit_test(test_unbuilt),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("device", tests, setup, NULL);
}

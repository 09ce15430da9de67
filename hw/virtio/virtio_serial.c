/* SPDX-License-Identifier: GPL-2.0-or-later
 * virtio-serial (VIRTIO 5.3): up to 31 byte streams over one device. Port 0 has queues 0 and 1,
 * 2 and 3 carry control messages, port n has 2n+2 and 2n+3; the first of each pair is for the
 * driver to receive.
 *
 * A port is announced when the driver says it is ready, and named once the driver has taken it:
 *
 *     DEVICE_READY ->   <- PORT_ADD n   PORT_READY n ->   <- CONSOLE_PORT, PORT_NAME, PORT_OPEN
 *
 * Messages that find no buffer wait, one of a kind for each port. Left out: sizes of consoles.
 */
#include "hw/virtio/virtio_serial.h"

#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "hw/core/machine.h"
#include "util/alloc.h"

enum { CONTROL_RX = 2, QUEUE_SIZE = 128 };

typedef struct VirtioSerialPci {
    VirtioPci proxy;
    VirtioSerial serial;
} VirtioSerialPci;

bool virtio_serial_has_ports(const VirtioSerial *s)
{
    return virtio_has(&s->vdev, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* ---- control messages ---- */

/* False: there is no buffer for it. */
static bool send_message(VirtioSerial *s, const VirtioPort *p, uint16_t event, uint16_t value,
                         const char *text)
{
    VirtQueue *vq = &s->vdev.queue[CONTROL_RX];
    struct virtio_console_control message = { .id = p->nr, .event = event, .value = value };
    VirtqElement *e = virtq_pop(vq, sizeof(*e));
    if (!e) {
        return false;
    }
    size_t len = virtq_write(e, 0, &message, sizeof(message));
    len += text ? virtq_write(e, sizeof(message), text, strlen(text)) : 0;
    virtq_push(e, len);
    return true;
}

static bool send_pending(VirtioSerial *s, VirtioPort *p)
{
    const struct {
        uint8_t bit;
        uint16_t event, value;
        const char *text;
    } row[] = {
        { PORT_ADD, VIRTIO_CONSOLE_PORT_ADD, 1, NULL },
        { PORT_CONSOLE, VIRTIO_CONSOLE_CONSOLE_PORT, 1, NULL },
        { PORT_NAME, VIRTIO_CONSOLE_PORT_NAME, 1, p->name },
        { PORT_OPEN, VIRTIO_CONSOLE_PORT_OPEN, virtio_port_is_connected(p), NULL },
    };
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        if (p->pending & row[i].bit) {
            if (!send_message(s, p, row[i].event, row[i].value, row[i].text)) {
                return false;
            }
            p->pending &= ~row[i].bit;
        }
    }
    return true;
}

static void send_all_pending(VirtioSerial *s)
{
    if (!virtio_may_run()) {
        virtio_kick_all(&s->vdev); /* comes back here when it may */
        return;
    }
    for (unsigned n = 0; n < s->max_ports; n++) {
        if (s->port[n] && !send_pending(s, s->port[n])) {
            break;
        }
    }
    virtq_notify(&s->vdev.queue[CONTROL_RX]);
}

void virtio_serial_tell(VirtioPort *p, uint8_t messages)
{
    VirtioSerial *s = p->serial;
    if (s->driver_ready && virtio_serial_has_ports(s)) {
        p->pending |= messages;
        send_all_pending(s);
    }
}

static void driver_ready(VirtioSerial *s, bool ok)
{
    s->driver_ready = ok;
    for (unsigned n = 0; n < s->max_ports && ok; n++) {
        if (s->port[n]) {
            s->port[n]->pending = PORT_ADD;
        }
    }
}

static void handle_message(VirtioSerial *s, const struct virtio_console_control *m)
{
    if (m->event == VIRTIO_CONSOLE_DEVICE_READY) {
        driver_ready(s, m->value);
        return;
    }
    VirtioPort *p = m->id < s->max_ports ? s->port[m->id] : NULL;
    if (!p) {
        log_guest("virtio-serial: message %u for port %u, which does not exist", m->event, m->id);
        return;
    }
    switch (m->event) {
    case VIRTIO_CONSOLE_PORT_READY:
        if (m->value) {
            p->pending |=
                PORT_OPEN | (p->is_console ? PORT_CONSOLE : 0) | (p->name ? PORT_NAME : 0);
        }
        break;
    case VIRTIO_CONSOLE_PORT_OPEN:
        p->guest_open = m->value;
        if (p->guest_open) {
            virtio_port_accept(p);
        }
        break;
    default: log_guest("virtio-serial: message %u", m->event);
    }
}

static void control_tx_kick(VirtioDevice *v, VirtQueue *vq)
{
    VirtioSerial *s = container_of(v, VirtioSerial, vdev);
    for (VirtqElement *e; (e = virtq_pop(vq, sizeof(*e)));) {
        struct virtio_console_control m;
        if (virtq_read(e, 0, &m, sizeof(m)) == sizeof(m)) {
            handle_message(s, &m);
        }
        virtq_push(e, 0);
    }
    virtq_notify(vq);
    send_all_pending(s);
}

static void control_rx_kick(VirtioDevice *v, VirtQueue *vq)
{
    (void)vq;
    send_all_pending(container_of(v, VirtioSerial, vdev));
}

/* ---- data ---- */

static VirtioPort *port_of(VirtioDevice *v, const VirtQueue *vq)
{
    VirtioSerial *s = container_of(v, VirtioSerial, vdev);
    unsigned n = vq->index < CONTROL_RX ? 0 : vq->index / 2 - 1;
    return s->port[n];
}

static void rx_kick(VirtioDevice *v, VirtQueue *vq)
{
    VirtioPort *p = port_of(v, vq);
    if (p) {
        virtio_port_accept(p);
    }
}

/* What is written to a port that is not there is lost. */
static void tx_kick(VirtioDevice *v, VirtQueue *vq)
{
    VirtioPort *p = port_of(v, vq);
    if (p) {
        virtio_port_send(p);
        return;
    }
    for (VirtqElement *e; (e = virtq_pop(vq, sizeof(*e)));) {
        virtq_push(e, 0);
    }
    virtq_notify(vq);
}

/* ---- configuration space ---- */

static void serial_get_config(VirtioDevice *v, uint8_t *config)
{
    const VirtioSerial *s = container_of(v, VirtioSerial, vdev);
    struct virtio_console_config c = { .max_nr_ports = s->max_ports };
    memcpy(config, &c, sizeof(c));
}

/* Output without queues, for a kernel's first words (VIRTIO 5.3.4). */
static void serial_set_config(VirtioDevice *v, unsigned offset, uint32_t val, unsigned size)
{
    VirtioSerial *s = container_of(v, VirtioSerial, vdev);
    uint8_t byte = val;
    (void)size;
    if (offset == offsetof(struct virtio_console_config, emerg_wr) && s->port[0] &&
        s->port[0]->fe.chr) {
        char_write(&s->port[0]->fe, &byte, 1);
    }
}

/* ---- ports plug in ---- */

static bool serial_plug(Bus *bus, Device *dev, Error **errp)
{
    VirtioSerial *s = container_of(bus, VirtioSerial, bus);
    VirtioPort *p = container_of(dev, VirtioPort, dev);
    bool is_console = !strcmp(dev->type->name, "virtconsole");
    if (p->nr == UINT32_MAX) {
        /* Port 0 is what drivers take for a console if they know of one port only. */
        for (p->nr = is_console ? 0 : 1; p->nr < s->max_ports && s->port[p->nr]; p->nr++) {
        }
        if (p->nr >= s->max_ports) {
            return error_set(errp, "'%s' has no free port; max_ports=%u", bus->obj.name,
                             s->max_ports);
        }
    }
    if (p->nr >= s->max_ports) {
        return error_set(errp, "nr=%u: '%s' has ports 0 to %u", p->nr, bus->obj.name,
                         s->max_ports - 1);
    }
    if (!p->nr && !is_console) {
        return error_set(errp, "nr=0 is for a virtconsole");
    }
    if (s->port[p->nr]) {
        return error_set(errp, "port %u of '%s' is taken", p->nr, bus->obj.name);
    }
    p->serial = s;
    p->is_console = is_console;
    s->port[p->nr] = p;
    return true;
}

static void serial_unplug(Bus *bus, Device *dev)
{
    VirtioSerial *s = container_of(bus, VirtioSerial, bus);
    s->port[container_of(dev, VirtioPort, dev)->nr] = NULL;
}

static bool serial_has_room(Bus *bus, const Device *dev)
{
    VirtioSerial *s = container_of(bus, VirtioSerial, bus);
    unsigned n = !strcmp(dev->type->name, "virtconsole") ? 0 : 1;
    while (n < s->max_ports && s->port[n]) {
        n++;
    }
    return n < s->max_ports;
}

/* ---- life ---- */

static void serial_reset(VirtioDevice *v)
{
    VirtioSerial *s = container_of(v, VirtioSerial, vdev);
    s->driver_ready = false;
    for (unsigned n = 0; n < s->max_ports; n++) {
        if (s->port[n]) {
            virtio_port_reset(s->port[n]);
        }
    }
}

static const VirtioOps serial_ops = {
    .id = VIRTIO_ID_CONSOLE,
    .config_len = sizeof(struct virtio_console_config),
    .get_config = serial_get_config,
    .set_config = serial_set_config,
    .reset = serial_reset,
};

static void add_bus(VirtioSerial *s, Device *dev)
{
    unsigned nr = 0;
    list_for_each(pos, &dev->machine->buses) {
        nr += container_of(pos, Bus, node)->kind == BUS_VIRTIO;
    }
    char *name = dev->id ? xasprintf("%s.0", dev->id) : xasprintf("virtio-serial%u.0", nr);
    bus_init(&s->bus, BUS_VIRTIO, name, dev, dev->machine);
    free(name);
    s->bus.plug = serial_plug;
    s->bus.unplug = serial_unplug;
    s->bus.has_room = serial_has_room;
}

static bool serial_realize(Device *dev, Error **errp)
{
    VirtioSerialPci *p = container_of(dev, VirtioSerialPci, proxy.pci.dev);
    VirtioSerial *s = &p->serial;
    virtio_init(&s->vdev, dev, &serial_ops);
    for (unsigned n = 0; n <= s->max_ports; n++) {
        virtio_add_queue(&s->vdev, QUEUE_SIZE, n == 1 ? control_rx_kick : rx_kick);
        virtio_add_queue(&s->vdev, QUEUE_SIZE, n == 1 ? control_tx_kick : tx_kick);
    }
    s->vdev.host_features |=
        1ull << VIRTIO_CONSOLE_F_MULTIPORT | 1ull << VIRTIO_CONSOLE_F_EMERG_WRITE;
    /* A vector for each of 64 queues is more than any driver would ask a PC for. */
    p->proxy.vectors = p->proxy.vectors == UINT32_MAX ? s->max_ports + 1 : p->proxy.vectors;
    if (!virtio_pci_realize(&p->proxy, &s->vdev, errp)) {
        return false;
    }
    add_bus(s, dev);
    return true;
}

static const Property serial_props[] = {
    PROP_U32("max_ports", VirtioSerialPci, serial.max_ports, .def = VIRTIO_SERIAL_MAX_PORTS,
             .min = 1, .max = VIRTIO_SERIAL_MAX_PORTS, .help = "how many ports there can be"),
    PROP_END,
};

static const StateField serial_state[] = {
    STATE_STRUCT(VirtioSerialPci, serial.vdev, VirtioDevice, virtio_state),
    STATE_BOOL(VirtioSerialPci, serial.driver_ready),
    STATE_END,
};

static const char *const serial_aliases[] = { "virtio-serial", NULL };

VIRTIO_PCI_TYPES(virtio_serial, "virtio-serial-pci", VirtioSerialPci, "Virtio bus of serial ports",
                 0x1003, 0x078000, NULL, serial_aliases, .props = serial_props,
                 .state = serial_state, .state_version = 1, .realize = serial_realize);

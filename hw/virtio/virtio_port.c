/* SPDX-License-Identifier: GPL-2.0-or-later
 * virtconsole and virtserialport (VIRTIO 5.3): a port of a virtio-serial device and the chardev it
 * stands for. A console is a terminal for the guest (hvc0); a serial port is a named channel for a
 * program in it, such as a guest agent (/dev/virtio-ports/NAME).
 */
#include <string.h>

#include "hw/virtio/virtio_serial.h"

enum { MAX_ROOM = 4096, MAX_LOOK = 64, MAX_ELEMENT = 16 << 20 };

bool virtio_port_is_connected(const VirtioPort *p)
{
    return p->is_console || (p->fe.chr && char_is_open(&p->fe));
}

/* ---- from the guest ---- */

static void writable(void *opaque)
{
    virtio_port_send(opaque);
}

/* Sends what is left of e; false: the chardev takes no more now. */
static bool send_element(VirtioPort *p, const VirtqElement *e)
{
    size_t skip = p->sent;
    for (int i = 0; i < e->nr_out; i++) {
        const struct iovec *v = &e->out[i];
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        size_t len = v->iov_len - skip;
        size_t n = char_write(&p->fe, (const uint8_t *)v->iov_base + skip, len);
        p->sent += n;
        skip = 0;
        if (n < len) {
            return false;
        }
    }
    return true;
}

/* An element that is sent in part stays in the ring, so that nothing is held while a snapshot is
 * taken. Where nobody listens, bytes vanish. */
void virtio_port_send(VirtioPort *p)
{
    VirtQueue *vq = virtio_port_tx(p);
    if (!virtio_may_run()) {
        virtio_kick_all(&p->serial->vdev);
        return;
    }
    for (VirtqElement *e; (e = virtq_pop(vq, sizeof(*e)));) {
        if (e->out_len > MAX_ELEMENT) { /* would keep the main loop busy for long */
            virtio_error(&p->serial->vdev, "%zu bytes in one buffer", e->out_len);
            virtq_drop(e);
            break;
        }
        bool listens = p->fe.chr && char_is_open(&p->fe);
        if (listens && !send_element(p, e)) {
            virtq_unpop(e);
            char_on_writable(&p->fe, writable, p);
            break;
        }
        p->sent = 0;
        virtq_push(e, 0);
    }
    virtq_notify(vq);
}

/* ---- to the guest ---- */

/* Room in the buffers that the driver has given, counted without keeping them. */
static size_t room(VirtQueue *vq)
{
    VirtqElement *e[MAX_LOOK];
    unsigned n = 0;
    size_t len = 0;
    while (n < MAX_LOOK && len < MAX_ROOM && (e[n] = virtq_pop(vq, sizeof(*e[0])))) {
        len += e[n++]->in_len;
    }
    while (n) {
        virtq_unpop(e[--n]);
    }
    return MIN(len, (size_t)MAX_ROOM);
}

static size_t port_can_receive(void *opaque)
{
    VirtioPort *p = opaque;
    if (virtio_serial_has_ports(p->serial) && !p->guest_open) {
        return 0;
    }
    if (!virtio_may_run()) {
        virtio_kick_all(&p->serial->vdev); /* asks again when it may */
        return 0;
    }
    return room(virtio_port_rx(p));
}

static void port_receive(void *opaque, const uint8_t *buf, size_t len)
{
    VirtQueue *vq = virtio_port_rx(opaque);
    while (len) {
        VirtqElement *e = virtq_pop(vq, sizeof(*e));
        if (!e) {
            break;
        }
        size_t n = virtq_write(e, 0, buf, len);
        virtq_push(e, n);
        buf += n;
        len -= n;
    }
    virtq_notify(vq);
}

void virtio_port_accept(VirtioPort *p)
{
    if (p->fe.chr) {
        char_accept_input(&p->fe);
    }
}

static void port_event(void *opaque, CharEvent event)
{
    VirtioPort *p = opaque;
    if (event == CHAR_OPENED || event == CHAR_CLOSED) {
        virtio_serial_tell(p, PORT_OPEN);
    }
    if (event == CHAR_CLOSED && p->dev.realized) {
        virtio_port_send(p); /* what waits for a peer that is gone */
    }
}

/* ---- life ---- */

void virtio_port_reset(VirtioPort *p)
{
    p->guest_open = false;
    p->pending = 0;
    p->sent = 0;
}

static bool port_realize(Device *dev, Error **errp)
{
    VirtioPort *p = container_of(dev, VirtioPort, dev);
    if (p->name && strlen(p->name) > 100) {
        return error_set(errp, "name=%s: at most 100 characters fit", p->name);
    }
    p->fe = (CharFrontend){
        .can_receive = port_can_receive, .receive = port_receive, .event = port_event, .opaque = p
    };
    list_init(&p->fe.node);
    if (p->chardev) {
        Chardev *chr = chardev_find(p->chardev);
        if (!chr) {
            return error_set(errp, "there is no chardev '%s' (-chardev BACKEND,id=%s)", p->chardev,
                             p->chardev);
        }
        if (!char_attach(&p->fe, chr, errp)) {
            return false;
        }
    }
    virtio_serial_tell(p, PORT_ADD);
    return true;
}

static void port_unrealize(Device *dev)
{
    VirtioPort *p = container_of(dev, VirtioPort, dev);
    if (p->fe.chr) {
        char_detach(&p->fe);
    }
}

static const Property port_props[] = {
    PROP_CHARDEV("chardev", VirtioPort, chardev, .help = "id of a -chardev"),
    PROP_STR("name", VirtioPort, name, .help = "what the guest calls it"),
    PROP_U32("nr", VirtioPort, nr, .def = UINT32_MAX,
             .help = "the port's number; the first free one"),
    PROP_END,
};

static const StateField port_state[] = {
    STATE_BOOL(VirtioPort, guest_open),
    STATE_U8(VirtioPort, pending, .mask = PORT_ADD | PORT_CONSOLE | PORT_NAME | PORT_OPEN),
    STATE_U32(VirtioPort, sent),
    STATE_END,
};

#define PORT                                                                                       \
    .props = port_props, .state = port_state, .state_version = 1, .realize = port_realize,         \
    .unrealize = port_unrealize

DEVICE_TYPE(virtconsole) = {
    DEVICE_INFO("virtconsole", BUS_VIRTIO, VirtioPort, "Virtio console port"),
    PORT,
};

DEVICE_TYPE(virtserialport) = {
    DEVICE_INFO("virtserialport", BUS_VIRTIO, VirtioPort, "Virtio serial port with a name"),
    PORT,
};

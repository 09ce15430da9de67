/* SPDX-License-Identifier: GPL-2.0-or-later
 * virtio-serial and its ports: between virtio_serial.c (queues, control messages) and
 * virtio_port.c (a port and its chardev).
 */
#ifndef HW_VIRTIO_VIRTIO_SERIAL_H
#define HW_VIRTIO_VIRTIO_SERIAL_H

#include "chardev/chardev.h"
#include "hw/virtio/virtio_pci.h"

enum { VIRTIO_SERIAL_MAX_PORTS = VIRTIO_MAX_QUEUES / 2 - 1 };

typedef struct VirtioPort VirtioPort;

typedef struct VirtioSerial {
    VirtioDevice vdev;
    uint32_t max_ports; /* property */
    bool driver_ready;  /* state */
    Bus bus;
    VirtioPort *port[VIRTIO_SERIAL_MAX_PORTS]; /* by number; NULL: none */
} VirtioSerial;

struct VirtioPort {
    Device dev;
    char *chardev, *name; /* properties */
    uint32_t nr;
    bool guest_open; /* state: a program in the guest has it open */
    uint8_t pending; /* messages that wait for a buffer: PORT_ bits */
    uint32_t sent;   /* bytes of the next element that went out already */
    CharFrontend fe; /* wiring */
    VirtioSerial *serial;
    bool is_console;
};

enum { PORT_ADD = 1 << 0, PORT_CONSOLE = 1 << 1, PORT_NAME = 1 << 2, PORT_OPEN = 1 << 3 };

static inline VirtQueue *virtio_port_rx(VirtioPort *p)
{
    return &p->serial->vdev.queue[p->nr ? 2 * p->nr + 2 : 0];
}
static inline VirtQueue *virtio_port_tx(VirtioPort *p)
{
    return virtio_port_rx(p) + 1;
}

/* Has the driver several ports? Else there is port 0 alone, which is always open. */
bool virtio_serial_has_ports(const VirtioSerial *s);
/* Tells the driver of these things once it can hear them. */
void virtio_serial_tell(VirtioPort *p, uint8_t messages);

/* What the guest wrote goes to the chardev. */
void virtio_port_send(VirtioPort *p);
/* There is room for what the chardev has. */
void virtio_port_accept(VirtioPort *p);
void virtio_port_reset(VirtioPort *p);
/* Is there somebody at the host's end? */
bool virtio_port_is_connected(const VirtioPort *p);

#endif

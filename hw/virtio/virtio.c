/* SPDX-License-Identifier: GPL-2.0-or-later
 * What all virtio devices have (VIRTIO 2, 3): status, features, configuration space, resets.
 */
#include "hw/virtio/virtio.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hw/core/machine.h"
#include "hw/virtio/virtq_impl.h"

enum { POPS_IN_A_ROW = 4 * VIRTQ_MAX_SIZE };

/* ---- errors ---- */

void virtio_error(VirtioDevice *v, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (log_on(LOG_GUEST)) {
        char text[160];
        vsnprintf(text, sizeof(text), fmt, ap);
        log_guest("%s: %s", v->dev->type->name, text);
    }
    va_end(ap);
    if (v->broken) {
        return;
    }
    v->broken = true;
    if (v->ops->live_changed) {
        bh_schedule(&v->changed); /* not from the midst of a ring */
    }
    if (!v->legacy && (v->status & VIRTIO_CONFIG_S_DRIVER_OK)) { /* VIRTIO 2.1.2 */
        v->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        virtio_config_changed(v);
    } else {
        v->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    }
}

/* ---- configuration space ---- */

void virtio_config_changed(VirtioDevice *v)
{
    v->generation++;
    if (v->status & VIRTIO_CONFIG_S_DRIVER_OK) {
        v->transport->config_interrupt(v->transport_opaque);
    }
}

uint32_t virtio_config_read(VirtioDevice *v, unsigned offset, unsigned size)
{
    uint8_t config[VIRTIO_MAX_CONFIG] = { 0 };
    uint32_t val = 0;
    if (offset >= v->ops->config_len) {
        return UINT32_MAX;
    }
    v->ops->get_config(v, config);
    memcpy(&val, config + offset, MIN(size, v->ops->config_len - offset));
    return val;
}

void virtio_config_write(VirtioDevice *v, unsigned offset, uint32_t val, unsigned size)
{
    if (v->ops->set_config && offset + size <= v->ops->config_len) {
        v->ops->set_config(v, offset, val, size);
    } else {
        log_guest("%s: write of %u bytes to configuration space at 0x%x", v->dev->type->name, size,
                  offset);
    }
}

/* ---- kicks ---- */

bool virtio_may_run(void)
{
    return guest_clock_running() || guest_clock_is_manual();
}

static void kick_later(VirtioDevice *v, uint64_t queues)
{
    v->waiting |= queues;
    timer_arm(&v->resume, guest_clock_ns()); /* guest time stands still now: as soon as it runs */
}

void virtio_kick(VirtioDevice *v, unsigned queue)
{
    if (queue >= v->nr_queues || !v->queue[queue].enabled || !virtio_is_live(v)) {
        return;
    }
    if (virtio_may_run()) {
        /* Another vCPU may offer as fast as this one pops; the monitor wants its turn, too. */
        v->queue[queue].budget = POPS_IN_A_ROW;
        v->queue[queue].kick(v, &v->queue[queue]);
    } else {
        kick_later(v, 1ull << queue);
    }
}

static void kick_waiting(void *opaque)
{
    VirtioDevice *v = opaque;
    uint64_t queues = v->waiting;
    v->waiting = 0;
    for (unsigned n = 0; n < v->nr_queues; n++) {
        if (queues >> n & 1) {
            virtio_kick(v, n);
        }
    }
}

void virtio_kick_again(VirtQueue *vq)
{
    vq->vdev->waiting |= 1ull << vq->index;
    bh_schedule(&vq->vdev->again);
}

void virtio_kick_all(VirtioDevice *v)
{
    for (unsigned n = 0; n < v->nr_queues; n++) {
        virtio_kick(v, n);
    }
}

void virtio_set_dma(VirtioDevice *v, bool allowed)
{
    bool was_off = v->no_dma;
    v->no_dma = !allowed;
    if (was_off == allowed && v->ops->live_changed) {
        v->ops->live_changed(v);
    }
    if (was_off && allowed) {
        virtio_kick_all(v);
    }
}

/* ---- queues ---- */

/* As after a reset, but for whether it is enabled and where it lies. */
static void init_ring(VirtQueue *vq)
{
    vq->next = vq->used = vq->in_use = vq->filled = 0;
    vq->next_wrap = vq->used_wrap = true;
    vq->unsignalled = 0;
    vq->quiet = false;
    vq->map_generation = 0;
}

static bool is_valid_size(const VirtioDevice *v, const VirtQueue *vq)
{
    return vq->num && vq->num <= vq->max_num &&
           (virtio_has(v, VIRTIO_F_RING_PACKED) || (vq->num & (vq->num - 1)) == 0);
}

void virtio_enable_queue(VirtioDevice *v, unsigned queue)
{
    VirtQueue *vq = &v->queue[queue];
    if (queue >= v->nr_queues || vq->enabled || vq->resetting || v->resetting) {
        return;
    }
    if (!is_valid_size(v, vq)) {
        virtio_error(v, "queue %u of %u entries", queue, vq->num);
        return;
    }
    init_ring(vq);
    vq->enabled = true;
}

void virtio_reset_queue(VirtioDevice *v, unsigned queue)
{
    VirtQueue *vq = &v->queue[queue];
    if (queue >= v->nr_queues || vq->resetting || v->resetting) {
        return;
    }
    vq->enabled = false;
    if (v->ops->queue_reset) {
        vq->resetting = true;
        v->ops->queue_reset(v, vq);
        vq->resetting = false;
    }
    init_ring(vq);
    vq->desc = vq->driver = vq->device = 0;
    vq->num = vq->max_num;
    vq->vector = VIRTIO_NO_VECTOR;
}

VirtQueue *virtio_add_queue(VirtioDevice *v, uint16_t num, VirtqFn *kick)
{
    assert(v->nr_queues < VIRTIO_MAX_QUEUES && num && num <= VIRTQ_MAX_SIZE);
    VirtQueue *vq = &v->queue[v->nr_queues];
    *vq = (VirtQueue){ .vdev = v,
                       .index = v->nr_queues++,
                       .max_num = num,
                       .num = num,
                       .kick = kick,
                       .vector = VIRTIO_NO_VECTOR };
    return vq;
}

/* ---- resets ---- */

static void end_elements(VirtioDevice *v)
{
    v->resetting = true;
    for (unsigned n = 0; n < v->nr_queues; n++) {
        v->queue[n].enabled = false;
    }
    if (v->ops->reset) {
        v->ops->reset(v);
    }
    timer_cancel(&v->resume);
    bh_cancel(&v->again);
    bh_cancel(&v->changed);
    v->waiting = 0;
    v->resetting = false;
}

static void queues_after_reset(VirtioDevice *v)
{
    for (unsigned n = 0; n < v->nr_queues; n++) {
        v->queue[n].num = v->queue[n].max_num;
        init_ring(&v->queue[n]);
    }
}

static void reset(VirtioDevice *v)
{
    if (v->resetting) {
        return; /* another vCPU is at it */
    }
    end_elements(v);
    state_reset(virtio_state, v);
    queues_after_reset(v);
}

void virtio_machine_reset(VirtioDevice *v)
{
    end_elements(v); /* the state table follows */
}

void virtio_refresh(VirtioDevice *v)
{
    bool bad = v->features & ~v->host_features;
    for (unsigned n = 0; n < v->nr_queues; n++) {
        VirtQueue *vq = &v->queue[n];
        vq->map_generation = 0;
        vq->filled = 0;
        if (!vq->enabled) {
            vq->num = vq->num ? vq->num : vq->max_num;
            continue;
        }
        bad = bad || !is_valid_size(v, vq) || vq->in_use > vq->num ||
              (virtio_has(v, VIRTIO_F_RING_PACKED) && (vq->next >= vq->num || vq->used >= vq->num));
    }
    if (bad) {
        v->features &= v->host_features;
        virtio_error(v, "impossible state");
    } else if (v->status & VIRTIO_CONFIG_S_DRIVER_OK) {
        kick_later(v, UINT64_MAX); /* what came in between is not in the state */
    }
}

/* ---- status and features ---- */

void virtio_set_legacy_features(VirtioDevice *v, uint32_t features)
{
    v->driver_features = features;
    v->features = features & v->host_features;
}

static bool agree_on_features(VirtioDevice *v)
{
    if ((v->driver_features & ~v->host_features) ||
        !(v->driver_features >> VIRTIO_F_VERSION_1 & 1)) {
        log_guest("%s: features 0x%llx of 0x%llx", v->dev->type->name,
                  (unsigned long long)v->driver_features, (unsigned long long)v->host_features);
        return false;
    }
    v->features = v->driver_features;
    if (v->ops->negotiated) {
        v->ops->negotiated(v);
    }
    return true;
}

static void start(VirtioDevice *v)
{
    if (v->legacy && v->ops->negotiated) {
        v->ops->negotiated(v);
    }
    if (v->ops->started) {
        v->ops->started(v);
    }
}

/* Bits come one after the other and only a reset takes them away (VIRTIO 3.1). */
void virtio_set_status(VirtioDevice *v, uint8_t status)
{
    uint8_t come = status & ~v->status;
    if (!status) {
        reset(v);
    } else if (!v->resetting) {
        if ((come & VIRTIO_CONFIG_S_FEATURES_OK) && !v->legacy && !agree_on_features(v)) {
            status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
        }
        if ((come & VIRTIO_CONFIG_S_DRIVER_OK) && !v->legacy &&
            !(status & VIRTIO_CONFIG_S_FEATURES_OK)) {
            log_guest("%s: DRIVER_OK without FEATURES_OK", v->dev->type->name);
            status &= ~VIRTIO_CONFIG_S_DRIVER_OK;
        }
        v->status = status | (v->status & VIRTIO_CONFIG_S_NEEDS_RESET);
        if ((come & status & VIRTIO_CONFIG_S_DRIVER_OK)) {
            start(v);
        }
    }
    if (v->transport->status_changed) {
        v->transport->status_changed(v->transport_opaque);
    }
    if (come & v->status & VIRTIO_CONFIG_S_DRIVER_OK) {
        virtio_kick_all(v); /* buffers may be there already */
    }
}

/* ---- life ---- */

static void memory_changed(MemoryListener *l, AddressSpace *as)
{
    VirtioDevice *v = container_of(l, VirtioDevice, listener);
    (void)as;
    v->map_generation++;
    if (v->ops->memory_changed) {
        v->ops->memory_changed(v);
    }
}

static void live_changed(void *opaque)
{
    VirtioDevice *v = opaque;
    v->ops->live_changed(v);
}

void virtio_init(VirtioDevice *v, Device *dev, const VirtioOps *ops)
{
    assert(ops->config_len <= VIRTIO_MAX_CONFIG);
    v->dev = dev;
    v->ops = ops;
    v->map_generation = 1;
    timer_init(&v->resume, kick_waiting, v);
    bh_init(&v->again, kick_waiting, v);
    bh_init(&v->changed, live_changed, v);
    v->listener.changed = memory_changed;
    list_init(&v->listener.node);
}

void virtio_attach(VirtioDevice *v, const VirtioTransport *t, void *opaque)
{
    v->transport = t;
    v->transport_opaque = opaque;
    memory_listener_add(&v->dev->machine->memory, &v->listener);
}

void virtio_fini(VirtioDevice *v)
{
    if (v->transport) {
        end_elements(v);
        memory_listener_del(&v->listener);
        v->transport = NULL;
    }
}

static const StateField queue_state[] = {
    STATE_U64(VirtQueue, desc),
    STATE_U64(VirtQueue, driver),
    STATE_U64(VirtQueue, device),
    STATE_U16(VirtQueue, num, .max = VIRTQ_MAX_SIZE),
    STATE_U16(VirtQueue, vector, .reset = VIRTIO_NO_VECTOR),
    STATE_BOOL(VirtQueue, enabled),
    STATE_BOOL(VirtQueue, quiet),
    STATE_U16(VirtQueue, next),
    STATE_U16(VirtQueue, used),
    STATE_BOOL(VirtQueue, next_wrap, .reset = true),
    STATE_BOOL(VirtQueue, used_wrap, .reset = true),
    STATE_U32(VirtQueue, unsignalled),
    STATE_U16(VirtQueue, in_use),
    STATE_END,
};

const StateField virtq_held_state[] = {
    STATE_U64(VirtqHeld, addr),
    STATE_U32(VirtqHeld, len),
    STATE_U16(VirtqHeld, flags),
    STATE_U16(VirtqHeld, queue, .max = VIRTIO_MAX_QUEUES - 1),
    STATE_U16(VirtqHeld, id),
    STATE_END,
};

const StateField virtio_state[] = {
    STATE_U64(VirtioDevice, driver_features),
    STATE_U64(VirtioDevice, features),
    STATE_U8(VirtioDevice, status),
    STATE_U8(VirtioDevice, generation),
    STATE_BOOL(VirtioDevice, broken),
    STATE_BOOL(VirtioDevice, legacy),
    STATE_STRUCT(VirtioDevice, queue, VirtQueue, queue_state),
    STATE_END,
};

/* SPDX-License-Identifier: GPL-2.0-or-later
 * Opening /dev/vhost-net (linux/vhost.h). What it then does: hw/virtio/vhost.c.
 */
#include "net/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VHOST_NODE "/dev/vhost-net"

static int system_ioctl(int fd, unsigned long request, void *arg)
{
    return ioctl(fd, request, arg);
}

static bool say_open_failed(int error, Error **errp)
{
    if (error == ENOENT || error == ENODEV || error == ENXIO) {
        return error_set(errp, "the host has no " VHOST_NODE
                               "; load the module: `sudo modprobe vhost_net`");
    }
    if (error == EACCES || error == EPERM) {
        return error_set(errp, VHOST_NODE
                         " may not be opened by this user; join its group (`ls -l " VHOST_NODE
                         "` shows it) or `sudo chmod 666 " VHOST_NODE "`");
    }
    return error_set_errno(errp, error, VHOST_NODE " cannot be opened");
}

static bool set_up(NetVhost *v, Error **errp)
{
    if (v->ioctl(v->fd, VHOST_SET_OWNER, NULL)) {
        if (errno == ENOTTY || errno == EINVAL) {
            return error_set(errp, "descriptor %d is not one of " VHOST_NODE, v->fd);
        }
        if (errno == EBUSY) {
            return error_set(errp, "descriptor %d of " VHOST_NODE " is in use already", v->fd);
        }
        return error_set_errno(errp, errno, "vhost-net cannot start a thread");
    }
    if (v->ioctl(v->fd, VHOST_GET_FEATURES, &v->features)) {
        return error_set_errno(errp, errno, "vhost-net does not tell its features");
    }
    struct vhost_vring_state poll = { .num = v->poll_us };
    if (v->poll_us && v->ioctl(v->fd, VHOST_SET_VRING_BUSYLOOP_TIMEOUT, &poll)) {
        return error_set_errno(errp, errno,
                               "poll-us=%u: the kernel's vhost-net cannot poll; leave it away",
                               v->poll_us);
    }
    return true;
}

bool net_vhost_open(NetVhost *v, Error **errp)
{
    v->ioctl = v->ioctl ? v->ioctl : system_ioctl;
    v->fd = v->fd >= 0 ? v->fd : open(VHOST_NODE, O_RDWR | O_CLOEXEC);
    if (v->fd < 0) {
        return say_open_failed(errno, errp);
    }
    fcntl(v->fd, F_SETFD, FD_CLOEXEC);
    return set_up(v, errp);
}

void net_vhost_close(NetVhost *v)
{
    if (v->fd >= 0) {
        close(v->fd);
    }
    v->fd = -1;
}

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# native.sh ROOT LIST SCALE ONLY [DISK]: runs a guest tree on this host, in a mount
# namespace of its own with a tmpfs on /tmp, as the physical limit of the machine.
root=$1 list=$2 scale=$3 only=$4 disk=$5
[ -n "$disk" ] && export VB_DISK=/tmp/disk
PATH=$PATH:/usr/sbin
user=
[ "$(id -u)" = 0 ] || user=-r
export PATH root list scale only disk
exec unshare $user -m --propagation private sh -c '
    if [ -n "$disk" ]; then mkdir -p "$root/tmp"; : > "$root/tmp/disk"; mount --bind "$disk" "$root/tmp/disk"
    else mount -t tmpfs none "$root/tmp"; fi
    mount --rbind /proc "$root/proc" && mount --rbind /dev "$root/dev"
    exec chroot "$root" /init --native "$list" "$scale" "$only"'

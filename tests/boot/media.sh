#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes guests of Debian packages alone: media.sh DIR PART...
# Parts: grub ipxe memtest isolinux installer kernels-i386 busybox network iperf storage debian debian-i386 self-install.
# On failure the last line on stderr says why. Only debian and debian-i386 need root; all need apt-get and a mirror.
set -e
here=$(cd "$(dirname "$0")" && pwd)
scripts=$here/../../scripts
out=$1
shift
mkdir -p "$out/work"
out=$(cd "$out" && pwd)
work=$out/work

fail() { echo "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || PATH=$PATH:/usr/sbin command -v "$1" >/dev/null || fail "needs $1: install $2"; }
unpack() { "$scripts/debian-packages" "$work" "$@"; } # ARCH DIR PACKAGE...
newest() { "$scripts/debian-packages" "$work" "$1" --depends "$2"; }

grub() {
    unpack amd64 "$work/grub" grub-rescue-pc
    cp "$work"/grub/usr/lib/grub-rescue/grub-rescue-* "$out/"
}

memtest() {
    unpack amd64 "$work/memtest" memtest86+
    cp "$work"/memtest/usr/lib/memtest86+/*.iso "$out/"
}

ipxe() {
    unpack amd64 "$work/ipxe" ipxe
    cp "$work/ipxe/usr/lib/ipxe/ipxe.iso" "$out/"
}

installer() {
    unpack amd64 "$work/installer" debian-installer-12-netboot-amd64
    d=$work/installer/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64
    cp "$d/linux" "$out/di-amd64.linux"
    cp "$d/initrd.gz" "$out/di-amd64.initrd.gz"
    rm -rf "$out/di-amd64-netboot" # what a TFTP server gives: links into debian-installer/
    cp -al "${d%/debian-installer/amd64}" "$out/di-amd64-netboot"
}

kernels_i386() {
    for kind in 686 686-pae; do
        package=$(newest i386 linux-image-$kind)
        [ -n "$package" ] || fail "no package linux-image-$kind"
        unpack i386 "$work/linux-$kind" "$package"
        cp "$work/linux-$kind"/boot/vmlinuz-* "$out/linux-$kind"
    done
}

# A CD with a graphical menu (VBE), whose first entry is a Linux kernel.
isolinux() {
    need xorriso xorriso
    [ -e "$out/linux-686" ] || kernels_i386
    unpack amd64 "$work/syslinux" isolinux syslinux-common memtest86+
    cd=$work/cd
    rm -rf "$cd"
    mkdir -p "$cd/isolinux"
    cp "$work/syslinux/usr/lib/ISOLINUX/isolinux.bin" "$cd/isolinux/"
    for m in ldlinux vesamenu menu libcom32 libutil libmenu; do
        f=$work/syslinux/usr/lib/syslinux/modules/bios/$m.c32
        [ ! -f "$f" ] || cp "$f" "$cd/isolinux/"
    done
    cp "$out/linux-686" "$cd/isolinux/linux"
    cp "$work/syslinux/boot/memtest86+ia32.bin" "$cd/isolinux/mt86"
    cat >"$cd/isolinux/isolinux.cfg" <<'X'
UI vesamenu.c32
MENU TITLE Zoo CD
TIMEOUT 0
LABEL one
  MENU LABEL First entry
  KERNEL linux
  APPEND console=ttyS0,115200 panic=-1
LABEL two
  MENU LABEL Second entry: memtest
  KERNEL mt86
X
    xorriso -as mkisofs -quiet -o "$out/isolinux-vesa.iso" -b isolinux/isolinux.bin \
        -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table "$cd"
}

# Initial RAM disks: guest_shell=1 gives a prompt, guest_work=1 some work, then power off.
busybox() {
    for arch in amd64 i386; do
        unpack $arch "$work/busybox-$arch" busybox-static
        root=$work/initrd-$arch
        rm -rf "$root"
        mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev"
        cp "$work/busybox-$arch/bin/busybox" "$root/bin/"
        cp "$here/guest-init" "$root/init"
        chmod 755 "$root/init"
        python3 "$scripts/initramfs" "$root" "$out/bb-$arch.initrd.gz"
    done
}

# Debian's kernel into $out, and a directory with busybox, $root, that becomes an initial RAM disk. NAME
linux_and_busybox() {
    package=$(newest amd64 linux-image-amd64)
    [ -n "$package" ] || fail "no package linux-image-amd64"
    unpack amd64 "$work/linux-amd64" "$package"
    unpack amd64 "$work/busybox-amd64" busybox-static
    cp "$work"/linux-amd64/boot/vmlinuz-* "$out/linux-amd64"
    root=$work/initrd-$1
    rm -rf "$root"
    for d in bin proc sys dev etc tmp mnt modules; do
        mkdir -p "$root/$d"
    done
    cp "$work/busybox-amd64/bin/busybox" "$root/bin/"
}

# Debian's kernel with the drivers of network cards in its initial RAM disk, and busybox.
network() {
    linux_and_busybox net
    for m in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover \
        net_failover virtio_net e1000; do
        f=$(find "$work/linux-amd64/lib/modules" -name "$m.ko*" | head -n 1)
        [ -z "$f" ] || cp "$f" "$root/modules/"
    done
    cp "$here/net-init" "$root/init"
    chmod 755 "$root/init"
    python3 "$scripts/initramfs" "$root" "$out/net-amd64.initrd.gz"
}

# The same with iperf3 and its libraries; the directory iperf3 has them for this host.
iperf() {
    rm -rf "$work/iperf-amd64"
    unpack amd64 "$work/iperf-amd64" iperf3 libiperf0 libsctp1 libssl3 libc6
    linux_and_busybox iperf
    rm -rf "$out/iperf3"
    mkdir -p "$root/lib" "$root/lib64" "$root/usr/bin" "$out/iperf3"
    for f in usr/bin/iperf3 lib64/ld-linux-x86-64.so.2; do
        cp -L "$work/iperf-amd64/$f" "$root/$f" && cp -L "$work/iperf-amd64/$f" "$out/iperf3/"
    done
    for f in libc.so.6 libm.so.6 libcrypto.so.3 libssl.so.3 libsctp.so.1 libiperf.so.0; do
        so=$(find "$work/iperf-amd64/lib" "$work/iperf-amd64/usr/lib" -name "$f" | head -n 1)
        [ -n "$so" ] || fail "no $f in Debian's packages"
        cp -L "$so" "$root/lib/" && cp -L "$so" "$out/iperf3/"
    done
    "$scripts/kernel-modules" "$work/linux-amd64/lib/modules" "$root/modules" virtio_pci virtio_net e1000
    cp "$here/net-init" "$root/init"
    chmod 755 "$root/init"
    python3 "$scripts/initramfs" "$root" "$out/iperf-amd64.initrd.gz"
}

# An initial RAM disk with the drivers of disk controllers and file systems, mke2fs and fio.
storage() {
    need readelf binutils
    need gcc gcc
    unpack amd64 "$work/storage-amd64" libc6 fio libaio1 libnuma1 zlib1g e2fsprogs libext2fs2 libcom-err2 \
        libblkid1 libuuid1
    linux_and_busybox storage
    "$scripts/copy-programs" "$work/storage-amd64" "$root" fio mke2fs e2fsck
    mv "$root/bin/mke2fs" "$root/bin/mkfs.ext4" # busybox has the other name
    "$scripts/kernel-modules" "$work/linux-amd64/lib/modules" "$root/modules" \
        crc32c_generic ahci ata_piix sd_mod sr_mod floppy virtio_pci virtio_blk ext4 isofs vfat nls_cp437 nls_ascii
    cp "$here/storage-init" "$root/init"
    chmod 755 "$root/init"
    python3 "$scripts/initramfs" "$root" "$out/storage-amd64.initrd.gz"
}

# What a guest installs itself with: network, disks, mke2fs and extlinux; its kernel and RAM disk, too,
# are what it installs, so the init knows how to go on from a disk.
self_install() {
    need readelf binutils
    need gcc gcc
    unpack amd64 "$work/install-amd64" libc6 e2fsprogs libext2fs2 libcom-err2 libblkid1 libuuid1 extlinux
    linux_and_busybox install
    "$scripts/copy-programs" "$work/install-amd64" "$root" mke2fs e2fsck extlinux
    mv "$root/bin/mke2fs" "$root/bin/mkfs.ext4" # busybox has the other name
    cp "$(find "$work/install-amd64/usr/lib" -iname mbr.bin | head -n 1)" "$root/mbr.bin"
    "$scripts/kernel-modules" "$work/linux-amd64/lib/modules" "$root/modules" \
        crc32c_generic virtio_pci virtio_blk virtio_net ext4
    cp "$here/install-init" "$root/init"
    chmod 755 "$root/init"
    python3 "$scripts/initramfs" "$root" "$out/install-amd64.initrd.gz"
    cp "$work/busybox-amd64/bin/busybox" "$out/busybox-amd64"
}

# Debian on a disk: GRUB in the MBR, ext4, systemd, a login on the serial port. ARCH KERNEL IMAGE
debian_disk() {
    arch=$1 kernel=$2 disk=$out/$3
    [ "$(id -u)" = 0 ] || fail "needs root, for debootstrap"
    need debootstrap debootstrap
    need mke2fs e2fsprogs
    need sfdisk fdisk
    need grub-mkimage "grub-common grub-pc-bin"
    [ -f /usr/lib/grub/i386-pc/boot.img ] || fail "needs GRUB's boot.img: install grub-pc-bin"
    PATH=$PATH:/usr/sbin:/sbin
    mirror=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null |
        awk '$1=="URIs:"{print $2; exit} $1=="deb"{for(i=2;i<=NF;i++) if($i ~ /:\/\//){print $i; exit}}')
    r=$work/debian-$arch
    rm -rf "$r"
    debootstrap --arch="$arch" --variant=minbase \
        --include="systemd,systemd-sysv,udev,dbus,kmod,$kernel,login,passwd,util-linux,procps,python3-minimal,stress-ng" \
        bookworm "$r" "$mirror" >"$work/debootstrap.log" 2>&1 ||
        fail "debootstrap: $(tail -n 1 "$work/debootstrap.log")"
    echo guest >"$r/etc/hostname"
    chroot "$r" sh -c 'echo root:guest | chpasswd'
    echo "UUID=0a0a0a0a-1111-2222-3333-444444444444 / ext4 errors=remount-ro 0 1" >"$r/etc/fstab"
    chroot "$r" systemctl enable serial-getty@ttyS0.service >/dev/null 2>&1
    chroot "$r" systemctl disable apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer >/dev/null 2>&1 || true
    # A guest that is compared block by block, or on a busy host, is no reason to give up on it.
    mkdir -p "$r/etc/systemd/system.conf.d"
    printf '[Manager]\nDefaultTimeoutStartSec=1h\nDefaultDeviceTimeoutSec=1h\n' \
        >"$r/etc/systemd/system.conf.d/slow-host.conf"
    sed -i 's/^LOGIN_TIMEOUT.*/LOGIN_TIMEOUT 3600/' "$r/etc/login.defs"
    mkdir -p "$r/boot/grub"
    v=$(cd "$r/boot" && ls vmlinuz-* | sed s/vmlinuz-// | head -n 1)
    cat >"$r/boot/grub/grub.cfg" <<X
set timeout=2
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
menuentry "guest" { linux /boot/vmlinuz-$v root=UUID=0a0a0a0a-1111-2222-3333-444444444444 ro console=tty0 console=ttyS0,115200
 initrd /boot/initrd.img-$v }
menuentry "guest text" { linux /boot/vmlinuz-$v root=UUID=0a0a0a0a-1111-2222-3333-444444444444 ro console=tty0 console=ttyS0,115200
 initrd /boot/initrd.img-$v }
X
    rm -rf "$r"/var/cache/apt/archives/*.deb "$r"/var/lib/apt/lists/*
    rm -f "$disk"
    truncate -s 1500M "$disk"
    printf 'label: dos\n2048,,83,*\n' | sfdisk -q "$disk"
    mke2fs -q -F -t ext4 -U 0a0a0a0a-1111-2222-3333-444444444444 -E offset=1048576,lazy_itable_init=0 \
        -d "$r" "$disk" 1450M
    # GRUB without a loop device: boot.img into the MBR, core.img right behind it.
    grub-mkimage -O i386-pc -o "$work/core.img" -p '(hd0,msdos1)/boot/grub' \
        biosdisk part_msdos ext2 normal linux serial terminal configfile ls echo
    python3 - "$disk" /usr/lib/grub/i386-pc/boot.img "$work/core.img" <<'X'
import struct, sys
disk, boot, core = sys.argv[1], bytearray(open(sys.argv[2], "rb").read()), bytearray(open(sys.argv[3], "rb").read())
f = open(disk, "r+b")
mbr = f.read(512)
struct.pack_into("<Q", boot, 0x5c, 1)       # kernel_sector: core.img starts at LBA 1
boot[0x66:0x68] = b"\x90\x90"               # boot drive check: take what the BIOS gives
boot[0x1b8:0x1fe] = mbr[0x1b8:0x1fe]        # keep the partition table
struct.pack_into("<QHH", core, 0x1f4, 2, (len(core) + 511) // 512 - 1, 0x820)  # blocklist of diskboot.img
assert 512 + len(core) < 1048576
f.seek(0)
f.write(boot + core)
X
    rm -rf "$r"
}

debian() {
    debian_disk amd64 linux-image-amd64 debian.img
}

# Needs a host that runs 32-bit programs.
debian_i386() {
    debian_disk i386 linux-image-686-pae debian-i386.img
}

for part; do
    case $part in
    grub | ipxe | memtest | isolinux | installer | busybox | network | iperf | storage | debian) $part ;;
    self-install) self_install ;;
    debian-i386) debian_i386 ;;
    kernels-i386) kernels_i386 ;;
    *) fail "no part '$part'" ;;
    esac
done

/* SPDX-License-Identifier: GPL-2.0-or-later
 * Devices and properties that people know from QEMU and that Vireo does not have yet: each gets an
 * honest sentence instead of the nearest name. Asked only for names nobody has; a name leaves its
 * row when it is built. Machines other than the PC have devices that are not listed.
 */
#include "hw/core/unbuilt.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "util/container.h"

#define NOT_YET "not built yet"

/* names, devices: patterns as the shell has them, separated by blanks. */
static const struct {
    const char *names, *why;
} unbuilt_devices[] = {
    { "rtl8139 ne2k_pci ne2k_isa pcnet vmxnet3 tulip rocker i8255?? i82551 i82550 i82562 i82801 "
      "e1000e e1000-82544gc e1000-82545em igb igbvf pvrdma",
      NOT_YET "; e1000 and virtio-net-pci are" },
    { "usb-* u2f-* ich9-usb-* piix3-usb-uhci piix4-usb-uhci pci-ohci qemu-xhci nec-usb-xhci "
      "ccid-card-*",
      NOT_YET ", nor is any USB; keyboard and mouse are PS/2" },
    { "nvme nvme-ns nvme-subsys", NOT_YET "; virtio-blk-pci, ide-hd and ahci are" },
    { "scsi-hd scsi-cd scsi-block scsi-generic virtio-scsi-* vhost-scsi* vhost-user-scsi* "
      "vhost-user-blk* "
      "lsi53c* megasas megasas-gen2 mptsas1068 pvscsi am53c974 dc390 sd-card sdhci-pci",
      NOT_YET "; virtio-blk-pci, ide-hd and ide-cd are" },
    { "virtio-gpu-* virtio-vga virtio-vga-gl vhost-user-gpu* vhost-user-vga qxl qxl-vga "
      "vmware-svga "
      "ati-vga bochs-display ramfb cirrus-vga isa-vga isa-cirrus-vga secondary-vga sga",
      NOT_YET "; VGA is" },
    { "AC97 ES1370 adlib sb16 gus cs4231a intel-hda ich9-intel-hda hda-* virtio-sound-*",
      NOT_YET ", nor is any sound" },
    { "pci-bridge pci-bridge-seat pcie-* ioh3420 x3130-upstream xio3130-downstream "
      "i82801b11-bridge "
      "pxb pxb-* cxl-*",
      NOT_YET "; all cards are on the one bus pci.0" },
    { "virtio-blk-device virtio-net-device virtio-rng-device virtio-balloon-device "
      "virtio-serial-device",
      NOT_YET ", nor is virtio without PCI; the same name with -pci is" },
    { "virtio-9p-* vhost-user-fs-*", NOT_YET "; -nic user,tftp=DIR gives the guest files to read" },
    { "virtio-crypto-* virtio-input-* virtio-keyboard-* virtio-mouse-* virtio-tablet-* "
      "virtio-iommu* "
      "virtio-mem* virtio-pmem* vhost-user-* vhost-vsock-* vfio-pci vfio-pci-* intel-iommu "
      "amd-iommu "
      "AMDVI-PCI tpm-* i6300esb ib700 diag288 ipmi-* isa-ipmi-* pci-ipmi-* smbus-ipmi pci-serial "
      "pci-serial-?x ivshmem-* pc-dimm nvdimm pvpanic pvpanic-pci vmgenid vmcoreinfo vmmouse "
      "vmport "
      "hv-* hyperv-testdev vmbus-bridge edu acpi-erst loader guest-loader "
      "isa-applesmc isa-ide piix4-ide i2c-ddc ctucan_pci kvaser_pci mioe3680_pci "
      "pcm3680_pci tpci200 ipoctal232 x-pci-proxy-dev",
      NOT_YET },
};

static const struct {
    const char *devices, *names, *why;
} unbuilt_properties[] = {
    { "virtio-blk* ide-* floppy", "write-cache", NOT_YET "; cache= of the -drive says it" },
    { "virtio-blk* ide-* floppy",
      "share-rw account-* backend_defaults discard_granularity *logical_block_size "
      "*physical_block_size *_io_size cyls heads secs lcyls lheads lsecs bios-chs-trans wwn",
      NOT_YET },
    { "virtio-blk*",
      "class max-discard-sectors max-write-zeroes-sectors report-discard-granularity "
      "request-merging scsi seg-max-adjust",
      NOT_YET },
    { "virtio-net*",
      "duplex speed failover gso guest_ufo host_ufo guest_rsc_ext rsc_interval hash rss tx "
      "x-txburst "
      "x-txtimer",
      NOT_YET },
    { "virtio-rng*", "rng", NOT_YET "; it gives this host's random numbers" },
    { "virtio-balloon*", "free-page-* guest-stats page-poison", NOT_YET },
    { "virtio-serial*", "class emergency-write", NOT_YET },
    { "virtio-*",
      "aer any_layout ats iothread iothread-vq-mapping modern-pio-notify notify_on_empty "
      "page-per-vq "
      "migrate-extra use-started use-disabled-flag x-*",
      NOT_YET },
    { "e1000", "autonegotiation mitigation extra_mac_registers init-vet migrate_tso_props",
      NOT_YET },
    { "isa-serial", "baudbase wakeup", NOT_YET },
    { "isa-fdc", "fdtypeA fdtypeB bootindexA bootindexB", NOT_YET "; -device floppy has its own" },
    { "VGA", "big-endian-framebuffer mmio qemu-extended-regs refresh_rate xmax ymax", NOT_YET },
    { "*", "acpi-index failover_pair_id romsize x-pcie-*", NOT_YET },
};

static bool is_one_of(const char *name, const char *patterns)
{
    for (const char *p = patterns; *p;) {
        char pattern[64];
        size_t n = strcspn(p, " ");
        snprintf(pattern, sizeof(pattern), "%.*s", (int)n, p);
        if (fnmatch(pattern, name, 0) == 0) {
            return true;
        }
        p += n + (p[n] == ' ');
    }
    return false;
}

const char *unbuilt_device(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(unbuilt_devices); i++) {
        if (is_one_of(name, unbuilt_devices[i].names)) {
            return unbuilt_devices[i].why;
        }
    }
    return NULL;
}

const char *unbuilt_property(const char *device, const char *property)
{
    for (size_t i = 0; i < ARRAY_SIZE(unbuilt_properties); i++) {
        if (is_one_of(device, unbuilt_properties[i].devices) &&
            is_one_of(property, unbuilt_properties[i].names)) {
            return unbuilt_properties[i].why;
        }
    }
    return NULL;
}

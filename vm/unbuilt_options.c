/* SPDX-License-Identifier: GPL-2.0-or-later
 * Options that people know from QEMU and that Vireo does not have yet: each gets an honest
 * sentence. A row leaves when its option is built.
 */
#include "vm/unbuilt_options.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *names; /* separated by blanks */
    const char *why;
} unbuilt[] = {
    { "redir", "use -nic user,hostfwd=tcp::HOSTPORT-:GUESTPORT" },
    { "tftp bootp", "use -nic user,tftp=DIR,bootfile=FILE" },
    { "smb", "sharing directories over SMB is not built; -nic user,tftp=DIR is" },
    { "vnc spice curses gtk alt-grab ctrl-grab no-frame portrait rotate g",
      "not built yet; -display sdl and -display none are" },
    { "k", "not built yet; the window passes on which keys are pressed, whatever their layout" },
    { "full-screen show-cursor", "say -display sdl,full-screen=on or sdl,show-cursor=on" },
    { "no-quit window-close", "say -display sdl,window-close=off" },
    { "usb usbdevice", "USB is not built yet; keyboard and mouse are PS/2" },
    { "audio audiodev soundhw audio-help", "sound is not built yet; leave it away" },
    { "qmp qmp-pretty", "QMP is not built yet; -monitor gives the human monitor" },
    { "incoming only-migratable", "migration is not built yet" },
    { "loadvm", "snapshots are not built yet" },
    { "pflash", "flash memory is not built yet; -bios takes firmware" },
    { "mtdblock sd", "not built yet; -drive if=ide, virtio and floppy are" },
    { "fsdev virtfs virtfs_synth", "sharing directories is not built yet" },
    { "s gdb", "the debugger stub is not built yet; the monitor has x, x/i and info registers" },
    { "smbios acpitable", "tables of one's own are not built yet" },
    { "set readconfig writeconfig", "set properties with -device and -machine instead" },
    { "numa mem-path mem-prealloc", "memory options beyond -m are not built yet" },
    { "no-kvm-irqchip", "use -M kernel-irqchip=off" },
    { "no-kvm-pit", "use -M kernel-irqchip=split" },
    { "kvm-shadow-memory", "use -M kvm-shadow-mem=SIZE" },
    { "realtime", "use -overcommit mem-lock=on" },
    { "singlestep", "use -accel jit,one-insn-per-tb=on" },
    { "tb-size", "use -accel jit,tb-size=MIB" },
    { "icount plugin trace jitdump seed", "not built yet; -d logs what the guest does" },
    { "option-rom fw_cfg", "not built yet" },
    { "watchdog watchdog-action action", "watchdogs are not built yet" },
    { "tpmdev", "a TPM is not built yet" },
    { "chroot runas run-with", "not built yet; start it as the user it shall run as" },
    { "virtioconsole compat preconfig msg xen-attach xen-domid semihosting "
      "semihosting-config prom-env add-fd win2k-hack rtc-td-hack tdf enable-fips old-param "
      "cpu-throttle "
      "hax no-fd-bootchk startdate async-teardown iscsi bt",
      "not built yet" },
};

const char *unbuilt_option(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; len && i < sizeof(unbuilt) / sizeof(unbuilt[0]); i++) {
        for (const char *p = unbuilt[i].names; *p;) {
            size_t n = strcspn(p, " ");
            if (n == len && !strncmp(p, name, n)) {
                return unbuilt[i].why;
            }
            p += n + (p[n] == ' ');
        }
    }
    return NULL;
}

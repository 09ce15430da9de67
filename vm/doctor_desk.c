/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo doctor: what a guest is seen, heard and reached by, and its firmware. Sound and networks
 * are examined for what is to come: docs/limits.md says what Vireo has of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hw/core/firmware.h"
#include "hw/core/machine.h"
#include "ui/display.h"
#include "util/alloc.h"
#include "vm/doctor.h"

/* ---- sockets ---- */

/* Does somebody listen there? 0 or errno. */
static int socket_answers(const Doctor *d, const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    if ((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s%s", d->root, path) >=
        sizeof(addr.sun_path)) {
        return ENAMETOOLONG;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return errno;
    }
    int err = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ? errno : 0;
    close(fd);
    return err == EAGAIN ? 0 : err; /* busy, but there */
}

/* A path in the session's directory; a new string, NULL without a session. */
static char *session_path(const char *name)
{
    const char *dir = getenv("XDG_RUNTIME_DIR");
    return *name == '/' ? xstrdup(name) : dir && *dir ? xasprintf("%s/%s", dir, name) : NULL;
}

/* ---- display ---- */

static void find_sdl(void *opaque, const char *line)
{
    bool *found = opaque;
    *found |= !strncmp(line, "sdl", 3);
}

static bool say_display(Doctor *d, const char *what, const char *path)
{
    int err = path ? socket_answers(d, path) : ENOENT;
    doctor_say(d, err ? DOCTOR_WARN : DOCTOR_OK, NULL, "%s%s%s", what,
               err ? " does not answer: " : " answers", err ? strerror(err) : "");
    return !err;
}

static bool say_x11(Doctor *d, const char *display)
{
    const char *number = strchr(display, ':');
    if (*display != ':' || !number) { /* over the network: only trying would tell */
        doctor_say(d, DOCTOR_OK, NULL, "X server at '%s' (DISPLAY)", display);
        return true;
    }
    char *what = xasprintf("X server '%s' (DISPLAY)", display);
    char *path = xasprintf("/tmp/.X11-unix/X%d", atoi(number + 1));
    bool ok = say_display(d, what, path);
    free(path);
    free(what);
    return ok;
}

void doctor_display(Doctor *d)
{
    bool sdl = false, shown = false;
    display_list_backends(find_sdl, &sdl);
    doctor_say(d, sdl ? DOCTOR_OK : DOCTOR_WARN,
               sdl ? NULL : "install libsdl2-dev, then ./configure && make", "SDL, for a window%s",
               sdl ? "" : ": not in this build");
    const char *wayland = getenv("WAYLAND_DISPLAY"), *x11 = getenv("DISPLAY");
    if (wayland && *wayland) {
        char *path = session_path(wayland), *what = xasprintf("Wayland '%s'", wayland);
        shown |= say_display(d, what, path);
        free(what);
        free(path);
    }
    if (x11 && *x11) {
        shown |= say_x11(d, x11);
    }
    if (!shown) {
        doctor_say(d, DOCTOR_WARN,
                   "start it in a desktop session or over ssh -X, or use -nographic",
                   "no display (DISPLAY, WAYLAND_DISPLAY): no window");
    }
}

/* ---- sound ---- */

void doctor_sound(Doctor *d)
{
    static const struct {
        const char *name, *path;
    } servers[] = { { "PipeWire", "pipewire-0" }, { "PulseAudio", "pulse/native" } };
    bool any = false;
    for (size_t i = 0; i < ARRAY_SIZE(servers); i++) {
        char *path = session_path(servers[i].path);
        if (path && !socket_answers(d, path)) {
            doctor_say(d, DOCTOR_OK, NULL, "%s answers", servers[i].name);
            any = true;
        }
        free(path);
    }
    int err = doctor_access(d, "/dev/snd/timer", R_OK | W_OK);
    if (!err) {
        doctor_say(d, DOCTOR_OK, NULL, "ALSA can be used");
    } else if (err == EACCES && !any) {
        doctor_say(d, DOCTOR_WARN, "`sudo usermod -aG audio $USER`, then log in again",
                   "ALSA: permission denied on /dev/snd");
    } else if (!any) {
        doctor_say(d, DOCTOR_WARN, "start PipeWire in your session; a guest runs without",
                   "neither PipeWire nor PulseAudio nor ALSA");
    }
}

/* ---- network ---- */

static bool may_admin_net(const Doctor *d)
{
    enum { CAP_NET_ADMIN_BIT = 12 };
    char *path = xasprintf("%s/proc/self/status", d->root);
    FILE *f = fopen(path, "r");
    free(path);
    char line[256];
    uint64_t caps = 0;
    while (f && fgets(line, sizeof(line), f)) {
        if (!strncmp(line, "CapEff:", 7)) {
            caps = strtoull(line + 7, NULL, 16);
        }
    }
    if (f) {
        fclose(f);
    }
    return caps >> CAP_NET_ADMIN_BIT & 1;
}

static void say_tap(Doctor *d)
{
    int err = doctor_access(d, "/dev/net/tun", R_OK | W_OK);
    if (err == ENOENT) {
        doctor_say(d, DOCTOR_WARN, "`sudo modprobe tun`; in a container: --device /dev/net/tun",
                   "tap: no /dev/net/tun");
    } else if (err) {
        doctor_say(d, DOCTOR_WARN, "`sudo chmod 666 /dev/net/tun`", "tap: /dev/net/tun: %s",
                   strerror(err));
    } else if (may_admin_net(d)) {
        doctor_say(d, DOCTOR_OK, NULL, "tap: devices can be made");
    } else {
        doctor_say(d, DOCTOR_OK, NULL,
                   "tap: yes, for devices made before: "
                   "`sudo ip tuntap add dev tap0 mode tap user $USER`");
    }
}

static bool in_range(unsigned long first, unsigned long last)
{
    gid_t groups[256];
    int n = getgroups(256, groups);
    for (int i = 0; i < n; i++) {
        if (groups[i] >= first && groups[i] <= last) {
            return true;
        }
    }
    return getegid() >= first && getegid() <= last;
}

static void say_ping(Doctor *d)
{
    unsigned long first = 1, last = 0;
    char *range = doctor_read(d, "/proc/sys/net/ipv4/ping_group_range");
    bool ok = range && sscanf(range, "%lu %lu", &first, &last) == 2 && in_range(first, last);
    doctor_say(d, ok ? DOCTOR_OK : DOCTOR_WARN,
               ok ? NULL : "`sudo sysctl net.ipv4.ping_group_range='0 2147483647'`",
               "ping from guests without root%s", ok ? "" : ": not allowed to your groups");
    free(range);
}

void doctor_network(Doctor *d)
{
    say_tap(d);
    say_ping(d);
}

/* ---- firmware ---- */

static const struct {
    const char *what, *package;
    const char *files[4]; /* names or paths; any of them will do */
    bool needed;
} firmware[] = {
    { "SeaBIOS", "seabios", { "bios-256k.bin" }, true },
    { "VGA BIOS", "seabios", { "vgabios-stdvga.bin" }, false },
    { "UEFI",
      "ovmf",
      { "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/ovmf/OVMF_CODE.fd" },
      false },
    { "network boot", "ipxe-qemu", { "pxe-e1000.rom" }, false },
};

void doctor_firmware(Doctor *d)
{
    static const Machine nowhere; /* no -L */
    for (size_t i = 0; i < ARRAY_SIZE(firmware); i++) {
        char *found = NULL;
        for (size_t f = 0; f < ARRAY_SIZE(firmware[i].files) && firmware[i].files[f] && !found;
             f++) {
            found = firmware_find(&nowhere, firmware[i].files[f]);
        }
        char *cure = xasprintf("`sudo apt-get install %s`", firmware[i].package);
        if (found) {
            doctor_say(d, DOCTOR_OK, NULL, "%s: %s", firmware[i].what, found);
        } else {
            doctor_say(d, DOCTOR_MISSING, cure, "%s: no %s", firmware[i].what,
                       firmware[i].files[0]);
            d->no_guest |= firmware[i].needed;
        }
        free(cure);
        free(found);
    }
}

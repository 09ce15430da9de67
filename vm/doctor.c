/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo doctor: the list of what is examined, and how it is shown.
 */
#include "vm/doctor.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "util/alloc.h"
#include "vm/accel_default.h"

void doctor_say(Doctor *d, DoctorMark mark, const char *cure, const char *fmt, ...)
{
    static const char *const marks[] = { "ok", "warn", "missing" };
    va_list ap;
    va_start(ap, fmt);
    fprintf(d->out, "  %-8s ", marks[mark]);
    vfprintf(d->out, fmt, ap);
    fputc('\n', d->out);
    va_end(ap);
    if (cure) {
        fprintf(d->out, "  %8s -> %s\n", "", cure);
    }
}

char *doctor_read(const Doctor *d, const char *path)
{
    char *full = xasprintf("%s%s", d->root, path);
    FILE *f = fopen(full, "r");
    free(full);
    char line[256];
    char *got = f ? fgets(line, sizeof(line), f) : NULL;
    if (f) {
        fclose(f);
    }
    return got ? xstrndup(line, strcspn(line, "\n")) : NULL;
}

int doctor_access(const Doctor *d, const char *path, int mode)
{
    char *full = xasprintf("%s%s", d->root, path);
    int err = access(full, mode) ? errno : 0;
    free(full);
    return err;
}

static const struct {
    const char *title;
    void (*examine)(Doctor *d);
} sections[] = {
    { "KVM", doctor_kvm },         { "Processor", doctor_processor },
    { "Memory", doctor_memory },   { "Huge pages", doctor_huge_pages },
    { "Display", doctor_display }, { "Sound", doctor_sound },
    { "Network", doctor_network }, { "Firmware", doctor_firmware },
};

int doctor_run(Doctor *d)
{
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        fprintf(d->out, "%s\n", sections[i].title);
        sections[i].examine(d);
    }
    char *why;
    const Engine *e = accel_default_here(&why);
    fprintf(d->out, "%s: without -accel it runs on %s%s\n",
            d->no_guest ? "No guest can run as it is" : "A guest can run", e->name, why);
    free(why);
    return d->no_guest;
}

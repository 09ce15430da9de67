/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo doctor: what runs a guest. KVM, processor, memory (Linux Documentation/admin-guide/mm,
 * Documentation/filesystems/proc.rst).
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "accel/kvm/host.h"
#include "util/alloc.h"
#include "vm/doctor.h"

/* ---- KVM ---- */

static void say_speed(Doctor *d)
{
    Error *err = NULL;
    double mips = kvm_host_speed(&err);
    if (err) {
        doctor_say(d, DOCTOR_WARN, "use -accel jit", "%s", error_text(err));
        error_free(err);
    } else if (mips < KVM_FAST_MIPS) {
        doctor_say(d, DOCTOR_WARN,
                   "use -accel jit here; KVM needs a host with VT-x or SVM, or with nested "
                   "virtualization switched on",
                   "it emulates guest code, %.2g million instructions a second", mips);
    } else {
        doctor_say(d, DOCTOR_OK, NULL, "guest code runs on the processor");
    }
}

static void say_nested(Doctor *d, const char *module)
{
    char *path = xasprintf("/sys/module/%s/parameters/nested", module);
    char *value = doctor_read(d, path);
    if (value && (*value == 'Y' || *value == '1')) {
        doctor_say(d, DOCTOR_OK, NULL, "%s: guests can have VT-x or SVM themselves", module);
    } else if (value) {
        char *cure =
            xasprintf("`echo 'options %s nested=1' | sudo tee /etc/modprobe.d/nested.conf`, "
                      "then restart the host",
                      module);
        doctor_say(d, DOCTOR_WARN, cure, "%s: guests cannot have VT-x or SVM themselves", module);
        free(cure);
    }
    free(value);
    free(path);
}

void doctor_kvm(Doctor *d)
{
    KvmHostFacts f;
    Error *err = NULL;
    kvm_host_read(&f, d->root);
    if (!kvm_host_judge(&f, &err)) {
        doctor_say(d, DOCTOR_MISSING, NULL, "%s", error_text(err));
        error_free(err);
        return;
    }
    doctor_say(d, DOCTOR_OK, NULL, "/dev/kvm can be used (owner %s, group %s, mode %04o)", f.owner,
               f.group, f.mode & 07777);
    say_speed(d);
    say_nested(d, "kvm_intel");
    say_nested(d, "kvm_amd");
}

/* ---- processor ---- */

void doctor_processor(Doctor *d)
{
    enum { AUX_FSGSBASE = 1 << 1 }; /* AT_HWCAP2: the kernel lets programs use it */
    __builtin_cpu_init();
    const struct {
        const char *name, *use;
        bool is;
    } features[] = {
        { "AVX2", "the translator needs it", __builtin_cpu_supports("avx2") },
        { "BMI2", "the translator needs it", __builtin_cpu_supports("bmi2") },
        { "FSGSBASE", "programs of guests on KVM switch threads faster",
          getauxval(AT_HWCAP2) & AUX_FSGSBASE },
    };
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        doctor_say(d, features[i].is ? DOCTOR_OK : DOCTOR_WARN, NULL, "%s%s: %s",
                   features[i].is ? "" : "no ", features[i].name, features[i].use);
    }
    doctor_say(d, DOCTOR_OK, NULL, "%ld processors online", sysconf(_SC_NPROCESSORS_ONLN));
}

/* ---- memory ---- */

/* A line of /proc/meminfo, in KiB; false: not there. */
static bool meminfo(const Doctor *d, const char *name, uint64_t *kib)
{
    char *path = xasprintf("%s/proc/meminfo", d->root);
    FILE *f = fopen(path, "r");
    free(path);
    char line[256];
    bool found = false;
    size_t len = strlen(name);
    while (f && !found && fgets(line, sizeof(line), f)) {
        found = !strncmp(line, name, len) && line[len] == ':';
        if (found) {
            *kib = strtoull(line + len + 1, NULL, 10);
        }
    }
    if (f) {
        fclose(f);
    }
    return found;
}

void doctor_memory(Doctor *d)
{
    enum { LITTLE_MIB = 512, OVERCOMMIT_NEVER = 2 };
    uint64_t total, available;
    if (meminfo(d, "MemTotal", &total) && meminfo(d, "MemAvailable", &available)) {
        bool little = available < LITTLE_MIB * 1024;
        doctor_say(d, little ? DOCTOR_WARN : DOCTOR_OK,
                   little ? "end other programs, or give guests less: -m 128" : NULL,
                   "%" PRIu64 " of %" PRIu64 " MiB are free for guests", available / 1024,
                   total / 1024);
    }
    char *value = doctor_read(d, "/proc/sys/vm/overcommit_memory");
    if (value && atoi(value) == OVERCOMMIT_NEVER) {
        doctor_say(d, DOCTOR_WARN, "`sudo sysctl vm.overcommit_memory=0`",
                   "overcommit is off: a guest's whole memory counts from its start on");
    } else if (value) {
        doctor_say(d, DOCTOR_OK, NULL, "overcommit: a guest's memory counts as it is used");
    }
    free(value);
}

/* "always [madvise] never" -> "madvise"; a new string. */
static char *selected(const char *list)
{
    const char *from = list ? strchr(list, '[') : NULL;
    return xstrndup(from ? from + 1 : "", from ? strcspn(from + 1, "]") : 0);
}

void doctor_huge_pages(Doctor *d)
{
    /* A guest's memory is a memfd: shmem_enabled counts for it. "advise" waits
     * for a word that Vireo does not say. */
    char *line = doctor_read(d, "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    char *mode = selected(line);
    bool on = !strcmp(mode, "always") || !strcmp(mode, "within_size") || !strcmp(mode, "force");
    if (!line) {
        doctor_say(d, DOCTOR_WARN, NULL, "this kernel has no transparent huge pages");
    } else {
        doctor_say(d, on ? DOCTOR_OK : DOCTOR_WARN,
                   on ? NULL
                      : "`echo within_size | sudo tee "
                        "/sys/kernel/mm/transparent_hugepage/shmem_enabled`: faster guests",
                   "transparent, for the memory of guests: %s", *mode ? mode : line);
    }
    uint64_t total, left;
    if (meminfo(d, "HugePages_Total", &total) && meminfo(d, "HugePages_Free", &left)) {
        doctor_say(d, DOCTOR_OK, NULL, "reserved: %" PRIu64 ", free: %" PRIu64, total, left);
    }
    free(mode);
    free(line);
}

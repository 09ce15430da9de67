/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo doctor on hosts made of a few files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/alloc.h"
#include "vm/doctor.h"

static char root[] = "/tmp/vireo-doctor-XXXXXX";

/* Makes the directories on the way, too. */
static void put(const char *path, const char *text)
{
    char *full = xasprintf("%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(full, 0755);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    free(full);
}

static const char *examine(void (*fn)(Doctor *d), bool *no_guest)
{
    static char text[4096];
    memset(text, 0, sizeof(text));
    Doctor d = { .root = root, .out = fmemopen(text, sizeof(text) - 1, "w") };
    assert_non_null(d.out);
    fn(&d);
    fclose(d.out);
    if (no_guest) {
        *no_guest = d.no_guest;
    }
    print_message("%s", text);
    return text;
}

static void expect(void (*fn)(Doctor *d), const char *words)
{
    const char *text = examine(fn, NULL);
    if (!strstr(text, words)) {
        fail_msg("want '%s' in '%s'", words, text);
    }
}

static void test_memory(void **state)
{
    (void)state;
    put("/proc/meminfo", "MemTotal:  4194304 kB\nMemFree: 1 kB\nMemAvailable:  2097152 kB\n"
                         "HugePages_Total:  16\nHugePages_Free:  9\n");
    put("/proc/sys/vm/overcommit_memory", "0\n");
    expect(doctor_memory, "ok       2048 of 4096 MiB are free");
    expect(doctor_memory, "ok       overcommit");
    put("/proc/sys/vm/overcommit_memory", "2\n");
    expect(doctor_memory, "warn     overcommit is off");
    expect(doctor_memory, "-> `sudo sysctl vm.overcommit_memory=0`");
    expect(doctor_huge_pages, "warn     this kernel has no transparent huge pages");
    expect(doctor_huge_pages, "reserved: 16, free: 9");
    put("/proc/meminfo", "MemTotal:  4194304 kB\nMemAvailable:  100000 kB\n");
    expect(doctor_memory, "warn     97 of 4096 MiB");
}

static void test_huge_pages(void **state)
{
    (void)state;
    static const char file[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    put(file, "always within_size advise [never] deny force\n");
    expect(doctor_huge_pages, "warn     transparent, for the memory of guests: never");
    put(file, "always [within_size] advise never deny force\n");
    expect(doctor_huge_pages, "ok       transparent, for the memory of guests: within_size");
}

static void test_kvm(void **state)
{
    (void)state;
    expect(doctor_kvm, "missing  no /dev/kvm");
    put("/dev/kvm", "");
    expect(doctor_kvm, "missing  /dev/kvm is not the KVM device");
}

static void test_network(void **state)
{
    (void)state;
    char *range = xasprintf("%u\t%u\n", getegid(), getegid());
    put("/proc/sys/net/ipv4/ping_group_range", range);
    free(range);
    expect(doctor_network, "ok       ping");
    expect(doctor_network, "warn     tap: no /dev/net/tun");
    expect(doctor_network, "-> `sudo modprobe tun`");
    put("/proc/sys/net/ipv4/ping_group_range", "1\t0\n");
    expect(doctor_network, "warn     ping");
    expect(doctor_network, "-> `sudo sysctl net.ipv4.ping_group_range=");
    put("/dev/net/tun", "");
    put("/proc/self/status", "Name:\tx\nCapEff:\t0000000000001000\n");
    expect(doctor_network, "ok       tap: devices can be made");
    put("/proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n");
    expect(doctor_network, "`sudo ip tuntap add dev tap0 mode tap user $USER`");
}

static void test_desk(void **state)
{
    (void)state;
    unsetenv("WAYLAND_DISPLAY");
    unsetenv("XDG_RUNTIME_DIR");
    setenv("DISPLAY", ":7", 1);
    expect(doctor_display, "warn     X server ':7' (DISPLAY) does not answer");
    setenv("DISPLAY", "far:0", 1);
    expect(doctor_display, "ok       X server at 'far:0'");
    unsetenv("DISPLAY");
    expect(doctor_display, "use -nographic");
    expect(doctor_sound, "warn     neither PipeWire nor PulseAudio nor ALSA");
    put("/dev/snd/timer", "");
    expect(doctor_sound, "ok       ALSA");
}

/* What is found is this host's. */
static void test_firmware(void **state)
{
    (void)state;
    bool no_guest;
    const char *text = examine(doctor_firmware, &no_guest);
    assert_int_equal(no_guest, strstr(text, "missing  SeaBIOS") != NULL);
    assert_true(!no_guest || strstr(text, "-> `sudo apt-get install seabios`"));
}

static void test_processor(void **state)
{
    (void)state;
    expect(doctor_processor, "BMI2: the translator needs it");
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char *cmd = xasprintf("rm -rf '%s'", root);
    int status = system(cmd);
    free(cmd);
    return status;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),  cmocka_unit_test(test_huge_pages),
        cmocka_unit_test(test_kvm),     cmocka_unit_test(test_network),
        cmocka_unit_test(test_desk),    cmocka_unit_test(test_firmware),
        cmocka_unit_test(test_processor),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

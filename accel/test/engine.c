/* SPDX-License-Identifier: GPL-2.0-or-later
 * The engine "test": runs no guest code. vCPUs exist and never move; guest time stands still but
 * for the clock commands of qtest.c. So a test drives devices alone and gets the same answers
 * every time.
 */
#include "accel/accel.h"
#include "util/timer.h"

static bool test_probe(Error **errp)
{
    (void)errp;
    return true;
}

static bool test_machine_init(Machine *m, const Dict *opts, Error **errp)
{
    (void)m;
    (void)opts;
    (void)errp;
    guest_clock_set_manual();
    return true;
}

static bool test_vcpu_init(Vcpu *v, Error **errp)
{
    (void)v;
    (void)errp;
    return true;
}

static void test_nothing(Vcpu *v)
{
    (void)v;
}

static const char *const test_aliases[] = { "qtest", NULL };

ENGINE(test) = {
    .name = "test",
    .desc = "runs no guest code: for device tests (-qtest)",
    .aliases = test_aliases,
    .probe = test_probe,
    .machine_init = test_machine_init,
    .vcpu_init = test_vcpu_init,
    .load_state = test_nothing,
    .run = test_nothing,
    .store_state = test_nothing,
    .vcpu_fini = test_nothing,
    .executes = false,
};

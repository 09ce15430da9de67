/* SPDX-License-Identifier: GPL-2.0-or-later
 * The engine "test": runs no guest code. vCPUs exist and never move; guest time stands still but
 * for the clock commands of qtest.c. So a test drives devices alone and gets the same answers
 * every time.
 */
#include "accel/accel.h"
#include "util/timer.h"

static bool test_machine_init(Machine *m, const Dict *opts, Error **errp)
{
    (void)m;
    (void)opts;
    (void)errp;
    guest_clock_set_manual();
    return true;
}

static const char *const test_aliases[] = { "qtest", NULL };

ENGINE(test) = {
    .name = "test",
    .desc = "runs no guest code: for device tests (-qtest)",
    .aliases = test_aliases,
    .thread_name = "TEST",
    .machine_init = test_machine_init,
    .executes = false,
};

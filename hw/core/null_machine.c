/* SPDX-License-Identifier: GPL-2.0-or-later
 * The machine "none": no CPU, no RAM, no device; for questions about the program itself.
 */
#include "hw/core/machine.h"

static bool none_init(Machine *m, Error **errp)
{
    (void)m;
    (void)errp;
    return true;
}

MACHINE_TYPE(none) = {
    .name = "none",
    .desc = "empty machine",
    .init = none_init,
};

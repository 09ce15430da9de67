/* SPDX-License-Identifier: GPL-2.0-or-later
 * backend=null: swallows everything and never says anything.
 */
#include "chardev/backend.h"

static bool null_open(Chardev *chr, const Dict *opts, Error **errp)
{
    (void)opts;
    (void)errp;
    chr_set_filename(chr, "null");
    return true;
}

static size_t null_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    (void)chr;
    (void)buf;
    return len;
}

CHAR_BACKEND(null) = {
    .name = "null",
    .desc = "swallows everything",
    .size = sizeof(Chardev),
    .open = null_open,
    .write = null_write,
};

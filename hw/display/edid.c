/* SPDX-License-Identifier: GPL-2.0-or-later
 * An EDID 1.4 block (E-EDID): established and standard timings, one detailed timing with reduced
 * blanking (CVT), range limits and a name. No extension blocks.
 */
#include "hw/display/edid.h"

#include <string.h>

#include "util/container.h"

enum { OFF_STANDARD = 38, OFF_DETAILED = 54, DESCRIPTOR = 18, OFF_CHECKSUM = 127 };
enum { H_BLANK = 160, H_FRONT = 48, H_SYNC = 32, V_FRONT = 3, V_SYNC = 6, V_MIN_NS = 460000,
       REFRESH_HZ = 60, DPI = 100 };
enum { ASPECT_16_10 = 0, ASPECT_4_3 = 1, ASPECT_5_4 = 2, ASPECT_16_9 = 3 };

static const struct {
    uint16_t width;
    uint8_t aspect;
} standard[8] = {
    { 1920, ASPECT_16_9 }, { 1680, ASPECT_16_10 }, { 1600, ASPECT_4_3 }, { 1440, ASPECT_16_10 },
    { 1280, ASPECT_5_4 }, { 1280, ASPECT_4_3 }, { 1280, ASPECT_16_9 }, { 1024, ASPECT_4_3 },
};

static unsigned in_mm(unsigned pixels)
{
    return pixels * 254 / (DPI * 10);
}

/* E-EDID 3.10.2 */
static void put_detailed(uint8_t *d, unsigned width, unsigned height)
{
    /* Blanking lasts at least 460 us: lines of a frame with that much less time. */
    unsigned v_blank = (unsigned)((uint64_t)height * V_MIN_NS /
                                  (1000000000 / REFRESH_HZ - V_MIN_NS)) + 1;
    v_blank = MAX(v_blank, V_FRONT + V_SYNC + 6u);
    uint64_t clock = (uint64_t)(width + H_BLANK) * (height + v_blank) * REFRESH_HZ / 10000;
    clock = MIN(clock, 0xffffu);
    unsigned mm_x = MIN(in_mm(width), 0xfffu), mm_y = MIN(in_mm(height), 0xfffu);
    const uint8_t bytes[DESCRIPTOR] = {
        clock & 0xff, clock >> 8,
        width & 0xff, H_BLANK, width >> 8 << 4,
        height & 0xff, v_blank & 0xff, height >> 8 << 4 | v_blank >> 8,
        H_FRONT, H_SYNC, V_FRONT << 4 | V_SYNC, 0,
        mm_x & 0xff, mm_y & 0xff, mm_x >> 8 << 4 | mm_y >> 8,
        0, 0, 0x1a, /* digital separate sync, horizontal positive */
    };
    memcpy(d, bytes, sizeof(bytes));
}

void edid_fill(uint8_t edid[EDID_SIZE], unsigned width, unsigned height)
{
    static const uint8_t head[OFF_STANDARD] = {
        0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00,
        0x59, 0x32,                         /* "VIR": five bits a letter */
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, /* product 1, no serial number */
        0, 36, 1, 4,                        /* made in 2026; EDID 1.4 */
        0xa0, 0, 0, 120, 0x06,              /* digital, 8 bits; gamma 2.2; sRGB, native timing */
        0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54, /* the primaries of sRGB */
        0x21, 0x08, 0x00,                   /* 640x480, 800x600, 1024x768 at 60 Hz */
    };
    static const uint8_t range[DESCRIPTOR] = { 0, 0, 0, 0xfd, 0, 50, 125, 30, 160, 66, 1, 10, ' ',
                                               ' ', ' ', ' ', ' ', ' ' };
    static const uint8_t name[DESCRIPTOR] = { 0, 0, 0, 0xfc, 0, 'V', 'i', 'r', 'e', 'o', '\n', ' ',
                                              ' ', ' ', ' ', ' ', ' ', ' ' };
    static const uint8_t none[DESCRIPTOR] = { 0, 0, 0, 0x10 };
    width = MIN(width, EDID_MAX_PIXELS + 0u);
    height = MIN(height, EDID_MAX_PIXELS + 0u);
    memcpy(edid, head, sizeof(head));
    edid[21] = (uint8_t)MIN(in_mm(width) / 10, 255u);
    edid[22] = (uint8_t)MIN(in_mm(height) / 10, 255u);
    for (unsigned i = 0; i < ARRAY_SIZE(standard); i++) {
        edid[OFF_STANDARD + 2 * i] = (uint8_t)(standard[i].width / 8 - 31);
        edid[OFF_STANDARD + 2 * i + 1] = (uint8_t)(standard[i].aspect << 6 | (REFRESH_HZ - 60));
    }
    put_detailed(&edid[OFF_DETAILED], width, height);
    memcpy(&edid[OFF_DETAILED + DESCRIPTOR], range, DESCRIPTOR);
    memcpy(&edid[OFF_DETAILED + 2 * DESCRIPTOR], name, DESCRIPTOR);
    memcpy(&edid[OFF_DETAILED + 3 * DESCRIPTOR], none, DESCRIPTOR);
    edid[126] = 0;
    uint8_t sum = 0;
    for (unsigned i = 0; i < OFF_CHECKSUM; i++) {
        sum += edid[i];
    }
    edid[OFF_CHECKSUM] = (uint8_t)-sum;
}

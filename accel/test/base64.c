/* SPDX-License-Identifier: GPL-2.0-or-later
 * Base64 (RFC 4648 section 4).
 */
#include "accel/test/base64.h"

#include "util/alloc.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const uint8_t *buf, size_t len)
{
    char *text = xmalloc((len + 2) / 3 * 4 + 1), *to = text;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = buf[i] << 16 | (i + 1 < len ? buf[i + 1] << 8 : 0) |
                         (i + 2 < len ? buf[i + 2] : 0);
        *to++ = digits[group >> 18];
        *to++ = digits[group >> 12 & 63];
        *to++ = i + 1 < len ? digits[group >> 6 & 63] : '=';
        *to++ = i + 2 < len ? digits[group & 63] : '=';
    }
    *to = 0;
    return text;
}

uint8_t *base64_decode(const char *text, size_t *len)
{
    size_t chars = strlen(text), pad = 0;
    while (pad < 2 && pad < chars && text[chars - 1 - pad] == '=') {
        pad++;
    }
    uint8_t *buf = chars % 4 ? NULL : xmalloc(chars / 4 * 3);
    size_t n = 0;
    for (size_t i = 0; buf && i < chars; i += 4) {
        uint32_t group = 0;
        for (size_t j = i; j < i + 4; j++) {
            const char *p = strchr(digits, text[j]);
            if (!p && !(text[j] == '=' && j >= chars - pad)) {
                free(buf);
                return NULL;
            }
            group = group << 6 | (p ? (uint32_t)(p - digits) : 0);
        }
        buf[n++] = group >> 16;
        buf[n++] = group >> 8;
        buf[n++] = group;
    }
    *len = buf ? n - pad : 0;
    return buf;
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 * Base64 (RFC 4648 section 4), padded.
 */
#ifndef ACCEL_TEST_BASE64_H
#define ACCEL_TEST_BASE64_H

#include <stddef.h>
#include <stdint.h>

char *base64_encode(const uint8_t *buf, size_t len); /* a new string */
/* A new buffer and its length; NULL if text is not base64. */
uint8_t *base64_decode(const char *text, size_t *len);

#endif

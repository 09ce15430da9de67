/* SPDX-License-Identifier: GPL-2.0-or-later
 * Properties: what the user may set on a device before it is realized (some also after). Rows of
 * a table in the device's file; -device X,help, qom-list, qom-get and qom-set read it.
 */
#ifndef HW_CORE_PROPERTY_H
#define HW_CORE_PROPERTY_H

#include "util/error.h"

typedef enum PropKind {
    PROP_KIND_BOOL, PROP_KIND_U8, PROP_KIND_U16, PROP_KIND_U32, PROP_KIND_U64,
    PROP_KIND_I32,
    PROP_KIND_SIZE,    /* uint64_t, k/M/G suffixes */
    PROP_KIND_STR,     /* char *, owned by the device, NULL if unset */
    PROP_KIND_CHARDEV, /* char *: a chardev's id, checked at realize by its device */
    PROP_KIND_DRIVE,   /* char *: a drive's id, likewise */
    PROP_KIND_ENUM,    /* uint32_t: index into .names */
    PROP_KIND_MAC,     /* uint8_t[6] */
    PROP_KIND_PCI_ADDR /* int32_t devfn, -1 = any; text "5", "0x5", "05.1" */
} PropKind;

typedef struct Property {
    const char *name;
    PropKind kind;
    size_t offset;
    uint64_t def;            /* default */
    uint64_t min, max;       /* max 0: whatever the type holds */
    const char *const *names; /* ENUM, NULL-terminated */
    const char *def_str;     /* STR default */
    const char *help;
    bool live;               /* may be set after realize */
} Property;

#define PROP_FIELD(k, n, S, f, T, ...)                                                             \
    { .name = (n), .kind = (k),                                                                    \
      .offset = offsetof(S, f) + 0 * sizeof(&((S *)0)->f == (typeof(T) *)0), __VA_ARGS__ }
#define PROP_BOOL(n, S, f, ...) PROP_FIELD(PROP_KIND_BOOL, n, S, f, bool, __VA_ARGS__)
#define PROP_U8(n, S, f, ...) PROP_FIELD(PROP_KIND_U8, n, S, f, uint8_t, __VA_ARGS__)
#define PROP_U16(n, S, f, ...) PROP_FIELD(PROP_KIND_U16, n, S, f, uint16_t, __VA_ARGS__)
#define PROP_U32(n, S, f, ...) PROP_FIELD(PROP_KIND_U32, n, S, f, uint32_t, __VA_ARGS__)
#define PROP_U64(n, S, f, ...) PROP_FIELD(PROP_KIND_U64, n, S, f, uint64_t, __VA_ARGS__)
#define PROP_I32(n, S, f, ...) PROP_FIELD(PROP_KIND_I32, n, S, f, int32_t, __VA_ARGS__)
#define PROP_SIZE(n, S, f, ...) PROP_FIELD(PROP_KIND_SIZE, n, S, f, uint64_t, __VA_ARGS__)
#define PROP_STR(n, S, f, ...) PROP_FIELD(PROP_KIND_STR, n, S, f, char *, __VA_ARGS__)
#define PROP_CHARDEV(n, S, f, ...) PROP_FIELD(PROP_KIND_CHARDEV, n, S, f, char *, __VA_ARGS__)
#define PROP_DRIVE(n, S, f, ...) PROP_FIELD(PROP_KIND_DRIVE, n, S, f, char *, __VA_ARGS__)
#define PROP_ENUM(n, S, f, ...) PROP_FIELD(PROP_KIND_ENUM, n, S, f, uint32_t, __VA_ARGS__)
#define PROP_MAC(n, S, f, ...) PROP_FIELD(PROP_KIND_MAC, n, S, f, uint8_t[6], __VA_ARGS__)
#define PROP_PCI_ADDR(n, S, f, ...) PROP_FIELD(PROP_KIND_PCI_ADDR, n, S, f, int32_t, __VA_ARGS__)
#define PROP_END { .name = NULL }

struct Device;
/* The row by name in dev's type or its parents; NULL if none. */
const Property *property_find(const struct Device *dev, const char *name);
bool property_set(struct Device *dev, const char *name, const char *text, Error **errp) MUST_USE;
/* As text in the form property_set takes; a new string. */
char *property_get(const struct Device *dev, const Property *p);

#endif

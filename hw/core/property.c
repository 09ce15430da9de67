/* SPDX-License-Identifier: GPL-2.0-or-later
 * Properties: text to fields and back. One function a direction and kind; property_set checks
 * what all share.
 */
#include "hw/core/property.h"

#include <inttypes.h>

#include "hw/core/device.h"
#include "hw/core/property_impl.h"
#include "hw/core/unbuilt.h"
#include "util/alloc.h"

/* ---- lookup ---- */

/* "max-ram" and "max_ram" are one name: QEMU's users write both. */
static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        if (*a != *b && !(strchr("-_", *a) && strchr("-_", *b))) {
            return false;
        }
    }
    return *a == *b;
}

const Property *property_find(const struct Device *dev, const char *name)
{
    for (const DeviceType *t = dev->type; t; t = t->parent) {
        for (const Property *p = t->props; p && p->name; p++) {
            if (same_name(p->name, name)) {
                return p;
            }
        }
    }
    return NULL;
}

static void *field(const struct Device *dev, const Property *p)
{
    return (char *)dev + p->offset;
}

static void set_string(const struct Device *dev, const Property *p, const char *text)
{
    char **to = field(dev, p);
    free(*to);
    *to = xstrdup(text);
}

/* ---- numbers ---- */

static unsigned width(PropKind kind)
{
    switch (kind) {
    case PROP_KIND_BOOL: return sizeof(bool);
    case PROP_KIND_U8: return 1;
    case PROP_KIND_U16: return 2;
    case PROP_KIND_U64:
    case PROP_KIND_SIZE: return 8;
    default: return 4;
    }
}

static uint64_t get_number(const struct Device *dev, const Property *p)
{
    uint64_t val = 0;
    memcpy(&val, field(dev, p), width(p->kind)); /* little-endian host */
    return val;
}

static void set_number(const struct Device *dev, const Property *p, uint64_t val)
{
    memcpy(field(dev, p), &val, width(p->kind));
}

static bool parse_unsigned(const Property *p, const char *text, uint64_t *val, Error **errp)
{
    uint64_t top = width(p->kind) == 8 ? UINT64_MAX : (1ull << 8 * width(p->kind)) - 1;
    uint64_t max = p->max ? p->max : top;
    bool ok = p->kind == PROP_KIND_SIZE ? parse_size(text, 1, val) : parse_u64(text, val);
    if (!ok) {
        return error_set(errp, "'%s' is not a %s", text,
                         p->kind == PROP_KIND_SIZE ? "size such as 512M" : "number");
    }
    if (*val < p->min || *val > max) {
        return error_set(errp, "%s is outside %" PRIu64 " to %" PRIu64, text, p->min, max);
    }
    return true;
}

static bool parse_signed(const Property *p, const char *text, uint64_t *val, Error **errp)
{
    bool minus = text[0] == '-';
    uint64_t magnitude;
    if (!parse_u64(text + minus, &magnitude) || magnitude > (uint64_t)INT32_MAX + minus) {
        return error_set(errp, "'%s' is not a number of 32 bits", text);
    }
    int64_t v = minus ? -(int64_t)magnitude : (int64_t)magnitude;
    int64_t lo = p->min || p->max ? (int64_t)p->min : INT32_MIN;
    int64_t hi = p->max ? (int64_t)p->max : INT32_MAX;
    if (v < lo || v > hi) {
        return error_set(errp, "%s is outside %" PRId64 " to %" PRId64, text, lo, hi);
    }
    *val = (uint64_t)v;
    return true;
}

/* ---- the odd ones ---- */

static bool parse_enum(const Property *p, const char *text, uint64_t *val, Error **errp)
{
    for (size_t i = 0; p->names[i]; i++) {
        if (!strcasecmp(text, p->names[i])) {
            *val = i;
            return true;
        }
    }
    char *all = xstrdup("");
    for (size_t i = 0; p->names[i]; i++) {
        char *more = xasprintf("%s%s%s", all, i ? ", " : "", p->names[i]);
        free(all);
        all = more;
    }
    error_set(errp, "'%s' is not one of %s", text, all);
    free(all);
    return false;
}

static bool parse_mac(const char *text, uint8_t mac[6], Error **errp)
{
    unsigned b[6];
    int end = -1;
    if (sscanf(text, "%2x%*[:-]%2x%*[:-]%2x%*[:-]%2x%*[:-]%2x%*[:-]%2x%n", &b[0], &b[1], &b[2],
               &b[3], &b[4], &b[5], &end) != 6 || text[end]) {
        return error_set(errp, "'%s' is not a MAC address such as 52:54:00:12:34:56", text);
    }
    for (int i = 0; i < 6; i++) {
        mac[i] = (uint8_t)b[i];
    }
    return true;
}

/* Slot and function are hexadecimal, with or without 0x. */
static bool parse_pci_addr(const char *text, uint64_t *val, Error **errp)
{
    char *end;
    unsigned long slot = strtoul(text, &end, 16), fn = 0;
    bool ok = end != text && text[0] != '-' && text[0] != '+';
    if (ok && *end == '.') {
        const char *fn_text = end + 1;
        fn = strtoul(fn_text, &end, 16);
        ok = end != fn_text && fn_text[0] != '-';
    }
    if (!ok || *end || slot > 31 || fn > 7) {
        return error_set(errp, "'%s' is not a PCI address such as 0x3 or 3.1 (slot 0 to 1f, "
                               "function 0 to 7)", text);
    }
    *val = slot << 3 | fn;
    return true;
}

/* ---- set and get ---- */

static bool set_text(struct Device *dev, const Property *p, const char *text, Error **errp)
{
    uint64_t val = 0;
    bool on = false, ok;
    switch (p->kind) {
    case PROP_KIND_STR:
    case PROP_KIND_CHARDEV:
    case PROP_KIND_DRIVE: set_string(dev, p, text); return true;
    case PROP_KIND_MAC: return parse_mac(text, field(dev, p), errp);
    case PROP_KIND_BOOL:
        ok = parse_bool(text, &on) || error_set(errp, "'%s' is neither on nor off", text);
        val = on;
        break;
    case PROP_KIND_I32: ok = parse_signed(p, text, &val, errp); break;
    case PROP_KIND_ENUM: ok = parse_enum(p, text, &val, errp); break;
    case PROP_KIND_PCI_ADDR: ok = parse_pci_addr(text, &val, errp); break;
    default: ok = parse_unsigned(p, text, &val, errp); break;
    }
    if (ok) {
        set_number(dev, p, val);
    }
    return ok;
}

static bool no_such_property(const struct Device *dev, const char *name, Error **errp)
{
    size_t nr = 0;
    assert(dev->type);
    const char *unbuilt = unbuilt_property(dev->type->name, name);
    if (unbuilt) {
        return error_set(errp, "%s= of device '%s' is %s", name, dev->type->name, unbuilt);
    }
    for (const DeviceType *t = dev->type; t; t = t->parent) {
        for (const Property *p = t->props; p && p->name; p++) {
            nr++;
        }
    }
    const char **names = xcalloc(nr + 1, sizeof(*names));
    nr = 0;
    for (const DeviceType *t = dev->type; t; t = t->parent) {
        for (const Property *p = t->props; p && p->name; p++) {
            names[nr++] = p->name;
        }
    }
    const char *near = suggest(name, names);
    free(names);
    if (near) {
        return error_set(errp, "device '%s' has no property '%s', did you mean '%s'?",
                         dev->type->name, name, near);
    }
    return error_set(errp, "device '%s' has no property '%s' (-device %s,help lists them)",
                     dev->type->name, name, dev->type->name);
}

bool property_set(struct Device *dev, const char *name, const char *text, Error **errp)
{
    const Property *p = property_find(dev, name);
    if (!p) {
        return no_such_property(dev, name, errp);
    }
    if (dev->realized && !p->live) {
        return error_set(errp, "property '%s' of device '%s' cannot be changed any more", p->name,
                         dev->type->name);
    }
    if (!set_text(dev, p, text, errp)) {
        return error_prefix(errp, "device '%s', property '%s': ", dev->type->name, p->name);
    }
    return true;
}

char *property_get(const struct Device *dev, const Property *p)
{
    uint64_t val;
    const uint8_t *mac;
    switch (p->kind) {
    case PROP_KIND_STR:
    case PROP_KIND_CHARDEV:
    case PROP_KIND_DRIVE: {
        char *const *s = field(dev, p);
        return xstrdup(*s ? *s : "");
    }
    case PROP_KIND_MAC:
        mac = field(dev, p);
        return xasprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                         mac[5]);
    case PROP_KIND_BOOL: return xstrdup(*(bool *)field(dev, p) ? "on" : "off");
    case PROP_KIND_ENUM: return xstrdup(p->names[get_number(dev, p)]);
    case PROP_KIND_I32: return xasprintf("%d", (int32_t)get_number(dev, p));
    case PROP_KIND_PCI_ADDR:
        val = get_number(dev, p);
        return (int32_t)val < 0 ? xstrdup("") :
                                  xasprintf("%02x.%x", (unsigned)val >> 3, (unsigned)val & 7);
    default: return xasprintf("%" PRIu64, get_number(dev, p));
    }
}

/* ---- life ---- */

static void set_defaults(struct Device *dev, const DeviceType *t)
{
    if (t->parent) {
        set_defaults(dev, t->parent);
    }
    for (const Property *p = t->props; p && p->name; p++) {
        switch (p->kind) {
        case PROP_KIND_STR:
        case PROP_KIND_CHARDEV:
        case PROP_KIND_DRIVE: set_string(dev, p, p->def_str); break;
        case PROP_KIND_MAC:
            /* .def: the address as one number, 0x525400123456 */
            for (int i = 0; i < 6; i++) {
                ((uint8_t *)field(dev, p))[i] = (uint8_t)(p->def >> 8 * (5 - i));
            }
            break;
        default: set_number(dev, p, p->def); break;
        }
    }
}

void properties_init(struct Device *dev)
{
    set_defaults(dev, dev->type);
}

void properties_fini(struct Device *dev)
{
    for (const DeviceType *t = dev->type; t; t = t->parent) {
        for (const Property *p = t->props; p && p->name; p++) {
            if (p->kind == PROP_KIND_STR || p->kind == PROP_KIND_CHARDEV ||
                p->kind == PROP_KIND_DRIVE) {
                set_string(dev, p, NULL);
            }
        }
    }
}

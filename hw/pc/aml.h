/* SPDX-License-Identifier: GPL-2.0-or-later
 * Writes ACPI Machine Language (ACPI 6.4, chapter 20) in the order ASL is read: open an object,
 * write what is in it, close it. Package lengths are filled in at the close.
 */
#ifndef HW_PC_AML_H
#define HW_PC_AML_H

#include "util/container.h"

enum { AML_MAX_DEPTH = 16 };

typedef struct Aml {
    uint8_t *data; /* heap, grows */
    size_t len, room;
    size_t open[AML_MAX_DEPTH]; /* where the package length of each open object goes */
    unsigned depth;
    size_t template_start;
} Aml;

void aml_init(Aml *a);
void aml_fini(Aml *a);
void aml_bytes(Aml *a, const void *bytes, size_t len);
void aml_u8(Aml *a, uint8_t v);
void aml_u16(Aml *a, uint16_t v);
void aml_u32(Aml *a, uint32_t v);
void aml_u64(Aml *a, uint64_t v);

/* "\\_SB.PCI0.ISA", "_HID", "LNKA": segments are padded with '_'. */
void aml_path(Aml *a, const char *path);
void aml_int(Aml *a, uint64_t v); /* the shortest encoding */
void aml_string(Aml *a, const char *s);
void aml_eisa_id(Aml *a, const char *id); /* "PNP0A03" */
void aml_zeroes(Aml *a, size_t n);

/* Objects with a length; each needs an aml_close. */
void aml_scope(Aml *a, const char *path);
void aml_device(Aml *a, const char *name);
void aml_method(Aml *a, const char *name, unsigned args, bool serialized);
void aml_processor(Aml *a, const char *name, uint8_t id);
void aml_package(Aml *a, uint8_t nr);
void aml_if(Aml *a); /* the condition comes next */
void aml_else(Aml *a);
void aml_field(Aml *a, const char *region, uint8_t flags);
void aml_field_unit(Aml *a, const char *name, uint8_t bits); /* at most 63 */
void aml_close(Aml *a);

/* Name (path, ...): the value comes next. */
void aml_name(Aml *a, const char *path);
void aml_name_int(Aml *a, const char *path, uint64_t v);
void aml_name_eisa_id(Aml *a, const char *path, const char *id);
void aml_region(Aml *a, const char *name, uint8_t space, uint64_t offset, uint64_t len);

/* A buffer: open, bytes, close. */
void aml_buffer(Aml *a);
void aml_buffer_close(Aml *a);

/* Buffer of resource descriptors (6.4): open, descriptors, close with its end tag. */
void aml_resources(Aml *a);
void aml_resources_close(Aml *a);
void aml_res_io(Aml *a, uint16_t base, uint8_t len);
void aml_res_irq(Aml *a, unsigned irq);
void aml_res_dma(Aml *a, unsigned channel);
void aml_res_memory32(Aml *a, bool writable, uint32_t base, uint32_t len);
void aml_res_bus(Aml *a, uint16_t first, uint16_t last);
void aml_res_io_window(Aml *a, uint16_t first, uint16_t last);
void aml_res_memory_window(Aml *a, bool cacheable, uint32_t first, uint32_t last);
/* Level triggered, active high, shared. */
void aml_res_interrupts(Aml *a, const uint32_t *irq, uint8_t nr);

enum { AML_ARG0 = 0x68, AML_LOCAL0 = 0x60, AML_ZERO = 0x00, AML_ONE = 0x01, AML_STORE = 0x70,
       AML_AND = 0x7b, AML_OR = 0x7d, AML_RETURN = 0xa4, AML_LLESS = 0x95,
       AML_CREATE_DWORD_FIELD = 0x8a };
enum { AML_SPACE_IO = 1, AML_SPACE_PCI_CONFIG = 2, AML_FIELD_BYTE = 1, AML_FIELD_DWORD = 3 };

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later
 * Local APICs (SDM 3A chapter 11): one device "apic" a CPU, and the bus between them.
 * All functions: vm_lock held.
 */
#ifndef HW_INTC_APIC_H
#define HW_INTC_APIC_H

#include "hw/core/device.h"

struct CpuState;
struct Machine;

DECLARE_DEVICE_TYPE(apic);

enum { APIC_DEFAULT_BASE = 0xfee00000, APIC_MSI_SIZE = 0x100000 };

/* Delivery modes, as in ICR, LVT, redirection entries and MSI data. */
enum { APIC_FIXED, APIC_LOWEST, APIC_SMI, APIC_RESERVED, APIC_NMI, APIC_INIT, APIC_STARTUP,
       APIC_EXTINT };

/* One LAPIC for every CPU of m (call once, before anything below; the CPUs exist). Sets
 * CpuState.apic and apic_ops, maps the register page. */
bool apic_create_all(struct Machine *m, Error **errp) MUST_USE;
/* LINT0 (the PIC's INT) or LINT1 (NMI) of a CPU: an input line to connect to. */
IrqLine *apic_lint(struct CpuState *cpu, unsigned n);

/* An interrupt message from an IOAPIC. dest: 8-bit xAPIC destination, or wider for x2APIC.
 * level: trigger mode is level (an EOI will be broadcast). EXTINT asks the PIC for the vector. */
void apic_deliver(struct Machine *m, uint32_t dest, bool logical, unsigned mode, unsigned vector,
                  bool level);
/* A memory write to 0xFEExxxxx by a device: MSI and MSI-X (SDM 3A 11.11). */
void apic_msi(struct Machine *m, uint64_t addr, uint32_t data);

#endif

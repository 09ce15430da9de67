/* SPDX-License-Identifier: GPL-2.0-or-later
 * What libFuzzer's targets share: a machine of RAM and a PCI bus with whatever devices a target
 * makes, and the input as numbers. tests/fuzz/run.py builds and runs the targets.
 */
#ifndef TESTS_FUZZ_BOX_H
#define TESTS_FUZZ_BOX_H

#include "hw/core/machine.h"
#include "hw/pci/pci.h"

enum { BOX_RAM = 1 << 20 };

extern Machine machine;
extern PciBus pci;

/* What libFuzzer calls. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the machine; what cannot be made ends the program ---- */

void box_machine(void); /* RAM from 0 on, pci.0; this thread has the vm_lock */
void box_must(bool ok, Error *err);
void box_device(const char *text);
void box_drive(const char *text);
void box_chardev(const char *text);
void box_netdev(const char *text);
/* A file of zeroes, removed at exit. The name stays valid. */
const char *box_image(long size);

/* ---- the guest ---- */

void store(uint64_t gpa, uint64_t val, unsigned size);
uint64_t load(uint64_t gpa, unsigned size);
void config(unsigned slot, unsigned reg, uint32_t val, unsigned size);
void out(uint16_t port, uint32_t val, unsigned size);
uint32_t in(uint16_t port, unsigned size);

/* ---- the input: zeroes once it has ended ---- */

typedef struct Input {
    const uint8_t *data;
    size_t left;
} Input;

uint8_t byte(Input *input);
uint32_t word(Input *input);
uint32_t dword(Input *input);

#endif

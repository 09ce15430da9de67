/* SPDX-License-Identifier: GPL-2.0-or-later
 * Registers in the log, for -d cpu and -d cpu_reset: one message with all of them, so that what
 * several CPUs say stays apart.
 */
#include "cpu/log.h"

#include <stdio.h>

#include "util/log.h"

static int print_gprs(const CpuState *cpu, char *to, size_t size)
{
    static const char *const names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
    unsigned nr = cpu->mode & MODE_CS64 ? 16 : 8;
    int n = 0;
    for (unsigned i = 0; i < nr; i++) {
        n += snprintf(to + n, size - (size_t)n, "  %-3s %016llx%s", names[i],
                      (unsigned long long)cpu->gpr[i], i % 4 == 3 ? "\n" : "");
    }
    return n;
}

void cpu_log_registers(const CpuState *cpu, const char *when)
{
    static const struct {
        uint32_t bit;
        char letter;
    } flags[] = { { FLAG_OF, 'O' }, { FLAG_SF, 'S' }, { FLAG_ZF, 'Z' },
                  { FLAG_AF, 'A' }, { FLAG_PF, 'P' }, { FLAG_CF, 'C' } };
    char gprs[16 * 24 + 8], letters[ARRAY_SIZE(flags) + 1] = { 0 };
    uint32_t rflags = (uint32_t)cpu_rflags(cpu);
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        letters[i] = rflags & flags[i].bit ? flags[i].letter : '-';
    }
    print_gprs(cpu, gprs, sizeof(gprs));
    log_printf("cpu %u %s: rip %016llx rflags %08x %s cpl %u\n%s"
               "  cs %04x ss %04x ds %04x es %04x fs %04x gs %04x"
               "  cr0 %08x cr2 %016llx cr3 %016llx cr4 %08x\n",
               cpu->index, when, (unsigned long long)cpu->rip, rflags, letters, cpu_cpl(cpu), gprs,
               cpu->seg[SEG_CS].sel, cpu->seg[SEG_SS].sel, cpu->seg[SEG_DS].sel,
               cpu->seg[SEG_ES].sel, cpu->seg[SEG_FS].sel, cpu->seg[SEG_GS].sel, (uint32_t)cpu->cr0,
               (unsigned long long)cpu->cr2, (unsigned long long)cpu->cr3, (uint32_t)cpu->cr4);
}

/* SPDX-License-Identifier: GPL-2.0-or-later
 * IN and OUT. Permission first (IOPL, I/O bitmap: SDM 1 19.5), then one bus access.
 */
#include "cpu/debug.h"
#include "cpu/exec.h"
#include "cpu/task.h"

static void check_port(CpuState *cpu, uint16_t port, unsigned size)
{
    task_check_io(cpu, port, size);
    if (cpu->mode & MODE_DR) {
        debug_check_io(cpu, port, size);
    }
}

void exec_IN(CpuState *cpu, const Insn *in)
{
    unsigned size = in->opd[0].size;
    uint16_t port = (uint16_t)exec_get(cpu, in, 1);
    check_port(cpu, port, size);
    cpu_set_reg(cpu, REG_RAX, size, port_in(cpu, port, size));
}

void exec_OUT(CpuState *cpu, const Insn *in)
{
    unsigned size = in->opd[1].size;
    uint16_t port = (uint16_t)exec_get(cpu, in, 0);
    check_port(cpu, port, size);
    port_out(cpu, port, cpu_reg(cpu, REG_RAX, size), size);
}

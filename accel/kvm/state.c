/* SPDX-License-Identifier: GPL-2.0-or-later
 * CpuState to the kernel and back (api.rst 4.11 to 4.14): general and system registers.
 */
#include <string.h>

#include "accel/kvm/kvm.h"

bool kvm_state_init(KvmVcpu *k, Error **errp)
{
    (void)k;
    (void)errp;
    return true;
}

void kvm_state_fini(KvmVcpu *k)
{
    (void)k;
}

static void put_segment(struct kvm_segment *to, const Segment *s)
{
    *to = (struct kvm_segment){ .base = s->base, .limit = s->limit, .selector = s->sel,
                                .type = s->attr & SEG_TYPE, .s = !!(s->attr & SEG_S),
                                .dpl = (s->attr & SEG_DPL) >> SEG_DPL_SHIFT,
                                .present = !!(s->attr & SEG_P), .avl = !!(s->attr & SEG_AVL),
                                .l = !!(s->attr & SEG_L), .db = !!(s->attr & SEG_DB),
                                .g = !!(s->attr & SEG_G), .unusable = !!(s->attr & SEG_UNUSABLE) };
}

static void get_segment(Segment *s, const struct kvm_segment *from)
{
    s->base = from->base;
    s->limit = from->limit;
    s->sel = from->selector;
    s->attr = from->type | from->s * SEG_S | (uint32_t)from->dpl << SEG_DPL_SHIFT |
              from->present * SEG_P | from->avl * SEG_AVL | from->l * SEG_L | from->db * SEG_DB |
              from->g * SEG_G | from->unusable * SEG_UNUSABLE;
}

/* struct kvm_regs goes RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8... */
static const uint8_t order[16] = { REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_RSP,
                                   REG_RBP, 8, 9, 10, 11, 12, 13, 14, 15 };
static const uint8_t seg_order[NR_SEGS] = { SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_SS };

void kvm_load_state(KvmVcpu *k)
{
    const CpuState *cpu = &k->v->cpu;
    struct kvm_regs regs = { .rip = cpu->rip, .rflags = cpu_rflags(cpu) };
    struct kvm_sregs sregs;
    for (unsigned i = 0; i < 16; i++) {
        ((uint64_t *)&regs)[i] = cpu->gpr[order[i]];
    }
    kvm_ioctl(k->fd, KVM_GET_SREGS, &sregs);
    for (unsigned i = 0; i < NR_SEGS; i++) {
        put_segment(&sregs.cs + i, &cpu->seg[seg_order[i]]);
    }
    put_segment(&sregs.tr, &cpu->tr);
    put_segment(&sregs.ldt, &cpu->ldtr);
    sregs.gdt.base = cpu->gdtr.base;
    sregs.gdt.limit = (uint16_t)cpu->gdtr.limit;
    sregs.idt.base = cpu->idtr.base;
    sregs.idt.limit = (uint16_t)cpu->idtr.limit;
    sregs.cr0 = cpu->cr0;
    sregs.cr2 = cpu->cr2;
    sregs.cr3 = cpu->cr3;
    sregs.cr4 = cpu->cr4;
    sregs.efer = cpu->efer;
    if (cpu->apic_ops) {
        sregs.apic_base = cpu->apic_ops->get_base(cpu->apic);
        sregs.cr8 = cpu->apic_ops->get_cr8(cpu->apic);
    }
    memset(sregs.interrupt_bitmap, 0, sizeof(sregs.interrupt_bitmap));
    kvm_ioctl(k->fd, KVM_SET_SREGS, &sregs);
    kvm_ioctl(k->fd, KVM_SET_REGS, &regs);
}

void kvm_store_state(KvmVcpu *k)
{
    CpuState *cpu = &k->v->cpu;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    kvm_ioctl(k->fd, KVM_GET_REGS, &regs);
    kvm_ioctl(k->fd, KVM_GET_SREGS, &sregs);
    for (unsigned i = 0; i < 16; i++) {
        cpu->gpr[order[i]] = ((const uint64_t *)&regs)[i];
    }
    cpu->rip = regs.rip;
    for (unsigned i = 0; i < NR_SEGS; i++) {
        get_segment(&cpu->seg[seg_order[i]], &sregs.cs + i);
    }
    get_segment(&cpu->tr, &sregs.tr);
    get_segment(&cpu->ldtr, &sregs.ldt);
    cpu->gdtr = (TableReg){ sregs.gdt.base, sregs.gdt.limit };
    cpu->idtr = (TableReg){ sregs.idt.base, sregs.idt.limit };
    cpu->cr0 = sregs.cr0;
    cpu->cr2 = sregs.cr2;
    cpu->cr3 = sregs.cr3;
    cpu->cr4 = sregs.cr4;
    cpu->efer = sregs.efer;
    cpu_set_rflags(cpu, regs.rflags, UINT64_MAX);
    cpu_update_mode(cpu);
}

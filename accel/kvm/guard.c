/* SPDX-License-Identifier: GPL-2.0-or-later
 * Code pages in a machine where some vCPUs run on KVM and others on a software engine.
 *
 * A software engine keeps what it decoded and relies on ram_written() to hear that the bytes have
 * changed (memory/ram.h). A KVM vCPU's store does not come there. So, while the machine is mixed, a
 * page with granules is write-protected in the mapping that the kernel has of RAM (slots.c): mprotect
 * takes the guest's access away before it returns, so that the decoder, which reads the bytes after
 * ram_track_code(), sees every earlier store, and every later one is noticed:
 * - KVM_RUN fails with EFAULT before the instruction; the interpreter executes it (handle.c), by the
 *   other mapping, and its store says so to ram_written(); or
 * - the kernel was emulating the instruction and hands the store to user space as a register
 *   access: address_space_store() makes it, with the same effect.
 * A store that hits the code itself clears the granules. Pages without are let go at the next fault.
 * The lock orders the two: who lets a page go has seen its granules clear with the lock held; who
 * set them takes the lock afterwards.
 *
 * Where nobody decodes (all vCPUs on KVM) nothing is guarded. When that ends, all that was decoded
 * before is forgotten, for KVM may have written to it. Instructions that the interpreter executes for
 * a KVM vCPU leave nothing decoded behind.
 *
 * Each guarded page may split a mapping in two. At the kernel's limit of mappings the whole block is
 * guarded: right, and slow.
 */
#include <string.h>
#include <sys/mman.h>

#include "accel/kvm/slots.h"
#include "util/log.h"

pthread_mutex_t kvm_guard_lock = PTHREAD_MUTEX_INITIALIZER;
List kvm_all_slots = LIST_INIT(kvm_all_slots);

static bool has_code(const RamBlock *b, uint64_t page)
{
    const CodePage *c = &b->code[page];
    return __atomic_load_n(&c->granules, __ATOMIC_SEQ_CST) ||
           __atomic_load_n(&c->clearing, __ATOMIC_SEQ_CST);
}

static void guard_all(KvmAlias *a)
{
    a->all_guarded = true;
    if (mprotect(a->host, a->ram->size, PROT_READ)) {
        warn_report("KVM: '%s' cannot be write-protected; guest code that is changed by a vCPU on "
                    "KVM may run unchanged on others",
                    a->ram->name);
    }
}

static void guard(KvmAlias *a, uint64_t page)
{
    if (a->all_guarded || a->guarded[page]) {
        return;
    }
    if (mprotect(a->host + (page << PAGE_BITS), PAGE_SIZE, PROT_READ)) {
        guard_all(a);
        return;
    }
    a->guarded[page] = 1;
}

static void guard_code(KvmAlias *a)
{
    for (uint64_t page = 0; page < a->ram->size >> PAGE_BITS; page++) {
        if (has_code(a->ram, page)) {
            guard(a, page);
        }
    }
}

static bool let_go(KvmAlias *a, uint64_t page)
{
    if (has_code(a->ram, page) ||
        mprotect(a->host + (page << PAGE_BITS), PAGE_SIZE, PROT_READ | PROT_WRITE)) {
        return false;
    }
    a->guarded[page] = 0;
    return true;
}

/* ram_guard_hook */
static void guard_page(RamBlock *b, uint64_t offset)
{
    pthread_mutex_lock(&kvm_guard_lock);
    list_for_each(pos, &kvm_all_slots) {
        KvmSlots *s = container_of(pos, KvmSlots, node);
        list_for_each(p, &s->aliases) {
            KvmAlias *a = container_of(p, KvmAlias, node);
            if (s->vm->mixed && a->ram == b) {
                guard(a, offset >> PAGE_BITS);
            }
        }
    }
    pthread_mutex_unlock(&kvm_guard_lock);
}

void kvm_guard_new_alias(KvmSlots *s, KvmAlias *a)
{
    if (s->vm->mixed) {
        guard_code(a);
    } else {
        ram_forget_code(a->ram);
    }
}

static bool let_go_some(KvmAlias *a)
{
    uint64_t pages = a->ram->size >> PAGE_BITS;
    bool any = false;
    const uint8_t *p = a->guarded;
    while ((p = memchr(p, 1, pages - (uint64_t)(p - a->guarded)))) {
        any |= let_go(a, (uint64_t)(p - a->guarded));
        if ((uint64_t)(++p - a->guarded) == pages) {
            break;
        }
    }
    return any;
}

bool kvm_guard_release(KvmVm *vm)
{
    bool any = false;
    pthread_mutex_lock(&kvm_guard_lock);
    list_for_each(pos, &vm->slots->aliases) {
        any |= let_go_some(container_of(pos, KvmAlias, node));
    }
    pthread_mutex_unlock(&kvm_guard_lock);
    return any;
}

void kvm_guard_forget(KvmVm *vm)
{
    list_for_each(pos, &vm->slots->aliases) {
        ram_forget_code(container_of(pos, KvmAlias, node)->ram);
    }
}

static void let_go_all(KvmAlias *a)
{
    if (!mprotect(a->host, a->ram->size, PROT_READ | PROT_WRITE)) {
        a->all_guarded = false;
        memset(a->guarded, 0, a->ram->size >> PAGE_BITS);
    }
}

void kvm_guard_set(KvmVm *vm, bool mixed)
{
    pthread_mutex_lock(&kvm_guard_lock);
    bool was = vm->mixed;
    vm->mixed = mixed;
    if (was != mixed) {
        list_for_each(pos, &vm->slots->aliases) {
            KvmAlias *a = container_of(pos, KvmAlias, node);
            if (mixed) {
                guard_code(a);
            } else {
                let_go_all(a);
            }
        }
    }
    pthread_mutex_unlock(&kvm_guard_lock);
}

void kvm_guard_init(void)
{
    ram_guard_hook = guard_page;
}

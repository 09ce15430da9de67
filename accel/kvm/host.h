/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the host has of KVM: the facts, what they mean for the user, and whether it is fast.
 */
#ifndef ACCEL_KVM_HOST_H
#define ACCEL_KVM_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/error.h"

typedef struct KvmHostFacts {
    /* The node. */
    int open_errno; /* of /dev/kvm; 0: it could be opened */
    bool node;      /* it is there */
    mode_t mode;
    char owner[32], group[32]; /* names, or numbers where they have none */
    char user[32];             /* who runs this */
    bool is_owner, in_group;   /* this process */
    bool listed;               /* in the group by /etc/group, which counts from the next login on */
    bool container;            /* a container, which has its own /dev */
    /* The driver. */
    bool module;        /* kvm */
    bool vendor_module; /* kvm_intel, kvm_amd or another */
    /* The processor, by CPUID. */
    bool intel, amd;
    bool virt;           /* VT-x or SVM */
    bool vm;             /* this is a VM itself */
    char hypervisor[13]; /* its signature */
    /* What the driver said, if it could be opened. */
    int api_errno, api_version;
    int create_errno; /* of KVM_CREATE_VM */
    const char
        *missing; /* a capability Vireo does not do without (Linux 4.13 has all); NULL: none */
} KvmHostFacts;

/* Looks into files under root: "", or a test's own directory. */
void kvm_host_read(KvmHostFacts *f, const char *root);
/* Can KVM be used? If not, *errp has cause and cure. Depends on nothing but the facts. */
bool kvm_host_judge(const KvmHostFacts *f, Error **errp);

/* Engine.probe. */
bool kvm_host_probe(Error **errp);
/* /dev/kvm, if it can be used as far as can be told without making a VM; else -1. */
int kvm_host_open(Error **errp);
/* KVM_CREATE_VM's errno: *errp has cause and cure. False. */
bool kvm_host_no_vm(int create_errno, Error **errp);
/* How many million instructions a second a tiny guest does, in under 20 ms: a lower bound where
 * it is fast. 0 with *errp: it could not be measured. */
double kvm_host_speed(Error **errp);
enum { KVM_FAST_MIPS = 8 }; /* below that the instructions are emulated, one by one */
/* Engine.helps: is guest code run by the processor? */
bool kvm_host_helps(Error **errp);
/* Engine.suits: CPUID shows what KVM is for. */
bool kvm_host_suits(Error **errp);

#endif

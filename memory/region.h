/* SPDX-License-Identifier: GPL-2.0-or-later
 * Regions: what answers at a range of guest physical addresses or I/O ports. They form a tree
 * (containers, aliases, priorities); an AddressSpace renders its tree to a FlatView: sorted,
 * immutable, swapped atomically, which engines, DMA and KVM slots read.
 *
 * Trees are changed with vm_lock held. Region structs are embedded in their owners, who must
 * region_del() them before they go. Access functions take vm_lock themselves around a device
 * callback when the caller does not hold it.
 */
#ifndef MEMORY_REGION_H
#define MEMORY_REGION_H

#include "memory/ram.h"
#include "util/error.h"

struct Device;
typedef struct Region Region;
typedef struct AddressSpace AddressSpace;

/* Callbacks see offsets into their region and one of the declared sizes, naturally aligned
 * unless .unaligned: the dispatcher splits wider and unaligned accesses, low address first, and
 * widens narrower ones (a read is made at the smallest allowed size and cut; a narrower write is
 * made at that size with the other bytes zero). Values are in the low bits, little-endian. */
typedef struct RegionOps {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, uint64_t val, unsigned size);
    unsigned sizes; /* allowed access sizes, or-ed: 1|2|4|8; 0 means all */
    bool unaligned; /* the callback copes with unaligned offsets */
    /* REP INS and OUTS: up to n accesses of size bytes at one offset; returns how many were made,
     * 0 to have them made one by one. For data ports; may be NULL. */
    unsigned (*read_string)(void *opaque, uint64_t offset, void *buf, unsigned size, unsigned n);
    unsigned (*write_string)(void *opaque, uint64_t offset, const void *buf, unsigned size,
                             unsigned n);
} RegionOps;

typedef enum RegionKind { REGION_CONTAINER, REGION_IO, REGION_RAM, REGION_ALIAS } RegionKind;

struct Region {
    RegionKind kind;
    const char *name;
    struct Device *owner; /* may be NULL */
    uint64_t size;        /* bytes; containers may be UINT64_MAX for everything */
    const RegionOps *ops; /* REGION_IO */
    void *opaque;
    RamBlock *ram;      /* REGION_RAM: borrowed */
    uint64_t ram_offset;
    Region *target;     /* REGION_ALIAS */
    uint64_t target_offset;
    bool readonly;      /* RAM: writes are ignored (ROM); alias: forces it on what shines through */
    bool enabled;
    bool coalesced;     /* writes may reach the callback late */
    List ioeventfds;    /* of IoEventFd */
    /* place in the tree */
    Region *parent;
    uint64_t offset; /* in parent */
    int priority;    /* higher wins where siblings overlap; equal: the later added wins */
    List children, sibling;
    AddressSpace *space; /* set on the root only */
};

void region_init_container(Region *r, const char *name, uint64_t size);
/* The region's name is the owner's type name; set r->name afterwards for another. */
void region_init_io(Region *r, struct Device *owner, const RegionOps *ops, void *opaque,
                    uint64_t size);
void region_init_ram(Region *r, const char *name, RamBlock *ram, uint64_t ram_offset,
                     uint64_t size);
/* As RAM, and guest writes are ignored. */
void region_init_rom(Region *r, const char *name, RamBlock *ram, uint64_t ram_offset,
                     uint64_t size);
void region_init_alias(Region *r, const char *name, Region *target, uint64_t target_offset,
                       uint64_t size);

void region_add(Region *parent, uint64_t offset, Region *child, int priority);
void region_del(Region *child); /* no-op if not in a tree */
/* Takes out of the tree below root every region whose struct lies in [lo, hi). */
void region_del_within(Region *root, const void *lo, const void *hi);
void region_set_enabled(Region *r, bool enabled);
void region_set_readonly(Region *r, bool readonly);
void region_set_offset(Region *r, uint64_t offset);
/* An alias looks elsewhere. */
void region_set_target_offset(Region *r, uint64_t target_offset);

/* ---- writes that nobody waits for ---- */

/* An eventfd that is signalled instead of the write callback, by whoever runs the vCPU. */
typedef struct IoEventFd {
    uint64_t offset;
    unsigned size;  /* of the access; 0: any */
    bool match;     /* only writes of value */
    uint64_t value;
    int fd;
    List node;
} IoEventFd;

/* A doorbell: writes at offset, of that size (and value, if match), signal fd. The fd stays the
 * caller's, who takes it out, with the same words, before either goes. vm_lock held. */
void region_add_ioeventfd(Region *r, uint64_t offset, unsigned size, bool match, uint64_t value,
                          int fd);
void region_del_ioeventfd(Region *r, uint64_t offset, unsigned size, bool match, uint64_t value,
                          int fd);
/* Write-mostly registers: an engine may keep writes back, in order, until its vCPU accesses anything
 * that is not coalesced. Whoever looks at what they change without being asked by the guest (a
 * screen) calls memory_sync_coalesced() first. */
void region_set_coalesced(Region *r, bool coalesced);
void memory_sync_coalesced(void); /* vm_lock held */
extern void (*memory_coalesced_hook)(void); /* set by the engine that keeps writes back */

/* Changes between begin and commit show up at once, at the outermost commit. */
void memory_begin(void);
void memory_commit(void);

/* For default: branches: logs, returns all ones of that size / does nothing. */
uint64_t region_bad_read(Region *r, uint64_t offset, unsigned size);
void region_bad_write(Region *r, uint64_t offset, uint64_t val, unsigned size);

/* ---- what engines and DMA see ---- */

typedef struct FlatRange {
    uint64_t start, size; /* guest physical, or port */
    Region *region;       /* REGION_IO or REGION_RAM */
    uint64_t offset;      /* of start in region */
    uint8_t *host;        /* RAM: host address of start; NULL for I/O */
    RamBlock *ram;        /* RAM: block, and where start lies in it */
    uint64_t ram_offset;
    bool readonly;
} FlatRange;

typedef struct FlatView {
    unsigned refs; /* atomic */
    size_t nr;
    FlatRange range[];
} FlatView;

struct AddressSpace {
    const char *name;
    Region *root;
    FlatView *view; /* current; read it with address_space_view() */
    bool view_lock; /* atomic: a spin lock for the few instructions that swap or take view */
    bool ports;     /* holes read as all ones; set it after address_space_init */
    List node, listeners;
};

/* Told with vm_lock held after the new view is in place. */
typedef struct MemoryListener {
    void (*changed)(struct MemoryListener *l, AddressSpace *as); /* may be NULL */
    /* Doorbells or coalesced ranges may have changed; after changed. May be NULL. */
    void (*properties)(struct MemoryListener *l, AddressSpace *as);
    List node;
} MemoryListener;

/* root: the whole space, a container. Unassigned memory reads as zero and unassigned ports (a
 * space with .ports) as all ones, as device tests expect; writes vanish. */
void address_space_init(AddressSpace *as, const char *name, Region *root);
void address_space_fini(AddressSpace *as);
void memory_listener_add(AddressSpace *as, MemoryListener *l);
void memory_listener_del(MemoryListener *l);
/* Every doorbell that can be reached in the current view, by address; vm_lock held. */
void address_space_each_ioeventfd(AddressSpace *as,
                                  void (*fn)(void *opaque, uint64_t addr, const IoEventFd *e),
                                  void *opaque);
/* The current view with a reference, from any thread. An engine keeps one and compares it with
 * as->view (atomic load) or listens, rather than take one an access. With vm_lock held as->view
 * may be read directly: it changes only when this thread changes the tree. */
FlatView *address_space_view(AddressSpace *as);
void flat_view_unref(FlatView *v);
/* The range that holds addr, or NULL (a hole). Binary search. */
const FlatRange *flat_view_find(const FlatView *v, uint64_t addr);

/* One bus access of 1, 2, 4 or 8 bytes as a CPU makes it: any alignment, split over ranges. */
uint64_t address_space_load(AddressSpace *as, uint64_t addr, unsigned size);
void address_space_store(AddressSpace *as, uint64_t addr, uint64_t val, unsigned size);
/* Up to n accesses of size bytes at one address, if the device there has a string callback: how
 * many were made. */
unsigned address_space_load_string(AddressSpace *as, uint64_t addr, void *buf, unsigned size,
                                   unsigned n);
unsigned address_space_store_string(AddressSpace *as, uint64_t addr, const void *buf,
                                    unsigned size, unsigned n);
/* The same through a range already looked up; the whole access lies inside it. For engines. */
uint64_t flat_range_load(const FlatRange *fr, uint64_t addr, unsigned size);
void flat_range_store(const FlatRange *fr, uint64_t addr, uint64_t val, unsigned size);
/* Any length, RAM or registers (largest accesses the target allows). For the monitor and tests. */
void address_space_read(AddressSpace *as, uint64_t addr, void *buf, size_t len);
void address_space_write(AddressSpace *as, uint64_t addr, const void *buf, size_t len);
/* Writes RAM and ROM alike, for loaders and firmware; ignores what is neither. */
void address_space_write_rom(AddressSpace *as, uint64_t addr, const void *buf, size_t len);

/* DMA by devices: reaches RAM only, so that no device re-enters itself or another. Returns false
 * if any byte was not RAM (read: those bytes are zero; write: dropped). vm_lock may or may not be
 * held. Marks pages dirty and invalidates translated code. */
bool dma_read(AddressSpace *as, uint64_t gpa, void *buf, size_t len);
bool dma_write(AddressSpace *as, uint64_t gpa, const void *buf, size_t len);

/* What a region is called after its owner; set by hw/core, which knows devices. */
extern const char *(*region_owner_name_hook)(const struct Device *owner);

/* info mtree */
void memory_print_tree(AddressSpace *as, bool flat, void (*print)(void *opaque, const char *line),
                       void *opaque);

#endif

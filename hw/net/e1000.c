/* SPDX-License-Identifier: GPL-2.0-or-later
 * e1000: Intel's 82540EM gigabit Ethernet controller (8254x, the SDM of that family, revision
 * 4.0). This file has the registers, interrupts and the device; transmitting, receiving, EEPROM
 * and PHY have their own. Left out: wake-up, management (ASF), flow control frames, the flash,
 * diagnostic access to the packet buffer.
 */
#include "hw/net/e1000.h"

#include "hw/net/nic.h"

enum { MMIO_SIZE = 0x20000, IO_SIZE = 64, IO_ADDR = 0, IO_DATA = 4 };
enum { ITR_NS = 256 };

/* ---- statistics ---- */

void e1000_count(E1000 *s, unsigned stat, uint32_t n)
{
    s->stat[stat] = s->stat[stat] + n < n ? UINT32_MAX : s->stat[stat] + n; /* they stick there */
}

void e1000_count64(E1000 *s, unsigned stat, uint64_t n)
{
    uint64_t sum = (s->stat[stat] | (uint64_t)s->stat[stat + 1] << 32) + n;
    s->stat[stat] = (uint32_t)sum;
    s->stat[stat + 1] = (uint32_t)(sum >> 32);
}

unsigned e1000_size_class(size_t len)
{
    static const uint16_t top[5] = { 64, 127, 255, 511, 1023 };
    unsigned n = 0;
    len += 4; /* with FCS */
    while (n < ARRAY_SIZE(top) && len > top[n]) {
        n++;
    }
    return n;
}

/* The high dword of a pair is read last and clears both (8254x 13.7). */
static uint32_t read_stat(E1000 *s, unsigned n)
{
    bool low = n == STAT_GORCL || n == STAT_GOTCL || n == STAT_TORL || n == STAT_TOTL;
    uint32_t val = s->stat[n];
    if (!low) {
        s->stat[n] = 0;
    }
    if (n == STAT_GORCL + 1 || n == STAT_GOTCL + 1 || n == STAT_TORL + 1 || n == STAT_TOTL + 1) {
        s->stat[n - 1] = 0;
    }
    return val;
}

/* ---- interrupts, 8254x 3.2.7, 3.4.3, 13.4.17 on ---- */

/* The line: up while a cause is unmasked, but not sooner than ITR after it last went up. */
static void update_irq(E1000 *s)
{
    if (!(s->icr & s->ims)) {
        timer_cancel(&s->itr_timer);
        pci_set_intx(&s->pci, false);
        return;
    }
    if (s->pci.intx_level || timer_armed(&s->itr_timer)) {
        return;
    }
    uint64_t now = guest_clock_ns(), gap = (uint64_t)(s->itr & 0xffff) * ITR_NS;
    if (gap && s->last_irq_ns && now < s->last_irq_ns + gap) {
        timer_arm(&s->itr_timer, s->last_irq_ns + gap);
        return;
    }
    s->last_irq_ns = now;
    pci_set_intx(&s->pci, true);
}

static void itr_over(void *opaque)
{
    update_irq(opaque);
}

void e1000_interrupt(E1000 *s, uint32_t causes)
{
    s->icr |= causes & ICR_ALL;
    update_irq(s);
}

static uint32_t read_icr(E1000 *s)
{
    uint32_t val = s->icr;
    s->icr = 0;
    update_irq(s);
    return val;
}

/* ---- reset ---- */

/* RAL0 and RAH0 come from the EEPROM (8254x 13.5.2). */
static void load_address(E1000 *s)
{
    s->ra[0] = s->eeprom[0] | (uint32_t)s->eeprom[1] << 16;
    s->ra[1] = s->eeprom[2] | 1u << 31;
}

static const StateField e1000_mac_state[];

/* CTRL.RST: all but PCI configuration and the PHY. */
static void soft_reset(E1000 *s)
{
    bh_cancel(&s->tx_bh);
    state_reset(e1000_mac_state, s);
    load_address(s);
    e1000_update_link(s);
    update_irq(s);
    net_purge(&s->nc); /* what waited for buffers is lost, as what is in the chip's own */
}

/* ---- registers ---- */

typedef struct Register {
    uint32_t at, mask; /* writable bits */
    size_t field;
} Register;

#define R(name, field_, mask_) { REG_##name, mask_, offsetof(E1000, field_) }
static const Register registers[] = {
    R(STATUS, status, 0),          R(CTRL_EXT, ctrl_ext, 0x00ffffff), R(FCAL, fcal, ~0u),
    R(FCAH, fcah, 0xffff),         R(FCT, fct, 0xffff),          R(VET, vet, 0xffff),
    R(ITR, itr, 0xffff),           R(IMS, ims, 0),               R(FCTTV, fcttv, 0xffff),
    R(TXCW, txcw, ~0u),            R(RXCW, rxcw, 0),             R(TIPG, tipg, 0x3fffffff),
    R(AIT, ait, 0xffff),           R(LEDCTL, ledctl, ~0u),       R(PBA, pba, 0xffff),
    R(FCRTL, fcrtl, 0x8000fff8),   R(FCRTH, fcrth, 0x0000fff8),  R(RDBAL, rdbal, 0xfffffff0),
    R(RDBAH, rdbah, ~0u),          R(RDLEN, rdlen, 0x000fff80),  R(RDH, rdh, 0xffff),
    R(RXDCTL, rxdctl, ~0u),        R(RADV, radv, 0xffff),        R(RSRPD, rsrpd, 0xfff),
    R(TDBAL, tdbal, 0xfffffff0),   R(TDBAH, tdbah, ~0u),         R(TDLEN, tdlen, 0x000fff80),
    R(TDH, tdh, 0xffff),           R(TIDV, tidv, 0xffff),        R(TXDCTL, txdctl, ~0u),
    R(TADV, tadv, 0xffff),         R(TSPMT, tspmt, ~0u),         R(RXCSUM, rxcsum, 0x3ff),
    R(WUC, wuc, 0xf),              R(WUFC, wufc, ~0u),           R(WUS, wus, 0),
    R(MANC, manc, ~0u),            R(MDIC, mdic, 0),             R(EERD, eerd, 0),
    R(RCTL, rctl, 0),              R(TCTL, tctl, 0),             R(RDT, rdt, 0),
    R(TDT, tdt, 0),                R(RDTR, rdtr, 0),             R(CTRL, ctrl, 0),
};
#undef R

/* Many registers have an older address, too (8254x 13.2, "alias"). */
static uint32_t old_address(uint32_t at)
{
    static const struct {
        uint16_t old, now;
    } alias[] = {
        { 0x0108, REG_RDTR }, { 0x0110, REG_RDBAL }, { 0x0114, REG_RDBAH }, { 0x0118, REG_RDLEN },
        { 0x0120, REG_RDH }, { 0x0128, REG_RDT }, { 0x0160, REG_FCRTH }, { 0x0168, REG_FCRTL },
        { 0x0420, REG_TDBAL }, { 0x0424, REG_TDBAH }, { 0x0428, REG_TDLEN }, { 0x0430, REG_TDH },
        { 0x0438, REG_TDT }, { 0x0440, REG_TIDV },
    };
    for (size_t i = 0; i < ARRAY_SIZE(alias); i++) {
        if (alias[i].old == at) {
            return alias[i].now;
        }
    }
    if (at >= 0x0040 && at < 0x00c0) {
        return REG_RA + at - 0x0040;
    }
    if (at >= 0x0200 && at < 0x0400) {
        return REG_MTA + at - 0x0200;
    }
    return at >= 0x0600 && at < 0x0800 ? REG_VFTA + at - 0x0600 : at;
}

static const Register *find_register(uint32_t at)
{
    for (size_t i = 0; i < ARRAY_SIZE(registers); i++) {
        if (registers[i].at == at) {
            return &registers[i];
        }
    }
    return NULL;
}

static uint32_t *field_of(E1000 *s, const Register *r)
{
    return (uint32_t *)((char *)s + r->field);
}

/* The member of a table of registers that is at that address; NULL if it is none. */
static uint32_t *table_entry(E1000 *s, uint32_t at)
{
    if (at >= REG_MTA && at < REG_MTA + 4 * NR_MTA) {
        return &s->mta[(at - REG_MTA) / 4];
    }
    if (at >= REG_RA && at < REG_RA + 4 * NR_RA) {
        return &s->ra[(at - REG_RA) / 4];
    }
    if (at >= REG_VFTA && at < REG_VFTA + 4 * NR_VFTA) {
        return &s->vfta[(at - REG_VFTA) / 4];
    }
    return NULL;
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    E1000 *s = opaque;
    uint32_t at = old_address((uint32_t)offset);
    (void)size;
    switch (at) {
    case REG_ICR: return read_icr(s);
    case REG_ICS: return s->icr;
    case REG_EECD: return e1000_eecd_read(s);
    case REG_RDH: return s->rdh; /* asked often: not looked up */
    case REG_TDH: return s->tdh;
    default: break;
    }
    if (at >= REG_STATS && at < REG_STATS + 4 * NR_STATS) {
        return read_stat(s, (at - REG_STATS) / 4);
    }
    const uint32_t *entry = table_entry(s, at);
    if (entry) {
        return *entry;
    }
    const Register *r = find_register(at);
    if (!r) {
        log_unimp("e1000: read of register %#x", at);
    }
    return r ? *field_of(s, r) : 0;
}

static void write_ctrl(E1000 *s, uint32_t val)
{
    s->ctrl = val & ~(CTRL_RST | CTRL_PHY_RST);
    if (val & CTRL_RST) {
        soft_reset(s);
    }
    if (val & CTRL_PHY_RST) {
        e1000_phy_reset(s);
    }
    e1000_update_link(s);
}

static void write_rctl(E1000 *s, uint32_t val)
{
    s->rctl = val;
    net_flush_later(&s->nc); /* for whom nobody listened so far */
}

/* Whatever else a write does. False: a plain register. */
static bool write_special(E1000 *s, uint32_t at, uint32_t val)
{
    switch (at) {
    case REG_CTRL: write_ctrl(s, val); break;
    case REG_EECD: e1000_eecd_write(s, val); break;
    case REG_EERD: e1000_eerd_write(s, val); break;
    case REG_MDIC: e1000_mdic_write(s, val); break;
    case REG_ICR:
        s->icr &= ~val;
        update_irq(s);
        break;
    case REG_ICS: e1000_interrupt(s, val); break;
    case REG_IMS:
        s->ims |= val & ICR_ALL;
        update_irq(s);
        break;
    case REG_IMC:
        s->ims &= ~val;
        update_irq(s);
        break;
    case REG_RCTL: write_rctl(s, val); break;
    case REG_RDT:
        s->rdt = val & 0xffff;
        net_flush_later(&s->nc);
        break;
    case REG_RDTR:
        s->rdtr = val & 0xffff;
        if (val >> 31) { /* FPD */
            e1000_rx_flush_timer(s);
        }
        break;
    case REG_TCTL:
        s->tctl = val;
        e1000_tx_kick(s);
        break;
    case REG_TDT:
        s->tdt = val & 0xffff;
        e1000_tx_doorbell(s);
        break;
    case REG_RA + 4: s->ra[1] = val & 0x8003ffff; break;
    default: return false;
    }
    return true;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    E1000 *s = opaque;
    uint32_t at = old_address((uint32_t)offset);
    (void)size;
    if (write_special(s, at, (uint32_t)val)) {
        return;
    }
    uint32_t *entry = table_entry(s, at);
    const Register *r = entry ? NULL : find_register(at);
    if (entry) {
        *entry = (uint32_t)val;
    } else if (r) {
        *field_of(s, r) = (*field_of(s, r) & ~r->mask) | ((uint32_t)val & r->mask);
    } else if (at < REG_STATS || at >= REG_STATS + 4 * NR_STATS) {
        log_unimp("e1000: write of register %#x", at);
    }
}

static const RegionOps mmio_ops = { mmio_read, mmio_write, .sizes = 4 };

/* The window of I/O ports: an address, then data (8254x 13.2.2). */
static uint64_t io_read(void *opaque, uint64_t offset, unsigned size)
{
    E1000 *s = opaque;
    switch (offset) {
    case IO_ADDR: return s->ioaddr;
    case IO_DATA: return s->ioaddr < MMIO_SIZE ? mmio_read(s, s->ioaddr & ~3u, size) : 0;
    default: return 0;
    }
}

static void io_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    E1000 *s = opaque;
    if (offset == IO_ADDR) {
        s->ioaddr = (uint32_t)val;
    } else if (offset == IO_DATA && s->ioaddr < MMIO_SIZE) {
        mmio_write(s, s->ioaddr & ~3u, val, size);
    }
}

static const RegionOps io_ops = { io_read, io_write, .sizes = 4 };

/* ---- the network's side ---- */

static void link_changed(NetClient *nc)
{
    E1000 *s = container_of(nc, E1000, nc);
    uint32_t before = s->status;
    e1000_update_link(s);
    if ((s->status ^ before) & STATUS_LU) {
        e1000_interrupt(s, ICR_LSC);
    }
}

static void resume(NetClient *nc)
{
    e1000_tx_kick(container_of(nc, E1000, nc));
}

static const NetClientInfo e1000_net_info = {
    .type = "nic",
    .is_nic = true,
    .can_receive = e1000_can_receive,
    .receive = e1000_receive,
    .resume = resume,
    .link_changed = link_changed,
};

/* ---- the device ---- */

static bool e1000_realize(Device *dev, Error **errp)
{
    E1000 *s = container_of(dev, E1000, pci.dev);
    if (!nic_realize(&s->nc, 1, &e1000_net_info, &s->pci, s->netdev, s->mac, s->bootindex, errp)) {
        return false;
    }
    timer_init(&s->itr_timer, itr_over, s);
    timer_init(&s->rx_timer, e1000_rx_timer, s);
    timer_init(&s->tx_timer, e1000_tx_timer, s);
    timer_init(&s->autoneg, e1000_autoneg_done, s);
    bh_init(&s->tx_bh, e1000_tx_run, s);
    region_init_io(&s->mmio, dev, &mmio_ops, s, MMIO_SIZE);
    region_init_io(&s->io, dev, &io_ops, s, IO_SIZE);
    pci_register_bar(&s->pci, 0, 0, &s->mmio);
    pci_register_bar(&s->pci, 1, PCI_BAR_IO, &s->io);
    e1000_eeprom_fill(s);
    return true;
}

static void e1000_unrealize(Device *dev)
{
    E1000 *s = container_of(dev, E1000, pci.dev);
    nic_unrealize(&s->nc, 1, s->mac);
}

static void e1000_reset(Device *dev)
{
    E1000 *s = container_of(dev, E1000, pci.dev);
    bh_cancel(&s->tx_bh);
    e1000_phy_reset(s);
    load_address(s);
}

static void e1000_refresh(Device *dev)
{
    E1000 *s = container_of(dev, E1000, pci.dev);
    e1000_update_link(s);
    update_irq(s);
    e1000_tx_kick(s);
    net_flush_later(&s->nc);
}

static void config_write(PciDevice *pci, unsigned reg, uint32_t val, unsigned size)
{
    E1000 *s = container_of(pci, E1000, pci);
    pci_default_config_write(pci, reg, val, size);
    if (reg <= PCI_COMMAND && reg + size > PCI_COMMAND) {
        e1000_tx_kick(s); /* it may be a bus master now */
        net_flush_later(&s->nc);
    }
}

static const PciInfo e1000_info = {
    .vendor = 0x8086,
    .device = 0x100e,
    .revision = 3,
    .class_code = 0x020000,
    .intx_pin = 1,
    .romfile = "pxe-e1000.rom",
    .rom_optional = true,
    .config_write = config_write,
};

static const Property e1000_props[] = {
    PROP_MAC("mac", E1000, mac, .help = "52:54:00:12:34:56 and up if not given"),
    PROP_STR("netdev", E1000, netdev, .help = "id of the -netdev it is connected to"),
    PROP_I32("bootindex", E1000, bootindex, .def = (uint64_t)-1, .min = (uint64_t)-1,
             .max = INT32_MAX, .help = "place in the boot order, 0 is first"),
    PROP_END,
};

static const StateField context_state[] = {
    STATE_U8(E1000Context, ipcss), STATE_U8(E1000Context, ipcso), STATE_U16(E1000Context, ipcse),
    STATE_U8(E1000Context, tucss), STATE_U8(E1000Context, tucso), STATE_U16(E1000Context, tucse),
    STATE_U8(E1000Context, tucmd), STATE_U8(E1000Context, hdrlen), STATE_U16(E1000Context, mss),
    STATE_END,
};

static const StateField wire_state[] = {
    STATE_U16(Microwire, in),
    STATE_U8(Microwire, nr_in, .max = 8),
    STATE_BOOL(Microwire, reading),
    STATE_U16(Microwire, out),
    STATE_U8(Microwire, nr_out, .max = 16),
    STATE_U8(Microwire, address, .max = EEPROM_WORDS - 1),
    STATE_END,
};

/* Also what CTRL.RST resets. Values: 8254x 13.4. */
static const StateField e1000_mac_state[] = {
    STATE_U32(E1000, ctrl, .reset = CTRL_FD | CTRL_SPEED_1000),
    STATE_U32(E1000, status, .reset = STATUS_FD | STATUS_SPEED_1000 | STATUS_ASDV_1000),
    STATE_U32(E1000, eecd), STATE_U32(E1000, eerd), STATE_U32(E1000, ctrl_ext),
    STATE_U32(E1000, mdic), STATE_U32(E1000, fcal), STATE_U32(E1000, fcah),
    STATE_U32(E1000, fct), STATE_U32(E1000, vet, .reset = 0x8100), STATE_U32(E1000, icr),
    STATE_U32(E1000, itr), STATE_U32(E1000, ims), STATE_U32(E1000, rctl),
    STATE_U32(E1000, fcttv), STATE_U32(E1000, txcw), STATE_U32(E1000, rxcw),
    STATE_U32(E1000, tctl), STATE_U32(E1000, tipg), STATE_U32(E1000, ait),
    STATE_U32(E1000, ledctl, .reset = 0x07068302), STATE_U32(E1000, pba, .reset = 0x00100030),
    STATE_U32(E1000, fcrtl), STATE_U32(E1000, fcrth), STATE_U32(E1000, rdbal),
    STATE_U32(E1000, rdbah), STATE_U32(E1000, rdlen, .mask = 0x000fff80), STATE_U32(E1000, rdh),
    STATE_U32(E1000, rdt), STATE_U32(E1000, rdtr), STATE_U32(E1000, rxdctl),
    STATE_U32(E1000, radv), STATE_U32(E1000, rsrpd), STATE_U32(E1000, tdbal),
    STATE_U32(E1000, tdbah), STATE_U32(E1000, tdlen, .mask = 0x000fff80), STATE_U32(E1000, tdh),
    STATE_U32(E1000, tdt), STATE_U32(E1000, tidv), STATE_U32(E1000, txdctl),
    STATE_U32(E1000, tadv), STATE_U32(E1000, tspmt), STATE_U32(E1000, rxcsum),
    STATE_U32(E1000, wuc), STATE_U32(E1000, wufc), STATE_U32(E1000, wus), STATE_U32(E1000, manc),
    STATE_U32S(E1000, stat), STATE_U32S(E1000, mta), STATE_U32S(E1000, ra),
    STATE_U32S(E1000, vfta), STATE_STRUCT(E1000, wire, Microwire, wire_state),
    STATE_STRUCT(E1000, tcp, E1000Context, context_state),
    STATE_STRUCT(E1000, plain, E1000Context, context_state),
    STATE_BOOL(E1000, tx_dropping), STATE_U64(E1000, last_irq_ns), STATE_U64(E1000, rx_first_ns),
    STATE_U64(E1000, tx_first_ns), STATE_TIMER(E1000, itr_timer), STATE_TIMER(E1000, rx_timer),
    STATE_TIMER(E1000, tx_timer),
    STATE_END,
};

static const StateField e1000_state[] = {
    { .name = "mac", .kind = STATE_KIND_STRUCT, .count = 1, .size = sizeof(E1000),
      .fields = e1000_mac_state },
    STATE_U32(E1000, ioaddr),
    STATE_U16S(E1000, phy),
    STATE_U16S(E1000, eeprom, .keep = true),
    STATE_TIMER(E1000, autoneg),
    STATE_END,
};

static const char *const e1000_aliases[] = { "e1000-82540em", NULL };

DEVICE_TYPE(e1000) = {
    PCI_DEVICE_INFO("e1000", E1000, "Intel 82540EM gigabit Ethernet", &e1000_info),
    .props = e1000_props,
    .state = e1000_state,
    .state_version = 1,
    .realize = e1000_realize,
    .unrealize = e1000_unrealize,
    .reset = e1000_reset,
    .refresh = e1000_refresh,
    .aliases = e1000_aliases,
};

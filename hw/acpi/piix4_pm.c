/* SPDX-License-Identifier: GPL-2.0-or-later
 * Power management of the 82371AB (PIIX4 data sheet chapters 7 and 11): ACPI fixed registers, the
 * APM ports, SMBus host controller, plus a GPE block where QEMU's pc has it. Left out: device
 * monitors and traps (their registers are only storage), S1 and S3 (the sleep returns at once),
 * devices on the SMBus.
 */
#include "hw/acpi/piix4_pm.h"

#include "cpu/state.h"
#include "hw/core/machine.h"
#include "hw/pci/pci.h"
#include "util/timer.h"

/* Configuration space */
enum { CFG_PMBA = 0x40, CFG_DEVACTB3 = 0x5b /* byte 3 of DEVACTB */, CFG_PMREGMISC = 0x80,
       CFG_SMBBA = 0x90, CFG_SMBHSTCFG = 0xd2, APMC_EN = 1 << 1, PMIOSE = 1 << 0,
       SMB_HST_EN = 1 << 0 };
/* I/O from PMBA, by dword */
enum { PMSTS_PMEN = 0x00, PMCNTRL = 0x04, PMTMR = 0x08, GPSTS_GPEN = 0x0c, PCNTRL = 0x10,
       GLBEN = 0x20, GLBCTL = 0x28, DEVCTL = 0x2c, GPOREG = 0x34, PM_SIZE = 0x40 };
enum { STS_TMROF = 1 << 0, STS_GBL = 1 << 5, STS_PWRBTN = 1 << 8, STS_RTC = 1 << 10,
       STS_WAK = 1 << 15, STS_MASK = 0x8d31,
       EN_MASK = STS_TMROF | STS_GBL | STS_PWRBTN | STS_RTC };
enum { CNT_SCI_EN = 1 << 0, CNT_GBL_RLS = 1 << 2, CNT_TYP_SHIFT = 10, CNT_SUS_EN = 1 << 13,
       CNT_MASK = 0x1c03 };
enum { GLBCTL_SMI_EN = 1 << 0 };
/* I/O from SMBBA */
enum { SMBHSTSTS = 0, SMBHSTCNT = 2, SMB_SIZE = 16, HSTSTS_DEV_ERR = 1 << 2,
       HSTSTS_W1C = 0x1e, HSTCNT_START = 1 << 6 };
enum { PORT_APM = 0xb2, TIMER_HZ = 3579545, TIMER_BITS = 24 };

typedef struct Piix4Pm {
    PciDevice pci;
    bool smm_enabled; /* property */

    uint16_t pmsts, pmen, pmcntrl; /* state */
    uint16_t gpests, gpeen;
    uint8_t store[PM_SIZE]; /* registers that only remember */
    uint8_t apm[2];         /* APMC, APMS */
    uint8_t smbus[SMB_SIZE];
    uint64_t timer_seen;    /* PMTMR's half periods that TMROF has been told of */

    Timer overflow; /* derived: armed while TMROF would raise SCI */
    Irq sci;
    Region pm_io, smb_io, apm_io, gpe_io;
} Piix4Pm;

/* ---- timer, SCI ---- */

static uint64_t pm_ticks(void)
{
    return (unsigned __int128)guest_clock_ns() * TIMER_HZ / 1000000000;
}

static uint64_t ticks_to_ns(uint64_t ticks)
{
    return ((unsigned __int128)ticks * 1000000000 + TIMER_HZ - 1) / TIMER_HZ;
}

static void pm_update(void *opaque)
{
    Piix4Pm *s = opaque;
    uint64_t half = pm_ticks() >> (TIMER_BITS - 1); /* TMROF: bit 23 changes */
    if (half != s->timer_seen) {
        s->timer_seen = half;
        s->pmsts |= STS_TMROF;
    }
    timer_cancel(&s->overflow);
    if ((s->pmcntrl & CNT_SCI_EN) && (s->pmen & ~s->pmsts & STS_TMROF)) {
        timer_arm(&s->overflow, ticks_to_ns((half + 1) << (TIMER_BITS - 1)));
    }
    bool event = (s->pmsts & s->pmen & EN_MASK) || (s->gpests & s->gpeen);
    irq_set(&s->sci, event && (s->pmcntrl & CNT_SCI_EN));
}

void piix4_pm_gpe(Device *dev, unsigned bit)
{
    Piix4Pm *s = container_of(dev, Piix4Pm, pci.dev);
    s->gpests |= 1u << bit;
    pm_update(s);
}

static void press_power_button(Machine *m)
{
    list_for_each (pos, &m->devices) {
        Device *dev = container_of(pos, Device, machine_node);
        if (dev->type == &type_piix4_pm) {
            Piix4Pm *s = container_of(dev, Piix4Pm, pci.dev);
            s->pmsts |= STS_PWRBTN;
            pm_update(s);
        }
    }
}

/* SUS_TYP is the board's to define: 0 off, 1 suspend to RAM, as its ACPI tables say. */
static void enter_sleep(Piix4Pm *s, unsigned type)
{
    if (type == 0) {
        machine_request_shutdown(s->pci.dev.machine, SHUTDOWN_GUEST, 0);
        return;
    }
    log_unimp("PIIX4_PM: sleep type %u: the machine wakes up at once", type);
    s->pmsts |= STS_WAK;
}

/* ---- PM I/O, a dword at a time with its byte enables ---- */

static bool is_store(unsigned reg)
{
    return reg == PCNTRL || reg == GLBEN || reg == GLBCTL || reg == DEVCTL || reg == GPOREG;
}

static uint32_t pm_read_dword(Piix4Pm *s, unsigned reg)
{
    switch (reg) {
    case PMSTS_PMEN:
        pm_update(s);
        return s->pmsts | (uint32_t)s->pmen << 16;
    case PMCNTRL: return s->pmcntrl;
    case PMTMR: return pm_ticks() & ((1u << TIMER_BITS) - 1);
    default: return is_store(reg) ? pci_get32(&s->store[reg]) : 0;
    }
}

static void write_pmcntrl(Piix4Pm *s, uint32_t val)
{
    s->pmcntrl = val & CNT_MASK;
    if (val & CNT_SUS_EN) {
        enter_sleep(s, val >> CNT_TYP_SHIFT & 7);
    }
}

static void pm_write_dword(Piix4Pm *s, unsigned reg, uint32_t val, uint32_t bytes)
{
    switch (reg) {
    case PMSTS_PMEN:
        pm_update(s); /* what has happened up to now is what gets cleared */
        s->pmsts &= ~(val & bytes & STS_MASK);
        s->pmen = ((s->pmen & ~(bytes >> 16)) | (val & bytes) >> 16) & EN_MASK;
        break;
    case PMCNTRL: write_pmcntrl(s, (s->pmcntrl & ~bytes) | (val & bytes)); break;
    case PMTMR: return; /* read only */
    default:
        if (is_store(reg)) {
            pci_put32(&s->store[reg], (pci_get32(&s->store[reg]) & ~bytes) | (val & bytes));
        }
        return;
    }
    pm_update(s);
}

static uint32_t byte_mask(uint64_t offset, unsigned size)
{
    return (uint32_t)((1ull << size * 8) - 1) << (offset & 3) * 8;
}

static uint64_t pm_read(void *opaque, uint64_t offset, unsigned size)
{
    uint32_t val = pm_read_dword(opaque, offset & ~3ull) & byte_mask(offset, size);
    return val >> (offset & 3) * 8;
}

static void pm_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    pm_write_dword(opaque, offset & ~3ull, (uint32_t)val << (offset & 3) * 8,
                   byte_mask(offset, size));
}

/* ---- GPE block: 16 status and 16 enable bits ---- */

static uint64_t gpe_read(void *opaque, uint64_t offset, unsigned size)
{
    Piix4Pm *s = opaque;
    (void)size;
    uint16_t val = offset & 2 ? s->gpeen : s->gpests;
    return val >> (offset & 1) * 8 & 0xff;
}

static void gpe_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Piix4Pm *s = opaque;
    (void)size;
    unsigned shift = (offset & 1) * 8;
    if (offset & 2) {
        s->gpeen = (s->gpeen & ~(0xff << shift)) | val << shift;
    } else {
        s->gpests &= ~(val << shift);
    }
    pm_update(s);
}

/* ---- APM ports ---- */

static uint64_t apm_read(void *opaque, uint64_t offset, unsigned size)
{
    Piix4Pm *s = opaque;
    (void)size;
    return s->apm[offset];
}

static void apm_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Piix4Pm *s = opaque;
    Machine *m = s->pci.dev.machine;
    (void)size;
    s->apm[offset] = val;
    if (offset != 0) {
        return;
    }
    /* What the SMI handler of a real BIOS does for the FADT's ACPI_ENABLE and ACPI_DISABLE. */
    if (val == PIIX4_ACPI_ENABLE) {
        s->pmcntrl |= CNT_SCI_EN;
    } else if (val == PIIX4_ACPI_DISABLE) {
        s->pmcntrl &= ~CNT_SCI_EN;
    }
    pm_update(s);
    if (s->smm_enabled && (s->pci.config[CFG_DEVACTB3] & APMC_EN) && m->nr_cpus) {
        cpu_request(m->cpu[0], CPU_REQ_SMI);
    }
}

/* ---- SMBus: nobody answers ---- */

static uint64_t smb_read(void *opaque, uint64_t offset, unsigned size)
{
    Piix4Pm *s = opaque;
    (void)size;
    return s->smbus[offset];
}

static void smb_write(void *opaque, uint64_t offset, uint64_t val, unsigned size)
{
    Piix4Pm *s = opaque;
    (void)size;
    if (offset == SMBHSTSTS) {
        s->smbus[offset] &= ~(val & HSTSTS_W1C);
        return;
    }
    s->smbus[offset] = offset == SMBHSTCNT ? val & ~HSTCNT_START : val;
    if (offset == SMBHSTCNT && (val & HSTCNT_START)) {
        s->smbus[SMBHSTSTS] |= HSTSTS_DEV_ERR;
    }
}

static const RegionOps pm_ops = { pm_read, pm_write, .sizes = 1 | 2 | 4 };
static const RegionOps gpe_ops = { gpe_read, gpe_write, .sizes = 1 };
static const RegionOps apm_ops = { apm_read, apm_write, .sizes = 1 };
static const RegionOps smb_ops = { smb_read, smb_write, .sizes = 1 };

/* ---- configuration space ---- */

static void map_io(Piix4Pm *s)
{
    const uint8_t *config = s->pci.config;
    memory_begin();
    region_set_offset(&s->pm_io, pci_get16(&config[CFG_PMBA]) & ~(PM_SIZE - 1));
    region_set_enabled(&s->pm_io, config[CFG_PMREGMISC] & PMIOSE);
    region_set_offset(&s->smb_io, pci_get16(&config[CFG_SMBBA]) & ~(SMB_SIZE - 1));
    region_set_enabled(&s->smb_io, config[CFG_SMBHSTCFG] & SMB_HST_EN);
    memory_commit();
}

static void piix4_config_write(PciDevice *pci, unsigned reg, uint32_t val, unsigned size)
{
    Piix4Pm *s = container_of(pci, Piix4Pm, pci);
    pci_default_config_write(pci, reg, val, size);
    if (reg >= CFG_PMBA) {
        map_io(s);
    }
}

static void init_config(PciDevice *pci, bool smm)
{
    pci->config[CFG_PMBA] = 1; /* I/O */
    pci->wmask[CFG_PMBA] = 0xc0;
    pci->wmask[CFG_PMBA + 1] = 0xff;
    for (unsigned reg = 0x44; reg < 0x80; reg++) {
        pci->wmask[reg] = 0xff; /* CNTA to DEVRESJ: storage */
    }
    pci->wmask[CFG_PMREGMISC] = PMIOSE;
    pci->config[CFG_SMBBA] = 1;
    pci->wmask[CFG_SMBBA] = 0xf0;
    pci->wmask[CFG_SMBBA + 1] = 0xff;
    pci->wmask[CFG_SMBHSTCFG] = 0x0f;
    if (!smm) {
        /* SeaBIOS takes this bit for "somebody set up SMM already" and leaves it alone. */
        pci->config[CFG_DEVACTB3] |= APMC_EN;
    }
}

static bool piix4_pm_realize(Device *dev, Error **errp)
{
    Piix4Pm *s = container_of(dev, Piix4Pm, pci.dev);
    Region *ports = pci_bus(&s->pci)->io_root;
    (void)errp;
    init_config(&s->pci, s->smm_enabled);
    timer_init(&s->overflow, pm_update, s);
    device_init_irq_out(dev, &s->sci, 1);
    region_init_io(&s->pm_io, dev, &pm_ops, s, PM_SIZE);
    region_init_io(&s->smb_io, dev, &smb_ops, s, SMB_SIZE);
    region_init_io(&s->apm_io, dev, &apm_ops, s, 2);
    region_init_io(&s->gpe_io, dev, &gpe_ops, s, 4);
    s->pm_io.name = "piix4-pm";
    s->smb_io.name = "piix4-smbus";
    s->apm_io.name = "piix4-apm";
    s->gpe_io.name = "piix4-gpe";
    region_set_enabled(&s->pm_io, false);
    region_set_enabled(&s->smb_io, false);
    region_add(ports, 0, &s->pm_io, 1);
    region_add(ports, 0, &s->smb_io, 1);
    region_add(ports, PORT_APM, &s->apm_io, 0);
    region_add(ports, PIIX4_GPE_BASE, &s->gpe_io, 0);
    dev->machine->powerdown = press_power_button;
    return true;
}

static void piix4_pm_reset(Device *dev)
{
    Piix4Pm *s = container_of(dev, Piix4Pm, pci.dev);
    s->timer_seen = pm_ticks() >> (TIMER_BITS - 1);
}

static void piix4_pm_refresh(Device *dev)
{
    Piix4Pm *s = container_of(dev, Piix4Pm, pci.dev);
    map_io(s);
    pm_update(s);
}

static const PciInfo piix4_pm_info = {
    .vendor = 0x8086,
    .device = 0x7113,
    .revision = 3,
    .class_code = 0x068000,
    .intx_pin = 1,
    .config_write = piix4_config_write,
};

static const Property piix4_pm_props[] = {
    PROP_BOOL("smm-enabled", Piix4Pm, smm_enabled,
              .help = "writes to the APM port raise SMIs"),
    PROP_END,
};

static const StateField piix4_pm_state[] = {
    STATE_U16(Piix4Pm, pmsts, .mask = STS_MASK),
    STATE_U16(Piix4Pm, pmen, .mask = EN_MASK),
    STATE_U16(Piix4Pm, pmcntrl, .mask = CNT_MASK),
    STATE_U16(Piix4Pm, gpests),
    STATE_U16(Piix4Pm, gpeen),
    STATE_U8S(Piix4Pm, store),
    STATE_U8S(Piix4Pm, apm),
    STATE_U8S(Piix4Pm, smbus),
    STATE_U64(Piix4Pm, timer_seen),
    STATE_END,
};

DEVICE_TYPE(piix4_pm) = {
    PCI_DEVICE_INFO("PIIX4_PM", Piix4Pm, "PIIX4 power management", &piix4_pm_info),
    .props = piix4_pm_props,
    .state = piix4_pm_state,
    .state_version = 1,
    .realize = piix4_pm_realize,
    .reset = piix4_pm_reset,
    .refresh = piix4_pm_refresh,
    .internal = true,
};

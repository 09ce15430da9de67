/* SPDX-License-Identifier: GPL-2.0-or-later
 * e1000: what its files share. Registers and bits have the names of Intel's PCI/PCI-X Family of
 * Gigabit Ethernet Controllers Software Developer's Manual, revision 4.0 (8254x).
 */
#ifndef HW_NET_E1000_H
#define HW_NET_E1000_H

#include "hw/pci/pci.h"
#include "net/net.h"
#include "util/main_loop.h"

enum { /* 8254x 13.2, offsets */
    REG_CTRL = 0x0000, REG_STATUS = 0x0008, REG_EECD = 0x0010, REG_EERD = 0x0014,
    REG_CTRL_EXT = 0x0018, REG_MDIC = 0x0020, REG_FCAL = 0x0028, REG_FCAH = 0x002c,
    REG_FCT = 0x0030, REG_VET = 0x0038, REG_ICR = 0x00c0, REG_ITR = 0x00c4, REG_ICS = 0x00c8,
    REG_IMS = 0x00d0, REG_IMC = 0x00d8, REG_RCTL = 0x0100, REG_FCTTV = 0x0170, REG_TXCW = 0x0178,
    REG_RXCW = 0x0180, REG_TCTL = 0x0400, REG_TIPG = 0x0410, REG_AIT = 0x0458, REG_LEDCTL = 0x0e00,
    REG_PBA = 0x1000, REG_FCRTL = 0x2160, REG_FCRTH = 0x2168, REG_RDBAL = 0x2800,
    REG_RDBAH = 0x2804, REG_RDLEN = 0x2808, REG_RDH = 0x2810, REG_RDT = 0x2818, REG_RDTR = 0x2820,
    REG_RXDCTL = 0x2828, REG_RADV = 0x282c, REG_RSRPD = 0x2c00, REG_TDBAL = 0x3800,
    REG_TDBAH = 0x3804, REG_TDLEN = 0x3808, REG_TDH = 0x3810, REG_TDT = 0x3818, REG_TIDV = 0x3820,
    REG_TXDCTL = 0x3828, REG_TADV = 0x382c, REG_TSPMT = 0x3830, REG_STATS = 0x4000,
    REG_RXCSUM = 0x5000, REG_MTA = 0x5200, REG_RA = 0x5400, REG_VFTA = 0x5600, REG_WUC = 0x5800,
    REG_WUFC = 0x5808, REG_WUS = 0x5810, REG_MANC = 0x5820,
    /* old names of the 82542 that drivers may still use */
    REG_PBM = 0x10000,
};

enum { CTRL_FD = 1 << 0, CTRL_ASDE = 1 << 5, CTRL_SLU = 1 << 6, CTRL_SPEED_1000 = 2 << 8,
       CTRL_RST = 1 << 26, CTRL_VME = 1 << 30 };
#define CTRL_PHY_RST (1u << 31)
enum { STATUS_FD = 1 << 0, STATUS_LU = 1 << 1, STATUS_SPEED_1000 = 2 << 6, STATUS_ASDV_1000 = 2 << 8 };
enum { ICR_TXDW = 1 << 0, ICR_TXQE = 1 << 1, ICR_LSC = 1 << 2, ICR_RXDMT0 = 1 << 4, ICR_RXO = 1 << 6,
       ICR_RXT0 = 1 << 7, ICR_MDAC = 1 << 9, ICR_TXD_LOW = 1 << 15, ICR_SRPD = 1 << 16,
       ICR_ALL = 0x1f6df };
enum { RCTL_EN = 1 << 1, RCTL_UPE = 1 << 3, RCTL_MPE = 1 << 4, RCTL_LPE = 1 << 5, RCTL_LBM = 3 << 6,
       RCTL_RDMTS = 3 << 8, RCTL_MO = 3 << 12, RCTL_BAM = 1 << 15, RCTL_BSIZE = 3 << 16,
       RCTL_VFE = 1 << 18, RCTL_BSEX = 1 << 25, RCTL_SECRC = 1 << 26 };
enum { TCTL_EN = 1 << 1 };

/* Statistics, 8254x 13.7: dwords from 4000h on. Reading clears. */
enum { STAT_MPC = 4, STAT_PRC64 = 23, STAT_GPRC = 29, STAT_BPRC = 30, STAT_MPRC = 31, STAT_GPTC = 32,
       STAT_GORCL = 34, STAT_GOTCL = 36, STAT_RNBC = 40, STAT_RUC = 41, STAT_ROC = 43,
       STAT_TORL = 48, STAT_TOTL = 50, STAT_TPR = 52, STAT_TPT = 53, STAT_PTC64 = 54,
       STAT_MPTC = 60, STAT_BPTC = 61, STAT_TSCTC = 62, NR_STATS = 64 };

enum { NR_PHY_REGS = 32, EEPROM_WORDS = 64, NR_RA = 32, NR_MTA = 128, NR_VFTA = 128, DESC_SIZE = 16,
       E1000_MAX_FRAME = 16384, VLAN_SIZE = 4, MIN_FRAME = 60 };

/* What a context descriptor left behind, 8254x 3.3.6. */
typedef struct E1000Context {
    uint8_t ipcss, ipcso, tucss, tucso, tucmd, hdrlen;
    uint16_t ipcse, tucse, mss;
} E1000Context;

/* The serial wires to the EEPROM, 8254x 5.3. */
typedef struct Microwire {
    uint16_t in;     /* bits shifted in since the chip was selected */
    uint8_t nr_in;
    bool reading;
    uint16_t out;    /* shifted out, high bit first */
    uint8_t nr_out;
    uint8_t address;
} Microwire;

typedef struct E1000 {
    PciDevice pci;
    char *netdev; /* properties */
    uint8_t mac[ETH_ALEN];
    int32_t bootindex;
    /* registers */
    uint32_t ctrl, status, eecd, eerd, ctrl_ext, mdic, fcal, fcah, fct, vet, icr, itr, ims, rctl,
        fcttv, txcw, rxcw, tctl, tipg, ait, ledctl, pba, fcrtl, fcrth, rdbal, rdbah, rdlen, rdh,
        rdt, rdtr, rxdctl, radv, rsrpd, tdbal, tdbah, tdlen, tdh, tdt, tidv, txdctl, tadv, tspmt,
        rxcsum, wuc, wufc, wus, manc;
    uint32_t stat[NR_STATS], mta[NR_MTA], ra[NR_RA], vfta[NR_VFTA];
    uint32_t ioaddr;
    uint16_t phy[NR_PHY_REGS], eeprom[EEPROM_WORDS];
    Microwire wire;
    E1000Context tcp, plain; /* for segmentation and for others, 8254x 3.3.5 */
    bool tx_dropping;        /* until the end of the packet */
    uint64_t last_irq_ns;
    uint64_t rx_first_ns, tx_first_ns; /* of the interrupts that are delayed */
    Timer itr_timer, rx_timer, tx_timer, autoneg;
    /* wiring */
    Region mmio, io;
    NetClient nc;
    BottomHalf tx_bh;
    uint8_t tx_frame[VLAN_SIZE + NET_MAX_PACKET]; /* begins at VLAN_SIZE */
    uint8_t rx_frame[E1000_MAX_FRAME + VLAN_SIZE];
} E1000;

/* e1000.c */
void e1000_interrupt(E1000 *s, uint32_t causes);
void e1000_count(E1000 *s, unsigned stat, uint32_t n);
void e1000_count64(E1000 *s, unsigned stat, uint64_t n); /* the low dword's number */
/* Which of the six size classes a frame of len bytes (without FCS) is counted in. */
unsigned e1000_size_class(size_t len);

/* e1000_tx.c */
void e1000_tx_kick(E1000 *s);  /* there may be something to send */
void e1000_tx_doorbell(E1000 *s); /* the guest says so */
void e1000_tx_run(void *s);    /* the bottom half */
void e1000_tx_timer(void *s);

/* e1000_rx.c */
bool e1000_can_receive(NetClient *nc);
bool e1000_receive(NetClient *nc, const NetPacket *p);
void e1000_rx_timer(void *s);
void e1000_rx_flush_timer(E1000 *s); /* RDTR.FPD */

/* e1000_eeprom.c */
void e1000_eeprom_fill(E1000 *s);
uint32_t e1000_eecd_read(E1000 *s);
void e1000_eecd_write(E1000 *s, uint32_t val);
void e1000_eerd_write(E1000 *s, uint32_t val);

/* e1000_phy.c */
void e1000_phy_reset(E1000 *s);
void e1000_mdic_write(E1000 *s, uint32_t val);
void e1000_autoneg_done(void *s);
void e1000_update_link(E1000 *s); /* STATUS and the PHY from the cable and the negotiation */
bool e1000_phy_loops(const E1000 *s);

#endif

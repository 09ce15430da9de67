/* SPDX-License-Identifier: GPL-2.0-or-later
 * e1000: the PHY inside, seen through MDIC: IEEE 802.3 clause 22 registers and those of the
 * M88E1000 (8254x 13.4.9, 13.5). Its other end always agrees on 1000 Mbit/s, full duplex. Cable
 * tests, LEDs and its own interrupts are left out.
 */
#include "hw/net/e1000.h"

#include <string.h>

enum {
    MDIC_DATA = 0xffff,
    MDIC_REG_SHIFT = 16,
    MDIC_PHY_SHIFT = 21,
    MDIC_OP_WRITE = 1 << 26,
    MDIC_OP_READ = 2 << 26,
    MDIC_OP = 3 << 26,
    MDIC_READY = 1 << 28,
    MDIC_INT = 1 << 29,
    MDIC_ERROR = 1 << 30,
    PHY_ADDRESS = 1
};
enum {
    PHY_CTRL = 0,
    PHY_STATUS = 1,
    PHY_ID1 = 2,
    PHY_ID2 = 3,
    PHY_ADVERTISE = 4,
    PHY_PARTNER = 5,
    PHY_EXPANSION = 6,
    PHY_NEXT_PAGE = 7,
    PHY_1000T_CTRL = 9,
    PHY_1000T_STATUS = 10,
    PHY_EXT_STATUS = 15,
    M88_CTRL = 16,
    M88_STATUS = 17,
    M88_INT_ENABLE = 18,
    M88_EXT_CTRL = 20,
    M88_LED = 24
};
enum {
    CTRL_RESET = 1 << 15,
    CTRL_LOOPBACK = 1 << 14,
    CTRL_AUTONEG = 1 << 12,
    CTRL_POWER_DOWN = 1 << 11,
    CTRL_RESTART = 1 << 9
};
enum { PHY_STATUS_LINK = 1 << 2, PHY_STATUS_NEGOTIATED = 1 << 5 };
enum { M88_STATUS_LINK = 1 << 10, M88_STATUS_RESOLVED = 1 << 11 };
enum { AUTONEG_NS = 20000000 };

static const uint16_t power_on[NR_PHY_REGS] = {
    [PHY_CTRL] = 0x1140,   /* autonegotiation, full duplex, 1000 Mbit/s */
    [PHY_STATUS] = 0x7949, /* can do all of 10 and 100, has an extended status */
    [PHY_ID1] = 0x0141,
    [PHY_ID2] = 0x0c20,
    [PHY_ADVERTISE] = 0x0de1,
    [PHY_PARTNER] = 0xcde1,
    [PHY_EXPANSION] = 0x0001,
    [PHY_NEXT_PAGE] = 0x2001,
    [PHY_1000T_CTRL] = 0x0e00,
    [PHY_1000T_STATUS] = 0x3c00, /* receivers fine, the partner does 1000 in both duplex modes */
    [PHY_EXT_STATUS] = 0x3000,
    [M88_CTRL] = 0x0068,
    [M88_STATUS] = 0xa004, /* 1000, full duplex */
    [M88_EXT_CTRL] = 0x0d60,
    [M88_LED] = 0x4100,
};

static const uint16_t writable[NR_PHY_REGS] = {
    [PHY_CTRL] = 0x7dc0,
    [PHY_ADVERTISE] = 0xafff,
    [PHY_NEXT_PAGE] = 0xb7ff,
    [PHY_1000T_CTRL] = 0xff00,
    [M88_CTRL] = 0xffff,
    [M88_INT_ENABLE] = 0xffff,
    [M88_EXT_CTRL] = 0xffff,
    [M88_LED] = 0xffff,
    [29] = 0xffff,
    [30] = 0xffff,
};

void e1000_update_link(E1000 *s)
{
    bool up =
        !s->nc.link_down && !timer_armed(&s->autoneg) && !(s->phy[PHY_CTRL] & CTRL_POWER_DOWN);
    if (up) {
        s->status |= STATUS_LU;
        s->phy[PHY_STATUS] |= PHY_STATUS_LINK | PHY_STATUS_NEGOTIATED;
        s->phy[M88_STATUS] |= M88_STATUS_LINK | M88_STATUS_RESOLVED;
    } else {
        s->status &= ~(uint32_t)STATUS_LU;
        s->phy[PHY_STATUS] &= (uint16_t) ~(PHY_STATUS_LINK | PHY_STATUS_NEGOTIATED);
        s->phy[M88_STATUS] &= (uint16_t) ~(M88_STATUS_LINK | M88_STATUS_RESOLVED);
    }
}

void e1000_phy_reset(E1000 *s)
{
    memcpy(s->phy, power_on, sizeof(s->phy));
    e1000_update_link(s);
}

bool e1000_phy_loops(const E1000 *s)
{
    return s->phy[PHY_CTRL] & CTRL_LOOPBACK;
}

void e1000_autoneg_done(void *opaque)
{
    E1000 *s = opaque;
    uint32_t before = s->status;
    e1000_update_link(s);
    if ((s->status ^ before) & STATUS_LU) {
        e1000_interrupt(s, ICR_LSC);
        net_flush(&s->nc);
    }
}

/* The link goes down while both ends talk, and comes back with an interrupt. */
static void negotiate(E1000 *s)
{
    timer_arm(&s->autoneg, guest_clock_ns() + AUTONEG_NS);
    e1000_update_link(s);
}

static void phy_write(E1000 *s, unsigned reg, uint16_t val)
{
    s->phy[reg] = (uint16_t)((s->phy[reg] & ~writable[reg]) | (val & writable[reg]));
    if (reg != PHY_CTRL) {
        return;
    }
    bool restart = val & CTRL_RESTART && val & CTRL_AUTONEG;
    if (val & CTRL_RESET) {
        e1000_phy_reset(s);
        restart = true;
    }
    if (restart) {
        negotiate(s);
    } else {
        e1000_update_link(s);
    }
}

void e1000_mdic_write(E1000 *s, uint32_t val)
{
    unsigned reg = val >> MDIC_REG_SHIFT & 31, phy = val >> MDIC_PHY_SHIFT & 31;
    uint32_t op = val & MDIC_OP, result = val & ~(uint32_t)(MDIC_READY | MDIC_ERROR);
    if (phy != PHY_ADDRESS) {
        result |= MDIC_ERROR;
    } else if (op == MDIC_OP_READ) {
        result = (result & ~(uint32_t)MDIC_DATA) | s->phy[reg];
    } else if (op == MDIC_OP_WRITE) {
        phy_write(s, reg, val & MDIC_DATA);
    }
    s->mdic = result | MDIC_READY;
    if (val & MDIC_INT) {
        e1000_interrupt(s, ICR_MDAC);
    }
}

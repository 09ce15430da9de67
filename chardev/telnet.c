/* SPDX-License-Identifier: GPL-2.0-or-later
 * Telnet commands (RFC 854, options: RFC 856 to 858).
 *
 *   data --IAC--> command --WILL/WONT/DO/DONT--> option --any--> data
 *                    |----SB----> sub --IAC--> sub_command --SE--> data
 *                    |----IAC---> a data byte 255
 *                    '----others: two-byte commands
 */
#include "chardev/telnet.h"

enum { SE = 240, BREAK = 243, SB = 250, WILL = 251, DO = 253, DONT = 254, IAC = 255 };
enum { OPT_BINARY = 0, OPT_ECHO = 1, OPT_SGA = 3 };
enum { TELNET_DATA, TELNET_COMMAND, TELNET_OPTION, TELNET_SUB, TELNET_SUB_COMMAND };

const uint8_t telnet_greeting[12] = {
    IAC, WILL, OPT_ECHO, IAC, WILL, OPT_SGA, IAC, WILL, OPT_BINARY, IAC, DO, OPT_BINARY,
};

size_t telnet_filter(TelnetState *t, uint8_t *buf, size_t len, unsigned *breaks)
{
    size_t out = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = buf[i];
        switch (t->phase) {
        case TELNET_DATA:
            if (c == IAC) {
                t->phase = TELNET_COMMAND;
            } else {
                buf[out++] = c;
            }
            break;
        case TELNET_COMMAND:
            t->phase = c == SB ? TELNET_SUB : c >= WILL && c <= DONT ? TELNET_OPTION : TELNET_DATA;
            if (c == IAC) {
                buf[out++] = c;
            } else if (c == BREAK) {
                (*breaks)++;
            }
            break;
        case TELNET_OPTION: t->phase = TELNET_DATA; break;
        case TELNET_SUB: t->phase = c == IAC ? TELNET_SUB_COMMAND : TELNET_SUB; break;
        default: t->phase = c == SE ? TELNET_DATA : TELNET_SUB;
        }
    }
    return out;
}

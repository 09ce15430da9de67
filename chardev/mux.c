/* SPDX-License-Identifier: GPL-2.0-or-later
 * The multiplexer (mux=on, mon:stdio): several front ends on one stream. Output of all goes out;
 * input goes to the one with the focus. Ctrl-A (or what -echr says) starts a command:
 *
 *   Ctrl-A c  the next front end     Ctrl-A x  quit       Ctrl-A h  this list
 *   Ctrl-A b  send a break           Ctrl-A t  time stamps on lines
 *   Ctrl-A s  save disk data         Ctrl-A Ctrl-A  sends Ctrl-A itself
 *
 * Input is taken even while the front end with the focus has no room, so that Ctrl-A x works on a
 * guest that hangs: up to INPUT_MAX bytes wait here.
 */
#include <stdio.h>
#include <string.h>

#include "chardev/backend.h"
#include "util/timer.h"

enum { INPUT_MAX = 64 * 1024 };

typedef struct MuxPort {
    CharFrontend *fe;
    ByteQueue input;
    List node;
} MuxPort;

typedef struct MuxChardev {
    Chardev chr;
    CharFrontend base; /* our end of the stream below */
    List ports;        /* MuxPort, in order of attachment */
    MuxPort *focus;
    bool escaped;      /* the escape character was the last one */
    bool stamps, line_start;
    uint64_t start_ns;
} MuxChardev;

static uint8_t escape_char = 1;
static void (*save_hook)(void *opaque);
static void *save_opaque;

void chardev_set_escape(uint8_t c)
{
    escape_char = c;
}

void chardev_set_save_hook(void (*fn)(void *opaque), void *opaque)
{
    save_hook = fn;
    save_opaque = opaque;
}

/* ---- input ---- */

static void deliver(MuxChardev *s, MuxPort *p)
{
    CharFrontend *fe = p->fe;
    size_t room;
    while (p->input.len && fe->can_receive && (room = fe->can_receive(fe->opaque)) > 0) {
        uint8_t buf[256];
        size_t n = MIN(MIN(room, p->input.len), sizeof(buf));
        memcpy(buf, byte_queue_peek(&p->input), n); /* receive() may lead back here */
        byte_queue_drop(&p->input, n);
        fe->receive(fe->opaque, buf, n);
        if (fe->chr != &s->chr) {
            return; /* it left, and p with it */
        }
    }
}

static void set_focus(MuxChardev *s, MuxPort *p)
{
    if (s->focus == p) {
        return;
    }
    if (s->focus && s->focus->fe->event) {
        s->focus->fe->event(s->focus->fe->opaque, CHAR_FOCUS_OUT);
    }
    s->focus = p;
    if (p && p->fe->event) {
        p->fe->event(p->fe->opaque, CHAR_FOCUS_IN);
    }
}

static void say(MuxChardev *s, const char *text)
{
    char_write_all(&s->base, text, strlen(text));
}

static void print_help(MuxChardev *s)
{
    char key[16], line[96];
    if (escape_char > 0 && escape_char < 27) {
        snprintf(key, sizeof(key), "C-%c", escape_char - 1 + 'a');
    } else {
        snprintf(key, sizeof(key), "0x%02x", escape_char);
    }
    static const char *const help[][2] = {
        { "h", "print this help" },
        { "x", "exit emulator" },
        { "s", "save disk data back to file (if -snapshot)" },
        { "t", "toggle console timestamps" },
        { "b", "send break (magic sysrq)" },
        { "c", "switch between console and monitor" },
    };
    say(s, "\r\n");
    for (size_t i = 0; i < ARRAY_SIZE(help); i++) {
        snprintf(line, sizeof(line), "%s %s    %s\r\n", key, help[i][0], help[i][1]);
        say(s, line);
    }
    snprintf(line, sizeof(line), "%s %s  sends %s\r\n", key, key, key);
    say(s, line);
}

static void command(MuxChardev *s, uint8_t c)
{
    switch (c) {
    case 'h':
    case '?': print_help(s); break;
    case 'x':
        say(s, "vireo: Terminated\r\n");
        main_loop_quit(0);
        break;
    case 's':
        if (save_hook) {
            save_hook(save_opaque);
        } else {
            say(s, "\r\nvireo: there is nothing to save to: disks are not snapshots\r\n");
        }
        break;
    case 't':
        s->stamps = !s->stamps;
        s->start_ns = host_clock_ns();
        s->line_start = false;
        break;
    case 'b':
        if (s->focus && s->focus->fe->event) {
            s->focus->fe->event(s->focus->fe->opaque, CHAR_BREAK);
        }
        break;
    case 'c':
        if (s->focus) {
            List *next = s->focus->node.next;
            next = next == &s->ports ? next->next : next;
            set_focus(s, container_of(next, MuxPort, node));
        }
        break;
    default: break; /* an unknown one is dropped, as people mistype */
    }
}

static size_t mux_can_receive(void *opaque)
{
    MuxChardev *s = opaque;
    return s->focus ? INPUT_MAX - s->focus->input.len : 1;
}

static void mux_receive(void *opaque, const uint8_t *buf, size_t len)
{
    MuxChardev *s = opaque;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = buf[i];
        if (s->escaped) {
            s->escaped = false;
            if (c != escape_char) {
                command(s, c);
                continue;
            }
        } else if (c == escape_char) {
            s->escaped = true;
            continue;
        }
        /* Delivered now: a later command may turn the focus. */
        if (s->focus) {
            byte_queue_push(&s->focus->input, &c, 1);
            deliver(s, s->focus);
        }
    }
}

static void mux_event(void *opaque, CharEvent event)
{
    MuxChardev *s = opaque;
    if (event == CHAR_BREAK) {
        command(s, 'b');
    } else {
        chr_event(&s->chr, event);
    }
}

static void mux_accept_input(Chardev *chr)
{
    MuxChardev *s = container_of(chr, MuxChardev, chr);
    list_for_each_safe(pos, &s->ports) {
        deliver(s, container_of(pos, MuxPort, node));
    }
    char_accept_input(&s->base);
}

/* ---- output ---- */

static void base_writable(void *opaque)
{
    chr_writable(opaque);
}

/* The time since Ctrl-A t, in front of every line. */
static void put_stamp(MuxChardev *s)
{
    uint64_t ms = (host_clock_ns() - s->start_ns) / 1000000;
    char text[32];
    int len = snprintf(text, sizeof(text), "[%02u:%02u:%02u.%03u] ", (unsigned)(ms / 3600000),
                       (unsigned)(ms / 60000 % 60), (unsigned)(ms / 1000 % 60),
                       (unsigned)(ms % 1000));
    char_write_all(&s->base, text, len);
}

static size_t mux_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    MuxChardev *s = container_of(chr, MuxChardev, chr);
    size_t done = 0;
    while (done < len) {
        size_t n = len - done;
        if (s->stamps) {
            const uint8_t *nl = memchr(buf + done, '\n', n);
            n = nl ? (size_t)(nl - (buf + done)) + 1 : n;
            if (s->line_start) {
                put_stamp(s);
                s->line_start = false;
            }
        }
        size_t put = char_write(&s->base, buf + done, n);
        if (s->stamps && put) {
            s->line_start = buf[done + put - 1] == '\n';
        }
        done += put;
        if (put < n) {
            char_on_writable(&s->base, base_writable, chr);
            break;
        }
    }
    return done;
}

static void mux_set_line(Chardev *chr, unsigned baud, unsigned data_bits, char parity,
                         unsigned stop_bits)
{
    MuxChardev *s = container_of(chr, MuxChardev, chr);
    char_set_line(&s->base, baud, data_bits, parity, stop_bits);
}

static void mux_set_break(Chardev *chr, bool on)
{
    char_set_break(&container_of(chr, MuxChardev, chr)->base, on);
}

/* ---- ports ---- */

static void mux_attached(Chardev *chr, CharFrontend *fe)
{
    MuxChardev *s = container_of(chr, MuxChardev, chr);
    MuxPort *p = xcalloc(1, sizeof(*p));
    p->fe = fe;
    list_insert(&s->ports, &p->node);
    if (!s->focus || !fe->polite) {
        set_focus(s, p);
    }
}

static void mux_detached(Chardev *chr, CharFrontend *fe)
{
    MuxChardev *s = container_of(chr, MuxChardev, chr);
    list_for_each_safe(pos, &s->ports) {
        MuxPort *p = container_of(pos, MuxPort, node);
        if (p->fe != fe) {
            continue;
        }
        list_remove(&p->node);
        if (s->focus == p) {
            s->focus = NULL; /* it gets no event any more */
            if (!chr->closing && !list_empty(&s->ports)) {
                set_focus(s, container_of(s->ports.next, MuxPort, node));
            }
        }
        byte_queue_clear(&p->input);
        free(p);
    }
}

static void mux_close(Chardev *chr)
{
    MuxChardev *s = container_of(chr, MuxChardev, chr);
    Chardev *base = s->base.chr;
    char_detach(&s->base);
    chardev_delete(base);
}

/* Made by mux=on only: no open(), so that backend=mux is not offered. */
CHAR_BACKEND(mux) = {
    .name = "mux",
    .desc = "several users of one stream",
    .size = sizeof(MuxChardev),
    .close = mux_close,
    .write = mux_write,
    .accept_input = mux_accept_input,
    .set_line = mux_set_line,
    .set_break = mux_set_break,
    .attached = mux_attached,
    .detached = mux_detached,
};

Chardev *chardev_mux_new(Chardev *base)
{
    Chardev *chr = chardev_alloc(&char_backend_mux);
    MuxChardev *s = container_of(chr, MuxChardev, chr);
    Error *err = NULL;
    list_init(&s->ports);
    chr_set_filename(chr, "mux");
    chr->open = base->open;
    s->base = (CharFrontend){ .can_receive = mux_can_receive, .receive = mux_receive,
                              .event = mux_event, .opaque = s };
    bool ok = char_attach(&s->base, base, &err);
    assert(ok);
    base->internal = true;
    return chr;
}

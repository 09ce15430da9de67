/* SPDX-License-Identifier: GPL-2.0-or-later
 * The words of -serial, -parallel, -monitor and -qtest, as the dictionary -chardev would give:
 *
 *   null  stdio  pty[:LINK]  vc[:WxH | :COLSCxROWSC]  ringbuf  mon:WORD
 *   file:PATH  pipe:PATH  unix:PATH[,opts]  /dev/tty...
 *   tcp:[HOST]:PORT[,opts]  telnet:[HOST]:PORT[,opts]
 *   udp:[HOST]:PORT[@[LOCALADDR]:LOCALPORT]
 */
#include <stdio.h>
#include <string.h>

#include "chardev/backend.h"

/* "host:port" or "[v6]:port". Modifies text. */
static bool split_host_port(char *text, Dict *d, const char *host_key, const char *port_key,
                            Error **errp)
{
    char *host = text, *colon;
    if (text[0] == '[' && strchr(text, ']')) {
        char *end = strchr(text, ']');
        host = text + 1;
        *end = 0;
        colon = end[1] == ':' ? end + 1 : NULL;
    } else {
        colon = strrchr(text, ':');
    }
    if (!colon) {
        return error_set(errp, "'%s' is not HOST:PORT", text);
    }
    *colon = 0;
    dict_set(d, host_key, host);
    dict_set(d, port_key, colon + 1);
    return true;
}

/* The address up to the first comma; the options after it go into a new dictionary. */
static Dict *parse_options(char *text, Error **errp)
{
    char *comma = strchr(text, ',');
    if (!comma) {
        return dict_new();
    }
    *comma = 0;
    return dict_parse(comma + 1, NULL, errp);
}

static Dict *parse_tcp(char *text, bool telnet, Error **errp)
{
    Dict *d = parse_options(text, errp);
    if (!d || !split_host_port(text, d, "host", "port", errp)) {
        dict_free(d);
        return NULL;
    }
    dict_set(d, "backend", "socket");
    if (telnet) {
        dict_set(d, "telnet", "on");
    }
    return d;
}

static Dict *parse_udp(char *text, Error **errp)
{
    Dict *d = dict_new();
    char *at = strchr(text, '@');
    dict_set(d, "backend", "udp");
    if (at) {
        *at = 0;
    }
    if (!split_host_port(text, d, "host", "port", errp) ||
        (at && !split_host_port(at + 1, d, "localaddr", "localport", errp))) {
        dict_free(d);
        return NULL;
    }
    return d;
}

static Dict *parse_vc(const char *text, Error **errp)
{
    Dict *d = dict_new();
    unsigned w, h;
    int end = -1;
    dict_set(d, "backend", "vc");
    if (sscanf(text, "%5uCx%5uC%n", &w, &h, &end) == 2 && end > 0 && !text[end]) {
        dict_setf(d, "cols", "%u", w);
        dict_setf(d, "rows", "%u", h);
    } else if (end = -1, sscanf(text, "%5ux%5u%n", &w, &h, &end) == 2 && end > 0 && !text[end]) {
        dict_setf(d, "width", "%u", w);
        dict_setf(d, "height", "%u", h);
    } else {
        error_set(errp, "'vc:%s' is not a size; write vc:800x600 (pixels) or vc:80Cx24C", text);
        dict_free(d);
        return NULL;
    }
    return d;
}

static Dict *with_path(const char *backend, const char *path)
{
    Dict *d = dict_new();
    dict_set(d, "backend", backend);
    dict_set(d, "path", path);
    return d;
}

static Dict *unknown_word(const char *spec, Error **errp)
{
    static const char *const words[] = { "null", "stdio", "pty",     "vc",       "file",
                                         "pipe", "unix",  "tcp",     "telnet",   "udp",
                                         "mon",  "none",  "chardev", "ringbuf", NULL };
    static const char *const not_built[] = { "braille", "con", "msmouse", "testdev", "wctablet",
                                             "websocket", "tn3270", NULL };
    char *word = xstrndup(spec, strcspn(spec, ":,"));
    const char *near = suggest(word, words);
    for (const char *const *n = not_built; *n; n++) {
        if (!strcmp(*n, word)) {
            error_set(errp, "the character device '%s' is not built into Vireo yet", spec);
            free(word);
            return NULL;
        }
    }
    if (near && strcmp(near, word)) {
        error_set(errp, "'%s' is not a character device; did you mean '%s'?", spec, near);
    } else if (near) {
        error_set(errp, "'%s' is not complete: what follows '%s:' is missing", spec, near);
    } else {
        error_set(errp,
                  "'%s' is not a character device; for example stdio, pty, file:PATH, "
                  "unix:PATH,server=on,wait=off",
                  spec);
    }
    free(word);
    return NULL;
}

/* text: a copy that may be modified. */
static Dict *parse_word(char *text, Error **errp)
{
    static const char *const plain[] = { "null", "stdio", "pty", "vc", "ringbuf" };
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
        if (!strcmp(text, plain[i])) {
            Dict *d = dict_new();
            dict_set(d, "backend", plain[i]);
            return d;
        }
    }
    if (!strncmp(text, "vc:", 3)) {
        return parse_vc(text + 3, errp);
    } else if (!strncmp(text, "file:", 5)) {
        return with_path("file", text + 5);
    } else if (!strncmp(text, "pipe:", 5)) {
        return with_path("pipe", text + 5);
    } else if (!strncmp(text, "pty:", 4)) {
        return with_path("pty", text + 4);
    } else if (!strncmp(text, "tcp:", 4)) {
        return parse_tcp(text + 4, false, errp);
    } else if (!strncmp(text, "telnet:", 7)) {
        return parse_tcp(text + 7, true, errp);
    } else if (!strncmp(text, "udp:", 4)) {
        return parse_udp(text + 4, errp);
    } else if (!strncmp(text, "unix:", 5)) {
        Dict *d = parse_options(text + 5, errp);
        if (d) {
            dict_set(d, "backend", "socket");
            dict_set(d, "path", text + 5);
        }
        return d;
    } else if (!strncmp(text, "/dev/parport", 12) || !strncmp(text, "/dev/ppi", 8)) {
        error_set(errp, "parallel ports of the host ('%s') are not built into Vireo yet", text);
        return NULL;
    } else if (!strncmp(text, "/dev/", 5)) {
        return with_path("serial", text);
    }
    return unknown_word(text, errp);
}

Dict *chardev_parse_legacy(const char *id, const char *spec, Error **errp)
{
    bool mon = chardev_spec_wants_monitor(spec);
    char *text = xstrdup(mon ? spec + 4 : spec);
    Dict *d = parse_word(text, errp);
    free(text);
    if (!d) {
        return NULL;
    }
    dict_set(d, "id", id);
    if (mon) {
        dict_set(d, "mux", "on");
        /* Ctrl-C is for the guest: Ctrl-A x ends Vireo. */
        if (!strcmp(dict_get(d, "backend"), "stdio")) {
            dict_set(d, "signal", "off");
        }
    }
    return d;
}

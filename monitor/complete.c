/* SPDX-License-Identifier: GPL-2.0-or-later
 * Tab: commands by their names, arguments by their types; a row's .complete offers the rest.
 */
#include <ctype.h>
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "block/block.h"
#include "monitor/internal.h"

typedef struct Wanted {
    Monitor *mon;
    const char *prefix;
    size_t len;
} Wanted;

void monitor_completion(Monitor *mon, const char *word)
{
    if (mon->rl) {
        readline_offer(mon->rl, word);
    }
}

static void offer(const Wanted *w, const char *word)
{
    if (!strncmp(word, w->prefix, w->len)) {
        monitor_completion(w->mon, word);
    }
}

static void offer_command(const MonitorCommand *c, void *opaque)
{
    for (const char *p = c->name; *p;) {
        size_t n = strcspn(p, "|");
        char *name = xstrndup(p, n);
        offer(opaque, name);
        free(name);
        p += n + (p[n] == '|');
    }
}

static void complete_names(Monitor *mon, const char *prefix, bool info)
{
    Wanted w = { mon, prefix, strlen(prefix) };
    commands_each(info, offer_command, &w);
}

void complete_files(Monitor *mon, const char *prefix)
{
    const char *slash = strrchr(prefix, '/');
    size_t dir_len = slash ? (size_t)(slash - prefix) + 1 : 0;
    char *dir_name = dir_len ? xstrndup(prefix, dir_len) : xstrdup(".");
    DIR *dir = opendir(dir_name);
    struct dirent *e;
    while (dir && (e = readdir(dir))) {
        const char *base = prefix + dir_len;
        if (strncmp(e->d_name, base, strlen(base)) || (e->d_name[0] == '.' && *base != '.') ||
            !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) {
            continue;
        }
        struct stat st;
        bool is_dir = fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode);
        char *word = xasprintf("%.*s%s%s", (int)dir_len, prefix, e->d_name, is_dir ? "/" : "");
        monitor_completion(mon, word);
        free(word);
    }
    if (dir) {
        closedir(dir);
    }
    free(dir_name);
}

static void offer_drive(Drive *d, void *opaque)
{
    offer(opaque, drive_id(d));
}

static void complete_register(Monitor *mon, const char *prefix)
{
    const char *dollar = strrchr(prefix, '$'), *name;
    if (!dollar) {
        return;
    }
    Wanted w = { mon, dollar, strlen(dollar) };
    for (unsigned i = 0; (name = cpu_register_name(i)); i++) {
        char word[40];
        snprintf(word, sizeof(word), "$%s", name);
        offer(&w, word);
    }
}

static void complete_argument(Monitor *mon, const MonitorCommand *c, const char *text)
{
    static const char *const on_off[] = { "on", "off" };
    ArgSpec spec[MAX_ARGS];
    const char *prefix;
    int nr = args_parse_spec(c->args, spec);
    const ArgSpec *a = args_at_end(spec, nr, text, &prefix);
    if (!a) {
        return;
    }
    Wanted w = { mon, prefix, strlen(prefix) };
    if (c->complete) {
        unsigned nth = 0;
        for (const ArgSpec *i = spec; i < a; i++) {
            nth += i->type != '-' && i->type != '/';
        }
        c->complete(mon, nth, prefix);
    }
    switch (a->type) {
    case 'F': complete_files(mon, prefix); break;
    case 'B': drives_each(offer_drive, &w); break;
    case 'b':
        for (size_t i = 0; i < ARRAY_SIZE(on_off); i++) {
            offer(&w, on_off[i]);
        }
        break;
    case 'i':
    case 'l': complete_register(mon, prefix); break;
    default: break;
    }
}

void monitor_complete(Monitor *mon, const char *text)
{
    char name[64];
    bool info = false;
    for (;;) {
        while (isspace((unsigned char)*text)) {
            text++;
        }
        size_t n = strcspn(text, " \t/");
        if (!text[n]) {
            complete_names(mon, text, info);
            return;
        }
        snprintf(name, sizeof(name), "%.*s", (int)n, text);
        text += n;
        bool help = !info && (!strcmp(name, "help") || !strcmp(name, "?"));
        if (!info && !strcmp(name, "info")) {
            info = true;
        } else if (!help) {
            break; /* help COMMAND, help info TOPIC: names again */
        }
    }
    const MonitorCommand *c = command_find(name, info);
    if (c) {
        complete_argument(mon, c, text);
    }
}

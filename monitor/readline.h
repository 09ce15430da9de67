/* SPDX-License-Identifier: GPL-2.0-or-later
 * Line editing for monitors: keys come as bytes from a terminal, socket or text console, what the
 * screen should show goes out as bytes. Knows nothing of commands. Emacs keys:
 *
 *   left right C-b C-f, home end C-a C-e, words with C-left C-right M-b M-f
 *   backspace delete C-d, C-k C-u C-w M-d kill, C-y yanks, C-t transposes, C-l redraws
 *   up down C-p C-n history, C-r searches it, C-c drops the line, Tab completes
 */
#ifndef MONITOR_READLINE_H
#define MONITOR_READLINE_H

#include "util/container.h"

enum { READLINE_MAX = 4095, READLINE_HISTORY = 128 };

typedef struct Readline Readline;

typedef struct ReadlineOps {
    void (*write)(void *opaque, const char *buf, size_t len);
    void (*line)(void *opaque, const char *line); /* Enter; calls readline_prompt when done */
    /* Tab: candidates for the end of text (what is left of the cursor) go to readline_offer. */
    void (*complete)(void *opaque, const char *text);
} ReadlineOps;

Readline *readline_new(const ReadlineOps *ops, void *opaque, const char *prompt);
void readline_free(Readline *rl);
/* Shows the prompt and an empty line to edit. Until then input is not looked at. */
void readline_prompt(Readline *rl);
/* Takes bytes until a line is complete (its callback has run and no prompt followed); returns how
 * many. */
size_t readline_input(Readline *rl, const void *buf, size_t len);
/* From .complete: a word that the last one could become. Directories end in '/': no blank after. */
void readline_offer(Readline *rl, const char *word);
/* i-th oldest line, NULL past the end. */
const char *readline_history(const Readline *rl, size_t i);
/* Takes the edited line off the screen, so that a message can be printed, and shows it again. */
void readline_hide(Readline *rl);
void readline_show(Readline *rl);

#endif

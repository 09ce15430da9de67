/* SPDX-License-Identifier: GPL-2.0-or-later
 * State tables: the one list of what a device remembers. Reset writes .reset values, snapshots
 * and migration save and load the fields in table order, and a loaded stream is checked against
 * .mask and .max before anything is written.
 */
#ifndef HW_CORE_STATE_H
#define HW_CORE_STATE_H

#include "util/timer.h"

typedef enum StateKind {
    STATE_KIND_BOOL, STATE_KIND_U8, STATE_KIND_U16, STATE_KIND_U32, STATE_KIND_U64,
    STATE_KIND_I32, STATE_KIND_I64, STATE_KIND_TIMER,
    STATE_KIND_STRUCT, /* .count structs of .size bytes, described by .fields */
    STATE_KIND_LIST    /* a pointer to such structs on the heap; as many as its count says */
} StateKind;

typedef struct StateField {
    const char *name;
    StateKind kind;
    size_t offset;
    size_t count;   /* array members; 1 for a plain field */
    size_t size;    /* STRUCT, LIST: of one member */
    uint64_t reset; /* value after reset */
    uint64_t mask;  /* bits a loaded value may have; 0: all */
    uint64_t max;   /* largest loaded value; 0: no limit. LIST: most members */
    bool keep;      /* survives reset (CMOS content, media state) */
    const struct StateField *fields; /* STRUCT, LIST */
    size_t nr_offset; /* LIST: of the uint32_t that counts the members */
    uint16_t since; /* state_version that introduced it; 0 or 1: always there */
} StateField;

#define STATE_FIELD(k, S, f, T, ...)                                                               \
    { .name = #f, .kind = (k), .count = 1,                                                         \
      .offset = offsetof(S, f) + 0 * sizeof(&((S *)0)->f == (T *)0), __VA_ARGS__ }
#define STATE_ARRAY(k, S, f, T, ...)                                                               \
    { .name = #f, .kind = (k), .count = sizeof(((S *)0)->f) / sizeof(T),                           \
      .offset = offsetof(S, f) + 0 * sizeof(&((S *)0)->f[0] == (T *)0), __VA_ARGS__ }
#define STATE_BOOL(S, f, ...) STATE_FIELD(STATE_KIND_BOOL, S, f, bool, __VA_ARGS__)
#define STATE_U8(S, f, ...) STATE_FIELD(STATE_KIND_U8, S, f, uint8_t, __VA_ARGS__)
#define STATE_U16(S, f, ...) STATE_FIELD(STATE_KIND_U16, S, f, uint16_t, __VA_ARGS__)
#define STATE_U32(S, f, ...) STATE_FIELD(STATE_KIND_U32, S, f, uint32_t, __VA_ARGS__)
#define STATE_U64(S, f, ...) STATE_FIELD(STATE_KIND_U64, S, f, uint64_t, __VA_ARGS__)
#define STATE_I32(S, f, ...) STATE_FIELD(STATE_KIND_I32, S, f, int32_t, __VA_ARGS__)
#define STATE_I64(S, f, ...) STATE_FIELD(STATE_KIND_I64, S, f, int64_t, __VA_ARGS__)
#define STATE_TIMER(S, f, ...) STATE_FIELD(STATE_KIND_TIMER, S, f, Timer, __VA_ARGS__)
/* One-dimensional arrays. */
#define STATE_U8S(S, f, ...) STATE_ARRAY(STATE_KIND_U8, S, f, uint8_t, __VA_ARGS__)
#define STATE_U16S(S, f, ...) STATE_ARRAY(STATE_KIND_U16, S, f, uint16_t, __VA_ARGS__)
#define STATE_U32S(S, f, ...) STATE_ARRAY(STATE_KIND_U32, S, f, uint32_t, __VA_ARGS__)
#define STATE_U64S(S, f, ...) STATE_ARRAY(STATE_KIND_U64, S, f, uint64_t, __VA_ARGS__)
#define STATE_BOOLS(S, f, ...) STATE_ARRAY(STATE_KIND_BOOL, S, f, bool, __VA_ARGS__)
/* A struct or an array of structs f with element type T and its own table. */
#define STATE_STRUCT(S, f, T, table, ...)                                                          \
    { .name = #f, .kind = STATE_KIND_STRUCT, .count = sizeof(((S *)0)->f) / sizeof(T),             \
      .offset = offsetof(S, f), .size = sizeof(T), .fields = (table), __VA_ARGS__ }
/* A pointer f to nr structs of type T on the heap, NULL if nr is 0. Reset frees them, a load
 * allocates them anew; the device frees them at unrealize. .max is needed. */
#define STATE_LIST(S, f, nr, T, table, ...)                                                        \
    { .name = #f, .kind = STATE_KIND_LIST, .count = 1,                                             \
      .offset = offsetof(S, f) + 0 * sizeof(&((S *)0)->f == (T **)0),                              \
      .nr_offset = offsetof(S, nr) + 0 * sizeof(&((S *)0)->nr == (uint32_t *)0),                   \
      .size = sizeof(T), .fields = (table), __VA_ARGS__ }
#define STATE_END { .name = NULL }

/* Writes reset values (and cancels timers); fields with .keep stay. */
void state_reset(const StateField *fields, void *base);
/* Prints every field as "name = value" lines (info device). */
void state_print(const StateField *fields, const void *base,
                 void (*print)(void *opaque, const char *line), void *opaque);

#endif

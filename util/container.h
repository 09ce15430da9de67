/* SPDX-License-Identifier: GPL-2.0-or-later
 * Small things every file needs: container_of, array sizes, alignment, an intrusive list.
 */
#ifndef UTIL_CONTAINER_H
#define UTIL_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))
#define ROUND_DOWN(n, to) ((n) / (to) * (to))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
/* A function that reads counters which their owners are just changing: one may come a moment late. */
#define READS_LIVE_COUNTERS __attribute__((no_sanitize("thread")))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_USE __attribute__((warn_unused_result))
#define KiB (1ull << 10)
#define MiB (1ull << 20)
#define GiB (1ull << 30)

/* A circular doubly linked list; the head is a node of its own. */
typedef struct List {
    struct List *prev, *next;
} List;

#define LIST_INIT(head) { &(head), &(head) }

static inline void list_init(List *head)
{
    head->prev = head->next = head;
}

static inline bool list_empty(const List *head)
{
    return head->next == head;
}

/* Inserts node before pos; before the head means at the end. */
static inline void list_insert(List *pos, List *node)
{
    node->prev = pos->prev;
    node->next = pos;
    pos->prev->next = node;
    pos->prev = node;
}

/* Removes node and leaves it an empty list, so that removing it twice is harmless. */
static inline void list_remove(List *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#define list_for_each(pos, head) for (List *pos = (head)->next; pos != (head); pos = pos->next)
/* The body may remove and free pos. */
#define list_for_each_safe(pos, head)                                                              \
    for (List *pos = (head)->next, *pos##_next = pos->next; pos != (head);                         \
         pos = pos##_next, pos##_next = pos->next)

#endif

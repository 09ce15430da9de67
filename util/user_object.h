/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the user makes with -object TYPE,id=ID,... and object_add: things that are neither devices
 * nor back ends of one kind, such as a packet dump on a network. vm_lock held.
 */
#ifndef UTIL_USER_OBJECT_H
#define UTIL_USER_OBJECT_H

#include "util/dict.h"
#include "util/error.h"

typedef struct UserObjectType {
    const char *name, *desc;
    const char *const *help; /* lines for -object NAME,help; NULL-terminated */
    bool late; /* refers to networks and drives: made after them, else before */
    /* Returns what destroy gets; NULL with *errp. Keys it does not ask for are the user's mistake. */
    void *(*create)(const char *id, const Dict *opts, Error **errp);
    void (*destroy)(void *object);
    List node;
} UserObjectType;

#define USER_OBJECT(sym)                                                                           \
    extern UserObjectType user_object_##sym;                                                       \
    static void __attribute__((constructor)) register_user_object_##sym(void)                      \
    {                                                                                              \
        user_object_register(&user_object_##sym);                                                  \
    }                                                                                              \
    UserObjectType user_object_##sym

void user_object_register(UserObjectType *t);
/* The type of TYPE,...'s text, NULL with *errp if there is none. */
const UserObjectType *user_object_type(const char *name, Error **errp);
/* qom-type=TYPE,id=ID,...: false with *errp. */
bool user_object_create(const Dict *opts, Error **errp) MUST_USE;
bool user_object_delete(const char *id, Error **errp) MUST_USE;
void user_objects_delete_all(void); /* at exit, the youngest first */
void user_objects_each(void (*fn)(const char *id, const UserObjectType *t, void *opaque),
                       void *opaque);
void user_object_types_each(void (*fn)(const UserObjectType *t, void *opaque), void *opaque);

#endif

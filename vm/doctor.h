/* SPDX-License-Identifier: GPL-2.0-or-later
 * vireo doctor: what this host has for guests, and what to do about what it lacks.
 */
#ifndef VM_DOCTOR_H
#define VM_DOCTOR_H

#include <stdio.h>

#include "util/container.h"

typedef enum DoctorMark { DOCTOR_OK, DOCTOR_WARN, DOCTOR_MISSING } DoctorMark;

typedef struct Doctor {
    const char *root; /* before every path: "", or a test's own directory */
    FILE *out;
    bool no_guest; /* something is missing that every guest needs */
} Doctor;

/* One line, and one below it with the cure; NULL: it needs none. */
void doctor_say(Doctor *d, DoctorMark mark, const char *cure, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* The sections: doctor_host.c and doctor_desk.c. */
void doctor_kvm(Doctor *d);
void doctor_processor(Doctor *d);
void doctor_memory(Doctor *d);
void doctor_huge_pages(Doctor *d);
void doctor_display(Doctor *d);
void doctor_sound(Doctor *d);
void doctor_network(Doctor *d);
void doctor_firmware(Doctor *d);

/* First line of a file under root, without its newline; a new string, NULL if it cannot be read. */
char *doctor_read(const Doctor *d, const char *path);
/* access() under root; 0 or errno. */
int doctor_access(const Doctor *d, const char *path, int mode);

/* Examines everything. The process's exit status: 0 if a guest can run at all. */
int doctor_run(Doctor *d);

#endif

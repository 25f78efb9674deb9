// SPDX-License-Identifier: Apache-2.0
// What an attempt reports: zero for success, else an errno; or a word of its own.
#ifndef PROBE_H
#define PROBE_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Runs an attempt in a child and prints `NAME ok`, `NAME ERRNO` or `NAME killed-SIGNAL`.
void attempt(const char *name, int (*act)(void));
// Prints a fact as `NAME VALUE`.
void fact(const char *name, const char *value);
// Turns a system call's result into an attempt's.
int result(long returned);

// Lies in wait for other processes, so many seconds.
void watch(int seconds);

void filesystem_attempts(void);
void identity_attempts(void);
void kernel_attempts(void);
void namespace_attempts(void);
void facts(void);
// Executes a program from memory, and maps a file to be executed.
int from_memory(const char *program, char **words);
int map_executable(const char *path);
// Serves ports, `80/tcp 53/udp`, until it is ended.
int serve(int count, char **words);
#endif

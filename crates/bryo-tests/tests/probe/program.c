// SPDX-License-Identifier: Apache-2.0
// Programs that are not where programs are: in memory without a name, and mapped from data.
#include "probe.h"
#include <sys/mman.h>
#include <sys/stat.h>

// Copies a program into memory and executes it from there, under a name and with arguments (memfd_create(2)).
int from_memory(const char *program, char **words) {
    char buffer[65536];
    int from = open(program, O_RDONLY | O_CLOEXEC), memory = memfd_create("hidden", MFD_CLOEXEC);
    if (from < 0 || memory < 0) return errno;
    for (ssize_t n; (n = read(from, buffer, sizeof buffer)) > 0;) {
        if (write(memory, buffer, (size_t)n) != n) return errno;
    }
    return result(fexecve(memory, words, environ));
}

// Maps a file to be executed, as a loader maps a library, says so and waits.
int map_executable(const char *path) {
    struct stat found;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) < 0) return errno;
    if (mmap(NULL, (size_t)found.st_size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED) return errno;
    printf("map ok\n");
    fflush(stdout);
    pause();
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Lies in wait for processes that come into the container, and tries to look into each before it has executed anything
// of it: whoever succeeds finds the host's program, its descriptors and its memory.
#include "probe.h"
#include <dirent.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

static unsigned long looks, denied, leaks;

// Tells what was come by; nothing of the image is called so.
static void leak(int pid, const char *how, const char *what) {
    printf("leak %s of %d: %s\n", how, pid, what);
    fflush(stdout);
    leaks++;
}

static int is_of_host(const char *target) { return strstr(target, "bryo") != NULL; }

static void look_at_link(int pid, const char *name) {
    char path[64], target[512];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0) {
        denied += errno == EACCES || errno == EPERM;
        return;
    }
    target[n] = 0;
    if (is_of_host(target)) leak(pid, name, target);
    if (strcmp(name, "exe") != 0) return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof target - 1);
    if (n > 0) {
        target[n] = 0;
        if (is_of_host(target)) leak(pid, "opened exe", target);
    }
    close(fd);
}

static void look_at_descriptors(int pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    if (!dir) {
        denied += errno == EACCES || errno == EPERM;
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        char link[384], target[512];
        snprintf(link, sizeof link, "%s/%s", path, entry->d_name);
        ssize_t n = readlink(link, target, sizeof target - 1);
        if (n <= 0) continue;
        target[n] = 0;
        if (is_of_host(target)) leak(pid, "descriptor", target);
    }
    closedir(dir);
}

static void look_at_environment(int pid) {
    char path[64], text[4096] = "";
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        denied += errno == EACCES || errno == EPERM;
        return;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    for (ssize_t i = 0; i < n; i++) {
        if (!text[i]) text[i] = ' ';
    }
    if (strstr(text, "host-only-secret")) leak(pid, "environ", text);
}

// Stops the process if it may, and looks at it in peace.
static void seize(int pid) {
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0) {
        denied += errno == EPERM;
        return;
    }
    ptrace(PTRACE_INTERRUPT, pid, 0, 0);
    int status;
    if (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
        look_at_link(pid, "exe");
        look_at_descriptors(pid);
        look_at_environment(pid);
        ptrace(PTRACE_DETACH, pid, 0, 0);
    }
}

void watch(int seconds) {
    int own = (int)getpid();
    time_t end = time(NULL) + seconds;
    printf("watching\n");
    fflush(stdout);
    while (time(NULL) < end) {
        DIR *dir = opendir("/proc");
        if (!dir) break;
        for (struct dirent *entry; (entry = readdir(dir));) {
            int pid = atoi(entry->d_name);
            if (pid <= 1 || pid == own) continue;
            looks++;
            look_at_link(pid, "exe");
            look_at_link(pid, "cwd");
            look_at_link(pid, "root");
            look_at_descriptors(pid);
            look_at_environment(pid);
            seize(pid);
        }
        closedir(dir);
    }
    printf("looks %lu denied %lu leaks %lu\n", looks, denied, leaks);
}

// SPDX-License-Identifier: Apache-2.0
// What a process can see of its own confinement.
#include "probe.h"
#include <dirent.h>
#include <sys/resource.h>

static void status_facts(void) {
    static const char *const wanted[] = {"Uid",    "Gid",    "Groups", "CapInh", "CapPrm",  "CapEff",
                                         "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters"};
    FILE *file = fopen("/proc/self/status", "re");
    char line[4096];
    while (file && fgets(line, sizeof line, file)) {
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
            size_t n = strlen(wanted[i]);
            if (strncmp(line, wanted[i], n) != 0 || line[n] != ':') continue;
            char *value = line + n + 1;
            while (*value == ' ' || *value == '\t') value++;
            value[strcspn(value, "\n")] = 0;
            for (char *c = value; *c; c++) {
                if (*c == '\t' || *c == ' ') *c = ',';
            }
            fact(wanted[i], *value ? value : "none");
        }
    }
    if (file) fclose(file);
}

// Descriptors beyond the three standard ones that came through the exec.
static void descriptor_facts(void) {
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) {
        fact("leaked-fds", "unknown");
        return;
    }
    char found[1024] = "";
    for (struct dirent *entry; (entry = readdir(dir));) {
        int fd = atoi(entry->d_name);
        if (fd <= 2 || fd == dirfd(dir)) continue;
        char target[256] = "", link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (readlink(link, target, sizeof target - 1) < 0) continue;
        size_t used = strlen(found);
        snprintf(found + used, sizeof found - used, "%s%d=%s", used ? "," : "", fd, target);
    }
    closedir(dir);
    fact("leaked-fds", *found ? found : "none");
}

void facts(void) {
    status_facts();
    descriptor_facts();
    char number[32];
    snprintf(number, sizeof number, "%d", (int)getpid());
    fact("pid", number);
    snprintf(number, sizeof number, "%d", (int)getsid(0));
    fact("sid", number);
    for (int fd = 0; fd <= 2; fd++) {
        char link[32], target[256] = "closed", name[16];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof target - 1);
        if (n > 0) target[n] = 0;
        snprintf(name, sizeof name, "fd%d", fd);
        fact(name, target);
    }
}

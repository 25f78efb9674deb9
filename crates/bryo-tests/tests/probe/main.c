// SPDX-License-Identifier: Apache-2.0
// Tries what a confined process must not be able to do, and says for each try what came of it.
//
// Every try runs in a child of its own, so that one that succeeds, or is killed, does not change the next. The same
// program run outside, or with one protection off, is the control that shows that a refusal comes from where we say.
#include "probe.h"
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static const char *errno_name(int number) {
    const char *name = strerrorname_np(number);
    return name ? name : "unknown";
}

int result(long returned) { return returned < 0 ? errno : 0; }

void fact(const char *name, const char *value) { printf("%s %s\n", name, value); }

void attempt(const char *name, int (*act)(void)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        int error = act();
        _exit(error < 0 || error > 254 ? 254 : error);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        printf("%s not-tried\n", name);
    } else if (WIFSIGNALED(status)) {
        printf("%s killed-%s\n", name, sigabbrev_np(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) == 0) {
        printf("%s ok\n", name);
    } else {
        printf("%s %s\n", name, errno_name(WEXITSTATUS(status)));
    }
}

// Connects to an abstract socket (unix(7)).
static int call(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    return fd < 0 ? errno : result(connect(fd, (struct sockaddr *)&address, length));
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "euid") == 0) {
        printf("%u %u\n", (unsigned)geteuid(), (unsigned)getegid());
        return 0;
    }
    if (argc > 2 && strcmp(argv[1], "serve") == 0) return serve(argc - 2, argv + 2);
    if (argc > 2 && strcmp(argv[1], "read") == 0) {
        int fd = open(argv[2], O_RDONLY | O_CLOEXEC);
        printf("read %s\n", fd < 0 ? errno_name(errno) : "ok");
        return 0;
    }
    if (argc > 2 && strcmp(argv[1], "call") == 0) {
        int error = call(argv[2]);
        printf("call %s\n", error ? errno_name(error) : "ok");
        return 0;
    }
    if (argc > 2 && strcmp(argv[1], "watch") == 0) {
        watch(atoi(argv[2]));
        return 0;
    }
    if (argc > 3 && strcmp(argv[1], "memory") == 0) {
        printf("memory %s\n", errno_name(from_memory(argv[2], argv + 3)));
        return 0;
    }
    if (argc > 2 && strcmp(argv[1], "map") == 0) {
        printf("map %s\n", errno_name(map_executable(argv[2])));
        return 0;
    }
    // With real power the tries would come true. Only a user namespace's root may try them.
    char map[64] = "";
    int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
    if (geteuid() == 0 && fd >= 0 && read(fd, map, sizeof map - 1) > 0 && strstr(map, "4294967295")) {
        fprintf(stderr, "probe: not as root of this machine\n");
        return 3;
    }
    // What is open from here on came through the exec.
    close(fd);
    facts();
    filesystem_attempts();
    identity_attempts();
    namespace_attempts();
    kernel_attempts();
    return 0;
}

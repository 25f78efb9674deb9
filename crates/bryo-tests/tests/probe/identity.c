// SPDX-License-Identifier: Apache-2.0
// Becoming somebody else, and reaching other processes.
#include "probe.h"
#include <grp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

static int become_root(void) { return result(setuid(0)); }
static int become_other(void) { return result(setresuid(12345, 12345, 12345)); }
static int become_group(void) { return result(setgid(0)); }
static int set_groups(void) {
    gid_t group = 0;
    return result(setgroups(1, &group));
}
static int host_pid(void) {
    const char *text = getenv("PROBE_HOST_PID");
    return text ? atoi(text) : 0;
}
static int trace_host(void) {
    int pid = host_pid();
    return pid ? result(ptrace(PTRACE_ATTACH, pid, 0, 0)) : ESRCH;
}
static int signal_host(void) {
    int pid = host_pid();
    return pid ? result(kill(pid, 0)) : ESRCH;
}
static int trace_child(void) {
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    int error = result(ptrace(PTRACE_ATTACH, child, 0, 0));
    kill(child, SIGKILL);
    return error;
}
static int read_init_memory(void) {
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
    return result(process_vm_readv(1, &here, 1, &there, 1, 0));
}
static int read_init_environment(void) { return result(open("/proc/1/environ", O_RDONLY | O_CLOEXEC)); }
// Every process that can be seen is asked for; with a namespace of its own there is nobody but us.
static int signal_all(void) { return result(kill(-1, 0)); }
static int raise_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return errno;
    limit.rlim_max = limit.rlim_max + 1;
    return result(setrlimit(RLIMIT_NOFILE, &limit));
}
static int lower_nice(void) {
    errno = 0;
    int now = nice(-5);
    return now == -1 && errno ? errno : 0;
}

void identity_attempts(void) {
    attempt("setuid-0", become_root);
    attempt("setresuid-other", become_other);
    attempt("setgid-0", become_group);
    attempt("setgroups", set_groups);
    attempt("ptrace-host", trace_host);
    attempt("signal-host", signal_host);
    attempt("ptrace-child", trace_child);
    attempt("read-init-memory", read_init_memory);
    attempt("read-init-environ", read_init_environment);
    attempt("kill-all", signal_all);
    attempt("raise-rlimit", raise_limit);
    attempt("lower-nice", lower_nice);
}

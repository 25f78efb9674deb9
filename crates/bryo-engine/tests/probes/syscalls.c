// SPDX-License-Identifier: Apache-2.0
// Attempts system calls and prints what each returned: "LABEL 0" or "LABEL ERRNO".
//
// Arguments are wrong on purpose (bad descriptors, null pointers), so that a call which the filter lets through fails
// with another errno than a call which the filter refuses, and nothing is done to the machine that runs the test.
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void report(const char *label, long result) {
    printf("%s %d\n", label, result < 0 ? errno : 0);
    fflush(stdout);
}

#define TRY(label, ...) report(label, syscall(__VA_ARGS__))

#ifdef __x86_64__
static void int80(const char *label, long number, long a, long b, long c) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
    if (result < 0 && result > -4096) {
        errno = -(int)result;
        result = -1;
    }
    report(label, result);
}
#endif

int main(void) {
    TRY("getpid", SYS_getpid);
    TRY("mount", SYS_mount, 0, 0, 0, 0, 0);
    TRY("fsopen", SYS_fsopen, 0, -1);
    TRY("setns", SYS_setns, -1, 0);
    TRY("clone-newuser", SYS_clone, CLONE_NEWUSER | CLONE_FS, 0, 0, 0, 0);
    TRY("clone-newuser-high", SYS_clone, 1UL << 32 | CLONE_NEWUSER | CLONE_FS, 0, 0, 0, 0);
    TRY("clone3", SYS_clone3, 0, 0);
    TRY("unshare-newuser", SYS_unshare, CLONE_NEWUSER | 1);
    TRY("unshare-files", SYS_unshare, CLONE_FILES);
    TRY("keyctl", SYS_keyctl, -1, 0, 0, 0, 0);
    TRY("add_key", SYS_add_key, 0, 0, 0, 0, 0);
    TRY("io_uring_setup", SYS_io_uring_setup, 0, 0);
    TRY("process_vm_readv", SYS_process_vm_readv, getpid(), 0, 0, 0, 0, 1);
    TRY("name_to_handle_at", SYS_name_to_handle_at, -1, 0, 0, 0, 0);
    TRY("personality-norandomize", SYS_personality, 0x40000);
    TRY("personality-query", SYS_personality, 0xffffffff);
    TRY("tiocsti", SYS_ioctl, -1, 0x5412, 0);
    TRY("tiocsti-high", SYS_ioctl, -1, 1UL << 32 | 0x5412, 0);
    TRY("tioclinux", SYS_ioctl, -1, 0x541c, 0);
    TRY("tcgets", SYS_ioctl, -1, 0x5401, 0);
    TRY("socket-unix", SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    TRY("socket-inet6", SYS_socket, AF_INET6, SOCK_DGRAM, 0);
    TRY("socket-route", SYS_socket, AF_NETLINK, SOCK_RAW, 0);
    TRY("socket-netfilter", SYS_socket, AF_NETLINK, SOCK_RAW, 12);
    TRY("socket-packet", SYS_socket, AF_PACKET, SOCK_RAW | 0x100, 0);
    TRY("socket-alg", SYS_socket, AF_ALG, SOCK_SEQPACKET, 0);
    TRY("socket-alg-high", SYS_socket, 1UL << 32 | AF_ALG, SOCK_SEQPACKET, 0);
    TRY("socket-vsock", SYS_socket, AF_VSOCK, SOCK_STREAM, 0);
    TRY("landlock", SYS_landlock_create_ruleset, 0, 0, 1);
    TRY("future", 5000);
    TRY("ptrace", SYS_ptrace, 16 /* PTRACE_ATTACH */, -1, 0, 0);
    if (fork() == 0)
        _exit(0);
    report("fork", wait(0));
#ifdef __x86_64__
    TRY("x32-getpid", 0x40000000 | SYS_getpid);
    int80("i386-getpid", 20, 0, 0, 0);
    int80("i386-mount", 21, 0, 0, 0);
    int80("i386-socket-inet", 359, AF_INET, SOCK_DGRAM, 0);
    int80("i386-socket-alg", 359, AF_ALG, SOCK_SEQPACKET, 0);
    int80("i386-socketcall-socket", 102, 1, 0, 0);
    int80("i386-socketcall-bind", 102, 2, 0, 0);
#endif
    return 0;
}

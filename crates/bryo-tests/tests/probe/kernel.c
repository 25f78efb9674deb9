// SPDX-License-Identifier: Apache-2.0
// Parts of the kernel that a container has no business with, and ways around a system call filter.
//
// Where it can be, a call is made with arguments that fail in a way of their own (EFAULT, EBADF, EINVAL) when the call
// is let through: a refusal (EPERM, ENOSYS) then comes from the filter and from nothing else.
#include "probe.h"
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int load_module(void) { return result(syscall(SYS_init_module, NULL, 0, "")); }
static int load_module_file(void) { return result(syscall(SYS_finit_module, -1, "", 0)); }
static int delete_module_(void) { return result(syscall(SYS_delete_module, "probe-none", 0)); }
static int kexec(void) { return result(syscall(SYS_kexec_load, 0, 0, NULL, 0)); }
static int restart(void) { return result(syscall(SYS_reboot, 0, 0, 0, NULL)); }
static int swap(void) { return result(syscall(SYS_swapon, "/probe-none", 0)); }
static int accounting(void) { return result(syscall(SYS_acct, "/probe-none")); }
static int set_time(void) { return result(syscall(SYS_clock_settime, 0, NULL)); }
static int packet_socket(void) { return result(socket(AF_PACKET, SOCK_RAW, 0)); }
static int raw_socket(void) { return result(socket(AF_INET, SOCK_RAW, 1)); }
static int alg_socket(void) { return result(socket(AF_ALG, SOCK_SEQPACKET, 0)); }
static int vsock_socket(void) { return result(socket(AF_VSOCK, SOCK_STREAM, 0)); }
static int plain_socket(void) { return result(socket(AF_INET, SOCK_STREAM, 0)); }
static int add_key_(void) { return result(syscall(SYS_add_key, "user", "probe", "x", 1, KEY_SPEC_SESSION_KEYRING)); }
static int request_key_(void) { return result(syscall(SYS_request_key, "user", "probe", NULL, 0)); }
static int key_control(void) { return result(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 0)); }
static int bpf_map(void) {
    union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return result(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr));
}
static int bpf_anything(void) { return result(syscall(SYS_bpf, 0, NULL, 0)); }
static int perf(void) { return result(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0)); }
static int user_faults(void) { return result(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY)); }
static int ring(void) {
    struct io_uring_params params = {0};
    return result(syscall(SYS_io_uring_setup, 4, &params));
}
static int handle(void) { return result(syscall(SYS_open_by_handle_at, -1, NULL, 0)); }
static int kernel_log(void) { return result(syscall(SYS_syslog, 10, NULL, 0)); }
static int quota(void) { return result(syscall(SYS_quotactl, 0, NULL, 0, NULL)); }
static int move_pages_(void) { return result(syscall(SYS_move_pages, 0, 0, NULL, NULL, NULL, 0)); }

// The standard input of the probe is never a terminal here: a call that is let through says ENOTTY.
static int push_input(void) { return result(ioctl(0, 0x5412, "x")); }
static int push_input_high(void) { return result(syscall(SYS_ioctl, 0, 0x100005412UL, "x")); }
static int console_paste(void) { return result(ioctl(0, 0x541c, "\x03")); }

#ifdef __x86_64__
static int call_32(void) {
    long number = 20, answer; // getpid in the 32-bit table
    __asm__ volatile("int $0x80" : "=a"(answer) : "a"(number) : "memory", "r8", "r9", "r10", "r11");
    if (answer < 0) errno = (int)-answer;
    return result(answer);
}
static int call_32_unshare(void) {
    long number = 310, answer, flags = 0x10000000; // unshare(CLONE_NEWUSER) in the 32-bit table
    __asm__ volatile("int $0x80" : "=a"(answer) : "a"(number), "b"(flags) : "memory", "r8", "r9", "r10", "r11");
    if (answer < 0) errno = (int)-answer;
    return result(answer);
}
static int call_x32(void) { return result(syscall(0x40000000 | SYS_getpid)); }
static int call_x32_ptrace(void) { return result(syscall(0x40000000 | 521, 0, 0, 0, 0)); }
static int legacy(void) { return result(syscall(SYS_modify_ldt, 0, NULL, 0)); }
static int ports(void) { return result(syscall(SYS_iopl, 3)); }
#endif

void kernel_attempts(void) {
    attempt("init-module", load_module);
    attempt("finit-module", load_module_file);
    attempt("delete-module", delete_module_);
    attempt("kexec", kexec);
    attempt("reboot", restart);
    attempt("swapon", swap);
    attempt("acct", accounting);
    attempt("clock-settime", set_time);
    attempt("packet-socket", packet_socket);
    attempt("raw-socket", raw_socket);
    attempt("alg-socket", alg_socket);
    attempt("vsock-socket", vsock_socket);
    attempt("plain-socket", plain_socket);
    attempt("add-key", add_key_);
    attempt("request-key", request_key_);
    attempt("keyctl", key_control);
    attempt("bpf-map", bpf_map);
    attempt("bpf", bpf_anything);
    attempt("perf-event", perf);
    attempt("userfaultfd", user_faults);
    attempt("io-uring", ring);
    attempt("open-by-handle", handle);
    attempt("syslog", kernel_log);
    attempt("quotactl", quota);
    attempt("move-pages", move_pages_);
    attempt("tiocsti", push_input);
    attempt("tiocsti-high-bits", push_input_high);
    attempt("tioclinux", console_paste);
#ifdef __x86_64__
    attempt("i386-getpid", call_32);
    attempt("i386-unshare", call_32_unshare);
    attempt("x32-getpid", call_x32);
    attempt("x32-ptrace", call_x32_ptrace);
    attempt("modify-ldt", legacy);
    attempt("iopl", ports);
#endif
}

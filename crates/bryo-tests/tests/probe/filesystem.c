// SPDX-License-Identifier: Apache-2.0
// Files that must not be written, read or executed for more power.
#include "probe.h"
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static int write_to(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return errno;
    int error = result(write(fd, "x", 1));
    // The control runs on the host itself: it leaves nothing there.
    unlink(path);
    return error;
}
// Only opens: what is there must survive a control that succeeds.
static int open_for(const char *path, int flags) { return result(open(path, flags | O_CLOEXEC)); }

static int root_write(void) { return write_to("/probe-was-here"); }
static int etc_write(void) { return write_to("/etc/probe-was-here"); }
static int usr_write(void) { return write_to("/usr/probe-was-here"); }
static int passwd_write(void) { return open_for("/etc/passwd", O_WRONLY | O_APPEND); }
static int tmp_write(void) { return write_to("/tmp/probe-was-here"); }
static int shm_write(void) { return write_to("/dev/shm/probe-was-here"); }
static int dev_write(void) { return write_to("/dev/probe-was-here"); }
static int shadow_read(void) { return open_for("/etc/shadow", O_RDONLY); }
static int root_home(void) { return open_for("/root", O_RDONLY | O_DIRECTORY); }
static int caller_home(void) {
    const char *home = getenv("PROBE_HOME");
    return home ? open_for(home, O_RDONLY | O_DIRECTORY) : ENOENT;
}
static int canary(void) {
    const char *path = getenv("PROBE_CANARY");
    return path ? open_for(path, O_RDWR) : ENOENT;
}
static int sysctl_write(void) { return open_for("/proc/sys/kernel/core_pattern", O_WRONLY); }
static int own_sysctl_write(void) { return open_for("/proc/sys/kernel/hostname", O_WRONLY); }
static int ip_sysctl_write(void) { return open_for("/proc/sys/net/ipv4/ip_forward", O_WRONLY); }
static int sysrq(void) { return open_for("/proc/sysrq-trigger", O_WRONLY); }
static int kcore(void) {
    int fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    char byte;
    // A mask reads as an empty file.
    long n = read(fd, &byte, 1);
    return n == 0 ? ENODATA : result(n);
}
static int keys(void) {
    int fd = open("/proc/keys", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    char byte;
    long n = read(fd, &byte, 1);
    return n == 0 ? ENODATA : result(n);
}
static int timer_list(void) {
    int fd = open("/proc/timer_list", O_RDONLY | O_CLOEXEC);
    char byte;
    if (fd < 0) return errno;
    return read(fd, &byte, 1) == 1 ? 0 : ENODATA;
}
static int sysfs_write(void) { return write_to("/sys/kernel/probe-was-here"); }
static int uevent_write(void) { return open_for("/sys/kernel/uevent_helper", O_WRONLY); }
static int firmware_read(void) {
    int fd = open("/sys/firmware", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno;
    char buffer[1024];
    // A mask has two entries: itself and its parent.
    return syscall(SYS_getdents64, fd, buffer, sizeof buffer) > 64 ? 0 : ENODATA;
}
static int cgroup_write(void) { return open_for("/sys/fs/cgroup/cgroup.procs", O_WRONLY); }
static int cgroup_make(void) { return result(mkdir("/sys/fs/cgroup/probe-was-here", 0755)); }
static int self_write(void) { return open_for("/proc/self/exe", O_WRONLY); }
static int init_exe_write(void) { return open_for("/proc/1/exe", O_WRONLY); }
static int kmsg(void) { return open_for("/dev/kmsg", O_RDONLY); }
static int mem(void) { return open_for("/dev/mem", O_RDWR); }
static int node(void) { return result(mknod("/tmp/probe-node", S_IFBLK | 0600, (8 << 8) | 0)); }
static int char_node(void) { return result(mknod("/tmp/probe-tty", S_IFCHR | 0600, (5 << 8) | 1)); }
static int file_capability(void) {
    int fd = open("/tmp", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0700);
    if (fd < 0) return errno;
    static const unsigned char cap[20] = {0, 0, 0, 2, 0, 0, 0x20, 0};
    return result(fsetxattr(fd, "security.capability", cap, sizeof cap, 0));
}
static int dot_dot(void) {
    // More steps up than there are directories: whoever leaves the root sees the host's.
    int fd = open("/../../../../../../../../../../../../../etc/probe-host-mark", O_RDONLY | O_CLOEXEC);
    return result(fd);
}
static int fd_escape(void) {
    for (int fd = 3; fd < 64; fd++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d/../../etc", fd);
        if (open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0) return 0;
    }
    return ENOENT;
}
static int init_root_escape(void) {
    // The parent of the first process of the namespace is outside; its number is not.
    return open_for("/proc/1/root/etc/probe-host-mark", O_RDONLY);
}
static int setuid_file(void) {
    int end[2];
    if (pipe(end) < 0) return errno;
    pid_t child = fork();
    if (child == 0) {
        dup2(end[1], 1);
        execl("/probe-suid", "probe-suid", "euid", (char *)NULL);
        _exit(errno);
    }
    close(end[1]);
    char text[32] = "";
    long n = read(end[0], text, sizeof text - 1);
    int status;
    waitpid(child, &status, 0);
    if (n <= 0) return WEXITSTATUS(status) ? WEXITSTATUS(status) : EIO;
    return atoi(text) == 0 && geteuid() != 0 ? 0 : EPERM;
}

void filesystem_attempts(void) {
    attempt("write-root", root_write);
    attempt("write-etc", etc_write);
    attempt("write-usr", usr_write);
    attempt("write-passwd", passwd_write);
    attempt("write-tmp", tmp_write);
    attempt("write-shm", shm_write);
    attempt("write-dev", dev_write);
    attempt("read-shadow", shadow_read);
    attempt("read-root-home", root_home);
    attempt("read-caller-home", caller_home);
    attempt("open-canary", canary);
    attempt("proc-sys-core-pattern", sysctl_write);
    attempt("proc-sys-hostname", own_sysctl_write);
    attempt("proc-sys-ip-forward", ip_sysctl_write);
    attempt("proc-sysrq", sysrq);
    attempt("proc-kcore", kcore);
    attempt("proc-keys", keys);
    attempt("proc-timer-list", timer_list);
    attempt("sys-write", sysfs_write);
    attempt("sys-uevent", uevent_write);
    attempt("sys-firmware", firmware_read);
    attempt("cgroup-write", cgroup_write);
    attempt("cgroup-make", cgroup_make);
    attempt("exe-write", self_write);
    attempt("init-exe-write", init_exe_write);
    attempt("dev-kmsg", kmsg);
    attempt("dev-mem", mem);
    attempt("mknod-block", node);
    attempt("mknod-char", char_node);
    attempt("file-capability", file_capability);
    attempt("dot-dot", dot_dot);
    attempt("fd-escape", fd_escape);
    attempt("init-root-escape", init_root_escape);
    attempt("setuid-file", setuid_file);
}

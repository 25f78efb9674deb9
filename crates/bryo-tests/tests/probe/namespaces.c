// SPDX-License-Identifier: Apache-2.0
// Mounts, roots and namespaces.
#include "probe.h"
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

static int mount_tmpfs(void) { return result(mount("none", "/tmp", "tmpfs", 0, NULL)); }
static int mount_bind(void) { return result(mount("/", "/tmp", NULL, MS_BIND, NULL)); }
static int mount_proc(void) { return result(mount("none", "/tmp", "proc", 0, NULL)); }
static int remount_root(void) { return result(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL)); }
static int unmount_proc(void) { return result(umount2("/proc", MNT_DETACH)); }
static int unmount_mask(void) { return result(umount2("/proc/kcore", MNT_DETACH)); }
static int open_fs(void) { return result(syscall(SYS_fsopen, "tmpfs", 0)); }
static int open_tree_clone(void) { return result(syscall(SYS_open_tree, AT_FDCWD, "/", 1)); }
static int move_a_mount(void) { return result(syscall(SYS_move_mount, -1, "", -1, "", 0)); }
static int change_root(void) { return result(chroot("/tmp")); }
static int pivot(void) { return result(syscall(SYS_pivot_root, "/", "/tmp")); }
static int unshare_user(void) { return result(unshare(CLONE_NEWUSER)); }
static int unshare_mount(void) { return result(unshare(CLONE_NEWNS)); }
static int unshare_pid(void) { return result(unshare(CLONE_NEWPID)); }
static int unshare_net(void) { return result(unshare(CLONE_NEWNET)); }
static int unshare_ipc(void) { return result(unshare(CLONE_NEWIPC)); }
static int unshare_uts(void) { return result(unshare(CLONE_NEWUTS)); }
static int unshare_cgroup(void) { return result(unshare(CLONE_NEWCGROUP)); }
static int unshare_time(void) { return result(unshare(0x80)); }
static int clone_user(void) {
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    return result(pid);
}
static int clone3_user(void) {
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) _exit(0);
    return result(pid);
}
static int join(const char *path, int kind) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? errno : result(setns(fd, kind));
}
static int join_mount(void) { return join("/proc/1/ns/mnt", CLONE_NEWNS); }
static int join_user(void) { return join("/proc/1/ns/user", CLONE_NEWUSER); }
static int join_net(void) { return join("/proc/self/ns/net", CLONE_NEWNET); }
static int set_hostname(void) { return result(sethostname("probe", 5)); }

void namespace_attempts(void) {
    attempt("mount-tmpfs", mount_tmpfs);
    attempt("mount-bind", mount_bind);
    attempt("mount-proc", mount_proc);
    attempt("remount-root", remount_root);
    attempt("umount-proc", unmount_proc);
    attempt("umount-mask", unmount_mask);
    attempt("fsopen", open_fs);
    attempt("open-tree", open_tree_clone);
    attempt("move-mount", move_a_mount);
    attempt("chroot", change_root);
    attempt("pivot-root", pivot);
    attempt("unshare-user", unshare_user);
    attempt("unshare-mount", unshare_mount);
    attempt("unshare-pid", unshare_pid);
    attempt("unshare-net", unshare_net);
    attempt("unshare-ipc", unshare_ipc);
    attempt("unshare-uts", unshare_uts);
    attempt("unshare-cgroup", unshare_cgroup);
    attempt("unshare-time", unshare_time);
    attempt("clone-user", clone_user);
    attempt("clone3-user", clone3_user);
    attempt("setns-mount", join_mount);
    attempt("setns-user", join_user);
    attempt("setns-net", join_net);
    attempt("sethostname", set_hostname);
}

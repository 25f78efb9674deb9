// SPDX-License-Identifier: Apache-2.0
//! Overlays by each of the kernel's interfaces, the old ones included, for real.
//!
//! A process with threads cannot make a user namespace, so there is a runner of one thread here. What a child finds
//! comes back as its exit code: 0, or 101 with a panic's words on standard error.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bryo_identity::map::RunIds;
use bryo_identity::rung::Host;
use bryo_identity::userns::{Request, spawn};
use bryo_launch::overlay::{Interface, Overlay, forget_volatile};
use bryo_sys::Errno;
use bryo_sys::clone::Namespaces;
use bryo_sys::mount::{Attr, attach};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change};

fn main() {
    let tests: [(&str, fn()); 5] = [
        ("each_interface_stacks_the_layers", each_interface_stacks_the_layers),
        ("the_page_takes_what_one_option_does_not", the_page_takes_what_one_option_does_not),
        ("nothing_stays_mounted_over_a_layer", nothing_stays_mounted_over_a_layer),
        ("a_volatile_layer_leaves_no_mark", a_volatile_layer_leaves_no_mark),
        ("one_layer_alone_cannot_be_written", one_layer_alone_cannot_be_written),
    ];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    for (name, test) in tests {
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
        } else if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}

/// Layers on disk, top first, each with a file of its own and one that all have.
struct Layers {
    dir: tempfile::TempDir,
    lowers: Vec<PathBuf>,
}

impl Layers {
    fn make(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lower = |n: usize| {
            let path = dir.path().join(n.to_string());
            fs::create_dir(&path).unwrap();
            fs::write(path.join("same"), n.to_string()).unwrap();
            fs::write(path.join(format!("only-{n}")), "").unwrap();
            path
        };
        let lowers = (0..count).map(lower).collect();
        fs::create_dir(dir.path().join("own")).unwrap();
        fs::set_permissions(dir.path().join("own"), fs::Permissions::from_mode(0o777)).unwrap();
        Self { dir, lowers }
    }

    /// Runs `body` as root inside, in namespaces that are gone afterwards, with the layers open.
    fn inside(&self, body: impl FnOnce(Vec<OwnedFd>, OwnedFd)) {
        let host = Host::probe();
        let map = host.map(host.rung(), RunIds::NONROOT).unwrap();
        let request = Request { map: &map, helpers: host.helpers.as_ref(), namespaces: Namespaces::MOUNT };
        let child = spawn(request, |inside| {
            let run = || {
                mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
                let lowers = self.lowers.iter().map(|path| open(path)).collect();
                let own = open(&self.dir.path().join("own"));
                inside.become_root().unwrap();
                body(lowers, own);
            };
            if catch_unwind(AssertUnwindSafe(run)).is_ok() { 0 } else { 101 }
        });
        assert_eq!(child.unwrap().wait().unwrap(), 0);
    }
}

fn open(path: &Path) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).unwrap()
}

/// Makes a writable layer and its work directory.
fn upper(own: &OwnedFd, name: &str) -> (OwnedFd, OwnedFd) {
    let make = |name: String| {
        rustix::fs::mkdirat(own, &name, Mode::from_raw_mode(0o755)).unwrap();
        rustix::fs::openat(own, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    };
    (make(format!("{name}-upper")), make(format!("{name}-work")))
}

fn read(dir: &OwnedFd, name: &str) -> rustix::io::Result<String> {
    let file = rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0; 16];
    let n = rustix::io::read(file, &mut text)?;
    Ok(String::from_utf8_lossy(&text[..n]).into_owned())
}

fn write(dir: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644))?;
    rustix::io::write(file, b"new").map(drop)
}

/// Checks that what is mounted is the layers in their order, and that writing reaches the own layer alone.
fn verify(mount: OwnedFd, own: &OwnedFd, layers: usize, upper: &str) {
    // A descriptor of a detached mount serves for reading names once it is attached somewhere.
    attach(&mount, own).unwrap();
    assert_eq!(read(&mount, "same").unwrap(), "0", "{upper}");
    assert!((0..layers).all(|n| read(&mount, &format!("only-{n}")).is_ok()), "{upper}");
    write(&mount, "written").unwrap();
    assert_eq!(read(own, &format!("{upper}/written")).unwrap(), "new");
    let stat = rustix::fs::fstatvfs(&mount).unwrap();
    assert!(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NODEV), "{upper}");
}

fn each_interface_stacks_the_layers() {
    Layers::make(3).inside(|lowers, own| {
        let overlay = |name: &str| Overlay { lowers: &lowers, upper: Some(upper(&own, name)), volatile: false };
        verify(overlay("one").mount_by(Interface::OneOption, Attr::NODEV).unwrap(), &own, 3, "one-upper");
        verify(overlay("page").mount_by(Interface::Page, Attr::NODEV).unwrap(), &own, 3, "page-upper");
        verify(overlay("best").mount(Attr::NODEV).unwrap(), &own, 3, "best-upper");
    });
}

fn the_page_takes_what_one_option_does_not() {
    Layers::make(60).inside(|lowers, own| {
        let overlay = |name: &str| Overlay { lowers: &lowers, upper: Some(upper(&own, name)), volatile: false };
        let refused = overlay("one").mount_by(Interface::OneOption, Attr::NODEV).unwrap_err();
        assert_eq!(refused.errno(), Errno::INVAL);
        verify(overlay("page").mount_by(Interface::Page, Attr::NODEV).unwrap(), &own, 60, "page-upper");
        verify(overlay("best").mount(Attr::NODEV).unwrap(), &own, 60, "best-upper");
    });
}

fn nothing_stays_mounted_over_a_layer() {
    Layers::make(2).inside(|lowers, own| {
        let table = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = table();
        let overlay = Overlay { lowers: &lowers, upper: Some(upper(&own, "a")), volatile: false };
        let mount = overlay.mount_by(Interface::Page, Attr::NODEV).unwrap();
        assert_eq!(table(), before);
        drop(mount);
        // Nor after a failure: a work directory on the wrong side is refused.
        let (upper, _) = upper(&own, "b");
        let work = rustix::fs::openat(&lowers[0], ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let overlay = Overlay { lowers: &lowers, upper: Some((upper, work)), volatile: false };
        assert!(overlay.mount_by(Interface::Page, Attr::NODEV).is_err());
        assert_eq!(table(), before);
    });
}

fn a_volatile_layer_leaves_no_mark() {
    Layers::make(2).inside(|lowers, own| {
        for (name, interface) in [("a", Interface::PerLayer), ("b", Interface::OneOption), ("c", Interface::Page)] {
            let shown = |volatile, upper| {
                let mount = Overlay { lowers: &lowers, upper: Some(upper), volatile }.mount_by(interface, Attr::NODEV);
                let mount = mount.unwrap();
                attach(&mount, &own).unwrap();
                let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
                let line = table.lines().rfind(|line| line.contains(" - overlay ")).unwrap().to_owned();
                rustix::mount::unmount(format!("/proc/self/fd/{}", mount.as_raw_fd()), UnmountFlags::DETACH).unwrap();
                line
            };
            let line = shown(true, upper(&own, name));
            // Newer kernels call it `fsync=volatile`.
            assert!(line.contains("volatile"), "{line}");
            forget_volatile(&own, Path::new(&format!("{name}-work")));
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let work = rustix::fs::openat(&own, format!("{name}-work/work"), flags, Mode::empty()).unwrap();
            let left = rustix::fs::Dir::new(work).unwrap().map(|entry| entry.unwrap().file_name().to_owned());
            assert_eq!(left.filter(|name| !name.to_bytes().starts_with(b".")).count(), 0);
            let line = shown(false, upper(&own, &format!("{name}-kept")));
            assert!(!line.contains("volatile"), "{line}");
        }
    });
}

fn one_layer_alone_cannot_be_written() {
    Layers::make(1).inside(|lowers, own| {
        let mount = Overlay { lowers: &lowers, upper: None, volatile: false }.mount(Attr::NODEV).unwrap();
        attach(&mount, &own).unwrap();
        assert_eq!(read(&mount, "same").unwrap(), "0");
        assert_eq!(write(&mount, "written"), Err(Errno::ROFS));
    });
}

// SPDX-License-Identifier: Apache-2.0
//! Stage 2: the root file system and everything mounted on it.
//!
//! The order is the protection. What needs the host's mounts (the layers, a new `/proc`, which the kernel gives only
//! to whoever already sees one) is made detached. Then the root is put in place, entered, and the host's tree is
//! taken away: from there on no path, whatever the image put into it, can lead to the host, because the host is not
//! in this mount namespace any more. Only then are names of the image looked up.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bryo_sys::mount::{Attr, Change, NewFs, attach, clone_tree, set_attr};
use bryo_sys::root::Root;
use bryo_sys::{Errno, check};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::UnmountFlags;

use crate::child::open::Opened;
use crate::child::places::Places;
use crate::child::{dev, places, volume, write_all};
use crate::error::{Context, Error, Kind, Result};
use crate::overlay::{Overlay, forget_volatile};
use crate::plan::{GeneratedFile, Plan, RootFs};
use crate::prepare::{MountOp, Prepared, What};

pub(super) fn build(plan: &Plan, prepared: &Prepared, opened: Opened) -> Result<()> {
    let Opened { lowers, scratch, binds, devices, volumes } = opened;
    let volatile = matches!(plan.root, RootFs::Overlay { volatile: true, .. });
    let base = base(&lowers, scratch.as_ref(), volatile, prepared)?;
    drop(lowers);
    let trees = prepared.mounts.iter().zip(binds).map(detached).collect::<Result<Vec<_>>>()?;
    let place = place(scratch)?;
    let (files, mut masks) = generated(&plan.files, &place)?;
    let volumes = volume::open(&plan.volumes, &volumes)?;
    let links = places::links()?;
    let root = enter(base, place)?;
    if let RootFs::Empty { links, directories } = &plan.root {
        skeleton(&root, links, directories)?;
    }
    let mut places = Places::new(&root, links, &prepared.process)?;
    state(&root, &mut places, plan)?;
    let mut devices = Some(devices);
    let mut closed = Vec::new();
    for (op, tree) in prepared.mounts.iter().zip(trees) {
        let tree = put(&root, &mut places, op, tree)?;
        if closes_late(op) {
            closed.push((op, tree));
        }
        if is_dev(op) {
            dev::fill(&root, devices.take().unwrap_or_default(), plan.devices.as_deref(), prepared.process.terminal)?;
        }
    }
    for (plan, opened) in plan.volumes.iter().zip(volumes) {
        volume::mount(&root, &mut places, plan, opened, &prepared.process)?;
    }
    for (file, tree) in plan.files.iter().zip(files) {
        let target = places.file(&file.path);
        attach(tree, target.context(Kind::RootFs, || format!("cannot place {}", file.path.display()))?)?;
    }
    places
        .within(&prepared.process.cwd)
        .context(Kind::WorkingDirectory, || format!("working directory {}", prepared.process.cwd.display()))?;
    for (op, tree) in closed {
        let change = Change { recursive: false, ..Change::set(Attr::RDONLY) };
        set_attr(&tree, change)
            .context(Kind::Confinement, || format!("cannot make {} read-only", op.target.display()))?;
    }
    restrict(&root, prepared, &mut masks)
}

/// Makes the root's mount, detached.
fn base(lowers: &[OwnedFd], scratch: Option<&OwnedFd>, volatile: bool, prepared: &Prepared) -> Result<OwnedFd> {
    // Where no privilege can be gained, the mount says so too.
    let no_suid = if prepared.process.no_new_privileges { Attr::NOSUID } else { Attr::empty() };
    let Some(scratch) = scratch else {
        let fs = NewFs::open("tmpfs")?;
        fs.set("mode", "0755")?;
        return Ok(fs.mount(Attr::NOSUID | Attr::NODEV)?);
    };
    let own = |name: &str, mode| -> Result<OwnedFd> {
        let made = rustix::fs::mkdirat(scratch, name, Mode::from_raw_mode(mode));
        match made {
            // A container that is started again keeps its layer.
            Ok(()) | Err(Errno::EXIST) => (),
            Err(e) => check("mkdirat", || name.into(), Err(e)).context(Kind::RootFs, || "own layer".into())?,
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(scratch, name, flags, Mode::empty());
        check("openat", || name.into(), fd).context(Kind::RootFs, || "own layer".into())
    };
    // The kernel makes a directory in the one to work in. The caller, whose directory is around both and closed to all
    // others, can remove it without the help of a process in the namespace, which would be a good part of a short run.
    let (upper, work) = (own("upper", 0o755)?, own("work", 0o777)?);
    if volatile {
        // The caller was killed before it did.
        forget_volatile(scratch, Path::new("work"));
    }
    let overlay = Overlay { lowers, upper: Some((upper, work)), volatile };
    overlay.mount(Attr::NODEV | no_suid).map_err(|e| {
        let late = matches!(e.errno(), Errno::PERM | Errno::ACCESS);
        Error::sys(if late { Kind::MountDenied } else { Kind::RootFs }, "cannot mount the layers", &e)
    })
}

/// Makes what an entry of the spec mounts, detached, with its flags.
fn detached((op, bind): (&MountOp, Option<OwnedFd>)) -> Result<OwnedFd> {
    let what = || format!("cannot mount {}", op.target.display());
    match (&op.what, bind) {
        (What::Bind { .. }, Some(tree)) => {
            let change = Change { private: true, ..Change::set(op.attr) };
            set_attr(&tree, change).context(Kind::RootFs, what)?;
            Ok(tree)
        }
        (What::New { options, .. }, _) if is_dev(op) => dev::make(options, op.attr),
        (What::New { kind, options }, _) => {
            let fs = NewFs::open(kind).context(Kind::RootFs, what)?;
            // What mount(8) shows in its first column.
            fs.set("source", kind).context(Kind::RootFs, what)?;
            for (key, value) in options {
                match value {
                    Some(value) => fs.set(key, value),
                    None => fs.flag(key),
                }
                .context(Kind::RootFs, what)?;
            }
            let late = if closes_late(op) { Attr::RDONLY } else { Attr::empty() };
            fs.mount(op.attr - late).map_err(|e| {
                let late = matches!(e.errno(), Errno::PERM | Errno::ACCESS);
                Error::sys(if late { Kind::MountDenied } else { Kind::RootFs }, what(), &e)
            })
        }
        (What::Bind { source, .. }, None) => {
            Err(Error::new(Kind::RootFs, format!("{} was not opened", source.display())))
        }
    }
}

/// Returns a directory of the host's tree, as it is seen here, to mount on. Any serves: it is gone a moment later, with
/// all that is around it.
fn place(scratch: Option<OwnedFd>) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match scratch {
        Some(scratch) => Ok(scratch),
        None => Ok(check("open", || "/tmp".into(), rustix::fs::openat(CWD, "/tmp", flags, Mode::empty()))?),
    }
}

/// Writes the generated files into a directory in memory and returns a read-only tree for each, and what masks.
///
/// The directory is put in place for that: before Linux 6.15 nothing is cloned from a mount that is nowhere.
fn generated(files: &[GeneratedFile], place: &OwnedFd) -> Result<(Vec<OwnedFd>, Masks)> {
    let fs = NewFs::open("tmpfs")?;
    fs.set("mode", "0755")?;
    let directory = fs.mount(Attr::NOSUID | Attr::NODEV | Attr::NOEXEC)?;
    attach(&directory, place).context(Kind::RootFs, || "cannot mount memory".into())?;
    let name = |n: usize| n.to_string();
    for (n, file) in files.iter().enumerate() {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&directory, name(n), flags, Mode::from_raw_mode(0o600));
        let fd = check("openat", || name(n), fd)?;
        check("write", || file.path.display().to_string(), write_all(&fd, &file.content))?;
        if file.owner != (0, 0) {
            let (uid, gid) = (Some(Uid::from_raw(file.owner.0)), Some(Gid::from_raw(file.owner.1)));
            check("fchown", || file.path.display().to_string(), rustix::fs::fchown(&fd, uid, gid))?;
        }
        // After the writing: creation modes are cut by the umask.
        check("fchmod", || name(n), rustix::fs::fchmod(&fd, Mode::from_raw_mode(file.mode)))?;
    }
    Masks::make(&directory)?;
    // The copies inherit it.
    set_attr(&directory, Change::set(Attr::RDONLY))?;
    let trees = (0..files.len()).map(|n| Ok(clone_tree(&directory, &name(n), false)?)).collect::<Result<_>>()?;
    Ok((trees, Masks::take(&directory)?))
}

/// Puts the root in place, makes it `/` and takes the host's tree away. Source: `pivot_root(2)`, the `"."` trick.
fn enter(base: OwnedFd, place: OwnedFd) -> Result<Root> {
    let what = || "cannot enter the root file system".to_owned();
    attach(&base, &place).context(Kind::RootFs, what)?;
    drop(place);
    check("fchdir", || "new root".into(), rustix::process::fchdir(&base)).context(Kind::RootFs, what)?;
    check("pivot_root", || "., .".into(), rustix::process::pivot_root(".", ".")).context(Kind::RootFs, what)?;
    check("umount2", || "., MNT_DETACH".into(), rustix::mount::unmount(".", UnmountFlags::DETACH))
        .context(Kind::RootFs, what)?;
    check("chdir", || "/".into(), rustix::process::chdir("/")).context(Kind::RootFs, what)?;
    Root::open(Path::new("/")).context(Kind::RootFs, what)
}

/// Fills an empty root with the links and directories of the plan.
fn skeleton(root: &Root, links: &[(PathBuf, PathBuf)], directories: &[(PathBuf, u32)]) -> Result<()> {
    for (path, mode) in directories {
        root.create_dir_all(path, Mode::from_raw_mode(0o755))?;
        let made = root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        check("fchmod", || path.display().to_string(), rustix::fs::fchmod(made, Mode::from_raw_mode(*mode)))?;
    }
    for (path, to) in links {
        let parent = root.create_dir_all(path.parent().unwrap_or(Path::new("/")), Mode::from_raw_mode(0o755))?;
        let name = path.file_name().unwrap_or_default();
        check("symlinkat", || path.display().to_string(), rustix::fs::symlinkat(to, &parent, name))?;
    }
    Ok(())
}

/// Keeps directories writable: each becomes a mount of its own before the root is made read-only, from which nothing is
/// executed unless the plan says so.
fn state(root: &Root, places: &mut Places<'_>, plan: &Plan) -> Result<()> {
    for path in &plan.state {
        let what = || format!("state directory {}", path.display());
        let directory = match open_real(root, path) {
            Err(e) if matches!(e.errno(), Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            result => result.context(Kind::RootFs, what)?,
        };
        let tree = clone_tree(&directory, "", false).context(Kind::RootFs, what)?;
        let no_exec = if plan.executable.contains(path) { Attr::empty() } else { Attr::NOEXEC };
        set_attr(&tree, Change::set(Attr::NOSUID | Attr::NODEV | no_exec)).context(Kind::RootFs, what)?;
        attach(&tree, directory).context(Kind::RootFs, what)?;
        places.is_own(tree)?;
    }
    Ok(())
}

/// Opens a directory on whose way there is no link: one would make writable what is elsewhere.
fn open_real(root: &Root, path: &Path) -> bryo_sys::Result<OwnedFd> {
    let open = |path: &Path| root.open_at(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    for above in path.ancestors().skip(1).filter(|above| above.parent().is_some()) {
        open(above)?;
    }
    open(path)
}

/// Attaches a detached mount at its place, which is made when it is missing.
fn put(root: &Root, places: &mut Places<'_>, op: &MountOp, tree: OwnedFd) -> Result<OwnedFd> {
    let what = || format!("cannot mount on {}", op.target.display());
    let stat = check("fstat", || op.target.display().to_string(), rustix::fs::fstat(&tree))?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let target = if directory { places.directory(&op.target) } else { places.file(&op.target) };
    let target = target.context(Kind::RootFs, what)?;
    // Where /proc or /sys should be, a link would let the image choose what is seen there (CVE-2019-19921).
    if matches!(op.target.to_str(), Some("/proc" | "/sys" | "/dev")) && root.kind(&op.target)? != FileType::Directory {
        return Err(Error::new(Kind::RootFs, format!("{} of the image is not a directory", op.target.display())));
    }
    attach(&tree, target).context(Kind::RootFs, what)?;
    if let What::New { .. } = op.what {
        places.is_own(&tree)?;
    }
    Ok(tree)
}

/// Masks, read-only paths, and last the read-only root: each takes away what the steps before still needed.
fn restrict(root: &Root, prepared: &Prepared, masks: &mut Masks) -> Result<()> {
    for path in &prepared.read_only {
        let Some(target) = existing(root, path)? else { continue };
        let what = || format!("cannot make {} read-only", path.display());
        let tree = clone_tree(&target, "", true).context(Kind::Confinement, what)?;
        set_attr(&tree, Change::set(Attr::RDONLY | Attr::NOSUID | Attr::NODEV | Attr::NOEXEC))
            .context(Kind::Confinement, what)?;
        attach(tree, target).context(Kind::Confinement, what)?;
    }
    for path in &prepared.masked {
        let Some(target) = existing(root, path)? else { continue };
        masks.put(&target).context(Kind::Confinement, || format!("cannot mask {}", path.display()))?;
    }
    if prepared.root_read_only {
        // With a single id the run user owns /dev as well.
        if prepared.mounts.iter().any(is_dev) {
            dev::close(root)?;
        }
        let change = Change { recursive: false, ..Change::set(Attr::RDONLY) };
        set_attr(root, change).context(Kind::Confinement, || "cannot make the root read-only".into())?;
    }
    Ok(())
}

/// What is mounted over a masked path: an empty read-only directory or file that nobody can open.
struct Masks {
    directory: Mask,
    file: Mask,
}

/// One of them, and whether it is in place already.
struct Mask {
    tree: OwnedFd,
    used: bool,
}

impl Masks {
    const DIRECTORY: &str = "mask-directory";
    const FILE: &str = "mask-file";

    /// Makes both in a directory in memory.
    fn make(memory: &OwnedFd) -> Result<()> {
        check("mkdirat", || "mask".into(), rustix::fs::mkdirat(memory, Self::DIRECTORY, Mode::from_raw_mode(0o555)))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        check("openat", || "mask".into(), rustix::fs::openat(memory, Self::FILE, flags, Mode::empty()))?;
        Ok(())
    }

    /// Takes both from there.
    fn take(memory: &OwnedFd) -> Result<Self> {
        let mask = |name| -> Result<Mask> { Ok(Mask { tree: clone_tree(memory, name, false)?, used: false }) };
        Ok(Self { directory: mask(Self::DIRECTORY)?, file: mask(Self::FILE)? })
    }

    /// Masks a file or a directory.
    fn put(&mut self, target: &OwnedFd) -> bryo_sys::Result<()> {
        let stat = check("fstat", String::new, rustix::fs::fstat(target))?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let mask = if directory { &mut self.directory } else { &mut self.file };
        // The first is the tree itself; once that is in place it can be cloned for the others.
        if mask.used {
            return attach(clone_tree(&mask.tree, "", false)?, target);
        }
        mask.used = true;
        attach(&mask.tree, target)
    }
}

fn existing(root: &Root, path: &Path) -> Result<Option<OwnedFd>> {
    match root.resolve(path) {
        Ok(fd) => Ok(Some(fd)),
        // Not "permission denied": the run user may see what root inside does not, where a share has made it the caller.
        Err(e) if matches!(e.errno(), Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(Error::sys(Kind::Confinement, format!("cannot look at {}", path.display()), &e)),
    }
}

/// Tells whether a mount is memory that is made read-only when everything is in place: there is nothing in it yet, and
/// what is mounted in it needs a place.
fn closes_late(op: &MountOp) -> bool {
    matches!(op.what, What::New { kind: "tmpfs", .. }) && op.attr.contains(Attr::RDONLY) && !is_dev(op)
}

fn is_dev(op: &MountOp) -> bool {
    op.target == Path::new("/dev") && matches!(op.what, What::New { kind: "tmpfs", .. })
}

// SPDX-License-Identifier: Apache-2.0
//! `cp`: files between a container and the host.
//!
//! The two sides never meet. An agent, which is root inside the container's user namespace, has the container's files and
//! nothing of the host; the caller's own process has the host's. Between them goes an archive, which is also what `-`
//! stands for.

mod target;
pub(crate) mod view;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use bryo_image::carry::{Arriving, Carried, Owner, Placing, Thing, Top, beneath, is_made_up, pack};
use bryo_sys::check;
use bryo_sys::root::Root;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::Engine;
use crate::agent::{self, Agent, Place};
use crate::container::{Held, Record};
use crate::derive::tree::{Real, Tree};
use crate::error::{Error, Kind, Result};

use target::{CARRIED, There, Written, decide};
use view::{Opened, View};

/// How files are copied.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// Copies what a link leads to, where the path that is copied is one.
    pub follow: bool,
    /// Keeps the owners' numbers.
    pub archive: bool,
}

/// The host's side of a copy.
#[derive(Debug)]
pub enum Local<'a> {
    /// A path, as the caller wrote it.
    Path(&'a str),
    /// A tar archive that is read or written.
    Stream(OwnedFd),
}

impl Engine {
    /// Copies a path of a container to the host.
    ///
    /// # Errors
    ///
    /// [`Kind::Source`] for what is not there or does not fit, [`Kind::Unsupported`] for what is no file.
    pub fn copy_out(&self, record: &Record, path: &str, to: Local<'_>, options: CopyOptions) -> Result<Carried> {
        let squash = record.identity.map()?.is_single();
        let from = Written(path);
        let follow = options.follow || from.is_directory();
        let send = |opened: Opened, name: &[u8], output: OwnedFd| {
            let thing = thing_inside(&opened.enter()?, from, follow)?;
            Ok(pack(thing, name, squash, File::from(output))?)
        };
        let to = match to {
            Local::Stream(output) => {
                let name = if from.is_content() { b".".to_vec() } else { from.base() };
                return self.with_files(record, false, |place, view| {
                    agent::start(place, [output], || view.open(), move |opened, [output]| send(opened, &name, output))?
                        .answer()
                });
            }
            Local::Path(to) => to,
        };
        let (read, write) = pipe()?;
        self.with_files(record, false, |place, view| {
            let agent =
                agent::start(place, [write], || view.open(), move |opened, [write]| send(opened, CARRIED, write))?;
            let owner =
                if options.archive && rustix::process::geteuid().is_root() { Owner::Stream } else { Owner::Maker };
            both(agent, arrive_outside(File::from(read), from, Written(to), owner))
        })
    }

    /// Copies something of the host to a path of a container. Without `archive` it belongs to the container's user.
    ///
    /// # Errors
    ///
    /// As [`Engine::copy_out`].
    pub fn copy_in(&self, record: &Record, from: Local<'_>, path: &str, options: CopyOptions) -> Result<Carried> {
        let single = record.identity.map()?.is_single();
        let owner = match options.archive {
            _ if single => Owner::Maker,
            true => Owner::Stream,
            false => Owner::These(record.identity.uid, record.identity.gid),
        };
        let receive = |opened: Opened, input: OwnedFd, from: Option<Written<'_>>| {
            arrive_inside(&opened.enter()?, File::from(input), from, Written(path), owner, single)
        };
        let from = match from {
            Local::Stream(input) => {
                return self.with_files(record, true, |place, view| {
                    let work = move |opened, [input]: [OwnedFd; 1]| receive(opened, input, None);
                    agent::start(place, [input], || view.open(), work)?.answer()
                });
            }
            Local::Path(from) => Written(from),
        };
        // Looked at first: without it there is nothing to begin.
        let follow = options.follow || from.is_directory();
        let thing = Thing::open(|flags| rustix::fs::openat(CWD, from.0, with(flags, follow), Mode::empty()));
        let thing = thing.map_err(|e| Error::io("cannot copy", from.0.as_ref(), e.into()))?;
        let (read, write) = pipe()?;
        self.with_files(record, true, |place, view| {
            let work = move |opened, [read]: [OwnedFd; 1]| receive(opened, read, Some(from));
            let agent = agent::start(place, [read], || view.open(), work)?;
            let sent = pack(thing, CARRIED, false, File::from(write)).map_err(Into::into);
            // What was left out was left out here.
            both(agent, sent.map(|sent| Carried { entries: 0, bytes: 0, ..sent }))
        })
    }

    /// Lets an agent come to the files of a container, wherever they are. While somebody writes to one that does not
    /// run, it cannot be started.
    pub(crate) fn with_files<T>(
        &self,
        record: &Record,
        write: bool,
        act: impl FnOnce(Place<'_>, &View) -> Result<T>,
    ) -> Result<T> {
        if let Ok(process) = self.payload(record) {
            let write = write && !record.options.strict_read_only;
            let map = record.identity.map()?;
            return act(Place::Container(&map, process.as_fd()), &View::Running { write });
        }
        // In one that has never run, places for its mounts may be missing.
        let write = write || (record.state.status == "created" && !record.options.mounts.is_empty());
        let map = self.map_of_files(Some(record))?;
        let held: Option<Held> = write.then(|| self.containers.hold(record)).transpose()?;
        if let Some(held) = &held {
            let scratch = held.layer()?;
            self.give(&scratch).map_err(|e| Error::io("cannot give away", &scratch, e))?;
        }
        let view = View::Stopped(self.stopped(record, write)?);
        act(Place::Mounting(&map, self.host.helpers.as_ref()), &view)
    }
}

/// Waits for the agent, and puts together what both sides say. Where both failed, the one has failed because of the
/// other, which broke the pipe or ended the stream.
fn both(agent: Agent<Carried>, own: Result<Carried>) -> Result<Carried> {
    let broken = |e: &Error| e.errno() == Some(Errno::PIPE.raw_os_error()) || e.to_string().contains("Broken pipe");
    match (agent.answer(), own) {
        (Ok(theirs), Ok(own)) => Ok(Carried {
            entries: theirs.entries.max(own.entries),
            bytes: theirs.bytes.max(own.bytes),
            devices: theirs.devices + own.devices,
        }),
        (Err(theirs), Err(own)) => Err(if broken(&theirs) { own } else { theirs }),
        (Err(e), Ok(_)) | (Ok(_), Err(e)) => Err(e),
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    Ok(check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?)
}

fn with(flags: OFlags, follow: bool) -> OFlags {
    if follow { flags } else { flags | OFlags::NOFOLLOW }
}

/// Opens what is to be copied, in the agent.
fn thing_inside(root: &Root, path: Written<'_>, follow: bool) -> Result<Thing> {
    // Links are read and not followed: the kernel keeps root from links that others have made in a directory as /tmp.
    // Source: `proc_sys_fs(5)`, `protected_symlinks`.
    let real = if follow { Some(real(root, path)?) } else { None };
    if let Some(real) = &real
        && path.is_directory()
        && real.stat.is_some()
        && !real.is_dir()
    {
        return Err(inside(path, Errno::NOTDIR));
    }
    let place = real.as_ref().map_or(Path::new(path.0), |real| &real.path);
    let open = |flags| root.open_at(place, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(|e| e.errno());
    // Before it is opened, which has a meaning of its own there.
    if is_made_up(open(OFlags::PATH).map_err(|e| inside(path, e))?) {
        let why = format!("cannot copy {:?}: the kernel makes it up, and it is no file", path.0);
        return Err(Error::new(Kind::Unsupported, why));
    }
    Thing::open(open).map_err(|e| inside(path, e))
}

/// Says where a path in the container leads.
fn real(root: &Root, path: Written<'_>) -> Result<Real> {
    let copy = root.resolve(".")?;
    Tree::new(copy, false).real(Path::new(path.0)).map_err(|e| inside(path, e.errno()))
}

fn inside(path: Written<'_>, errno: Errno) -> Error {
    let why = match errno {
        Errno::NOENT => "there is no such file in the container".to_owned(),
        other => other.to_string(),
    };
    Error::new(Kind::Source, format!("cannot copy {:?}: {why}", path.0))
}

/// Makes what comes, in the agent. Without a source it is an archive of its own, for a directory that is there.
fn arrive_inside(
    root: &Root,
    input: File,
    from: Option<Written<'_>>,
    to: Written<'_>,
    owner: Owner,
    strip_set_id: bool,
) -> Result<Carried> {
    let real = real(root, to)?;
    let there = match &real.stat {
        None => There::Nothing,
        Some(_) if real.is_dir() => There::Directory,
        Some(_) => There::Other,
    };
    let arriving = Arriving::begin(input)?;
    let (directory, top) = match (from, arriving.head(), there) {
        (Some(from), Some(head), there) => decide(head, from, to, &real.path, there)?,
        (None, _, There::Directory) => (real.path.as_os_str().as_encoded_bytes().to_vec(), Top::AsItIs),
        (None, _, _) => {
            let why = format!("cannot unpack into {:?}: there is no such directory in the container", to.0);
            return Err(Error::new(Kind::Source, why));
        }
        (Some(_), None, _) => return Ok(Carried::default()),
    };
    // Its links have been followed once, as the container sees them. Whoever puts another there now stops the copy, and so
    // does one further down: what belongs to others inside is not for the container's user to lead it to.
    let whole = root.resolve(".")?;
    let into = beneath(whole.as_fd(), &directory).map_err(|e| inside(to, e))?;
    if is_made_up(&into) {
        let why = format!("cannot copy to {:?}: the kernel makes up what is there", to.0);
        return Err(Error::new(Kind::Unsupported, why));
    }
    let placing = Placing { top, owner, strip_set_id, record: false, attributes: false };
    let placed = arriving.place(into.as_fd(), &placing);
    Ok(placed.map_err(|e| e.within(format!("cannot copy to {:?}", to.0)))?)
}

/// Makes what comes on the host, as the caller. The caller's own path may have links; below it none is followed.
fn arrive_outside(input: File, from: Written<'_>, to: Written<'_>, owner: Owner) -> Result<Carried> {
    let arriving = Arriving::begin(input)?;
    let Some(head) = arriving.head() else { return Ok(Carried::default()) };
    let failed = |e| Error::io("cannot copy to", to.0.as_ref(), e);
    let (path, there) = match std::fs::metadata(to.0) {
        Ok(found) => {
            let there = match FileType::from_raw_mode(std::os::unix::fs::MetadataExt::mode(&found)) {
                FileType::Directory => There::Directory,
                FileType::RegularFile => There::Other,
                _ => {
                    let why = format!("cannot copy to {:?}: it is neither a file nor a directory", to.0);
                    return Err(Error::new(Kind::Source, why));
                }
            };
            (std::fs::canonicalize(to.0).map_err(failed)?, there)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            (std::path::absolute(to.0).map_err(failed)?, There::Nothing)
        }
        Err(e) => return Err(failed(e)),
    };
    let (directory, top) = decide(head, from, to, &path, there)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let into = rustix::fs::openat(CWD, directory.as_slice(), flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    let placing = Placing { top, owner, strip_set_id: true, record: false, attributes: false };
    let placed = arriving.place(into.as_fd(), &placing);
    Ok(placed.map_err(|e| e.within(format!("cannot copy to {:?}", to.0)))?)
}

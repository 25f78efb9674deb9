// SPDX-License-Identifier: Apache-2.0
//! `commit` and `export`: a container's files as an image's layer, and as one archive.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use bryo_image::archive::{self, Change, CommitOptions};
use bryo_image::changes::{Manner, write_layer};
use bryo_image::store::ImageRecord;
use bryo_image::unpack::{Part, Unreadable, export};
use bryo_sys::check;
use rustix::pipe::PipeFlags;
use serde_json::json;

use crate::Engine;
use crate::agent::{self, Place};
use crate::container::Record;
use crate::error::{Error, Kind, Result};
use crate::inspect::healthcheck;
use crate::options::{HealthOptions, Port, Source, signal_name};

impl Engine {
    /// Makes an image of a container: its own image, and one more layer with what it has changed. What it was asked for
    /// beyond the image's configuration becomes part of that. `pause` stops it meanwhile; unless that was said, it is
    /// stopped where it can be.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] for a container that is made of no image, or that cannot be stopped.
    pub fn commit(&self, record: &Record, options: CommitOptions, pause: Option<bool>) -> Result<ImageRecord> {
        let Some(image) = self.containers.image(&record.id)? else {
            let why = "is made of no image, which a layer could be put on; bryo export it, and bryo import that";
            return Err(Error::new(Kind::Unsupported, format!("container {} {why}", record.name)));
        };
        let map = self.map_of_files(Some(record))?;
        let squash = map.is_single();
        let worker = self.worker()?;
        let changes = asked_for(record).into_iter().chain(options.changes).collect();
        let options = CommitOptions { changes, command: record.command.join(" "), ..options };
        let paths = self.layer_paths_of(record)?;
        let _frozen = self.freeze_for(record, pause)?;
        let (read, write) = check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
        let place = Place::Own(&map, self.host.helpers.as_ref());
        let open = || paths.as_ref().map(|paths| paths.open()).transpose();
        let agent = agent::start(place, [write], open, move |layers, [write]| {
            let mut output = File::from(write);
            match layers {
                Some(layers) => Ok(write_layer(&layers, Manner { squash, ..Manner::default() }, &mut output)?),
                // Nothing has run; the layer is an archive with its end and nothing else.
                None => {
                    let ended = std::io::Write::write_all(&mut output, &[0; 1024]);
                    ended.map_err(|e| Error::io("cannot write", "layer".as_ref(), e))?;
                    Ok(Default::default())
                }
            }
        })?;
        let mut layer = File::from(read);
        let mut failure = None;
        let whole = || match agent.answer() {
            Ok(_) => Ok(()),
            Err(error) => {
                failure = Some(error);
                Err(bryo_image::Error::new(bryo_image::Kind::Io, "read the container's layer"))
            }
        };
        let made = archive::commit(&self.store, &worker, &image, &mut layer, whole, &options);
        // The agent's own words say more.
        let made = made.map_err(|error| failure.take().unwrap_or_else(|| error.into()))?;
        self.tell(record, "commit");
        Ok(made)
    }

    /// Writes all of a container's files as one archive, as they are without its mounts; says what nobody in it may read.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] for a container that has no files of its own; [`Kind::Io`].
    pub fn export(&self, record: &Record, output: OwnedFd) -> Result<Unreadable> {
        let map = self.map_of_files(Some(record))?;
        let squash = map.is_single();
        let (paths, lowers) = (self.layer_paths_of(record)?, self.lowers_of(record)?);
        let open = || match &paths {
            Some(paths) => {
                let layers = paths.open()?;
                Ok(layers.lowers.into_iter().rev().chain([layers.own]).collect())
            }
            None => lowers.iter().rev().map(|path| crate::changes::directory(path)).collect::<Result<Vec<OwnedFd>>>(),
        };
        let place = Place::Own(&map, self.host.helpers.as_ref());
        let copy = output.as_fd().try_clone_to_owned();
        let copy = copy.map_err(|e| Error::io("cannot write", "archive".as_ref(), e))?;
        let agent = agent::start(place, [copy], open, move |layers, [copy]| {
            // What a layer only implies is described by the one that was made for the user.
            let parts = layers.into_iter().map(Part::new).collect();
            Ok(export(parts, squash, File::from(copy))?)
        })?;
        let unreadable = agent.answer()?;
        self.tell(record, "export");
        Ok(unreadable)
    }
}

/// Says what a container was asked for, as changes to its image's configuration.
fn asked_for(record: &Record) -> Vec<Change> {
    let options = &record.options;
    let mut changes = Vec::new();
    if let Some(entrypoint) = &options.entrypoint {
        changes.push(Change::Entrypoint(entrypoint.clone()));
    }
    // A new entrypoint takes the image's command away.
    if options.entrypoint.is_some() || !options.command.is_empty() {
        changes.push(Change::Cmd(options.command.clone()));
    }
    changes.extend(options.unset_env.iter().map(|name| Change::NoEnv(name.clone())));
    let variable = |entry: &String| entry.split_once('=').map(|(name, value)| Change::Env(name.into(), value.into()));
    changes.extend(options.env.iter().filter_map(variable));
    changes.extend(options.user.iter().map(|user| Change::User(user.clone())));
    changes.extend(options.workdir.iter().map(|dir| Change::Workdir(dir.to_string_lossy().into_owned())));
    changes.extend(options.labels.iter().map(|(key, value)| Change::Label(key.clone(), value.clone())));
    // What is published is exposed, too.
    let published = options.publish.iter().map(|one| format!("{}/{}", one.0.container, one.0.protocol));
    changes.extend(options.expose.iter().map(Port::to_string).chain(published).map(Change::Expose));
    let anonymous = options.mounts.iter().filter(|mount| matches!(mount.source, Source::Anonymous(_)));
    changes.extend(anonymous.map(|mount| Change::Volume(mount.target.to_string_lossy().into_owned())));
    changes.extend(options.stop_signal.map(|signal| Change::StopSignal(signal_name(signal))));
    if options.health != HealthOptions::default() {
        // What it was asked for, with what the image and the defaults have said beside it.
        let check = record.health_check.as_ref().map_or_else(|| json!({"Test": ["NONE"]}), healthcheck);
        changes.push(Change::Healthcheck(check));
    }
    changes
}

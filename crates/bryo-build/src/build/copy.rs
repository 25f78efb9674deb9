// SPDX-License-Identifier: Apache-2.0
//! `COPY` and `ADD`.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bryo_engine::error::Error as EngineError;
use bryo_engine::step::{LayerForm, Scratch, Working};
use bryo_image::Digest;
use bryo_image::digest::{Algorithm, HashingWriter};
use bryo_image::store::Layer;
use bryo_sys::check;
use bryo_sys::root::Root;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use serde_json::{Value, json};

use super::Builder;
use super::fetched::Fetched;
use super::simple::absolute;
use crate::context::is_archive;
use crate::dockerfile::{Copy, Heredoc, Source, substitute};
use crate::error::{Result, wrong};
use crate::files::{Chmod, Destination, Placed, Selection, pack, place};
use crate::git::{Asker, Checkout, Repository};
use crate::ignore::Ignore;
use crate::pattern::literal;
use crate::state::State;

/// What an archive may ask for to be read, in KiB: `xz -9` needs half of it.
const XZ_MEMORY: u32 = 128 << 10;

/// A part of a copy: what is carried in one go.
pub(super) enum Piece {
    /// Files of the context.
    Context(Selection),
    /// Files of a stage or an image.
    Stage(Vec<PathBuf>, Selection),
    /// A file made of a here-document.
    Text { name: String, text: String, selection: Selection },
    /// An archive of the context, to be unpacked.
    Archive(File),
    /// A file of an address.
    Fetched(Fetched, Selection),
    /// Files of a git repository.
    Git(Checkout, Selection),
}

/// A copy whose variables are replaced.
struct Plan {
    pieces: Vec<Piece>,
    destination: Destination,
    /// What makes it the same copy another time.
    inputs: Value,
}

impl Builder<'_> {
    pub(super) fn copy(&mut self, state: &mut State, index: usize, copy: &Copy, text: &str, name: &str) -> Result<()> {
        let plan = self.plan_copy(state, index, copy)?;
        // A linked layer is made above nothing, and so is the same above everything.
        let below = if copy.link { Value::Null } else { state.content() };
        let mut inputs = json!({"step": "COPY", "copy": plan.inputs, "below": below});
        let known_as = inputs.clone();
        let staged = plan.pieces.iter().any(|piece| matches!(piece, Piece::Stage(..)));
        if staged && !self.is_known(&inputs) {
            // Another stage need not have made anything else of what is copied.
            inputs["copy"]["from"] = Value::Null;
            inputs["copy"]["digests"] =
                plan.pieces.iter().map(|piece| self.content(piece)).collect::<Result<Vec<_>>>()?.into();
        }
        let entry = self.cached(&inputs, name, |builder, _| {
            let layers = if copy.link { Vec::new() } else { builder.layers(state)? };
            let scratch = builder.engine.scratch()?;
            let done =
                plan.pieces.iter().try_for_each(|piece| builder.carry(piece, &layers, &scratch, &plan.destination));
            let layer = done.and_then(|()| builder.layer(&scratch, &layers, &[]));
            builder.ended(scratch, layer).map(Some)
        })?;
        if inputs != known_as {
            self.keep(&known_as, &entry);
        }
        state.record(text, entry.layer.map(|layer| (layer, entry.created)));
        Ok(())
    }

    fn plan_copy(&mut self, state: &State, index: usize, copy: &Copy) -> Result<Plan> {
        let written = self.expand(&copy.destination, state)?;
        let mut path = absolute(state.workdir(), &written);
        if (written.is_empty() || written.ends_with('/') || written == "." || written.ends_with("/.")) && path != "/" {
            path.push('/');
        }
        let many = copy.sources.len() > 1 || copy.parents;
        if many && !path.ends_with('/') {
            return Err(wrong("more than one source: the destination must be a directory, and end with /"));
        }
        let owner = match &copy.chown {
            Some(chown) => Some(self.owner(state, &self.expand(chown, state)?)?),
            None => None,
        };
        let chmod = copy.chmod.as_ref().map(|chmod| self.expand(chmod, state)).transpose()?;
        let chmod = chmod.map(|text| Chmod::parse(&text)).transpose().map_err(wrong)?;
        let excludes = copy.excludes.iter().map(|pattern| self.expand(pattern, state)).collect::<Result<Vec<_>>>()?;
        let from = copy.from.as_ref().map(|from| self.expand(from, state)).transpose()?;
        let base = Selection {
            excludes: Ignore::of(&excludes).map_err(wrong)?,
            parents: copy.parents,
            owner: if from.is_some() { owner } else { Some(owner.unwrap_or((0, 0))) },
            recorded: self.single_id(),
            // The context's are the host's business.
            attributes: from.is_some(),
            chmod: chmod.clone(),
            single: !path.ends_with('/') && !many,
            ..Selection::default()
        };
        let source = match &from {
            Some(name) => Some(self.source(index, name)?),
            None => None,
        };
        let mut pieces = Vec::new();
        for one in &copy.sources {
            self.piece(&mut pieces, one, copy, state, (&base, source.as_ref()))?;
        }
        let identity = source.as_ref().map(State::content);
        let digests = pieces.iter().map(|piece| self.digest(piece)).collect::<Result<Vec<_>>>()?;
        let inputs = json!({
            "from": identity,
            "digests": digests,
            "to": path,
            "owner": owner,
            "chmod": chmod.map(|chmod| format!("{chmod:?}")),
            "excludes": excludes,
            "parents": copy.parents,
        });
        let destination = Destination {
            path,
            owner: owner.unwrap_or((0, 0)),
            single_id: self.single_id(),
            own: None,
            unpacked: false,
        };
        Ok(Plan { pieces, destination, inputs })
    }

    /// Adds what a source means; those that come from one place, one after the other, are one piece.
    fn piece(
        &self,
        pieces: &mut Vec<Piece>,
        source: &Source,
        copy: &Copy,
        state: &State,
        (base, from): (&Selection, Option<&State>),
    ) -> Result<()> {
        let path = match source {
            Source::Heredoc(heredoc) => {
                let (name, text) = (heredoc.name.clone(), self.heredoc(heredoc, state)?);
                if name.contains('/') || matches!(name.as_str(), "." | "..") {
                    return Err(wrong(format!("<<{name}: this is no name of a file")));
                }
                let selection = Selection { sources: vec![literal(&name)], ..base.clone() };
                pieces.push(Piece::Text { name, text, selection });
                return Ok(());
            }
            Source::Path(path) => self.expand(path, state)?,
        };
        if copy.add {
            if let Some(repository) = Repository::parse(&path) {
                let checkout = self.repository(&repository, copy, state)?;
                let selection = Selection { sources: vec![".".to_owned()], single: false, ..base.clone() };
                pieces.push(Piece::Git(checkout, selection));
                return Ok(());
            }
            if path.contains("://") {
                let checksum = copy.checksum.as_ref().map(|text| self.expand(text, state)).transpose()?;
                let fetched = Fetched::new(&path, checksum.as_deref(), self.engine.store().root())?;
                if fetched.checksum.is_none() {
                    fetched.fetch(self.request.fetch)?;
                }
                let sources = vec![literal(&fetched.name)];
                // Source: the Dockerfile reference, "ADD": what is fetched is its owner's alone.
                let chmod = base.chmod.clone().or(Some(Chmod::Mode(0o600)));
                pieces.push(Piece::Fetched(fetched, Selection { sources, chmod, ..base.clone() }));
                return Ok(());
            }
            if copy.unpack != Some(false)
                && let Some(archive) = self.archive(&path)?
            {
                pieces.push(Piece::Archive(archive));
                return Ok(());
            }
        }
        match (pieces.last_mut(), from) {
            (Some(Piece::Context(last) | Piece::Stage(_, last)), _) => last.sources.push(path),
            (_, Some(from)) => {
                let selection = Selection { sources: vec![path], ..base.clone() };
                pieces.push(Piece::Stage(self.layers(from)?, selection));
            }
            (_, None) => {
                let ignore = self.request.context.ignore.clone();
                pieces.push(Piece::Context(Selection { sources: vec![path], ignore, ..base.clone() }));
            }
        }
        Ok(())
    }

    /// Checks a repository out. What `--checksum` says is the commit that it must be.
    fn repository(&self, repository: &Repository, copy: &Copy, state: &State) -> Result<Checkout> {
        let place = self.engine.store().root().join("build");
        let agent = self.request.agents.get("default").map(PathBuf::as_path);
        let checkout = repository.check_out(&place, copy.keep_git_dir, Asker::Dockerfile(agent))?;
        let checksum = copy.checksum.as_ref().map(|text| self.expand(text, state)).transpose()?;
        match checksum {
            Some(wanted) if wanted != checkout.commit => {
                Err(wrong(format!("ADD: the commit is {}, and not {wanted}", checkout.commit)))
            }
            _ => Ok(checkout),
        }
    }

    fn heredoc(&self, heredoc: &Heredoc, state: &State) -> Result<String> {
        let text = heredoc.text();
        if !heredoc.expand {
            return Ok(text);
        }
        self.expand_by(&|name| state.variable(name), |lookup, escape| substitute::text(&text, lookup, escape))
    }

    /// Opens a file of the context that is an archive.
    fn archive(&self, path: &str) -> Result<Option<File>> {
        let path = crate::pattern::clean(path);
        let context = self.request.context;
        if context.ignore.excludes(&path) {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Ok(fd) = context.root()?.open_at(Path::new("/").join(&path), flags, Mode::empty()) else { return Ok(None) };
        let mut file = File::from(fd);
        if !file.metadata().is_ok_and(|found| found.is_file()) {
            return Ok(None);
        }
        let mut beginning = Vec::new();
        let read = file.by_ref().take(512).read_to_end(&mut beginning).and_then(|_| file.seek(SeekFrom::Start(0)));
        read.map_err(|e| EngineError::io("cannot read", path.as_ref(), e))?;
        Ok(is_archive(&beginning).then_some(file))
    }

    /// Returns a digest of what a piece carries; of a stage's, which is known by its layers, of what is chosen.
    pub(super) fn digest(&self, piece: &Piece) -> Result<String> {
        let mut writer = HashingWriter::new(std::io::sink(), Algorithm::Sha256);
        match piece {
            Piece::Context(selection) => {
                let selection = Selection { timeless: true, ..selection.clone() };
                pack(self.request.context.root()?, &selection, &mut writer)?;
            }
            Piece::Git(checkout, selection) => {
                let selection = Selection { timeless: true, ..selection.clone() };
                pack(checkout.root(), &selection, &mut writer)?;
            }
            Piece::Stage(_, selection) => return Ok(format!("{:?}", selection.sources)),
            Piece::Text { name, text, .. } => {
                return Ok(Digest::sha256_of(format!("{name}\n{text}").as_bytes()).to_string());
            }
            Piece::Fetched(fetched, _) => return Ok(format!("{} {}", fetched.name, fetched.digest()?)),
            Piece::Archive(file) => {
                let mut file = file.try_clone().map_err(|e| EngineError::io("cannot read", "archive".as_ref(), e))?;
                let hashed = std::io::copy(&mut file, &mut writer).and_then(|_| file.seek(SeekFrom::Start(0)));
                hashed.map_err(|e| EngineError::io("cannot read", "archive".as_ref(), e))?;
                return Ok(format!("unpacked {}", writer.finish().1));
            }
        }
        Ok(writer.finish().1.to_string())
    }

    /// Returns a digest of what a piece carries, of a stage's as well.
    fn content(&self, piece: &Piece) -> Result<String> {
        let Piece::Stage(layers, selection) = piece else { return self.digest(piece) };
        if layers.is_empty() {
            return Err(wrong(format!("{:?}: there is nothing in it", selection.sources)));
        }
        let selection = Selection { timeless: true, ..selection.clone() };
        let (read, write) = pipe()?;
        let packing =
            self.engine.in_tree(layers, None, [write], |root, [write]| pack(root, &selection, File::from(write)))?;
        let mut writer = HashingWriter::new(std::io::sink(), Algorithm::Sha256);
        let hashed = std::io::copy(&mut File::from(read), &mut writer);
        packing.answer()?;
        hashed.map_err(|e| EngineError::io("cannot read", "stage".as_ref(), e))?;
        Ok(writer.finish().1.to_string())
    }

    /// Carries one piece to its place.
    fn carry(&self, piece: &Piece, layers: &[PathBuf], scratch: &Scratch, destination: &Destination) -> Result<()> {
        let destination = match piece {
            Piece::Archive(_) => {
                let own = (destination.owner != (0, 0)).then_some(destination.owner);
                &Destination { unpacked: true, own, ..destination.clone() }
            }
            _ => destination,
        };
        let (read, write) = pipe()?;
        let placing = self
            .engine
            .in_tree(layers, Some(scratch), [read], move |root, [read]| place(root, destination, File::from(read)))?;
        let sent = self.send(piece, write);
        arrived(placing, sent).map(drop)
    }

    pub(super) fn send(&self, piece: &Piece, output: OwnedFd) -> Result<()> {
        match piece {
            Piece::Context(selection) => Ok(pack(self.request.context.root()?, selection, File::from(output))?),
            Piece::Stage(layers, selection) if layers.is_empty() => {
                Err(wrong(format!("{:?}: there is nothing in it", selection.sources)))
            }
            Piece::Stage(layers, selection) => {
                let packing = self
                    .engine
                    .in_tree(layers, None, [output], move |root, [output]| pack(root, selection, File::from(output)))?;
                Ok(packing.answer()?)
            }
            Piece::Text { name, text, selection } => {
                let fail = |e| EngineError::io("cannot write", name.as_ref(), e);
                let dir = tempfile::tempdir().map_err(fail)?;
                std::fs::write(dir.path().join(name), text).map_err(fail)?;
                let time = self.request.source_date_epoch.map_or_else(std::time::SystemTime::now, |seconds| {
                    std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
                });
                let file = File::options().write(true).open(dir.path().join(name)).map_err(fail)?;
                file.set_modified(time).map_err(fail)?;
                use std::os::unix::fs::PermissionsExt;
                file.set_permissions(PermissionsExt::from_mode(0o644)).map_err(fail)?;
                let root = Root::open(dir.path()).map_err(EngineError::from)?;
                Ok(pack(&root, selection, File::from(output))?)
            }
            Piece::Fetched(fetched, selection) => {
                fetched.fetch(self.request.fetch)?;
                let root = Root::open(fetched.directory()).map_err(EngineError::from)?;
                Ok(pack(&root, selection, File::from(output))?)
            }
            Piece::Git(checkout, selection) => Ok(pack(checkout.root(), selection, File::from(output))?),
            Piece::Archive(file) => {
                let mut file = file.try_clone().map_err(|e| EngineError::io("cannot read", "archive".as_ref(), e))?;
                let begun = file.seek(SeekFrom::Start(0)).and_then(|_| readable(file));
                let copied = begun.and_then(|mut archive| std::io::copy(&mut archive, &mut File::from(output)));
                copied.map_err(|e| EngineError::io("cannot read", "archive".as_ref(), e))?;
                Ok(())
            }
        }
    }

    /// Makes a layer of what a step has written.
    pub(super) fn layer(&self, scratch: &Scratch, layers: &[PathBuf], mounted: &[PathBuf]) -> Result<Layer> {
        let form = LayerForm { newest: self.request.source_date_epoch, compression: self.request.compression };
        Ok(self.engine.layer(self.worker()?, scratch, layers, mounted, form)?.layer)
    }

    /// Returns where the layers of a stage are, top first.
    pub(super) fn layers(&self, state: &State) -> Result<Vec<PathBuf>> {
        let ids: Vec<Digest> = state.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        Ok(self.engine.step_layers(&ids)?)
    }
}

/// Takes the compression off that whoever unpacks does not know.
fn readable(mut file: File) -> std::io::Result<Box<dyn Read>> {
    let mut beginning = Vec::new();
    file.by_ref().take(6).read_to_end(&mut beginning)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(match beginning.as_slice() {
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        b"\xfd7zXZ\x00" => Box::new(lzma_rust2::XzReader::new_mem_limit(BufReader::new(file), true, XZ_MEMORY)),
        _ => Box::new(file),
    })
}

pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    Ok(check("pipe2", || "CLOEXEC".into(), pipe).map_err(EngineError::from)?)
}

/// Tells which side's failure is the cause: one that sends to nobody has been left by whoever could not receive.
pub(super) fn arrived(placing: Working<Placed>, sent: Result<()>) -> Result<Placed> {
    match (sent, placing.answer()) {
        (Ok(()), Ok(placed)) => Ok(placed),
        (Err(error), Ok(_)) => Err(error),
        (Ok(()), Err(error)) => Err(error.into()),
        (Err(error), Err(other)) => {
            let broken = error.to_string().contains("Broken pipe");
            Err(if broken { other.into() } else { error })
        }
    }
}

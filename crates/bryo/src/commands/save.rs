// SPDX-License-Identifier: Apache-2.0
//! `bryo save`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bryo_image::archive::{self, SaveFormat, save_layout_dir, save_plain_dir};
use bryo_image::store::{ImageRecord, Store};

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Write images into an archive
#[derive(Debug, clap::Args)]
pub struct Save {
    /// Write FILE instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// The form of the archive, or of a directory
    #[arg(long, value_enum, default_value_t = Form::DockerArchive)]
    format: Form,
    /// Print nothing but errors; there is nothing else to print
    #[arg(short, long)]
    quiet: bool,
    /// The images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// The forms that images are saved in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// What docker load reads
    DockerArchive,
    /// An OCI image layout in a tar file
    OciArchive,
    /// An OCI image layout in a directory
    OciDir,
    /// A manifest and its blobs in a directory
    DockerDir,
}

impl Verb for Save {
    const NAME: &'static str = "save";
    const ABOUT: &'static str = "Write images into an archive";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let store = context.store()?;
        let records: Vec<_> =
            self.images.iter().map(|name| store.find(name)).collect::<std::result::Result<_, bryo_image::Error>>()?;
        let format = match (self.format, &self.output, records.as_slice()) {
            (Form::DockerArchive, ..) => SaveFormat::DockerArchive,
            (Form::OciArchive, ..) => SaveFormat::OciArchive,
            (_, None, _) => return Err(Error::message("save to a directory: which one?").hint("-o DIR")),
            (Form::OciDir, Some(dir), records) => {
                for record in records {
                    save_layout_dir(&store, record, dir, None)?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            (Form::DockerDir, Some(dir), [record]) => {
                save_plain_dir(&store, record, dir)?;
                return Ok(ExitCode::SUCCESS);
            }
            (Form::DockerDir, ..) => return Err(Error::message("save to a docker-dir: it holds one image")),
        };
        match &self.output {
            Some(file) => write_archive(&store, &records, format, file)?,
            None => to_stdout("save", |out| Ok(archive::save(&store, &records, format, out)?))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes an archive into a file, which appears when it is complete. A device or a pipe is written into as it is.
pub fn write_archive(store: &Store, records: &[ImageRecord], format: SaveFormat, file: &Path) -> Result<()> {
    to_file(file, |out| {
        let mut out = BufWriter::with_capacity(1 << 20, out);
        Ok(archive::save(store, records, format, &mut out)?)
    })
}

/// Writes a file by another name beside it, and renames it when all of it is there.
pub fn to_file<T>(file: &Path, write: impl FnOnce(File) -> Result<T>) -> Result<T> {
    let fail = |error| Error::io(format!("write {}", file.display()), &error);
    if fs::metadata(file).is_ok_and(|meta| !meta.is_file()) {
        return write(File::options().write(true).open(file).map_err(fail)?);
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = file.with_file_name(name);
    let result = File::options().write(true).create_new(true).open(&part).map_err(fail).and_then(write);
    match result.and_then(|done| fs::rename(&part, file).map_err(fail).map(|()| done)) {
        Ok(done) => Ok(done),
        Err(error) => {
            // The error is what matters; a file that was never made cannot be removed.
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

/// Writes an archive to standard output unless that is a terminal.
pub fn to_stdout(verb: &str, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    if output::stdout_is_terminal() {
        return Err(Error::message(format!("{verb} to standard output: it is a terminal")).hint("-o FILE"));
    }
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    write(&mut out)?;
    out.flush().map_err(Error::Output)
}

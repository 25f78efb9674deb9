// SPDX-License-Identifier: Apache-2.0
//! `--output`: what is built, written somewhere else as well.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bryo_engine::Engine;
use bryo_image::archive::{SaveFormat, export, save};
use bryo_image::carry::{Arriving, Owner, Placing, Top};
use bryo_image::store::ImageRecord;

use crate::commands::save::{to_file, to_stdout, write_archive};
use crate::errors::{Error, Result};

/// What is written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    form: Form,
    /// Nothing for standard output.
    dest: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The files, into a directory.
    Local,
    /// The files, as an archive.
    Tar,
    /// The image, as an OCI archive.
    Oci,
    /// The image, as an archive for `docker load`.
    Docker,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if !text.contains('=') {
            let dest = (text != "-").then(|| PathBuf::from(text));
            return Ok(Self { form: if dest.is_some() { Form::Local } else { Form::Tar }, dest });
        }
        let (mut form, mut dest) = (None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", "local")) => form = Some(Form::Local),
                Some(("type", "tar")) => form = Some(Form::Tar),
                Some(("type", "oci")) => form = Some(Form::Oci),
                Some(("type", "docker")) => form = Some(Form::Docker),
                Some(("dest", path)) => dest = Some(PathBuf::from(path)),
                _ => return Err(format!("{field:?} is not known; type=local|tar|oci|docker,dest=PATH is")),
            }
        }
        let form = form.ok_or("an output wants a type: local, tar, oci or docker")?;
        let dest = dest.filter(|dest: &PathBuf| dest.as_os_str() != "-");
        if form == Form::Local && dest.is_none() {
            return Err("type=local wants a directory: dest=DIR".to_owned());
        }
        Ok(Self { form, dest })
    }
}

impl Output {
    /// Writes an image of the store.
    pub fn write(&self, engine: &Engine, record: &ImageRecord) -> Result<()> {
        let store = engine.store();
        let format = match self.form {
            Form::Oci => SaveFormat::OciArchive,
            Form::Docker => SaveFormat::DockerArchive,
            Form::Tar => return self.files(engine, record),
            Form::Local => return self.directory(engine, record),
        };
        let records = std::slice::from_ref(record);
        match &self.dest {
            Some(file) => write_archive(store, records, format, file),
            None => to_stdout("write the image", |out| Ok(save(store, records, format, out)?)),
        }
    }

    fn files(&self, engine: &Engine, record: &ImageRecord) -> Result<()> {
        match &self.dest {
            Some(file) => to_file(file, |out| write_files(engine, record, out.into())),
            None => to_stdout("write the files", |out| {
                let mut archive = unnamed(engine, record)?;
                std::io::copy(&mut archive, out).map_err(Error::Output)?;
                Ok(())
            }),
        }
    }

    fn directory(&self, engine: &Engine, record: &ImageRecord) -> Result<()> {
        let dir = self.dest.as_deref().unwrap_or(Path::new("."));
        let fail = |error| Error::io(format!("write {}", dir.display()), &error);
        fs::create_dir_all(dir).map_err(fail)?;
        let directory = File::open(dir).map_err(fail)?;
        let placing =
            Placing { top: Top::AsItIs, owner: Owner::Maker, strip_set_id: true, record: false, attributes: false };
        Arriving::begin(unnamed(engine, record)?)?.place(directory.as_fd(), &placing)?;
        Ok(())
    }
}

fn write_files(engine: &Engine, record: &ImageRecord, output: OwnedFd) -> Result<()> {
    let worker = engine.worker()?;
    let image = engine.store().image(record)?;
    Ok(export(engine.store(), &worker, &image, output)?)
}

/// Writes the files of an image into a file without a name, and returns it at its beginning.
fn unnamed(engine: &Engine, record: &ImageRecord) -> Result<File> {
    let fail = |error| Error::io("write a temporary file", &error);
    let place = engine.store().root().join("build");
    fs::create_dir_all(&place).map_err(fail)?;
    let path = place.join(format!(".files-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).map_err(fail)?;
    fs::remove_file(&path).map_err(fail)?;
    write_files(engine, record, file.try_clone().map_err(fail)?.into())?;
    std::io::Seek::rewind(&mut file).map_err(fail)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_have_a_type_and_a_place() {
        let parse = |text: &str| text.parse::<Output>();
        assert_eq!(parse("out").unwrap(), Output { form: Form::Local, dest: Some("out".into()) });
        assert_eq!(parse("-").unwrap(), Output { form: Form::Tar, dest: None });
        assert_eq!(parse("type=oci,dest=a.tar").unwrap(), Output { form: Form::Oci, dest: Some("a.tar".into()) });
        assert_eq!(parse("type=tar,dest=-").unwrap(), Output { form: Form::Tar, dest: None });
        for text in ["type=x", "dest=a", "type=local", "type=oci,push=true"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

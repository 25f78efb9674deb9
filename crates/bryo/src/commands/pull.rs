// SPDX-License-Identifier: Apache-2.0
//! `bryo pull`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::events::{Event, Type};
use bryo_image::archive::{self, LoadOptions};
use bryo_image::progress::Progress;
use bryo_image::pull::PullOptions;
use bryo_image::reference::{Reference, Source};
use bryo_image::registry::Platform;
use bryo_image::store::ImageRecord;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result, USAGE};
use crate::output;
use crate::progress::{self, Way};

/// Fetch an image and unpack it
///
/// IMAGE is a name as Docker has it (alpine, ghcr.io/owner/name:tag, name@sha256:...), or one with a transport:
/// docker://NAME, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], dir:DIR.
/// Layers are fetched, verified and unpacked at the same time; what is there already is not fetched again.
#[derive(Debug, clap::Args)]
pub struct Pull {
    /// Print nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Choose the image for this platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Keep FILE as a signature of the image: a bundle of Sigstore, or what cosign download signature prints
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    signature: Vec<PathBuf>,
    #[command(flatten)]
    tls: Tls,
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// How far a registry must prove who it is.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Tls {
    /// With =false, trust this registry without a certificate, and over plain HTTP if it has no TLS
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    tls_verify: bool,
}

impl Tls {
    /// Returns the host that need not prove itself, if that was asked for.
    pub fn insecure(self, reference: &Reference) -> Option<String> {
        self.insecure_host(reference.domain())
    }

    /// As [`insecure`](Self::insecure), by the host's name.
    pub fn insecure_host(self, domain: &str) -> Option<String> {
        (!self.tls_verify).then(|| domain.to_owned())
    }
}

impl Verb for Pull {
    const NAME: &'static str = "pull";
    const ABOUT: &'static str = "Fetch an image and unpack it";
    const FAILURE: u8 = USAGE;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let wish =
            Wish { source: self.image.parse()?, platform: self.platform, quiet: self.quiet, tls: Some(self.tls) };
        let records = wish.get(context)?;
        if !self.signature.is_empty() {
            keep(&context.engine()?, &records, &self.signature)?;
        }
        let names = records.into_iter().map(|record| {
            let name = record.reference.unwrap_or_else(|| record.manifest.to_string());
            format!("{}\n", output::line(&name))
        });
        output::print(&names.collect::<String>())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Keeps files as signatures of images that are here.
fn keep(engine: &Engine, records: &[ImageRecord], files: &[PathBuf]) -> Result<()> {
    for file in files {
        let fail = |error: std::io::Error| Error::io(format!("read {}", file.display()), &error);
        let mut document = Vec::new();
        let opened = File::open(file).map_err(fail)?;
        opened.take(bryo_engine::policy::SIGNATURE_MAX + 1).read_to_end(&mut document).map_err(fail)?;
        records.iter().try_for_each(|record| engine.keep_signature(&record.manifest, &document))?;
    }
    Ok(())
}

/// Fetches an image for a container. The calling process must have one thread, and has one again afterwards.
///
/// # Errors
///
/// As `bryo pull`.
pub fn fetch(context: &Context, name: &str, platform: Option<&str>, quiet: bool) -> Result<ImageRecord> {
    let platform = platform.map(str::parse).transpose()?;
    let records = Wish { source: name.parse()?, platform, quiet, tls: None }.get(context)?;
    records.into_iter().next().ok_or_else(|| Error::message(format!("pull {name}: no image in it")))
}

/// As [`fetch`], and tells somebody else what happens.
///
/// # Errors
///
/// As `bryo pull`.
pub fn fetch_telling(context: &Context, name: &str, platform: &str, told: &dyn Progress) -> Result<ImageRecord> {
    let platform = Some(platform.parse()?);
    let records = Wish { source: name.parse()?, platform, quiet: true, tls: None }.get_telling(context, told)?;
    records.into_iter().next().ok_or_else(|| Error::message(format!("pull {name}: no image in it")))
}

/// An image that is wanted here.
struct Wish {
    source: Source,
    platform: Option<Platform>,
    quiet: bool,
    tls: Option<Tls>,
}

impl Wish {
    fn get(&self, context: &Context) -> Result<Vec<ImageRecord>> {
        self.get_telling(context, progress::reporter(self.quiet, Way::Pull).as_ref())
    }

    fn get_telling(&self, context: &Context, progress: &dyn Progress) -> Result<Vec<ImageRecord>> {
        let engine = context.engine()?;
        if let source @ (Source::Host | Source::Rootfs(_)) = &self.source {
            let hint = format!("bryo run {source} COMMAND");
            return Err(Error::message(format!("pull {source}: it is used where it is")).hint(hint));
        }
        // Before anything that may start a thread.
        let worker = engine.worker()?;
        let limits = context.config()?.limits;
        if let Source::Registry(reference) = &self.source {
            let options = PullOptions {
                registry: context.registry(self.tls.and_then(|tls| tls.insecure(reference)))?,
                platform: self.platform.clone(),
                limits,
                ..PullOptions::default()
            };
            bryo_image::pull::pull(engine.store(), &worker, reference, &options, progress)?;
            let record = engine.store().find(&reference.to_string())?;
            let rules = engine.rules()?;
            let (signed, sbom) = (rules.wants_signature(&reference.to_string()), rules.wants_sbom());
            if signed || sbom {
                let registry = &options.registry;
                let found = bryo_image::pull::attached(engine.store(), reference, &record, registry, sbom, progress)?;
                engine.keep_signatures(&found)?;
            }
            let pulled = Event::now(Type::Image, "pull", reference.to_string()).with("name", reference.repository());
            engine.journal().write(&[pulled]);
            return Ok(vec![record]);
        }
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        let loaded = archive::load(engine.store(), &worker, &self.source, &LoadOptions { limits, platform })?;
        engine.journal().write(&loaded.iter().map(|record| Event::of_image(record, "load")).collect::<Vec<_>>());
        Ok(loaded)
    }
}

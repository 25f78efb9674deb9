// SPDX-License-Identifier: Apache-2.0
//! `bryo run`: a container in the foreground.

use std::os::fd::AsFd;
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::attach::{AttachOptions, Keys};
use bryo_engine::learned::Profile;
use bryo_engine::monitor::Started;
use bryo_engine::notify::Notifier;
use bryo_engine::observe::Observe;
use bryo_engine::options::{Pull, Restart, RunOptions, SdNotify};
use bryo_engine::run::{Hints, Image, Outcome, Request, check_architecture};
use bryo_image::registry::Platform;
use bryo_image::store::{Image as StoredImage, ImageRecord};
use bryo_launch::relay::{Caller, size_of};

use crate::args::{Environment, RunArgs};
use crate::cli::Verb;
use crate::commands::start::{self, note};
use crate::commands::{installs, learn, policy, pull, service};
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

impl Verb for RunArgs {
    const NAME: &'static str = "run";
    const ABOUT: &'static str = "Run a program in a new container, as nobody";
    const FAILURE: u8 = 125;

    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.would_break() && !self.dry_run() {
            return learn::would_break(self, context);
        }
        let (dry_run, quiet, detach, replace) = (self.dry_run(), self.quiet(), self.detach(), self.replace());
        let explain = self.explain();
        let keys = self.detach_keys().map(Keys::parse).transpose()?.unwrap_or_default();
        let here = std::env::current_dir().map_err(|e| Error::io("working directory", &e))?;
        let variable = |name: &str| std::env::var(name).ok();
        let options = self.options(&Environment { here: &here, variable: &variable })?;
        let notifier = service::notifier(&options)?;
        let monitored = detach || service::is_monitored(&options);
        service::check(&options, notifier.as_ref(), detach, monitored)?;
        if let (Some(notifier), true) = (&notifier, detach && !dry_run && !explain) {
            return service::background(context, notifier);
        }
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let caller = Caller { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
        if options.tty && options.interactive && !detach && !rustix::termios::isatty(caller.stdin) {
            let why = "the input is not a terminal, and -t with -i needs one";
            return Err(Error::message(why).hint("-i alone, to pass a pipe on"));
        }
        let engine = context.engine()?;
        let image = find(context, &engine, &options, quiet)?;
        if explain {
            return policy::explain(&[engine.verdict_on_run(&options, image)?]);
        }
        if dry_run {
            let planned = engine.dry_run(&options, image)?;
            output::print(&(output::json(&planned.plan.spec)? + "\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        if let (true, Some(name)) = (replace, &options.name) {
            engine.make_way(name)?;
        }
        if detach {
            return background(&engine, &options, image);
        }
        let waits = notifier.is_some() && options.sdnotify == SdNotify::Healthy;
        if waits && !image.is_checked(&options)? {
            let why = "--sdnotify healthy: the container has no health check; nothing was started";
            return Err(Error::message(why).hint("--health-cmd COMMAND"));
        }
        if monitored || waits {
            return attached(&engine, &options, image, keys, notifier.as_ref());
        }
        let request = Request { options: &options, caller, notifier: notifier.as_ref(), observe: None, note: &note };
        let outcome = engine.run(&request, image)?;
        if let Some(root) = outcome.root.filter(|root| root.digest == root.image && output::draws()) {
            note(&format!("the root is as it was in the image: {}", root.digest));
        }
        if outcome.code != 0 && output::draws() {
            for line in words(outcome.hints, outcome.code, &options) {
                note(&line);
            }
        }
        Ok(ExitCode::from(u8::try_from(outcome.code).unwrap_or(u8::MAX)))
    }
}

/// Runs in the foreground, observed, unless something is against it; returns how it went and, if there was one, the
/// profile, which is not enforced.
pub(super) fn observed(
    args: RunArgs,
    context: &Context,
    observe: Observe,
    allowed: &dyn Fn(&Engine, &RunOptions) -> Result<()>,
) -> Result<(Outcome, RunOptions, Option<Profile>)> {
    let (detach, dry_run, quiet, replace) = (args.detach(), args.dry_run(), args.quiet(), args.replace());
    let here = std::env::current_dir().map_err(|e| Error::io("working directory", &e))?;
    let variable = |name: &str| std::env::var(name).ok();
    let mut options = args.options(&Environment { here: &here, variable: &variable })?;
    let apart = [
        (detach, "--detach"),
        (dry_run, "--dry-run"),
        (options.restart != Restart::No, "--restart"),
        (options.init, "--init"),
    ];
    if let Some((_, flag)) = apart.iter().find(|(is, _)| *is) {
        return Err(Error::message(format!("{flag}: an observed run is one run in the foreground; leave it out")));
    }
    let profile = options.profile.take();
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let caller = Caller { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
    let engine = context.engine()?;
    let image = find(context, &engine, &options, quiet)?;
    allowed(&engine, &options)?;
    if let (true, Some(name)) = (replace, &options.name) {
        engine.make_way(name)?;
    }
    let request = Request { options: &options, caller, notifier: None, observe: Some(observe), note: &note };
    let outcome = engine.run(&request, image)?;
    Ok((outcome, options, profile))
}

/// Starts a container by itself and prints its id.
fn background(engine: &Engine, options: &RunOptions, image: Image) -> Result<ExitCode> {
    let created = engine.create_to_start(options, image, None, &note)?;
    let id = created.id.clone();
    match engine.start_created(created, None, &note)? {
        Started::Running => {
            output::print(&format!("{id}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Started::Failed(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}

/// Starts a container by itself with the caller attached: one that may outlive the command, because it is started again,
/// or because its keys let go of it.
fn attached(
    engine: &Engine,
    options: &RunOptions,
    image: Image,
    detach_keys: Keys,
    notifier: Option<&Notifier>,
) -> Result<ExitCode> {
    let size = size_of(std::io::stdin().as_fd()).or_else(|| size_of(std::io::stdout().as_fd()));
    let created = engine.create_to_start(options, image, size, &note)?;
    let record = created.record().clone();
    let attach = AttachOptions {
        input: options.interactive,
        ends_input: true,
        proxy_signals: !options.no_signal_proxy,
        detach_keys,
    };
    std::thread::scope(|scope| {
        start::attached(engine, &record, &attach, |client, _| {
            let started = engine.start_created(created, Some(client), &note)?;
            if let (Started::Running, Some(notifier)) = (&started, notifier) {
                service::started(scope, engine, &record, notifier);
            }
            Ok(started)
        })
    })
}

/// Finds what the container is made from, and pulls it when that is wanted.
pub(super) fn find(context: &Context, engine: &Engine, options: &RunOptions, quiet: bool) -> Result<Image> {
    let name = options.image.as_str();
    if Image::is_of_host(name) {
        return Ok(Image::of_host(name)?);
    }
    let policy = options.pull.unwrap_or(context.pull_policy()?);
    let read = |record: &ImageRecord| engine.store().image(record).map_err(bryo_engine::error::Error::from);
    let fetch = || read(&pull::fetch(context, name, options.platform.as_deref(), quiet)?).map_err(Error::from);
    let wanted = options.platform.as_deref().map(str::parse::<Platform>).transpose();
    let wanted = wanted.map_err(bryo_engine::error::Error::from)?;
    let fits = |image: &StoredImage| wanted.as_ref().is_none_or(|w| w.distance(&platform_of(image)).is_some());
    let image = match (policy, engine.store().find(name)) {
        (Pull::Always, _) => fetch()?,
        (Pull::Missing, Err(e)) if e.kind() == bryo_image::Kind::NotFound => fetch()?,
        (_, found) => {
            let image = read(&found.map_err(bryo_engine::error::Error::from)?)?;
            // As in Docker: an image for another machine is not the one that is meant.
            if policy == Pull::Missing && !fits(&image) { fetch()? } else { image }
        }
    };
    if let Some(wanted) = wanted.as_ref().filter(|_| !fits(&image)) {
        let what = format!("the image {name} that is here is made for {}, not for {wanted}", platform_of(&image));
        return Err(Error::message(what).hint(format!("bryo pull --platform {wanted} {name}")));
    }
    check_architecture(&image)?;
    Ok(Image::Stored(Box::new(image)))
}

fn platform_of(image: &StoredImage) -> Platform {
    let config = &image.config;
    Platform {
        os: config.os().to_string(),
        architecture: config.architecture().to_string(),
        variant: config.variant().clone(),
    }
}

/// The exit code of a shell that may not execute what it has found. Source: POSIX, "Exit Status for Commands".
const NOT_EXECUTED: i32 = 126;

/// Says which word relaxes what the payload was refused, and where that belongs that it wanted to install.
pub(super) fn words(hints: Hints, code: i32, options: &RunOptions) -> Vec<String> {
    let command: Vec<String> = options.entrypoint.iter().flatten().chain(&options.command).cloned().collect();
    if let Some(line) = installs::hint(&command, hints) {
        return vec![line];
    }
    let mut words = Vec::new();
    let state = !options.exec_state && !options.writable;
    if state && (code == NOT_EXECUTED || hints.unloaded) {
        words.push("programs in state directories are not executed: --exec-state lets them be");
    }
    let root_inside = options.user.as_deref().is_some_and(|u| matches!(u.split(':').next(), Some("root" | "0")));
    if hints.read_only && !options.writable {
        words.push("the root is read-only: --writable makes it writable, -v shares a directory");
    }
    // What is not executed is so for everybody.
    if hints.not_permitted && code != NOT_EXECUTED {
        words.push(if root_inside {
            "root inside has few capabilities: --cap-add gives one; on the host it is nobody all the same"
        } else {
            "the program is not root inside: --user root makes it so, and still nobody outside"
        });
    }
    words.into_iter().map(str::to_owned).collect()
}

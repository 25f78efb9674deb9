// SPDX-License-Identifier: Apache-2.0
//! The end of a build: who the result runs as, and the image itself.

use bryo_engine::error::Error as EngineError;
use bryo_engine::users::{Accounts, FILE_MAX, UserSpec, Wanted, Who, resolve};
use bryo_image::Digest;
use bryo_image::store::{ImageRecord, NewImage};
use rustix::io::Errno;
use serde_json::json;

use super::{Builder, Built};
use crate::error::{Error, Kind, Result, wrong};
use crate::state::State;

/// The media types that are written.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Who an image runs as, elsewhere: bryo itself runs nothing as root that was not asked for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// What says so.
    pub why: String,
}

impl User {
    /// Tells whether it is root.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}

impl Builder<'_> {
    /// Enters the image of a stage into the store.
    pub(super) fn finish(&mut self, mut state: State) -> Result<Built> {
        for (name, value) in &self.request.labels {
            state.set_in("Labels", name, json!(value));
        }
        let user = self.user(&mut state)?;
        if self.request.require_nonroot && user.is_root() {
            let why = format!("the result runs as root: {}; USER names somebody else", user.why);
            return Err(Error::new(Kind::Root, why));
        }
        let record = self.told("exporting to image", |builder, number| {
            let record = builder.commit(&state)?;
            builder.tell(crate::progress::Event::Note(number, &format!("writing image {} done", record.id())));
            for name in &builder.request.names {
                builder.tell(crate::progress::Event::Note(number, &format!("naming to {name} done")));
            }
            Ok(record)
        })?;
        let notes = self.unasked().iter().map(|name| format!("--build-arg {name}: no ARG asks for it")).collect();
        Ok(Built { record, user, notes })
    }

    /// Looks up who the result runs as. A name becomes a number, so that what reads the image can tell that it is not
    /// root without looking into it.
    fn user(&mut self, state: &mut State) -> Result<User> {
        let from = if state.user_is_own { "USER" } else { "the base image's USER" };
        let Some(text) = state.text("User").map(str::to_owned) else {
            let why = match state.base.as_str() {
                "scratch" => "the Dockerfile names no USER".to_owned(),
                base => format!("neither the Dockerfile nor {base} names a USER"),
            };
            return Ok(User { uid: 0, why });
        };
        let spec = UserSpec::parse(&text)?;
        let accounts = self.accounts(state)?;
        let found = resolve(&Wanted::decide(Some(&text), None, true)?, &[], &accounts)?;
        let (uid, gid) = (found.uid.get(), found.gid.get());
        let named = |who: &Who| matches!(who, Who::Name(_));
        if named(&spec.user) || spec.group.as_ref().is_some_and(named) {
            // Without a group it is looked up by whoever runs it, with all the groups that belong to the account.
            let number = if spec.group.is_some() { format!("{uid}:{gid}") } else { uid.to_string() };
            state.set("User", json!(number));
        }
        Ok(User { uid, why: format!("{from} is {text:?}") })
    }

    /// Reads the accounts of a stage.
    pub(super) fn accounts(&mut self, state: &State) -> Result<Accounts> {
        let layers = self.layers(state)?;
        if layers.is_empty() {
            return Ok(Accounts::default());
        }
        let key = format!("{layers:?}");
        if let Some(known) = self.accounts.get(&key) {
            return Ok(known.clone());
        }
        let read = self.engine.in_tree(&layers, None, [], |root, []| {
            let file = |path: &str| match root.read(path, FILE_MAX) {
                Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Err(e) if matches!(e.errno(), Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL) => {
                    Ok(String::new())
                }
                Err(e) => Err(EngineError::from(e)),
            };
            Ok((file("/etc/passwd")?, file("/etc/group")?))
        })?;
        let (passwd, group) = read.answer()?;
        let accounts = Accounts::parse(passwd.as_bytes(), group.as_bytes());
        self.accounts.insert(key, accounts.clone());
        Ok(accounts)
    }

    /// Looks up whom files are to belong to: numbers are what they are, and a user without a group has that of the
    /// account, or the one of the same number.
    pub(super) fn owner(&mut self, state: &State, text: &str) -> Result<(u32, u32)> {
        let spec = UserSpec::parse(text)?;
        if let (Who::Id(uid), None | Some(Who::Id(_))) = (&spec.user, &spec.group) {
            let gid = match &spec.group {
                Some(Who::Id(gid)) => gid,
                _ => uid,
            };
            return Ok((uid.get(), gid.get()));
        }
        let accounts = self.accounts(state)?;
        let found = resolve(&Wanted::decide(Some(text), None, true)?, &[], &accounts)?;
        Ok((found.uid.get(), found.gid.get()))
    }

    /// Tells whether one id owns everything.
    pub(super) fn single_id(&self) -> bool {
        self.engine.store_map().is_ok_and(|map| map.is_single())
    }

    fn commit(&self, state: &State) -> Result<ImageRecord> {
        let store = self.engine.store();
        let bytes = |value: &serde_json::Value| {
            serde_json::to_vec(value).map_err(|e| wrong(format!("the image cannot be written: {e}")))
        };
        let config = bytes(&state.configuration(&self.now))?;
        let config_digest = store.put_blob(&config)?;
        let layers: Vec<_> = state
            .layers
            .iter()
            .map(
                |layer| json!({"mediaType": media_type(&layer.media_type), "digest": layer.digest, "size": layer.size}),
            )
            .collect();
        let manifest = bytes(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_digest, "size": config.len()},
            "layers": layers,
        }))?;
        let digest: Digest = store.put_blob(&manifest)?;
        let mut names = self.request.names.iter().map(ToString::to_string);
        let record = store.commit_image(&NewImage {
            reference: names.next(),
            manifest: digest,
            size: manifest.len() as u64,
            media_type: MANIFEST.to_owned(),
            config: config_digest,
            source: None,
        })?;
        names.try_for_each(|name| store.tag(&record, &name))?;
        Ok(record)
    }
}

/// Returns the OCI's word for a layer's form: one manifest speaks one language.
fn media_type(of_layer: &str) -> String {
    match of_layer {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar".to_owned(),
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => "application/vnd.oci.image.layer.v1.tar+zstd".to_owned(),
        other => other.to_owned(),
    }
}

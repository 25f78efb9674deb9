// SPDX-License-Identifier: Apache-2.0
//! The end of a build: who the result runs as.

use bryo_engine::error::Error as EngineError;
use bryo_engine::users::{Accounts, FILE_MAX, UserSpec, Wanted, Who, resolve};
use rustix::io::Errno;
use serde_json::json;

use super::export::Made;
use super::{Builder, Built};
use crate::error::{Error, Kind, Result};
use crate::state::State;

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
    /// Ends what was built for one platform.
    pub(super) fn finish(&mut self, mut state: State) -> Result<(Made, User)> {
        for (name, value) in &self.request.labels {
            state.set_in("Labels", name, json!(value));
        }
        if self.request.squash {
            self.squash(&mut state)?;
        }
        let user = self.user(&mut state)?;
        if self.request.require_nonroot && user.is_root() {
            let why = format!("the result runs as root: {}; USER names somebody else", user.why);
            return Err(Error::new(Kind::Root, why));
        }
        let made =
            Made { platform: self.platform.clone(), state, materials: self.materials.clone(), begun: self.now.clone() };
        Ok((made, user))
    }

    /// Makes one layer of those that the build has made.
    fn squash(&mut self, state: &mut State) -> Result<()> {
        let layers = state.own_layers().to_vec();
        if layers.len() < 2 {
            return Ok(());
        }
        let ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let inputs = json!({"step": "SQUASH", "layers": ids});
        let entry = self.cached(&inputs, "squashing layers", |builder, _| {
            Ok(Some(builder.engine.squash(builder.worker()?, &layers, builder.request.compression)?))
        })?;
        if let Some(layer) = entry.layer {
            state.squash(layer, entry.created);
        }
        Ok(())
    }

    /// Writes what was built for all platforms.
    pub(super) fn export(&mut self, made: &[Made], user: User) -> Result<Built> {
        self.now = super::variables::time(self.request.source_date_epoch);
        let record = self.told("exporting to image", |builder, number| {
            let record = builder.enter(made)?;
            let note = |text: &str| builder.tell(crate::progress::Event::Note(number, text));
            note(&format!("writing image {} done", record.id()));
            if let Some(index) = &record.source {
                note(&format!("writing index {index} done"));
            }
            builder.request.names.iter().for_each(|name| note(&format!("naming to {name} done")));
            Ok(record)
        })?;
        let unasked = self.unasked().into_iter().map(|name| format!("--build-arg {name}: no ARG asks for it"));
        let notes = unasked.chain(std::mem::take(&mut self.findings)).collect();
        Ok(Built { record, user, steps: std::mem::take(&mut self.steps), notes })
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
}

// SPDX-License-Identifier: Apache-2.0
//! What the run user is given: all that root would write to in a run; in an image that is hardened for good, no more than
//! what is declared, what its start gives away, and what is neither the machine's own nor there to be read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bryo_identity::InsideId;
use bryo_sys::Result;
use rustix::fs::Stat;

use super::adopt::{Adoption, Rule};
use super::build::Builder;
use super::layer::Attributes;
use super::places::{self, Kept};
use super::services::{self, Services};
use crate::users::{Accounts, User};

/// How many directories are looked at for one that the user may write to.
const LOOKED_AT_MAX: usize = 10_000;

impl Builder<'_> {
    /// Gives the user what root would write to, and returns the accounts that had some of it, and all services.
    pub fn adopt(&mut self, user: &User, accounts: &Accounts) -> Result<(BTreeSet<u32>, Services)> {
        let kept = self.job.hardening.map_or_else(Kept::default, |_| Kept::of(self.tree));
        let declared = self.declared(&kept);
        let mut state = places::variable(self.tree);
        for path in [Path::new("/run"), Path::new("/srv"), &user.home] {
            state.extend(self.existing(path).filter(|real| !places::is_system(real)));
        }
        // The real path of a link in /var may lead anywhere.
        state.retain(|path| path.parent().is_some() && !declared.iter().any(|declared| path.starts_with(declared)));
        let to = (user.uid.get(), user.gid.get());
        let etc = self.existing(Path::new("/etc"));
        let mut adoption = Adoption::new(self.tree, &mut self.layer, to, places::packages(self.tree));
        for path in &declared {
            adoption.directory(path, Rule::All)?;
        }
        adoption.protect(declared);
        for path in places::outermost(state) {
            adoption.directory(&path, Rule::AllBut(&kept))?;
        }
        // Those of a directory of the host are the host's.
        let services = if self.tree.foreign { Services::default() } else { Services::of(accounts) };
        if let Some(etc) = etc {
            adoption.directory(&etc, Rule::OfServices(&services))?;
        }
        let owners = adoption.into_owners();
        for path in places::SHARED {
            self.share(user, Path::new(path))?;
        }
        for path in self.job.hardening.iter().flat_map(|hardening| &hardening.given) {
            self.make_room(user, path, &kept)?;
        }
        Ok((owners, services))
    }

    /// Lists the directories that the image says are data: its working directory, its volumes, and what its start makes
    /// or gives away.
    fn declared(&self, kept: &Kept) -> Vec<PathBuf> {
        let workdir = self.job.workdir.as_deref().and_then(|path| self.existing(path));
        let given = self.job.hardening.iter().flat_map(|hardening| &hardening.given);
        // A directory of many is nobody's, whatever a start makes sure of.
        let many =
            |real: &PathBuf| kept.above.contains(real) || places::SHARED.iter().any(|dir| real == Path::new(dir));
        let given = given.filter_map(|path| self.existing(path)).filter(|real| !many(real));
        let own = workdir.into_iter().chain(given).filter(|real| !places::is_system(real));
        let volumes = self.volumes().filter_map(|path| self.existing(path)).filter(|real| !places::is_core(real));
        let mut declared = places::outermost(own.chain(volumes));
        declared.retain(|path| path.parent().is_some());
        declared
    }

    /// Lets the user make directories in one of root. It stays root's, with the sticky bit: what is in it and belongs to
    /// others can be neither renamed nor removed.
    fn share(&mut self, user: &User, path: &Path) -> Result<()> {
        let Ok(real) = self.tree.real(path) else { return Ok(()) };
        let Some(stat) = real.stat.as_ref().filter(|_| real.is_dir() && !places::is_system(&real.path)) else {
            return Ok(());
        };
        let found = Attributes::of(self.tree, stat);
        if found.uid == 0 && found.mode & 0o002 == 0 {
            let shared = Attributes { gid: user.gid.get(), mode: found.mode | 0o1070, ..found };
            self.layer.directory(self.tree, &real.path, shared)?;
        }
        Ok(())
    }

    /// Lets the user make what its start makes, where that is in a directory that is kept.
    fn make_room(&mut self, user: &User, path: &Path, kept: &Kept) -> Result<()> {
        let missing = self.existing(path).is_none();
        let Some(up) = path.ancestors().skip(1).find_map(|up| self.existing(up)).filter(|_| missing) else {
            return Ok(());
        };
        let given = self.layer.attributes(&up).is_some_and(|found| may_write(user, &found));
        let is_kept = kept.paths.iter().any(|dir| up.starts_with(dir));
        if is_kept && !given { self.share(user, &up) } else { Ok(()) }
    }

    /// Gives a user of the image's own what the image declares and leaves to root: its volumes, and room in its working
    /// directory. What lies in that is the program's.
    pub fn provide(&mut self, user: &User) -> Result<()> {
        let roots = |path: &Path| {
            let real = self.tree.real(path).ok().filter(super::tree::Real::is_dir)?;
            let stat = real.stat.as_ref()?;
            (self.tree.owner(stat).0 == 0 && !may_write(user, &Attributes::of(self.tree, stat))).then_some(real.path)
        };
        let volumes = places::outermost(self.volumes().filter_map(roots).filter(|real| !places::is_core(real)));
        let workdir = self.job.workdir.as_deref().and_then(roots);
        let mut adoption =
            Adoption::new(self.tree, &mut self.layer, (user.uid.get(), user.gid.get()), places::packages(self.tree));
        for path in &volumes {
            adoption.directory(path, Rule::Roots)?;
        }
        match workdir.filter(|path| !volumes.iter().any(|volume| path.starts_with(volume))) {
            Some(path) => self.share(user, &path),
            None => Ok(()),
        }
    }

    /// Tells whether there is a directory in one, or this one, that the user may write to.
    pub fn opens(&self, user: &User, path: &Path) -> bool {
        let mut left = vec![path.to_owned()];
        let mut looked_at = 0;
        while let Some(dir) = left.pop() {
            let of_tree = |stat: &Stat| Attributes::of(self.tree, stat);
            let found = self.tree.look(&dir).ok().flatten().map(|(_, stat)| of_tree(&stat));
            if self.layer.attributes(&dir).or(found).is_some_and(|attributes| may_write(user, &attributes)) {
                return true;
            }
            looked_at += 1;
            if looked_at < LOOKED_AT_MAX {
                left.extend(self.tree.directories(&dir));
            }
        }
        false
    }

    /// Gives the user the groups of the services whose state it has: what they may read, it must.
    pub fn join(&self, user: &mut User, owners: &BTreeSet<u32>, accounts: &Accounts) {
        for account in owners.iter().filter_map(|uid| accounts.by_uid(InsideId::new(*uid)?)) {
            user.groups.push(account.gid);
            user.groups.extend(accounts.groups_of(&account.name));
        }
        let powerful = services::powerful(accounts);
        user.groups.sort_unstable();
        user.groups.dedup();
        user.groups.retain(|gid| {
            let kept = *gid != InsideId::ROOT && !powerful.contains(gid) && *gid != user.gid;
            kept && self.job.map.host_gid(*gid).is_some()
        });
        user.groups.truncate(64);
    }
}

/// Tells whether the bits let a user write. Source: `path_resolution(7)`.
fn may_write(user: &User, found: &Attributes) -> bool {
    let in_group = user.gid.get() == found.gid || user.groups.iter().any(|gid| gid.get() == found.gid);
    let bit = match (user.uid.get() == found.uid, in_group) {
        (true, _) => 0o200,
        (_, true) => 0o020,
        _ => 0o002,
    };
    found.mode & bit != 0
}

// SPDX-License-Identifier: Apache-2.0
//! From rules to verdicts: the same for a container that is about to start, one that runs, and an image.

use bryo_image::store::ImageRecord;

use super::{Answer, Demand, PodSecurity, Report, Rule, Rules, Verdict, attested};
use crate::Engine;
use crate::container::{Id, Record};
use crate::error::{Error, Kind, Result};
use crate::options::RunOptions;
use crate::run::{Image, Prepared, record};

/// What one rule came to.
pub(super) struct Finding {
    pub answer: Answer,
    why: String,
    remedy: String,
}

impl Finding {
    pub fn holds(why: impl Into<String>) -> Self {
        Self { answer: Answer::Holds, why: why.into(), remedy: String::new() }
    }

    pub fn broken(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { answer: Answer::Broken, why: why.into(), remedy: remedy.into() }
    }

    /// What cannot be said of a container without an image.
    fn of_host() -> Self {
        Self::unchecked("it stands on this machine's own system, which is no image", "take an image")
    }

    pub fn unchecked(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { answer: Answer::Unchecked, why: why.into(), remedy: remedy.into() }
    }
}

/// What is judged.
struct Case<'a> {
    /// What it is called: a container that nobody has seen yet is its image.
    target: &'a str,
    record: &'a Record,
    image: &'a Image,
    /// It has been started, and may have changed.
    has_lived: bool,
}

impl Engine {
    /// Reads the policy.
    ///
    /// # Errors
    ///
    /// As [`Rules::load`].
    pub fn rules(&self) -> Result<Rules> {
        Rules::load(&self.policy.files)
    }

    /// Judges what would be started by these options. Starts nothing.
    ///
    /// # Errors
    ///
    /// As [`Engine::dry_run`] and [`Engine::rules`]. A rule that does not hold is no error.
    pub fn verdict_on_run(&self, options: &RunOptions, image: Image) -> Result<Report> {
        let rules = self.rules()?;
        let id = Id::random();
        let prepared = self.prepare(options, image, None)?;
        let (planned, _) = self.plan(options, &prepared, &id, None)?;
        let record = record(&id, &options.image, options, &prepared, &planned);
        let case = Case { target: &options.image, record: &record, image: &prepared.image, has_lived: false };
        Ok(self.verdicts(&rules, &case))
    }

    /// Judges a container as it is now.
    ///
    /// # Errors
    ///
    /// As [`Engine::rules`].
    pub fn verdict_on_container(&self, record: &Record) -> Result<Report> {
        let image = self.image_of(record)?;
        let case = Case { target: &record.name, record, image: &image, has_lived: record.state.status != "created" };
        Ok(self.verdicts(&self.rules()?, &case))
    }

    /// Lets a container start, or says which rule it breaks.
    ///
    /// # Errors
    ///
    /// [`Kind::Policy`] for the first rule that does not hold; as [`Engine::rules`].
    pub(crate) fn admit(&self, record: &Record, image: &Image, has_lived: bool) -> Result<()> {
        let rules = self.rules()?;
        if rules.is_empty() { Ok(()) } else { self.admit_by(&rules, record, image, has_lived) }
    }

    /// Lets a container start that nothing has been made of yet, or says which rule it would break.
    ///
    /// # Errors
    ///
    /// As [`Engine::admit`]; as [`Engine::dry_run`].
    pub(crate) fn admit_planned(&self, options: &RunOptions, prepared: &Prepared, id: &Id, name: &str) -> Result<()> {
        let rules = self.rules()?;
        if rules.is_empty() {
            return Ok(());
        }
        let (planned, _) = self.plan(options, prepared, id, None)?;
        let record = record(id, name, options, prepared, &planned);
        self.admit_by(&rules, &record, &prepared.image, false)
    }

    /// Lets a container start again, or says which rule it breaks by now.
    ///
    /// # Errors
    ///
    /// As [`Engine::admit`].
    pub(crate) fn admit_again(&self, record: &Record) -> Result<()> {
        let rules = self.rules()?;
        if rules.is_empty() { Ok(()) } else { self.admit_by(&rules, record, &self.image_of(record)?, true) }
    }

    fn admit_by(&self, rules: &Rules, record: &Record, image: &Image, has_lived: bool) -> Result<()> {
        let target = if has_lived { &record.name } else { &record.image };
        self.verdicts(rules, &Case { target, record, image, has_lived }).admit()
    }

    fn image_of(&self, record: &Record) -> Result<Image> {
        Ok(match self.containers.image(&record.id)? {
            Some(image) => Image::Stored(Box::new(image)),
            None if Image::is_of_host(&record.image) => Image::of_host(&record.image)?,
            // One that goes away with its end has no copy of its own.
            None => Image::Stored(Box::new(self.store.image(&self.entry_of(record)?)?)),
        })
    }

    /// Finds the image by its name, unless that has been given to another one since.
    fn entry_of(&self, record: &Record) -> Result<ImageRecord> {
        let id = record.image_id.as_deref();
        let named = self.store.find(&record.image);
        match (named, id) {
            (Ok(named), Some(id)) if named.id().as_str() == id => Ok(named),
            (_, Some(id)) => Ok(self.store.find(id)?),
            (named, None) => Ok(named?),
        }
    }

    fn verdicts(&self, rules: &Rules, case: &Case<'_>) -> Report {
        let verdict = |rule: &Rule| {
            let found = self.judge_demand(&rule.demand, case).unwrap_or_else(|error| {
                Finding::unchecked(error.chain(), "mend that first: what cannot be checked does not hold")
            });
            let Finding { answer, why, remedy } = found;
            Verdict { rule: rule.demand.name(), file: rule.file.clone(), line: rule.line, answer, why, remedy }
        };
        Report { target: case.target.to_owned(), verdicts: rules.all.iter().map(verdict).collect() }
    }

    fn judge_demand(&self, demand: &Demand, case: &Case<'_>) -> Result<Finding> {
        let record = case.record;
        match demand {
            Demand::NonRoot => Ok(match &record.identity {
                who if who.uid == 0 => {
                    Finding::broken("the program is root inside (id 0)", "leave --user out, or give --user UID")
                }
                who => Finding::holds(format!("the program is {} ({})", who.user, who.uid)),
            }),
            Demand::ReadOnly if record.confinement.read_only => Ok(Finding::holds("the root is read-only")),
            Demand::ReadOnly => {
                Ok(Finding::broken("the root is writable", "leave --writable out; -v gives single directories"))
            }
            Demand::NoDrift => self.judge_drift(case),
            Demand::SbomPresent => self.judge_sbom(case),
            Demand::PodSecurity(level) => self.judge_standards(*level, case),
            Demand::Vulnerabilities(flaws) => {
                // Not the container's own name, which whoever starts it chooses: statements are about images.
                let names = std::iter::once(record.image.clone()).chain(record.image_id.clone());
                let inventory = match case.image {
                    _ if self.has_own_files(case) => self.packages_of_container(record, false)?.inventory,
                    Image::Stored(image) => self.packages_of_image(image, false)?,
                    Image::Rootfs(path) => self.packages_of_rootfs(path)?,
                    Image::Host => return Ok(Finding::of_host()),
                };
                self.judge_flaws(flaws, &inventory, &names.collect::<Vec<_>>())
            }
            Demand::Signed(scopes) => self.judge_signed(scopes, case.image, &record.image),
        }
    }

    /// Tells whether a container may have something that its image has not.
    fn has_own_files(&self, case: &Case<'_>) -> bool {
        // One that was killed on its way says that it has not lived yet, and its layer says the contrary.
        self.containers.dir(&case.record.id).join("layer/upper").symlink_metadata().is_ok()
    }

    fn judge_drift(&self, case: &Case<'_>) -> Result<Finding> {
        if !self.has_own_files(case) {
            return Ok(match (case.has_lived, case.image) {
                (true, Image::Host) => Finding::of_host(),
                _ => Finding::holds("it has written nothing yet"),
            });
        }
        let name = &case.record.name;
        let unseen = || Err(Error::new(Kind::Unsupported, "nobody has looked at the container"));
        let drift = self.drift(std::slice::from_ref(case.record)).pop().unwrap_or_else(unseen)?;
        let Some(first) = drift.findings.first() else {
            return Ok(match drift.unread.first() {
                Some(unread) => Finding::unchecked(format!("{}: {}", unread.what, unread.why), "bryo drift shows all"),
                None => Finding::holds("it is as its image is"),
            });
        };
        let first = format!("{} {} {}", first.meaning.name(), first.what, first.happened.name());
        let more = drift.findings.len() as u64 - 1 + drift.left_out;
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let remedy = format!("bryo drift {name} shows all; make it anew from its image");
        Ok(Finding::broken(format!("{first}{more}"), remedy))
    }

    fn judge_sbom(&self, case: &Case<'_>) -> Result<Finding> {
        let Image::Stored(image) = case.image else {
            return Ok(Finding::broken("it is made from no image, and nothing is attached to it", "take an image"));
        };
        Ok(match attested::sbom(&self.store, image)? {
            Some(kind) => Finding::holds(format!("a bill of materials ({kind}) is attached")),
            None => Finding::broken(
                "no bill of materials is attached to the image",
                "build it with --sbom, or pull it anew if its registry has one",
            ),
        })
    }

    fn judge_standards(&self, level: PodSecurity, case: &Case<'_>) -> Result<Finding> {
        let Some(standards) = self.policy.standards else {
            return Err(Error::new(Kind::Unsupported, "the Pod Security Standards cannot be judged here"));
        };
        let word = match level {
            PodSecurity::Baseline => "baseline",
            PodSecurity::Restricted => "restricted",
        };
        let told = self.inspect(case.record)?.to_string();
        let broken = standards(level, &told).map_err(|why| Error::new(Kind::Corrupt, why))?;
        let Some(first) = broken.first() else { return Ok(Finding::holds(format!("the {word} level holds"))) };
        let more = if broken.len() > 1 { format!(", and {} more", broken.len() - 1) } else { String::new() };
        Ok(Finding::broken(format!("{word}: {first}{more}"), "leave out what relaxes the container"))
    }
}

// SPDX-License-Identifier: Apache-2.0
//! The user that the configuration names.

use super::{Cause, Reason, Remedy};
use crate::facts::image::Image;
use crate::identity::{Effective, Part, User, Verdict};

pub(super) fn reasons(image: &Image, text: &str, who: &Effective) -> Vec<Reason> {
    const NUMBER: &str = "USER 65532:65532, a number that every engine reads alike";
    let Some(user) = User::parse(text) else {
        return vec![Reason::new(Cause::NoUser, "the image sets no USER, which is root", Remedy::Harden, NUMBER)];
    };
    if let Some(why) = user.ambiguity() {
        return vec![Reason::new(Cause::UserAmbiguous, format!("USER {text}: {why}"), Remedy::Author, NUMBER)];
    }
    let accounts = image.accounts();
    let mut found = Vec::new();
    match (&user.user, who.verdict) {
        (_, Verdict::Root) => {
            found.push(Reason::new(Cause::UserRoot, format!("USER {text} is uid 0"), Remedy::Harden, NUMBER));
        }
        (Part::Name(name), verdict) => {
            let known = accounts.users.get(name).map_or_else(String::new, |(uid, _)| format!(", uid {uid} here"));
            let (by, known) = match verdict {
                Verdict::NotRoot => (Remedy::Harden, known),
                _ => (Remedy::Author, ", which /etc/passwd does not know: it does not start".to_owned()),
            };
            let what = format!("USER {text} is a name{known}; Kubernetes cannot tell that it is not root");
            found.push(Reason::new(Cause::UserNamed, what, by, "the number in place of the name"));
        }
        _ => {}
    }
    if who.verdict == Verdict::NotRoot && who.gid == Some(0) {
        let what = format!("USER {text}: the group is 0, which may write what belongs to root's group");
        found.push(Reason::new(Cause::GroupZero, what, Remedy::Harden, "USER UID:GID with a group of its own"));
    }
    for reason in &mut found {
        if matches!(reason.cause, Cause::UserNamed) && image.find("etc/passwd").is_some() {
            reason.file = Some("/etc/passwd".to_owned());
        }
    }
    found
}

// SPDX-License-Identifier: Apache-2.0
//! Who a container runs as: the rules about users and groups that hold for every platform.

use crate::bases;
use crate::facts::workload::{Namespace, Platform, Workload};
use crate::identity::{Accounts, POWERFUL_GROUPS, Part, User, Verdict};
use crate::model::{Fact, Severity, Sink};
use crate::rules::*;

/// The first id that is not likely to be an account's of a host.
const FIRST_FREE_ID: i64 = 10_001;

/// Who a workload runs as, as far as its words say.
#[derive(Clone, Debug)]
pub struct Who {
    /// Whether that is root.
    pub verdict: Verdict,
    /// The user's id inside.
    pub uid: Option<i64>,
    /// The primary group's id inside.
    pub gid: Option<i64>,
}

/// Tells who a workload runs as: its own words before its pod's, and those before its image's.
pub fn who(workload: &Workload) -> Who {
    let inherited = |pick: fn(&Workload) -> Option<&Fact<i64>>| {
        let own = pick(workload).or_else(|| workload.pod.as_deref().and_then(pick));
        own.map(|fact| fact.value)
    };
    let image = workload.user.as_ref().map(|fact| fact.value.as_str()).or(workload.image_user.as_deref());
    let name = workload.image.as_ref().map_or("", |image| image.value.as_str());
    let known = |user: User| user.resolved(name, None, &Accounts::default());
    let said = workload.named.clone().or_else(|| image.and_then(User::parse).map(known));
    let uid = inherited(|w| w.run_as_user.as_ref());
    let gid = inherited(|w| w.run_as_group.as_ref());
    let uid = uid.or_else(|| said.as_ref().and_then(|said| said.uid).map(i64::from));
    let gid = gid.or_else(|| said.as_ref().and_then(|said| said.gid).map(i64::from));
    let verdict = match (uid, &said) {
        (Some(0), _) => Verdict::Root,
        (Some(_), _) => Verdict::NotRoot,
        (None, Some(said)) => said.verdict,
        // An image that sets nothing, and is known, is root; so is a container.
        (None, None) if image == Some("") || workload.platform == Platform::Engine => Verdict::Root,
        (None, None) => Verdict::Unproven,
    };
    Who { verdict, uid, gid }
}

/// Judges users and groups.
pub fn judge(workload: &Workload, sink: &mut Sink) {
    let who = who(workload);
    said(workload, &who, sink);
    ids(workload, &who, sink);
    groups(workload, sink);
    mapped(workload, &who, sink);
    super::running::judge(workload, &who, sink);
    image(workload, &who, sink);
}

/// The user setting of engines, Compose and bundles.
fn said(workload: &Workload, who: &Who, sink: &mut Sink) {
    if workload.platform == Platform::Kubernetes {
        return;
    }
    let place = workload.user.as_ref().map_or_else(|| workload.place(), |user| user.place.clone());
    let text = workload.user.as_ref().map_or("", |user| user.value.as_str());
    let Some(user) = User::parse(text) else {
        return unsaid(workload, who, sink);
    };
    if let Some(why) = user.ambiguity() {
        sink.add(&USER_AMBIGUOUS, &place, format!("user {text:?}: {why}"));
    } else if who.verdict == Verdict::Root {
        let rule = if workload.platform == Platform::Compose { &RUN_AS_USER_ROOT } else { &USER_ROOT };
        sink.add(rule, &place, format!("user {text:?} is root"));
    } else if let (Verdict::Unproven, Part::Name(name), Platform::Compose) =
        (who.verdict, &user.user, workload.platform)
    {
        let of = workload.image.as_ref().map_or("the image", |image| image.value.as_str());
        sink.add_as(&USER_ALIAS_OF_ROOT, Severity::Medium, &place, format!("user {name}: no known account of {of}"));
    }
    if let (Verdict::Root, Some(image)) = (who.verdict, &workload.image_user)
        && User::parse(image).is_some_and(|user| !matches!(user.user, Part::Id(0)) && image != "root")
    {
        sink.add(&BACK_TO_ROOT, &place, format!("the image's user is {image:?}, and this makes it root"));
    }
}

fn unsaid(workload: &Workload, who: &Who, sink: &mut Sink) {
    if who.verdict == Verdict::NotRoot || workload.built && workload.image_user.is_none() {
        return;
    }
    let known = workload.platform != Platform::Compose || workload.image_user.is_some();
    let severity = if known { NO_USER.severity } else { Severity::Medium };
    let evidence = match &workload.image {
        Some(image) if !known => format!("no user is set, and that of {} is not known", image.value),
        _ if workload.built => "no user is set, neither here nor by the Dockerfile it is built from".to_owned(),
        _ => "no user is set: it runs as root".to_owned(),
    };
    sink.add_as(&NO_USER, severity, &workload.place(), evidence);
}

/// Ids that may be somebody's on the host, and root's group.
fn ids(workload: &Workload, who: &Who, sink: &mut Sink) {
    let own = |fact: &Option<Fact<i64>>| fact.as_ref().map(|fact| (fact.value, fact.place.clone()));
    let (mut uid, mut gid) = (own(&workload.run_as_user), own(&workload.run_as_group));
    if let Some(user) = &workload.user {
        uid = who.uid.map(|uid| (uid, user.place.clone()));
        gid = who.gid.map(|gid| (gid, user.place.clone()));
        let numeric =
            User::parse(&user.value).is_some_and(|u| matches!(u.user, Part::Id(id) if id > 0) && u.group.is_none());
        if numeric {
            let evidence = format!("user {:?} has no group: it is 0 unless the image knows the number", user.value);
            sink.add(&GROUP_ZERO, &user.place, evidence);
        }
    }
    if let Some((uid, place)) = uid.filter(|(uid, _)| (1..FIRST_FREE_ID).contains(uid)) {
        sink.add(&LOW_UID, &place, format!("uid {uid}"));
    }
    if let Some((gid, place)) = gid {
        match gid {
            0 if who.verdict != Verdict::Root => sink.add(&GROUP_ZERO, &place, "the group is 0"),
            1..FIRST_FREE_ID => sink.add(&LOW_GID, &place, format!("gid {gid}")),
            _ => {}
        }
    }
}

fn groups(workload: &Workload, sink: &mut Sink) {
    for group in &workload.groups {
        let powerful = group.value == "0" || POWERFUL_GROUPS.contains(&group.value.as_str());
        if powerful {
            sink.add(&EXTRA_GROUPS, &group.place, format!("group {}", group.value));
        }
    }
}

/// Who root inside is outside.
fn mapped(workload: &Workload, who: &Who, sink: &mut Sink) {
    if let Some(host) = workload.host.iter().find(|fact| fact.value == Namespace::User)
        && workload.platform == Platform::Compose
    {
        sink.add(&USER_NAMESPACE, &host.place, "the host's user namespace is asked for");
    }
    let is_root = who.verdict == Verdict::Root;
    match &workload.process {
        // The kernel's word is judged beside the other processes.
        Some(_) => {}
        None if workload.platform == Platform::Bundle && is_root && !workload.in_user_namespace() => {
            sink.add(&ROOT_IS_HOST_ROOT, &workload.place(), "uid 0 and no user namespace");
        }
        None if workload.platform == Platform::Kubernetes
            && !workload.is_pod
            && is_root
            && !workload.in_user_namespace() =>
        {
            sink.add(&ROOT_IS_HOST_ROOT, &workload.place(), "uid 0 and no user namespace: hostUsers is not false");
        }
        None => {}
    }
    if workload.is_pod && !workload.in_user_namespace() {
        let safe = workload.run_as_non_root.as_ref().is_some_and(|fact| fact.value);
        let severity = if safe { Severity::Low } else { Severity::Medium };
        let place = workload.own_users.as_ref().map_or_else(|| workload.place(), |fact| fact.place.clone());
        sink.add_as(&USER_NAMESPACE, severity, &place, "hostUsers is not false");
    }
}

/// What is known of images that want root.
fn image(workload: &Workload, who: &Who, sink: &mut Sink) {
    let Some(image) = &workload.image else { return };
    if workload.platform == Platform::Engine || workload.built {
        return;
    }
    if let Some(twin) = bases::twin(&image.value)
        && who.verdict != Verdict::NotRoot
    {
        sink.add(&UNPRIVILEGED_TWIN, &image.place, format!("{}: there is {twin}", image.value));
    }
}

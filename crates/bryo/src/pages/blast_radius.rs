// SPDX-License-Identifier: Apache-2.0
//! What an escaped process could do on this host, as a page.

use bryo_audit::report::drawing::Drawing;
use bryo_audit::report::html::{Page, Row, escape};
use bryo_engine::radius::{Category, Findings, Group, Reach, Who};

use super::choices;
use crate::commands::blast_radius::{Report, Setting, comparison, summary};

/// The rings, from within, and what is on them: the more an escapee can do with it, the further out.
const RINGS: [(&str, &[Group]); 4] = [
    ("low", &[Group::Connect]),
    ("medium", &[Group::Read, Group::Signal]),
    ("high", &[Group::Write, Group::Trace]),
    ("critical", &[Group::SetId, Group::Device, Group::Kernel]),
];

/// Writes the page.
pub fn page(report: &Report) -> String {
    let mut page = Page::new("What an escaped process could do on this host");
    page.paragraph(
        "Counted is what not everybody on this host can reach. Rings, from within: connect; read and signal; write and \
         trace; programs with other rights, devices and the kernel.",
    );
    page.raw("<div class=\"cards\">\n");
    for setting in &report.settings {
        page.raw(&card(setting));
    }
    page.raw("</div>\n");
    if report.settings.len() > 1 {
        let (titles, lines) = comparison(&report.settings);
        page.section("Compared");
        page.table(&titles.iter().map(String::as_str).collect::<Vec<_>>(), lines);
    }
    if let Some(Setting { findings: Some(findings), who: Some(who), .. }) = report.settings.first() {
        examples(&mut page, findings);
        page.section("How it was looked");
        for line in summary(&report.settings[0], findings, who).lines() {
            page.paragraph(line);
        }
    }
    page.finish()
}

fn card(setting: &Setting) -> String {
    let title = escape(&setting.setting);
    let (Some(findings), Some(who)) = (&setting.findings, &setting.who) else {
        let why = escape(setting.not_measured.as_deref().unwrap_or_default());
        return format!(
            "<figure class=\"card\"><figcaption>{title}</figcaption><p class=\"soft\">{why}</p></figure>\n"
        );
    };
    let count = |groups: &[Group]| groups.iter().map(|group| findings.gained(*group)).sum::<u64>();
    let rings = RINGS.map(|(class, groups)| (class, usize::try_from(count(groups)).unwrap_or(usize::MAX)));
    let (tone, verdict) = if who.uid == 0 { ("high", "root") } else { ("good", "not root") };
    let inside = format!("user {}:{}", who.uid, who.gid);
    let all = rings.iter().map(|(_, count)| count).sum::<usize>();
    let svg = Drawing {
        tone,
        verdict,
        inside: &inside,
        host: &on_host(who),
        rings: Some(rings),
        note: &format!("{all} within reach"),
    }
    .svg();
    let items: String = findings
        .categories
        .iter()
        .filter(|category| category.gained() > 0)
        .map(|category| format!("<li>{}: <b>{}</b></li>", escape(&category.title), category.gained()))
        .collect();
    format!("<figure class=\"card\"><figcaption>{title}</figcaption>{svg}<ul>{items}</ul></figure>\n")
}

fn on_host(who: &Who) -> String {
    match (who.host_uid, who.is_caller) {
        (Some(0), _) => "root".to_owned(),
        (Some(id), true) => format!("user {id}: you"),
        (Some(id), false) => format!("user {id}: nobody"),
        (None, _) => "unknown".to_owned(),
    }
}

/// Lists the worst of every kind.
fn examples(page: &mut Page, findings: &Findings) {
    page.section("The worst of each kind");
    let all: Vec<&Category> = findings.categories.iter().filter(|category| !category.worst.is_empty()).collect();
    let classes: Vec<&str> = all.iter().flat_map(|c| c.worst.iter().map(|_| class(c.kind).1)).collect();
    page.filter("row", &choices(&Group::ALL.map(|(word, group)| (word, class_of(group).1)), &classes));
    for category in all {
        let (tone, class) = class(category.kind);
        for example in &category.worst {
            let mut row = Row::new(&format!("{tone} {class}"), category.kind.group().word());
            row.title(&category.title).place(&example.what, &example.why);
            row.soft(if example.everybody { "open to everybody on this host" } else { "" });
            row.soft(if example.own { "its own" } else { "" });
            page.row(&row);
        }
    }
}

fn class(kind: Reach) -> (&'static str, &'static str) {
    class_of(kind.group())
}

/// Returns the class that colours a group, and the one that its rows are found by.
fn class_of(group: Group) -> (&'static str, &'static str) {
    let tone = RINGS.iter().find(|(_, groups)| groups.contains(&group)).map_or("info", |(tone, _)| tone);
    let class = match group {
        Group::Read => "is-read",
        Group::Write => "is-write",
        Group::SetId => "is-setid",
        Group::Signal => "is-signal",
        Group::Trace => "is-trace",
        Group::Connect => "is-connect",
        Group::Device => "is-device",
        Group::Kernel => "is-kernel",
    };
    (tone, class)
}

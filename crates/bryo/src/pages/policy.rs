// SPDX-License-Identifier: Apache-2.0
//! What the policy says of containers and images, as a page.

use bryo_audit::report::html::{Page, Row};
use bryo_engine::policy::{Answer, Report};

use super::choices;

/// The answers, and the class that colours each.
const ANSWERS: [(Answer, &str); 3] = [(Answer::Broken, "high"), (Answer::Unchecked, "medium"), (Answer::Holds, "good")];

/// Writes the page.
pub fn page(reports: &[Report]) -> String {
    let mut page = Page::new("What the policy says");
    let all: Vec<_> = reports.iter().flat_map(|report| report.verdicts.iter().map(move |v| (report, v))).collect();
    let of = |answer: Answer| all.iter().filter(|(_, verdict)| verdict.answer == answer).count();
    page.numbers(&ANSWERS.map(|(answer, class)| (answer.as_str(), of(answer), class)));
    page.section("Rules");
    if all.is_empty() {
        page.paragraph("There is no policy.");
    }
    let class = |answer: Answer| ANSWERS.iter().find(|(known, _)| *known == answer).map_or("info", |(_, class)| class);
    let classes: Vec<&str> = all.iter().map(|(_, verdict)| class(verdict.answer)).collect();
    page.filter("row", &choices(&ANSWERS.map(|(answer, class)| (answer.as_str(), class)), &classes));
    for (report, verdict) in all {
        let mut row = Row::new(class(verdict.answer), verdict.answer.as_str());
        row.title(&format!("{}: {}", report.target, verdict.rule));
        row.place(&format!("{}:{}", verdict.file.display(), verdict.line), "").line(&verdict.why).soft(&verdict.remedy);
        page.row(&row);
    }
    page.finish()
}

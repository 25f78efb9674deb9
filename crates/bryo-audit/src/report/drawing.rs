// SPDX-License-Identifier: Apache-2.0
//! The picture of every report: who it is inside, who that is on the host, and rings of what is reached from there.

use super::html::escape;

/// The radius of each ring, from within.
const RADII: [u32; 4] = [16, 30, 44, 58];

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Drawing<'a> {
    /// The class that colours who it is.
    pub tone: &'a str,
    /// Who it is, in a word or two.
    pub verdict: &'a str,
    /// Who it is inside.
    pub inside: &'a str,
    /// Who it is on the host.
    pub host: &'a str,
    /// A class and a count for each ring: the worse, the further out. None where nothing was looked at.
    pub rings: Option<[(&'a str, usize); 4]>,
    /// What stands below.
    pub note: &'a str,
}

impl Drawing<'_> {
    /// Draws it. What it says can be read without seeing it.
    pub fn svg(&self) -> String {
        let mut svg = String::from("<svg viewBox=\"0 0 520 150\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\">");
        let label = format!("{}: {} inside, {} on the host", self.verdict, self.inside, self.host);
        svg += &format!("<title>{}</title>", escape(&label));
        svg += &frame(4, "inside");
        svg += &format!("<g class=\"{}\"><circle class=\"dot\" cx=\"20\" cy=\"54\" r=\"6\"/></g>", self.tone);
        svg += &format!("<text x=\"34\" y=\"58\">{}</text>", fitting(self.verdict, 16));
        svg += &format!("<text x=\"14\" y=\"82\" class=\"small\">{}</text>", fitting(self.inside, 24));
        svg += "<path class=\"arrow\" d=\"M158 63h32m-7-5 7 5-7 5\"/>";
        svg += &frame(196, "on the host");
        svg += &format!("<text x=\"206\" y=\"67\" class=\"small\">{}</text>", fitting(self.host, 25));
        svg += &self.rings.map_or_else(String::new, rings);
        svg + &format!("<text x=\"14\" y=\"130\" class=\"small\">{}</text></svg>", escape(self.note))
    }
}

fn rings(rings: [(&str, usize); 4]) -> String {
    let mut svg = String::from("<path class=\"arrow\" d=\"M350 63h32m-7-5 7 5-7 5\"/>");
    for (radius, (class, count)) in RADII.into_iter().zip(rings) {
        svg += &ring(radius, class, count);
    }
    let worst = rings.iter().rev().find(|(_, count)| *count > 0).map_or("good", |(class, _)| class);
    svg + &format!("<g class=\"{worst}\"><circle class=\"dot\" cx=\"450\" cy=\"76\" r=\"6\"/></g>")
}

fn frame(x: u32, title: &str) -> String {
    format!(
        "<rect class=\"frame\" x=\"{x}\" y=\"30\" width=\"150\" height=\"66\" rx=\"8\"/>\
         <text x=\"{}\" y=\"22\" class=\"small\">{title}</text>",
        x + 10
    )
}

/// Draws a ring; one on which nothing is stays faint.
fn ring(radius: u32, class: &str, count: usize) -> String {
    let faint = if count == 0 { " opacity=\"0.15\"" } else { "" };
    let mut ring =
        format!("<g class=\"{class}\"{faint}><circle class=\"ring\" cx=\"450\" cy=\"76\" r=\"{radius}\"/></g>");
    if count > 0 {
        let x = 450 + radius;
        ring += &format!("<g class=\"{class}\"><circle class=\"dot\" cx=\"{x}\" cy=\"76\" r=\"4\"/></g>");
    }
    ring
}

/// Cuts a text to what fits into a drawing.
fn fitting(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return escape(text);
    }
    escape(&text.chars().take(chars - 1).chain(['…']).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_or_no_text_stays_in_the_picture() {
        assert_eq!(fitting("<user>", 6), "&lt;user&gt;");
        assert_eq!(fitting("a long name", 6), "a lon…");
        let rings = Some([("low", 0), ("medium", 1), ("high", 0), ("critical", 0)]);
        let drawing = Drawing { tone: "good", verdict: "not root", inside: "<1>", host: "100001", rings, note: "<n>" };
        let svg = drawing.svg();
        assert!(!svg.contains("<1>") && !svg.contains("<n>"), "{svg}");
        assert_eq!(svg.matches("opacity").count(), 3);
        assert!(!Drawing { rings: None, ..drawing }.svg().contains("ring"));
    }
}

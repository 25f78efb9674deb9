// SPDX-License-Identifier: Apache-2.0
//! Pages of HTML that need nothing: no network, no script, no file beside them.
//!
//! A page is a title, some numbers, and sections; each report fills in its own. Filters are radio buttons and rules of
//! style, colours follow the reader's system, and narrow windows get one column. Text is escaped where it is added.

/// Escapes a text for HTML and XML, in attributes too.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Marks that turn text around would make it look like another one.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A page being written.
#[derive(Debug)]
pub struct Page {
    title: String,
    filters: String,
    style: String,
    body: String,
}

/// One choice of a filter: what is shown, and the class of the rows that stay.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// What is shown.
    pub label: &'a str,
    /// The class; empty for all.
    pub class: &'a str,
    /// How many rows stay.
    pub count: usize,
}

/// A row of a page: a tag at its left, and lines beside it. Lines that are empty are left out.
#[derive(Debug)]
pub struct Row {
    head: String,
    rest: String,
}

impl Row {
    /// Begins a row with its classes, which filters look for, and its tag.
    pub fn new(classes: &str, tag: &str) -> Self {
        let head = format!("<div class=\"row {classes}\"><span class=\"tag\">{}</span>", escape(tag));
        Self { head, rest: String::new() }
    }

    /// Adds what it is about.
    pub fn title(&mut self, text: &str) -> &mut Self {
        self.add("<b>", text, "</b>")
    }

    /// Adds its number or name, below the tag.
    pub fn code(&mut self, text: &str) -> &mut Self {
        self.add("<code class=\"soft\">", text, "</code>")
    }

    /// Adds where it is, and in what.
    pub fn place(&mut self, place: &str, within: &str) -> &mut Self {
        let within =
            if within.is_empty() { String::new() } else { format!(" <span class=\"soft\">{}</span>", escape(within)) };
        self.rest.push_str(&format!("<span class=\"place wide\">{}{within}</span>", escape(place)));
        self
    }

    /// Adds a line.
    pub fn line(&mut self, text: &str) -> &mut Self {
        self.add("<span class=\"wide\">", text, "</span>")
    }

    /// Adds a line that is less important.
    pub fn soft(&mut self, text: &str) -> &mut Self {
        self.add("<span class=\"wide soft\">", text, "</span>")
    }

    fn add(&mut self, before: &str, text: &str, after: &str) -> &mut Self {
        if !text.is_empty() {
            self.rest.push_str(before);
            self.rest.push_str(&escape(text));
            self.rest.push_str(after);
        }
        self
    }
}

impl Page {
    /// Begins a page.
    pub fn new(title: &str) -> Self {
        Self { title: escape(title), filters: String::new(), style: String::new(), body: String::new() }
    }

    /// Adds numbers, each with its word and a class that gives it a colour.
    pub fn numbers(&mut self, numbers: &[(&str, usize, &str)]) {
        self.body.push_str("<ul class=\"numbers\">");
        for (label, number, class) in numbers {
            self.body.push_str(&format!("<li class=\"{class}\"><b>{number}</b> {}</li>", escape(label)));
        }
        self.body.push_str("</ul>\n");
    }

    /// Begins a section.
    pub fn section(&mut self, title: &str) {
        self.body.push_str(&format!("<h2>{}</h2>\n", escape(title)));
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.body.push_str(&format!("<p>{}</p>\n", escape(text)));
    }

    /// Adds a row.
    pub fn row(&mut self, row: &Row) {
        self.body.push_str(&row.head);
        self.body.push_str(&row.rest);
        self.body.push_str("</div>\n");
    }

    /// Adds a table: titles, and for each line its cells.
    pub fn table(&mut self, titles: &[&str], lines: impl IntoIterator<Item = Vec<String>>) {
        self.body.push_str("<div class=\"scroll\"><table><thead><tr>");
        for title in titles {
            self.body.push_str(&format!("<th scope=\"col\">{}</th>", escape(title)));
        }
        self.body.push_str("</tr></thead><tbody>\n");
        for line in lines {
            self.body.push_str("<tr>");
            for cell in line {
                self.body.push_str(&format!("<td>{}</td>", escape(&cell)));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</tbody></table></div>\n");
    }

    /// Adds what is HTML already. The caller has escaped what is not its own.
    pub fn raw(&mut self, html: &str) {
        self.body.push_str(html);
    }

    /// Adds a filter over the rows that follow: the choices are buttons, the first one is chosen.
    ///
    /// The buttons stand before everything else, so that a rule of style can look from them at the rows.
    pub fn filter(&mut self, name: &str, choices: &[Choice<'_>]) {
        self.body.push_str("<div class=\"filter\" role=\"group\">");
        for (at, choice) in choices.iter().enumerate() {
            let id = format!("{name}-{at}");
            let checked = if at == 0 { " checked" } else { "" };
            self.filters.push_str(&format!(
                "<input type=\"radio\" class=\"choice\" name=\"{name}\" id=\"{id}\" aria-label=\"{}\"{checked}>\n",
                escape(choice.label)
            ));
            self.body.push_str(&format!(
                "<label for=\"{id}\">{} <b>{}</b></label>",
                escape(choice.label),
                choice.count
            ));
            self.style.push_str(&format!(
                "#{id}:checked ~ main label[for={id}] {{ background: var(--ink); color: var(--paper); }}\n\
                 #{id}:focus-visible ~ main label[for={id}] {{ outline: 2px solid var(--ink); outline-offset: 2px; }}\n"
            ));
            if !choice.class.is_empty() {
                let class = choice.class;
                self.style.push_str(&format!("#{id}:checked ~ main .{name}:not(.{class}) {{ display: none; }}\n"));
            }
        }
        self.body.push_str("</div>\n");
    }

    /// Ends the page.
    pub fn finish(self) -> String {
        let Self { title, filters, style, body } = self;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n{filters}<main>\n<h1>{title}</h1>\n\
             {body}</main>\n</body>\n</html>\n"
        )
    }
}

/// What all pages look like.
const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --box: #f6f8fa;
  --critical: #8f1d3f; --high: #b3261e; --medium: #8a5a00; --low: #2f5d8a; --info: #57606a; --good: #1a6b3c; }
@media (prefers-color-scheme: dark) { :root { --paper: #0f1318; --ink: #e6edf3; --soft: #9aa5b1; --line: #303844;
  --box: #171d24; --critical: #ff8fab; --high: #ff8a80; --medium: #f2c14e; --low: #8ec5ff; --info: #9aa5b1;
  --good: #7ee2a8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
code, .place { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
.choice { position: absolute; opacity: 0; pointer-events: none; }
.filter { display: flex; flex-wrap: wrap; gap: .4rem; margin: .5rem 0 1rem; }
.filter label { border: 1px solid var(--line); border-radius: 1rem; padding: .15rem .8rem; cursor: pointer; }
.numbers { display: flex; flex-wrap: wrap; gap: .6rem; list-style: none; padding: 0; margin: 0; }
.numbers li { border: 1px solid var(--line); background: var(--box); border-radius: .5rem; padding: .4rem .9rem; }
.numbers b { font-size: 1.3rem; margin-right: .3rem; }
.critical { --tone: var(--critical); } .high { --tone: var(--high); } .medium { --tone: var(--medium); }
.low { --tone: var(--low); } .info { --tone: var(--info); } .good { --tone: var(--good); }
.numbers b, .tag { color: var(--tone, var(--ink)); } .tag { font-weight: 600; text-transform: uppercase; font-size: .8em; }
.row, .note { border: 1px solid var(--line); border-left: .35rem solid var(--tone, var(--line)); border-radius: .4rem;
  background: var(--box); padding: .6rem .9rem; margin: .5rem 0; display: grid; gap: .1rem 1rem;
  grid-template-columns: 7.5rem 1fr; }
.row > *, .note > * { min-width: 0; overflow-wrap: anywhere; } .wide { grid-column: 2; } .soft { color: var(--soft); }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(min(32rem, 100%), 1fr)); }
.card { border: 1px solid var(--line); border-radius: .5rem; background: var(--box); padding: .7rem; margin: 0; }
.card figcaption { font-weight: 600; overflow-wrap: anywhere; } .card ul { margin: .3rem 0 0; padding-left: 1.2rem; }
.card li { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .7rem .35rem 0; text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td { overflow-wrap: anywhere; min-width: 5rem; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .frame { fill: var(--paper); stroke: var(--line); } svg .ring { fill: none; stroke: var(--tone); stroke-width: 2; }
svg .dot { fill: var(--tone); } svg .arrow { stroke: var(--soft); stroke-width: 1.5; fill: none; }
svg .small { fill: var(--soft); font-size: 11px; }
@media (max-width: 40rem) { .row, .note { grid-template-columns: 1fr; } .wide { grid-column: 1; } main { padding: 1rem .7rem 3rem; } }
@media print { .filter { display: none; } .row, .card { break-inside: avoid; } }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_anything_else() {
        assert_eq!(
            escape("<a href='x'>&\"\u{1b}\u{202e}\n"),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}\u{fffd}\n"
        );
        let mut page = Page::new("<t>");
        page.paragraph("<p>");
        page.numbers(&[("<n>", 1, "high")]);
        page.section("<s>");
        page.table(&["<h>"], [vec!["<d>".to_owned()]]);
        page.row(Row::new("high", "<g>").title("<b1>").code("<k>").place("<l>", "<w>").line("<e>").soft("<f>"));
        page.filter("f", &[Choice { label: "<c>", class: "", count: 0 }]);
        let page = page.finish();
        for tag in
            ["<t>", "<n>", "<s>", "<c>", "<p><p>", "<h>", "<d>", "<g>", "<b1>", "<k>", "<l>", "<w>", "<e>", "<f>"]
        {
            assert!(!page.contains(tag), "{tag}");
        }
    }
}

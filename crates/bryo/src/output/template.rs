// SPDX-License-Identifier: Apache-2.0
//! The part of Go's templates that `--format` is used with.
//!
//! Fields (`.Config.Env`, `$`), members of a map (`.Label "key"`), pipelines, `if`/`else`, `range`, literals, and the functions `json`, `index`, `join`,
//! `len`, `lower`, `upper`, `title`, `truncate`, `println`, `print`, `eq`, `ne`, `not`, `and`, `or`. Anything else is
//! an error before anything is printed. The template is the caller's; the values are anybody's and are escaped.

mod eval;
mod parse;

use serde_json::Value;

use crate::errors::{Error, Result};

/// A template that was understood.
#[derive(Debug)]
pub struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug)]
enum Node {
    Text(String),
    Print(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    Range(Pipe, Vec<Node>, Vec<Node>),
}

/// Calls, each of which gets the result of the one before as its last argument.
type Pipe = Vec<Call>;

/// A function or a value, and its arguments.
type Call = Vec<Operand>;

#[derive(Debug)]
enum Operand {
    /// A path from the current value, or from the whole one.
    Field {
        whole: bool,
        path: Vec<String>,
    },
    Literal(Value),
    Function(String),
    Group(Pipe),
}

impl Template {
    /// Parses a template. A backslash with `t`, `n` or another backslash is read as in Docker's `--format`.
    ///
    /// # Errors
    ///
    /// What is not understood, and where.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let nodes = parse::parse(&text).map_err(|why| fail(&why))?;
        Ok(Self { nodes })
    }

    /// Fills the template in with one value; without a line end of its own.
    ///
    /// # Errors
    ///
    /// A field that an object does not have, or a function that was given the wrong thing.
    pub fn fill(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        eval::Eval { whole: value }.nodes(&self.nodes, value, &mut out).map_err(|why| fail(&why))?;
        Ok(out)
    }

    /// Returns the titles of a table: what the list of titles says for the last name of a field, else that name.
    fn titles(&self, known: Titles<'_>) -> String {
        let of = |name: &str| match known.iter().find(|(field, _)| *field == name) {
            Some((_, title)) => (*title).to_owned(),
            None => spaced(name),
        };
        let title = |pipe: &Pipe| match pipe.first().map(Vec::as_slice) {
            Some([.., Operand::Field { path, .. }]) => path.last().map(|name| of(name)).unwrap_or_default(),
            // `.Label "a.b"`
            Some([Operand::Field { .. }, Operand::Literal(Value::String(key))]) => {
                key.rsplit('.').next().unwrap_or_default().to_uppercase()
            }
            _ => String::new(),
        };
        let texts = self.nodes.iter().map(|node| match node {
            Node::Text(text) => text.clone(),
            Node::Print(pipe) => title(pipe),
            _ => String::new(),
        });
        texts.collect()
    }
}

/// What columns are called whose field has another name.
pub type Titles<'a> = &'a [(&'a str, &'a str)];

/// Formats a list for `--format`: `json` for a line of JSON for each, `table TEMPLATE`, or a template for each.
///
/// # Errors
///
/// As [`Template::parse`] and [`Template::fill`].
pub fn list(format: &str, values: &[Value], titles: Titles<'_>) -> Result<String> {
    if format == "json" {
        return Ok(values.iter().map(|value| super::json::compact(&plain(value)) + "\n").collect());
    }
    let (format, tabular) = match format.strip_prefix("table ") {
        Some(rest) => (rest, true),
        None => (format, false),
    };
    let template = Template::parse(format)?;
    let lines = values.iter().map(|value| template.fill(value)).collect::<Result<Vec<_>>>()?;
    if !tabular {
        return Ok(lines.into_iter().map(|line| line + "\n").collect());
    }
    let titles = template.titles(titles);
    let titles: Vec<&str> = titles.split('\t').collect();
    Ok(super::table(&titles, lines.iter().map(|line| line.split('\t').map(str::to_owned).collect())))
}

/// Leaves out what is there for `.Label "key"` only: in Docker that is a function and no field.
fn plain(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("Label");
    }
    value
}

/// Formats one thing for `--format`: `json`, or a template, with a line end.
///
/// # Errors
///
/// As [`Template::parse`] and [`Template::fill`].
pub fn one(format: &str, value: &Value) -> Result<String> {
    match format {
        "json" => Ok(super::json::compact(value) + "\n"),
        _ => Ok(Template::parse(format)?.fill(value)? + "\n"),
    }
}

/// `CreatedSince` is `CREATED SINCE`.
fn spaced(name: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in name.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            out.push(' ');
        }
        before = c;
        out.extend(c.to_uppercase());
    }
    out
}

fn fail(why: &str) -> Error {
    Error::message(format!("read --format: {why}")).hint("--format '{{json .}}', which shows every field there is")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fill(template: &str, value: &Value) -> String {
        Template::parse(template).and_then(|t| t.fill(value)).unwrap_or_else(|e| panic!("{template}: {e:?}"))
    }

    fn image() -> Value {
        json!({
            "Id": "sha256:abc", "Size": 12, "On": true, "None": null,
            "Config": {"Env": ["A=1", "B=2"], "Labels": {"x.y/z": "v", "b": "w"}, "Cmd": []},
            "Mounts": [{"Name": "m"}, {"Name": "n"}],
        })
    }

    #[test]
    fn fields_and_literals() {
        let value = image();
        for (template, text) in [
            ("{{.Id}}", "sha256:abc"),
            ("{{ .Id }} {{.Size}} {{.On}}", "sha256:abc 12 true"),
            ("{{.Config.Env}}", "[A=1 B=2]"),
            ("{{.Config.Labels}}", "map[b:w x.y/z:v]"),
            ("{{.None}}", "<no value>"),
            ("{{json .Config.Env}}", r#"["A=1","B=2"]"#),
            ("{{.Config.Env | json}}", r#"["A=1","B=2"]"#),
            (r#"{{index .Config.Labels "x.y/z"}}"#, "v"),
            (r#"{{(index .Mounts 1).Name}}"#, "n"),
            ("{{index .Config.Env 0}}", "A=1"),
            ("{{len .Config.Env}}", "2"),
            (r#"{{join .Config.Env ","}}"#, "A=1,B=2"),
            (r#"{{.Id | upper | printf "%s!"}}"#, "SHA256:ABC!"),
            ("{{truncate .Id 6}}", "sha256"),
            ("a\\tb\\n", "a\tb\n"),
            ("{{\"x\"}}{{`y`}}{{3}}", "xy3"),
        ] {
            assert_eq!(fill(template, &value), text, "{template}");
        }
    }

    #[test]
    fn conditions_and_loops() {
        let value = image();
        for (template, text) in [
            ("{{range .Config.Env}}{{.}};{{end}}", "A=1;B=2;"),
            ("{{range .Config.Cmd}}{{.}}{{else}}none{{end}}", "none"),
            ("{{range .Mounts}}{{.Name}}-{{$.Size}} {{end}}", "m-12 n-12 "),
            ("{{range .Config.Labels}}{{.}}{{end}}", "wv"),
            ("{{if .On}}yes{{else}}no{{end}}", "yes"),
            ("{{if .Config.Cmd}}yes{{else if .None}}null{{else}}no{{end}}", "no"),
            (r#"{{if eq .Id "sha256:abc"}}=={{end}}"#, "=="),
            (r#"{{if and .On (ne .Size 13)}}&&{{end}}"#, "&&"),
            ("a {{- .Size -}} b", "a12b"),
            ("{{/* a word */}}x", "x"),
        ] {
            assert_eq!(fill(template, &value), text, "{template}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let value = image();
        for bad in [
            "{{",
            "{{.Id",
            "{{end}}",
            "{{if .On}}",
            "{{range}}{{end}}",
            "{{nosuch .Id}}",
            "{{.NoSuch}}",
            "{{.Id.X}}",
            "{{\"x}}",
            "{{(.Id}}",
            "{{index .Config.Env 9}}",
            "{{}}",
            "{{define \"x\"}}",
            "{{.Id |}}",
            "{{else}}",
            "{{len .Size}}",
        ] {
            assert!(Template::parse(bad).and_then(|t| t.fill(&value)).is_err(), "{bad}");
        }
        let deep = "{{(".repeat(5000);
        assert!(Template::parse(&deep).is_err());
        assert!(Template::parse(&format!("{{{{{}.Id", "(".repeat(100_000))).is_err());
    }

    #[test]
    fn values_cannot_drive_the_terminal() {
        let value = json!({"A": "\u{1b}[2J\u{9b}\u{202e}", "B": ["\u{1b}"], "\u{1b}": 1});
        let text = fill("{{.A}} {{.B}} {{json .}} {{.}}", &value);
        assert!(!text.contains(crate::output::escape::is_active), "{text:?}");
    }

    #[test]
    fn lists_have_a_line_for_each_and_tables_titles() {
        let values = [json!({"Name": "a", "CreatedSince": "now"}), json!({"Name": "bbbb", "CreatedSince": "x\ty"})];
        assert_eq!(list("{{.Name}}", &values, &[]).unwrap(), "a\nbbbb\n");
        assert_eq!(list("json", &values[..1], &[]).unwrap(), "{\"CreatedSince\":\"now\",\"Name\":\"a\"}\n");
        let table = list("table {{.Name}}\\t{{.CreatedSince}}", &values[..1], &[]).unwrap();
        assert_eq!(table, "NAME   CREATED SINCE\na      now\n");
        let table = list("table {{.Name}}\\t{{.CreatedSince}}", &values[..1], &[("CreatedSince", "CREATED")]).unwrap();
        assert_eq!(table, "NAME   CREATED\na      now\n");
        let labelled = [json!({"Label": {"a.tier": "web"}})];
        let table = list(r#"table {{.Label "a.tier"}}\t{{.Label "none"}}"#, &labelled, &[]).unwrap();
        assert_eq!(table, "TIER   NONE\nweb\n");
    }
}

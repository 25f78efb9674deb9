// SPDX-License-Identifier: Apache-2.0
//! YAML and JSON with the place of every value.
//!
//! Guarantees: memory and time are bounded whatever the text is: by its length, its depth, and by how many values there
//! are when every alias is replaced by what it stands for. JSON is read as the YAML that it is.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

/// The longest text, in bytes.
pub const LENGTH_MAX: usize = 16 << 20;

/// How deep values may stand in each other.
const DEPTH_MAX: usize = 100;

/// How many values there may be, aliases replaced.
const VALUES_MAX: usize = 1 << 20;

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1.
    pub column: usize,
    /// The value.
    pub value: Value,
    /// How Compose merges it with what is below.
    pub merge: Merge,
    /// How many values it has, itself included.
    size: usize,
    /// How deep the values in it stand, aliases replaced.
    depth: usize,
}

/// What a tag says of merging. Source: the Compose specification, "Merge".
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Merge {
    /// As it is usual.
    #[default]
    Usual,
    /// `!reset`: there is no value.
    Reset,
    /// `!override`: what is below does not count.
    Override,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing.
    Null,
    /// A word or text; with quotes it is always text.
    Scalar {
        /// What it says.
        text: Box<str>,
        /// Whether it has quotes.
        quoted: bool,
    },
    /// A list.
    List(Vec<Arc<Node>>),
    /// Names and values, in order.
    Map(Vec<(Box<str>, Arc<Node>)>),
}

/// A mistake, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1.
    pub column: usize,
    /// What it is.
    pub message: String,
}

impl Node {
    fn new(span: Span, offset: usize, value: Value, (size, depth): (usize, usize)) -> Self {
        let (line, column) = (span.start.line() + offset, span.start.col() + 1);
        Self { line, column, value, merge: Merge::Usual, size, depth }
    }

    /// Returns the value of a name. Of several the last one counts; those of a merge key come after all others.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.shared(name).map(|node| &**node)
    }

    /// As [`Node::get`], to be kept.
    pub fn shared(&self, name: &str) -> Option<&Arc<Node>> {
        let Value::Map(pairs) = &self.value else { return None };
        let of = |wanted: &str| pairs.iter().rev().find(|(key, _)| &**key == wanted).map(|(_, value)| value);
        of(name).or_else(|| {
            let merged = of("<<")?;
            match &merged.value {
                Value::List(all) => all.iter().find_map(|one| one.shared(name)),
                _ => merged.shared(name),
            }
        })
    }

    /// Follows names.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.get(name)).filter(|node| !node.is_null())
    }

    /// Lists the names and values, merged ones included, each name once.
    pub fn pairs(&self) -> Vec<(&str, &Node)> {
        self.shared_pairs().into_iter().map(|(key, value)| (key, &**value)).collect()
    }

    /// As [`Node::pairs`], to be kept.
    pub fn shared_pairs(&self) -> Vec<(&str, &Arc<Node>)> {
        let Value::Map(pairs) = &self.value else { return Vec::new() };
        let mut all: Vec<(&str, &Arc<Node>)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (key, value) in pairs {
            if &**key == "<<" {
                let merged = match &value.value {
                    Value::List(list) => list.iter().flat_map(|one| one.shared_pairs()).collect(),
                    _ => value.shared_pairs(),
                };
                for (key, value) in merged {
                    places.entry(key).or_insert_with(|| {
                        all.push((key, value));
                        all.len() - 1
                    });
                }
            } else if let Some(at) = places.get(&**key) {
                all[*at].1 = value;
            } else {
                places.insert(key, all.len());
                all.push((key, value));
            }
        }
        all
    }

    /// Lists the members of a list.
    pub fn items(&self) -> &[Arc<Node>] {
        match &self.value {
            Value::List(list) => list,
            _ => &[],
        }
    }

    /// Returns the text of a word, whatever its type.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns a truth value. YAML 1.1's words count too, as Kubernetes and Compose read them.
    pub fn truth(&self) -> Option<bool> {
        truth(self.text()?)
    }

    /// Returns a whole number. YAML 1.1 has numbers in base 2, and lines between digits.
    pub fn number(&self) -> Option<i64> {
        let Value::Scalar { text, quoted } = &self.value else { return None };
        let bare = if *quoted { String::new() } else { text.replace('_', "") };
        let text = if bare.is_empty() { text } else { &*bare };
        let radix = |digits: &str, radix| i64::from_str_radix(digits, radix).ok();
        match text {
            _ if text.starts_with("0x") => radix(&text[2..], 16),
            _ if text.starts_with("0o") => radix(&text[2..], 8),
            _ if text.starts_with("0b") => radix(&text[2..], 2),
            _ => text.parse().ok().or_else(|| whole(text)),
        }
    }

    /// Tells whether it is nothing.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Tells whether it is a map.
    pub fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }
}

/// `0.0` and `1e3` are whole numbers to those who read JSON.
fn whole(text: &str) -> Option<i64> {
    let number: f64 = text.parse().ok()?;
    let fits = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    fits.then_some(number as i64)
}

/// How many mistakes of one text are told.
const MISTAKES_MAX: usize = 20;

/// Returns what a word says as a truth value, with YAML 1.1's words.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
        _ => None,
    }
}

/// Reads all documents of a text.
///
/// # Errors
///
/// The first mistake.
pub fn parse(text: &str) -> Result<Vec<Arc<Node>>, Mistake> {
    let (documents, mut mistakes) = parse_each(text, 1);
    if mistakes.is_empty() { Ok(documents) } else { Err(mistakes.swap_remove(0)) }
}

/// Reads the documents of a text one by one: those that have no mistake, and the mistakes of the others.
pub fn parse_all(text: &str) -> (Vec<Arc<Node>>, Vec<Mistake>) {
    parse_each(text, MISTAKES_MAX)
}

fn parse_each(text: &str, most: usize) -> (Vec<Arc<Node>>, Vec<Mistake>) {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut documents, mut mistakes) = (Vec::new(), Vec::new());
    if rest.len() > LENGTH_MAX {
        let message = format!("the file is longer than {} MiB", LENGTH_MAX >> 20);
        return (documents, vec![Mistake { line: 0, column: 0, message }]);
    }
    let (mut offset, mut values) = (0, 0);
    loop {
        let mut reader = Reader { parser: Parser::new_from_str(rest), anchors: Vec::new(), values, offset };
        let result = reader.documents(&mut documents);
        values = reader.values;
        let Err(mistake) = result else { return (documents, mistakes) };
        let line = mistake.line.saturating_sub(offset);
        mistakes.push(mistake);
        if mistakes.len() >= most {
            return (documents, mistakes);
        }
        // What follows the mistake is another document, and may be right.
        let Some((lines, bytes)) = next_document(rest, line.saturating_sub(1).max(1)) else {
            return (documents, mistakes);
        };
        (rest, offset) = (&rest[bytes..], offset + lines);
    }
}

/// Finds the line, from 0 and not before `from`, in which a document begins, and the byte that it begins with.
fn next_document(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut start = 0;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if at >= from
            && line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\n', '\r']))
        {
            return Some((at, start));
        }
        start += line.len();
    }
    None
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// What anchors stand for, by their ids.
    anchors: Vec<(usize, Arc<Node>)>,
    values: usize,
    /// How many lines are before the text.
    offset: usize,
}

/// A list or map that is not closed yet.
struct Open {
    span: Span,
    anchor: usize,
    merge: Merge,
    key: Option<Box<str>>,
    size: usize,
    depth: usize,
    content: Content,
}

impl Open {
    fn new(span: Span, anchor: usize, merge: Merge, content: Content) -> Self {
        Self { span, anchor, merge, key: None, size: 1, depth: 0, content }
    }
}

fn merge(tag: Option<&Tag>) -> Merge {
    match tag.map(|tag| tag.suffix.as_str()) {
        Some("reset") => Merge::Reset,
        Some("override") => Merge::Override,
        _ => Merge::Usual,
    }
}

enum Content {
    List(Vec<Arc<Node>>),
    Map(Vec<(Box<str>, Arc<Node>)>),
}

impl<'a> Reader<'a> {
    /// Reads documents up to the end or the first mistake.
    fn documents(&mut self, documents: &mut Vec<Arc<Node>>) -> Result<(), Mistake> {
        let mut read = || {
            loop {
                let (event, span) = self.next()?;
                match event {
                    Event::StreamEnd => return Ok(()),
                    Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                    event => documents.push(self.node(event, span)?),
                }
            }
        };
        read().map_err(|mistake: Mistake| Mistake { line: mistake.line + self.offset, ..mistake })
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Mistake> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(mistake(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// Builds the value that begins with an event, without recursion.
    fn node(&mut self, first: Event<'a>, span: Span) -> Result<Arc<Node>, Mistake> {
        let mut open: Vec<Open> = Vec::new();
        let (mut event, mut span) = (first, span);
        loop {
            let done = match event {
                Event::SequenceStart(anchor, tag) => {
                    open.push(Open::new(span, anchor, merge(tag.as_deref()), Content::List(Vec::new())));
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    open.push(Open::new(span, anchor, merge(tag.as_deref()), Content::Map(Vec::new())));
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => open.pop().map(|closed| self.close(closed)),
                Event::Scalar(text, style, anchor, tag) => {
                    let mut node = Node::new(span, self.offset, scalar(&text, style), (1, 0));
                    node.merge = merge(tag.as_deref());
                    let node = Arc::new(node);
                    self.remember(anchor, &node);
                    Some(node)
                }
                Event::Alias(id) => Some(self.alias(id, span)?),
                _ => return Err(at(span, "the document ends too early")),
            };
            let inside = done.as_ref().map_or(0, |node| node.depth);
            if open.len() + inside > DEPTH_MAX {
                return Err(at(span, "values stand too deep in each other"));
            }
            if let Some(node) = done {
                self.values += node.size;
                let Some(last) = open.last_mut() else { return Ok(node) };
                last.size = last.size.saturating_add(node.size);
                last.depth = last.depth.max(node.depth);
                if last.size > VALUES_MAX || self.values > 8 * VALUES_MAX {
                    return Err(at(span, "there are too many values, aliases replaced"));
                }
                put(last, node, span)?;
            }
            (event, span) = self.next()?;
        }
    }

    fn close(&mut self, closed: Open) -> Arc<Node> {
        let value = match closed.content {
            Content::List(list) => Value::List(list),
            Content::Map(map) => Value::Map(map),
        };
        let mut node = Node::new(closed.span, self.offset, value, (closed.size, closed.depth + 1));
        node.merge = closed.merge;
        let node = Arc::new(node);
        self.remember(closed.anchor, &node);
        node
    }

    fn remember(&mut self, anchor: usize, node: &Arc<Node>) {
        if anchor > 0 {
            self.anchors.push((anchor, Arc::clone(node)));
        }
    }

    fn alias(&self, id: usize, span: Span) -> Result<Arc<Node>, Mistake> {
        let found = self.anchors.iter().rev().find(|(known, _)| *known == id);
        // One that is not closed yet would be inside itself.
        found.map(|(_, node)| Arc::clone(node)).ok_or_else(|| at(span, "an alias stands inside of what it stands for"))
    }
}

fn put(open: &mut Open, node: Arc<Node>, span: Span) -> Result<(), Mistake> {
    match &mut open.content {
        Content::List(list) => list.push(node),
        Content::Map(map) => match open.key.take() {
            Some(key) => map.push((key, node)),
            None => {
                let text = match &node.value {
                    Value::Null => "",
                    _ => node.text().ok_or_else(|| at(span, "a name is no word"))?,
                };
                open.key = Some(text.into());
            }
        },
    }
    Ok(())
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    let plain = style == ScalarStyle::Plain;
    match text {
        "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
        _ => Value::Scalar { text: text.into(), quoted: !plain },
    }
}

fn at(span: Span, message: &str) -> Mistake {
    Mistake { line: span.start.line(), column: span.start.col() + 1, message: message.to_owned() }
}

fn mistake(error: &ScanError) -> Mistake {
    let marker = error.marker();
    Mistake { line: marker.line(), column: marker.col() + 1, message: error.info().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Arc<Node> {
        parse(text).unwrap().remove(0)
    }

    #[test]
    fn values_have_places() {
        let node = one("a:\n  b: [x, 'y']\n  c: ~\n");
        let list = node.at(&["a", "b"]).unwrap();
        assert_eq!((list.line, list.column), (2, 6));
        assert_eq!((list.items()[1].line, list.items()[1].column), (2, 10));
        assert!(node.at(&["a", "c"]).is_none());
        assert_eq!(parse("a: 1\n---\nb: 2\n").unwrap().len(), 2);
    }

    #[test]
    fn json_is_read_too() {
        let node = one("{\"a\": {\"b\": [1, true, null, \"x\\u00e4\\/\"]}}");
        let items = node.at(&["a", "b"]).unwrap().items();
        assert_eq!(items[0].number(), Some(1));
        assert_eq!(items[1].truth(), Some(true));
        assert!(items[2].is_null());
        assert_eq!(items[3].text(), Some("xä/"));
    }

    #[test]
    fn merged_names_come_last() {
        let node = one("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nmore:\n  <<: [*b, {z: 4}]\n");
        assert_eq!(node.at(&["use", "x"]).and_then(Node::number), Some(1));
        assert_eq!(node.at(&["use", "y"]).and_then(Node::number), Some(3));
        assert_eq!(node.at(&["more", "z"]).and_then(Node::number), Some(4));
        let names: Vec<&str> = node.get("use").unwrap().pairs().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["x", "y"]);
    }

    #[test]
    fn bombs_are_refused_quickly() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..30 {
            let alias = format!("*a{}", n - 1);
            bomb += &format!("a{n}: &a{n} [{}]\n", [alias.as_str(); 9].join(","));
        }
        assert!(parse(&bomb).unwrap_err().message.contains("too many"));
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
        assert!(parse(&"{a: ".repeat(100_000)).is_err());
        assert!(parse("&a [*a]").is_err());
        let chain: String = (1..10_000).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)).collect();
        assert!(parse(&format!("a0: &a0 x\n{chain}")).unwrap_err().message.contains("too deep"));
        assert_eq!(parse("a: [\n").unwrap_err().line, 2);
    }

    #[test]
    fn a_broken_document_does_not_hide_the_others() {
        let (documents, mistakes) = parse_all("a: 1\n---\nb: [\n---\nc: 1\n--- \nd: }\n---\ne:\n  f: 2\n");
        let lines: Vec<usize> = documents.iter().map(|node| node.line).collect();
        assert_eq!(lines, [1, 5, 9]);
        assert_eq!(mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [4, 7]);
        assert_eq!(documents[2].at(&["e", "f"]).unwrap().line, 10);
        // However many mistakes there are, they end.
        let many = "a: \"\n---\n".repeat(100_000);
        assert!(parse_all(&many).1.len() <= MISTAKES_MAX);
    }
}

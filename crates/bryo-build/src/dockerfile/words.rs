// SPDX-License-Identifier: Apache-2.0
//! Words, and names with values, as `ENV`, `LABEL` and `ARG` have them. Quotes stay; they are taken away when variables
//! are replaced.

use super::Argument;

/// Splits at blanks outside of quotes.
pub(super) fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c == escape && quote != Some('\'') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            '\'' | '"' if quote.is_none() => quote = Some(c),
            c if quote == Some(c) => quote = None,
            c if c.is_whitespace() && quote.is_none() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => (),
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Reads `NAME=VALUE ...`, or `NAME VALUE` in the old form of one.
pub(super) fn pairs(text: &str, keyword: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = split(text, escape);
    let Some(first) = words.first() else { return Err(format!("{keyword} wants NAME=VALUE")) };
    if !first.contains('=') {
        let name = first.clone();
        let value = text.trim_start().strip_prefix(name.as_str()).unwrap_or_default().trim();
        if value.is_empty() {
            return Err(format!("{keyword} {name} has no value; write {name}=VALUE"));
        }
        return Ok(vec![(name, value.to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some(("", _)) => Err(format!("{keyword}: {word:?} has no name")),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("{keyword}: {word:?} is no NAME=VALUE")),
    };
    words.iter().map(pair).collect()
}

/// Reads `NAME[=VALUE] ...`.
pub(super) fn arguments(text: &str, escape: char) -> Result<Vec<Argument>, String> {
    let argument = |word: String| {
        let (name, default) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        let plain = !name.is_empty() && !name.contains(['"', '\'', '$', escape]);
        if plain { Ok(Argument { name, default }) } else { Err(format!("ARG: {name:?} is no name")) }
    };
    split(text, escape).into_iter().map(argument).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_blanks_outside_of_quotes() {
        assert_eq!(split(r#"a="b c" d='e f' g\ h  i"#, '\\'), [r#"a="b c""#, "d='e f'", r"g\ h", "i"]);
        assert_eq!(split("  ", '\\'), [""; 0]);
    }

    #[test]
    fn both_forms_of_pairs_are_read() {
        let read = |text| pairs(text, "ENV", '\\');
        let of = |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(read("A=1 B=\"2 3\""), Ok(of(&[("A", "1"), ("B", "\"2 3\"")])));
        assert_eq!(read("A b c  d"), Ok(of(&[("A", "b c  d")])));
        assert_eq!(read("A="), Ok(of(&[("A", "")])));
        for text in ["A", "=1", "A=1 B", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn arguments_may_have_defaults() {
        let read = arguments("A B= C=\"x y\"", '\\').unwrap();
        let defaults: Vec<_> = read.iter().map(|a| (a.name.as_str(), a.default.as_deref())).collect();
        assert_eq!(defaults, [("A", None), ("B", Some("")), ("C", Some("\"x y\""))]);
        assert!(arguments("$A=1", '\\').is_err());
    }
}

// SPDX-License-Identifier: Apache-2.0
//! Words of a value, as systemd takes them apart and puts them together. Source: `systemd.syntax(7)`, "Quoting".

/// Splits a value at blanks. Quotes keep blanks together, escapes of C are carried out, and one that is none of C's
/// stays as it is, as systemd does with a warning.
///
/// # Errors
///
/// What is wrong with it: a quote that does not end, an escape of what is no character.
pub fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

fn word(text: &str) -> Result<(String, &str), &'static str> {
    let mut word = String::new();
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match (c, quote) {
            ('\\', _) => rest = escape(rest, &mut word)?,
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            (c, None) if c.is_whitespace() => return Ok((word, rest)),
            (c, _) => word.push(c),
        }
    }
    if quote.is_some() { Err("a quote does not end") } else { Ok((word, "")) }
}

/// Takes what stands behind a backslash, and returns what stands behind that.
fn escape<'a>(text: &'a str, word: &mut String) -> Result<&'a str, &'static str> {
    let Some(c) = text.chars().next() else { return Err("a backslash at the end escapes nothing") };
    let rest = &text[c.len_utf8()..];
    let plain = match c {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        's' => ' ',
        '\\' | '"' | '\'' => c,
        'x' => return number(rest, 2, 16, word),
        'u' => return number(rest, 4, 16, word),
        'U' => return number(rest, 8, 16, word),
        '0'..='7' => return number(text, 3, 8, word),
        _ => {
            word.extend(['\\', c]);
            return Ok(rest);
        }
    };
    word.push(plain);
    Ok(rest)
}

fn number<'a>(text: &'a str, digits: usize, radix: u32, word: &mut String) -> Result<&'a str, &'static str> {
    const BAD: &str = "an escape names no character";
    let (number, rest) = text.split_at_checked(digits).ok_or(BAD)?;
    let number = number.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(number, radix).ok());
    let c = number.flatten().and_then(char::from_u32).filter(|c| *c != '\0').ok_or(BAD)?;
    // Bytes from 128 on would be parts of a character.
    if digits < 4 && !c.is_ascii() {
        return Err(BAD);
    }
    word.push(c);
    Ok(rest)
}

/// Puts words together as one value of a command line. Specifiers (`%`) and variables (`$`) stay what they are.
pub fn join<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| quote(word.as_ref())).collect();
    quoted.join(" ")
}

/// Quotes a word where systemd would take it for another, or for several.
pub fn quote(word: &str) -> String {
    // A semicolon by itself would begin another command.
    let special = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\' | ';');
    if !word.is_empty() && !word.contains(special) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Writes text so that systemd finds no specifiers in it.
pub fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

/// Tells whether systemd puts something in the place of a part of a word: then nobody can say yet what it will be.
pub fn is_open(word: &str) -> bool {
    word.contains(['%', '$'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_split_as_systemd_does() {
        let cases: [(&str, &[&str]); 9] = [
            ("", &[]),
            ("  a  b\tc ", &["a", "b", "c"]),
            (r#"sh -c "echo 'x y'""#, &["sh", "-c", "echo 'x y'"]),
            (r#"A="b c"d 'e"f'"#, &["A=b cd", "e\"f"]),
            (r#"a\ b"#, &["a\\ b"]),
            (r#"a\sb \x41\101 \u00e9"#, &["a b", "AA", "é"]),
            (r#"\d \\d"#, &["\\d", "\\d"]),
            (r#""" ''"#, &["", ""]),
            ("%h/x ${A} $B", &["%h/x", "${A}", "$B"]),
        ];
        for (text, words) in cases {
            assert_eq!(
                split(text).as_deref(),
                Ok(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>().as_slice()),
                "{text}"
            );
        }
        for bad in ["'a", "a\"", "a\\", r"\x4", r"\xzz", r"\xff", r"\000", r"\ud800", r"\x+1"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_must_be_is_quoted() {
        assert_eq!(
            join(["run", "-e", "A=b c", "", ";", "it's", "%h", "a\nb"]),
            r#"run -e "A=b c" "" ";" "it's" %h "a\nb""#
        );
    }

    proptest! {
        #[test]
        fn what_is_put_together_comes_apart_again(words in proptest::collection::vec("[^\0]{0,12}", 0..5)) {
            // White space that is none of ASCII is no separator of systemd's.
            prop_assume!(words.iter().all(|w| w.chars().all(|c| c.is_ascii() || !(c.is_whitespace() || c.is_control()))));
            prop_assert_eq!(split(&join(&words)).unwrap(), words);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
//! Characters that would drive a terminal, or show other text than there is, in a form that only shows.

use std::borrow::Cow;
use std::fmt::Write;

/// Escapes text of any origin; line ends and tabs stay.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// Escapes text of any origin for a place within one line.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Tells whether a character does something instead of being shown: control characters (of which U+009B begins a
/// sequence like ESC [ does), the marks that change the direction of text (CVE-2021-42574), those of no width, and
/// the separators that some terminals take for line ends.
pub fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0x00AD | 0x061C | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F
            | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0000..=0xE007F)
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let bad = |c: char| is_active(c) && !keep(c);
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !bad(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string cannot fail.
            c => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_active_is_left() {
        let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\u{9b}31m\u{202e}\u{7f}\u{200b}\u{feff}\u{2028}\u{e0041}\u{2066}";
        for shown in [line(evil), text(evil)] {
            assert!(!shown.contains(is_active), "{shown:?}");
            assert!(shown.contains("\\u{1b}]0;owned\\u{7}"), "{shown}");
        }
    }

    #[test]
    fn ordinary_text_is_not_touched() {
        for plain in ["", "alpine:3.20", "überall, 日本語 und 👋", "back\\slash"] {
            assert!(matches!(line(plain), Cow::Borrowed(same) if same == plain));
        }
        assert_eq!(text("a\n\tb"), "a\n\tb");
        assert_eq!(line("a\n\tb"), "a\\n\\tb");
    }
}

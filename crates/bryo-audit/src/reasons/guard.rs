// SPDX-License-Identifier: Apache-2.0
//! Whether a line of a script is reached by root only: `if [ "$(id -u)" = 0 ]; then` and its kin.

/// How a script asks who it is.
const QUESTIONS: [&str; 6] = ["id -u", "$UID", "${UID", "$EUID", "whoami", "is_root"];

/// Tells whether a line, counted from 1, is reached only where the script has found itself to be root: in the first arm
/// of an `if` that asks for 0 or root, or behind `&&` of such a question in the line itself.
pub(crate) fn guarded(text: &str, line: usize) -> bool {
    let mut open: Vec<bool> = Vec::new();
    // The words between `if` and `then`, which may go over lines.
    let mut asking: Option<String> = None;
    for (at, raw) in text.lines().enumerate() {
        let code = raw.trim();
        let code = if code.starts_with('#') { "" } else { code };
        if at + 1 == line {
            let own = code.find("&&").is_some_and(|and| asks_for_root(&code[..and]));
            let inline = code.starts_with("if ") && code.find("then").is_some_and(|then| asks_for_root(&code[..then]));
            return own || inline || open.iter().any(|root| *root);
        }
        let padded = code.replace(';', " ; ");
        for word in padded.split_whitespace() {
            match (word, &mut asking) {
                ("then", Some(condition)) => {
                    open.push(asks_for_root(condition));
                    asking = None;
                }
                (word, Some(condition)) => {
                    condition.push(' ');
                    condition.push_str(word);
                }
                ("if", None) => asking = Some(String::new()),
                // Whoever is here is not who was asked for.
                ("else", None) => open.last_mut().into_iter().for_each(|last| *last = false),
                ("elif", None) => {
                    open.pop();
                    asking = Some(String::new());
                }
                ("fi", None) => drop(open.pop()),
                _ => {}
            }
        }
    }
    false
}

/// Tells whether a condition holds for root alone.
fn asks_for_root(condition: &str) -> bool {
    let asks = QUESTIONS.iter().any(|question| condition.contains(question));
    let other = condition.contains("!=") || condition.contains("-ne") || condition.contains("-gt");
    let names = ["0", "root"]
        .iter()
        .any(|root| condition.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == *root));
    asks && names && !other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> bool {
        let line = text.lines().position(|line| line.contains("gosu")).unwrap() + 1;
        guarded(text, line)
    }

    #[test]
    fn what_root_alone_reaches_is_guarded() {
        for text in [
            "if [ \"$(id -u)\" = 0 ]; then\n exec gosu a b\nfi",
            "if [ \"$1\" = x ] && [ \"$(id -u)\" = '0' ]; then\n find .\n exec gosu a b\nfi",
            "if [ $EUID -eq 0 ]\nthen\n if true; then\n gosu a b\n fi\nfi",
            "[ \"$(id -u)\" = 0 ] && exec gosu a b",
            "if [ \"$(whoami)\" = root ]; then exec gosu a b; fi",
            "if [ a ]; then b; elif [ $UID = 0 ]; then\n gosu a\nfi",
        ] {
            assert!(at(text), "{text}");
        }
    }

    #[test]
    fn what_others_reach_is_not() {
        for text in [
            "exec gosu a b",
            "if [ \"$(id -u)\" = 0 ]; then\n chown a b\nfi\nexec gosu a b",
            "if [ \"$(id -u)\" = 0 ]; then\n a\nelse\n gosu a b\nfi",
            "if [ \"$(id -u)\" != 0 ]; then\n gosu a b\nfi",
            "if [ \"$1\" = 0 ]; then\n gosu a b\nfi",
            "# if [ \"$(id -u)\" = 0 ]; then\n gosu a b",
        ] {
            assert!(!at(text), "{text}");
        }
        assert!(!guarded("if if if", 9) && !guarded("fi\nelse\nelif", 3));
    }
}

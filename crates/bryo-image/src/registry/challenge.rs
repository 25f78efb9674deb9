// SPDX-License-Identifier: Apache-2.0
//! `WWW-Authenticate`: what a registry wants to see (RFC 9110 section 11.6.1).
//!
//! Faces: headers written by any server; anything malformed ends the list, nothing panics.

/// One challenge of a registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Challenge {
    /// A token from the service at `realm`.
    Bearer { realm: String, service: Option<String> },
    /// Name and password with every request.
    Basic,
}

impl Challenge {
    /// Picks the challenge to answer: Bearer before Basic, since its token is short-lived.
    pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let all: Vec<Self> = headers.flat_map(parse).collect();
        let bearer = all.iter().find(|challenge| matches!(challenge, Self::Bearer { .. }));
        bearer.or(all.first()).cloned()
    }
}

/// Parses one header, which may hold several challenges.
fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.trim_start();
    while let Some((scheme, after)) = token(rest) {
        let (params, after) = parameters(after);
        let get =
            |name: &str| params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
        if scheme.eq_ignore_ascii_case("bearer") {
            if let Some(realm) = get("realm") {
                found.push(Challenge::Bearer { realm, service: get("service") });
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        }
        rest = after;
    }
    found
}

/// Reads `key=value` pairs up to the next scheme or the end.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut params = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.trim_start_matches([' ', '\t', ',']);
        let Some((key, after)) = token(start) else { return (params, start) };
        let Some(after) = after.trim_start().strip_prefix('=') else { return (params, start) };
        let Some((value, after)) = value(after.trim_start()) else { return (params, "") };
        params.push((key.to_owned(), value));
        rest = after;
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let part_of_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !part_of_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned) }
    }

    #[test]
    fn the_usual_headers_are_understood() {
        assert_eq!(
            parse(r#"Bearer realm="https://a.io/t?x=1,2",service="r.io",scope="repository:a:pull,push""#),
            [bearer("https://a.io/t?x=1,2", Some("r.io"))]
        );
        assert_eq!(parse(r#"Basic realm="a \"b\"""#), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        assert_eq!(parse(r#"BEARER  realm=https://a.io/t , service="s""#), [bearer("https://a.io/t", Some("s"))]);
    }

    #[test]
    fn bearer_wins_over_basic() {
        let one = r#"Basic realm="x", Bearer realm="https://t""#;
        assert_eq!(Challenge::choose([one].into_iter()), Some(bearer("https://t", None)));
        let two = ["Basic realm=\"x\"", "Negotiate", "Bearer realm=\"https://t\""];
        assert_eq!(Challenge::choose(two.into_iter()), Some(bearer("https://t", None)));
        assert_eq!(Challenge::choose(["Negotiate abc=="].into_iter()), None);
    }

    #[test]
    fn malformed_headers_do_no_harm() {
        for text in ["", ",", "=", "Bearer", "Bearer realm", "Bearer realm=\"open", "Bearer realm=\"x\\", "\u{e9}=1"] {
            assert_eq!(Challenge::choose([text].into_iter()), None, "{text:?}");
        }
    }
}

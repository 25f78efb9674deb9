// SPDX-License-Identifier: Apache-2.0
//! From the text of a template to its nodes.

use serde_json::Value;

use super::{Call, Node, Operand, Pipe};

/// How deep actions and parentheses nest; nobody writes more.
const DEPTH_MAX: usize = 32;

type Result<T> = std::result::Result<T, String>;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Open,
    Close,
    Bar,
    Field { whole: bool, path: Vec<String> },
    Word(String),
    Literal(Value),
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Why a list of nodes ended.
enum End {
    Text,
    Closed,
    Else(Vec<Token>),
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>> {
    let mut pieces = split(text)?.into_iter();
    match nodes(&mut pieces, 0)? {
        (nodes, End::Text) => Ok(nodes),
        (_, End::Closed) => Err("an end without a beginning".into()),
        (_, End::Else(_)) => Err("an else without an if".into()),
    }
}

/// Separates text from actions. A dash beside the braces takes the blanks of the text there away.
fn split(text: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while !rest.is_empty() {
        let (before, after) = rest.split_once("{{").map_or((rest, None), |(before, after)| (before, Some(after)));
        let mut plain = if trim { before.trim_start() } else { before };
        let Some(after) = after else {
            pieces.push(Piece::Text(plain.to_owned()));
            break;
        };
        let after = match after.strip_prefix("- ") {
            Some(after) => {
                plain = plain.trim_end();
                after
            }
            None => after,
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.to_owned()));
        }
        let end = end_of_action(after).ok_or("an action is not closed by }}")?;
        let mut action = &after[..end];
        trim = action.ends_with(" -");
        if trim {
            action = &action[..action.len() - 2];
        }
        rest = &after[end + 2..];
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            pieces.push(Piece::Action(tokens(action)?));
        }
    }
    Ok(pieces)
}

/// Finds the braces that close an action; those in strings do not.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), c) if c == open && !escaped => quote = None,
            (None, '"' | '`') => quote = Some(c),
            (None, '}') if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
        escaped = false;
    }
    None
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let (token, length) = match c {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Bar, 1),
            '"' => string(rest)?,
            '`' => {
                let inner = rest[1..].split_once('`').ok_or("a string is not closed")?.0;
                (Token::Literal(Value::from(inner)), inner.len() + 2)
            }
            _ => {
                let length = rest.find([' ', '\t', '\n', '(', ')', '|', '"', '`']).unwrap_or(rest.len());
                (word(&rest[..length])?, length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn string(text: &str) -> Result<(Token, usize)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = stream.next().and_then(std::result::Result::ok).ok_or("a string is not closed")?;
    Ok((Token::Literal(Value::from(value)), stream.byte_offset()))
}

fn word(text: &str) -> Result<Token> {
    let (whole, path) = match text.strip_prefix('$') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if path.is_empty() || path == "." {
        return Ok(Token::Field { whole, path: Vec::new() });
    }
    if let Some(path) = path.strip_prefix('.') {
        let names: Vec<String> = path.split('.').map(str::to_owned).collect();
        let is_name = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if !names.iter().all(is_name) {
            return Err(format!("{text:?} is no field"));
        }
        return Ok(Token::Field { whole, path: names });
    }
    match text {
        "true" => return Ok(Token::Literal(Value::from(true))),
        "false" => return Ok(Token::Literal(Value::from(false))),
        "nil" => return Ok(Token::Literal(Value::Null)),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Token::Literal(Value::from(number)));
    }
    if !whole && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(Token::Word(text.to_owned()));
    }
    Err(format!("{text:?} is not understood"))
}

fn nodes(pieces: &mut impl Iterator<Item = Piece>, depth: usize) -> Result<(Vec<Node>, End)> {
    if depth > DEPTH_MAX {
        return Err("it nests too deep".into());
    }
    let mut list = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                list.push(Node::Text(text));
                continue;
            }
            Piece::Action(action) => action,
        };
        let keyword = match action.first() {
            Some(Token::Word(word)) => word.as_str(),
            _ => "",
        };
        match keyword {
            "end" if action.len() == 1 => return Ok((list, End::Closed)),
            "else" => return Ok((list, End::Else(action[1..].to_vec()))),
            "if" => list.push(branch(pipe(&action[1..])?, pieces, depth)?),
            "range" => {
                let over = pipe(&action[1..])?;
                let (body, otherwise) = bodies(pieces, depth)?;
                list.push(Node::Range(over, body, otherwise));
            }
            _ => list.push(Node::Print(pipe(&action)?)),
        }
    }
    Ok((list, End::Text))
}

fn branch(condition: Pipe, pieces: &mut impl Iterator<Item = Piece>, depth: usize) -> Result<Node> {
    let (body, otherwise) = bodies(pieces, depth)?;
    Ok(Node::If(condition, body, otherwise))
}

/// Parses up to the end, through an `else` or an `else if`, whose `end` is the outer one's too.
fn bodies(pieces: &mut impl Iterator<Item = Piece>, depth: usize) -> Result<(Vec<Node>, Vec<Node>)> {
    let (body, end) = nodes(pieces, depth + 1)?;
    match end {
        End::Text => Err("an if or range has no end".into()),
        End::Closed => Ok((body, Vec::new())),
        End::Else(more) => match more.first() {
            None => match nodes(pieces, depth + 1)? {
                (otherwise, End::Closed) => Ok((body, otherwise)),
                _ => Err("an else has no end".into()),
            },
            Some(Token::Word(word)) if word == "if" => {
                let inner = branch(pipe(&more[1..])?, pieces, depth + 1)?;
                Ok((body, vec![inner]))
            }
            Some(_) => Err("after else there is if or nothing".into()),
        },
    }
}

fn pipe(tokens: &[Token]) -> Result<Pipe> {
    let mut rest = tokens;
    let pipe = pipe_until(&mut rest, 0)?;
    match rest.first() {
        None => Ok(pipe),
        Some(_) => Err("a parenthesis is closed that was not opened".into()),
    }
}

/// Parses to the end, or to a parenthesis that closes.
fn pipe_until(rest: &mut &[Token], depth: usize) -> Result<Pipe> {
    if depth > DEPTH_MAX {
        return Err("it nests too deep".into());
    }
    let mut pipe = vec![Call::new()];
    while let Some((token, after)) = rest.split_first() {
        let operand = match token {
            Token::Close => break,
            Token::Bar => {
                *rest = after;
                pipe.push(Call::new());
                continue;
            }
            Token::Open => {
                *rest = after;
                let inner = pipe_until(rest, depth + 1)?;
                if rest.first() != Some(&Token::Close) {
                    return Err("a parenthesis is not closed".into());
                }
                // `(index .X 0).Name`: the field belongs to what is in the parentheses.
                match rest.get(1) {
                    Some(Token::Field { whole: false, path }) if !path.is_empty() => {
                        *rest = &rest[1..];
                        let names = path.iter().map(|name| Operand::Literal(Value::from(name.as_str())));
                        let call = std::iter::once(Operand::Function("index".into())).chain([Operand::Group(inner)]);
                        Operand::Group(vec![call.chain(names).collect()])
                    }
                    _ => Operand::Group(inner),
                }
            }
            Token::Field { whole, path } => Operand::Field { whole: *whole, path: path.clone() },
            Token::Literal(value) => Operand::Literal(value.clone()),
            Token::Word(word) => Operand::Function(word.clone()),
        };
        *rest = rest.get(1..).unwrap_or_default();
        if let Some(call) = pipe.last_mut() {
            call.push(operand);
        }
    }
    if pipe.iter().any(Vec::is_empty) {
        return Err("an action is empty".into());
    }
    Ok(pipe)
}

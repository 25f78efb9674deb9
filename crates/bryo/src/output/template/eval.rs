// SPDX-License-Identifier: Apache-2.0
//! From the nodes of a template and a value to text.

use serde_json::Value;

use super::{Call, Node, Operand, Pipe};
use crate::output::{escape, json};

type Result<T> = std::result::Result<T, String>;

pub(super) struct Eval<'v> {
    pub whole: &'v Value,
}

impl Eval<'_> {
    pub(super) fn nodes(&self, nodes: &[Node], here: &Value, out: &mut String) -> Result<()> {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Print(pipe) => out.push_str(&escape::text(&show(&self.pipe(pipe, here)?))),
                Node::If(condition, yes, no) => {
                    let nodes = if is_true(&self.pipe(condition, here)?) { yes } else { no };
                    self.nodes(nodes, here, out)?;
                }
                Node::Range(over, body, otherwise) => match self.pipe(over, here)? {
                    Value::Array(items) if !items.is_empty() => {
                        items.iter().try_for_each(|item| self.nodes(body, item, out))?;
                    }
                    Value::Object(members) if !members.is_empty() => {
                        members.values().try_for_each(|item| self.nodes(body, item, out))?;
                    }
                    Value::Array(_) | Value::Object(_) | Value::Null => self.nodes(otherwise, here, out)?,
                    other => return Err(format!("range over {}, which is no list", show(&other))),
                },
            }
        }
        Ok(())
    }

    fn pipe(&self, pipe: &Pipe, here: &Value) -> Result<Value> {
        let mut last = None;
        for call in pipe {
            last = Some(self.call(call, here, last)?);
        }
        last.ok_or_else(|| "an action is empty".into())
    }

    fn call(&self, call: &Call, here: &Value, last: Option<Value>) -> Result<Value> {
        let (first, rest) = call.split_first().ok_or("an action is empty")?;
        let mut arguments = rest.iter().map(|operand| self.operand(operand, here)).collect::<Result<Vec<_>>>()?;
        arguments.extend(last);
        match first {
            Operand::Function(name) => apply(name, &arguments),
            value if arguments.is_empty() => self.operand(value, here),
            // What Go has as a method: `.Label "key"`.
            Operand::Field { .. } => match (self.operand(first, here)?, arguments.as_slice()) {
                (Value::Object(members), [Value::String(key)]) => {
                    Ok(members.get(key).cloned().unwrap_or_else(|| Value::from("")))
                }
                _ => Err("a value that is no function has arguments".into()),
            },
            _ => Err("a value that is no function has arguments".into()),
        }
    }

    fn operand(&self, operand: &Operand, here: &Value) -> Result<Value> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Group(pipe) => self.pipe(pipe, here),
            Operand::Function(name) => apply(name, &[]),
            Operand::Field { whole, path } => {
                let start = if *whole { self.whole } else { here };
                path.iter().try_fold(start, |value, name| field(value, name)).cloned()
            }
        }
    }
}

fn field<'v>(value: &'v Value, name: &str) -> Result<&'v Value> {
    match value {
        Value::Object(members) => members.get(name).ok_or_else(|| format!("there is no field {name:?}")),
        Value::Null => Ok(&Value::Null),
        _ => Err(format!("there is no field {name:?} in what is no object")),
    }
}

fn apply(name: &str, arguments: &[Value]) -> Result<Value> {
    let text = |f: fn(&str) -> String| match arguments {
        [one] => Ok(Value::from(f(&show(one)))),
        _ => Err(format!("{name} takes one value")),
    };
    match (name, arguments) {
        ("json", [value]) => Ok(Value::from(json::compact(value))),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value, index).cloned(),
        ("join", [Value::Array(items), separator]) => {
            let items: Vec<String> = items.iter().map(show).collect();
            Ok(Value::from(items.join(&show(separator))))
        }
        ("len", [Value::Array(items)]) => Ok(Value::from(items.len())),
        ("len", [Value::Object(members)]) => Ok(Value::from(members.len())),
        ("len", [Value::String(text)]) => Ok(Value::from(text.len())),
        ("lower", _) => text(str::to_lowercase),
        ("upper", _) => text(str::to_uppercase),
        ("title", _) => text(|text| {
            let mut chars = text.chars();
            chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
        }),
        ("truncate", [value, Value::Number(length)]) => {
            let length = length.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            Ok(Value::from(show(value).chars().take(length).collect::<String>()))
        }
        ("print", values) => Ok(Value::from(values.iter().map(show).collect::<String>())),
        ("println", values) => Ok(Value::from(values.iter().map(show).collect::<Vec<_>>().join(" ") + "\n")),
        ("printf", [Value::String(format), values @ ..]) => printf(format, values).map(Value::from),
        ("eq", [first, others @ ..]) if !others.is_empty() => Ok(Value::from(others.contains(first))),
        ("ne", [a, b]) => Ok(Value::from(a != b)),
        ("not", [value]) => Ok(Value::from(!is_true(value))),
        ("and", [.., last]) => Ok(arguments.iter().find(|value| !is_true(value)).unwrap_or(last).clone()),
        ("or", [.., last]) => Ok(arguments.iter().find(|value| is_true(value)).unwrap_or(last).clone()),
        _ => Err(format!("there is no function {name:?} for these values")),
    }
}

fn index<'v>(value: &'v Value, key: &Value) -> Result<&'v Value> {
    match (value, key) {
        (Value::Object(members), Value::String(name)) => Ok(members.get(name).unwrap_or(&Value::Null)),
        (Value::Null, _) => Ok(&Value::Null),
        (Value::Array(items), Value::Number(at)) => at
            .as_u64()
            .and_then(|at| items.get(usize::try_from(at).ok()?))
            .ok_or_else(|| format!("a list of {} has no item {at}", items.len())),
        _ => Err("index takes a map and a name, or a list and a number".into()),
    }
}

/// Fills in `%s`, `%v`, `%d`, `%q` and `%%`.
fn printf(format: &str, values: &[Value]) -> Result<String> {
    let mut values = values.iter();
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some('s' | 'v' | 'd') => out.push_str(&show(values.next().ok_or("printf has too few values")?)),
            Some('q') => out.push_str(&format!("{:?}", show(values.next().ok_or("printf has too few values")?))),
            _ => return Err("printf knows %s, %v, %d, %q and %%".into()),
        }
    }
    Ok(out)
}

/// Shows a value as Go prints it.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members: Vec<String> = members.iter().map(|(name, value)| format!("{name}:{}", show(value))).collect();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

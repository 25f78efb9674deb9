// SPDX-License-Identifier: Apache-2.0
//! `RUN --mount`. Source: the Dockerfile reference, "RUN --mount".

/// What is mounted for one step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mount {
    /// Of which kind it is.
    pub kind: MountKind,
    /// Where it is mounted; a secret and an agent may be without.
    pub target: Option<String>,
}

/// The kinds of mounts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MountKind {
    /// Files of the context, a stage or an image. What is written to them is forgotten.
    Bind {
        /// The stage or image; the context if there is none.
        from: Option<String>,
        /// The path there.
        source: String,
        /// Whether the step may write to it.
        write: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Which one.
        id: Option<String>,
        /// The stage or image that it is filled from when it is made; from nothing if there is none.
        from: Option<String>,
        /// The path there.
        source: String,
        /// Who may use it at once.
        sharing: Sharing,
        /// Whether the step may not write to it.
        read_only: bool,
        /// Its mode when it is made.
        mode: u32,
        /// Its owner when it is made.
        uid: u32,
        /// Its group when it is made.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// Its size in bytes.
        size: Option<u64>,
    },
    /// An agent with keys, which is used and not seen.
    Ssh {
        /// Which one; `default` if nothing is said.
        id: Option<String>,
        /// Whether the step fails without it.
        required: bool,
    },
    /// A secret.
    Secret {
        /// Which one; the target's name if nothing is said.
        id: Option<String>,
        /// The variable that gets it, instead of a file or beside it.
        env: Option<String>,
        /// Whether the step fails without it.
        required: bool,
        /// The file's mode.
        mode: u32,
        /// The file's owner.
        uid: u32,
        /// The file's group.
        gid: u32,
    },
}

/// Who may use a cache directory at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// One after the other.
    Locked,
    /// Nobody else: another one gets a directory of its own.
    Private,
}

/// The fields of a mount, each taken once.
struct Fields(Vec<(String, Option<String>)>);

impl Fields {
    fn take(&mut self, names: &[&str]) -> Result<Option<Option<String>>, String> {
        let Some(at) = self.0.iter().position(|(key, _)| names.contains(&key.as_str())) else { return Ok(None) };
        let (key, value) = self.0.remove(at);
        if self.0.iter().any(|(other, _)| names.contains(&other.as_str())) {
            return Err(format!("--mount: {key} is said twice"));
        }
        Ok(Some(value))
    }

    fn text(&mut self, names: &[&str]) -> Result<Option<String>, String> {
        match self.take(names)? {
            None => Ok(None),
            Some(Some(value)) if !value.is_empty() => Ok(Some(value)),
            Some(_) => Err(format!("--mount: {} wants a value", names.join(" or "))),
        }
    }

    fn switch(&mut self, names: &[&str]) -> Result<Option<bool>, String> {
        match self.take(names)?.map(|value| value.unwrap_or_else(|| "true".to_owned())) {
            None => Ok(None),
            Some(value) if matches!(value.as_str(), "true" | "1") => Ok(Some(true)),
            Some(value) if matches!(value.as_str(), "false" | "0") => Ok(Some(false)),
            Some(value) => Err(format!("--mount: {} is true or false, not {value:?}", names.join(" or "))),
        }
    }

    fn number(&mut self, name: &str, radix: u32, default: u32) -> Result<u32, String> {
        let Some(text) = self.text(&[name])? else { return Ok(default) };
        let number = u32::from_str_radix(&text, radix).ok().filter(|n| *n != u32::MAX);
        number.ok_or_else(|| format!("--mount: {name}={text} is no number that it can be"))
    }
}

impl Mount {
    /// Reads `type=...,target=...,...`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let field = |part: &str| match part.split_once('=') {
            Some((key, value)) => (key.trim().to_ascii_lowercase(), Some(unquoted(value))),
            None => (part.trim().to_ascii_lowercase(), None),
        };
        let mut fields = Fields(parts(text).iter().map(|part| field(part)).collect());
        let kind = fields.text(&["type"])?.unwrap_or_else(|| "bind".to_owned());
        let target = fields.text(&["target", "dst", "destination"])?;
        let kind = match kind.as_str() {
            "bind" => bind(&mut fields)?,
            "cache" => cache(&mut fields)?,
            "tmpfs" => MountKind::Tmpfs { size: size(&mut fields)? },
            "secret" => secret(&mut fields)?,
            "ssh" => ssh(&mut fields)?,
            other => return Err(format!("--mount: type={other} is not known; bind, cache, tmpfs, secret or ssh are")),
        };
        if let Some((key, _)) = fields.0.first() {
            return Err(format!("--mount: {key} has no meaning here"));
        }
        if target.is_none() && !matches!(kind, MountKind::Secret { .. } | MountKind::Ssh { .. }) {
            return Err("--mount wants a target".to_owned());
        }
        Ok(Self { kind, target })
    }
}

fn bind(fields: &mut Fields) -> Result<MountKind, String> {
    let from = fields.text(&["from"])?;
    let source = fields.text(&["source", "src"])?.unwrap_or_else(|| "/".to_owned());
    let write = fields.switch(&["rw", "readwrite"])?;
    let read_only = fields.switch(&["ro", "readonly"])?;
    Ok(MountKind::Bind { from, source, write: write.unwrap_or_else(|| read_only == Some(false)) })
}

fn cache(fields: &mut Fields) -> Result<MountKind, String> {
    let sharing = match fields.text(&["sharing"])?.as_deref() {
        None | Some("shared") => Sharing::Shared,
        Some("locked") => Sharing::Locked,
        Some("private") => Sharing::Private,
        Some(other) => return Err(format!("--mount: sharing={other} is not known; shared, locked or private are")),
    };
    let from = fields.text(&["from"])?;
    let source = fields.text(&["source", "src"])?;
    if from.is_none() && source.is_some() {
        return Err("--mount=type=cache with a source wants from: a stage or an image".to_owned());
    }
    Ok(MountKind::Cache {
        id: fields.text(&["id"])?,
        from,
        source: source.unwrap_or_else(|| "/".to_owned()),
        sharing,
        read_only: fields.switch(&["ro", "readonly"])?.unwrap_or(false),
        mode: fields.number("mode", 8, 0o755)?,
        uid: fields.number("uid", 10, 0)?,
        gid: fields.number("gid", 10, 0)?,
    })
}

fn secret(fields: &mut Fields) -> Result<MountKind, String> {
    Ok(MountKind::Secret {
        id: fields.text(&["id"])?,
        env: fields.text(&["env"])?,
        required: fields.switch(&["required"])?.unwrap_or(false),
        mode: fields.number("mode", 8, 0o400)?,
        uid: fields.number("uid", 10, 0)?,
        gid: fields.number("gid", 10, 0)?,
    })
}

fn ssh(fields: &mut Fields) -> Result<MountKind, String> {
    // Whoever the step is may use its socket, and nobody else gets to it.
    fields.number("mode", 8, 0o600)?;
    fields.number("uid", 10, 0)?;
    fields.number("gid", 10, 0)?;
    Ok(MountKind::Ssh { id: fields.text(&["id"])?, required: fields.switch(&["required"])?.unwrap_or(false) })
}

fn size(fields: &mut Fields) -> Result<Option<u64>, String> {
    let Some(text) = fields.text(&["size"])? else { return Ok(None) };
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let shift = match lower[digits..].trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("--mount: {text:?} is no size")),
    };
    let number: Option<u64> = lower[..digits].parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes.map(Some).ok_or_else(|| format!("--mount: {text:?} is no size"))
}

/// Splits at commas outside of double quotes, as CSV has it.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            ',' if !quoted => parts.push(String::new()),
            c => {
                quoted ^= c == '"';
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    // A field may be quoted as a whole.
    parts.iter().map(|part| unquoted(part)).filter(|part| !part.is_empty()).collect()
}

fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read() {
        let read = |text| Mount::parse(text).unwrap();
        let bind = MountKind::Bind { from: Some("a".into()), source: "/x".into(), write: true };
        let found = read("type=bind,from=a,src=/x,dst=/y,rw");
        assert_eq!(found, Mount { kind: bind, target: Some("/y".into()) });
        assert_eq!(read("target=/y").kind, MountKind::Bind { from: None, source: "/".into(), write: false });
        let cache = read("type=cache,target=/root/.cache,id=pip,sharing=locked,mode=0700,uid=5,gid=6");
        let expected = MountKind::Cache {
            id: Some("pip".into()),
            from: None,
            source: "/".into(),
            sharing: Sharing::Locked,
            read_only: false,
            mode: 0o700,
            uid: 5,
            gid: 6,
        };
        assert_eq!(cache.kind, expected);
        assert_eq!(read("type=tmpfs,target=/t,size=10m").kind, MountKind::Tmpfs { size: Some(10 << 20) });
        let secret = read("type=secret,id=token,required,env=TOKEN");
        assert!(matches!(secret.kind, MountKind::Secret { required: true, mode: 0o400, .. }));
        assert_eq!(read("type=ssh,id=a,required").kind, MountKind::Ssh { id: Some("a".into()), required: true });
        assert!(matches!(read("type=cache,target=/c,from=a").kind, MountKind::Cache { from: Some(_), .. }));
        assert_eq!(read("type=tmpfs,\"target=/a,b\"").target.as_deref(), Some("/a,b"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "type=ssh,key=x",
            "type=cache,target=/c,source=/x",
            "type=xyz,target=/t",
            "type=cache",
            "type=cache,target=/c,sharing=all",
            "type=cache,target=/c,size=5",
            "type=tmpfs,target=/t,size=x",
            "type=tmpfs,target=/t,target=/u",
            "type=secret,id=a,mode=rw",
            "type=bind,target=/t,rw=perhaps",
            "type=bind,target=",
            "",
        ] {
            assert!(Mount::parse(text).is_err(), "{text}");
        }
    }
}

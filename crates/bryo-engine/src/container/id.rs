// SPDX-License-Identifier: Apache-2.0
//! Ids and names of containers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The id of a container: 64 hexadecimal digits, of which people see the first 12.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// Draws a new id.
    pub fn random() -> Self {
        let mut bytes = [0_u8; 32];
        fill(&mut bytes);
        Self(bytes.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Takes 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        hex.then(|| Self(text.to_owned()))
    }

    /// Returns all digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the digits people see.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not a container id")
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

/// What mosses are like.
const QUALITIES: [&str; 32] = [
    "ancient", "bright", "calm", "clever", "cool", "creeping", "damp", "deep", "dewy", "eager", "feathery", "fresh",
    "gentle", "green", "hardy", "humble", "lively", "mellow", "misty", "modest", "patient", "quiet", "rustic", "shady",
    "silver", "slender", "soft", "steady", "sunny", "tender", "velvet", "wild",
];

/// Mosses, liverworts and hornworts.
const PLANTS: [&str; 32] = [
    "andreaea",
    "anthoceros",
    "aulacomnium",
    "barbula",
    "bartramia",
    "bazzania",
    "brachythecium",
    "bryum",
    "buxbaumia",
    "ceratodon",
    "climacium",
    "dicranum",
    "fissidens",
    "fontinalis",
    "funaria",
    "grimmia",
    "hedwigia",
    "hookeria",
    "hylocomium",
    "hypnum",
    "leucobryum",
    "marchantia",
    "mnium",
    "pellia",
    "plagiomnium",
    "polytrichum",
    "porella",
    "racomitrium",
    "riccia",
    "sphagnum",
    "tetraphis",
    "tortula",
];

/// Draws a name for a container that was given none.
pub fn generated_name() -> String {
    let mut bytes = [0_u8; 4];
    fill(&mut bytes);
    let pick = |list: &[&'static str; 32], byte: u8| list[usize::from(byte) % list.len()];
    format!("{}_{}{}", pick(&QUALITIES, bytes[0]), pick(&PLANTS, bytes[1]), u16::from_ne_bytes([bytes[2], bytes[3]]))
}

/// Fills bytes from the kernel's generator, which has no reason to fail once a system runs (`getrandom(2)`).
fn fill(mut bytes: &mut [u8]) {
    while !bytes.is_empty() {
        match rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => bytes = &mut bytes[n..],
            Err(rustix::io::Errno::INTR) => (),
            Err(e) => unreachable!("the kernel gives no random bytes: {e}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sixty_four_digits_and_differ() {
        let id = Id::random();
        assert_eq!(Id::parse(id.as_str()), Some(id.clone()));
        assert_ne!(id, Id::random());
        for bad in ["", "abc", &"A".repeat(64), &"../".repeat(22)[..64], &"0".repeat(65)] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }
}

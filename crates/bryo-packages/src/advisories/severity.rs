// SPDX-License-Identifier: Apache-2.0
//! How bad a flaw is, in one word, from the words and vectors of those who judge it. Source: FIRST, CVSS 3.1, section 5.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How bad a flaw is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nobody has said.
    #[default]
    Unknown,
    /// Of no consequence, as the distribution says.
    Negligible,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

impl Severity {
    /// Tells whether nobody has said.
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }

    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Negligible => "negligible",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Understands the words of GitHub, Debian, Ubuntu, Red Hat and SUSE.
    pub fn from_word(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "critical" => Self::Critical,
            "high" | "important" => Self::High,
            "medium" | "moderate" => Self::Medium,
            "low" | "minor" => Self::Low,
            "negligible" | "unimportant" | "none" => Self::Negligible,
            _ => Self::Unknown,
        }
    }

    /// Returns the word for ten times a number of CVSS.
    pub fn from_score(score: u8) -> Self {
        match score {
            0 => Self::Negligible,
            1..40 => Self::Low,
            40..70 => Self::Medium,
            70..90 => Self::High,
            _ => Self::Critical,
        }
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Unknown, Self::Negligible, Self::Low, Self::Medium, Self::High, Self::Critical];
        all.into_iter()
            .find(|severity| severity.name() == text)
            .ok_or_else(|| format!("{text:?} is none of unknown, negligible, low, medium, high, critical"))
    }
}

/// Reads ten times the number of a CVSS vector, version 3 or 4; nothing for what is none.
pub fn score(vector: &str) -> Option<u8> {
    if vector.len() > 500 {
        return None;
    }
    let score = vector.parse::<cvss::Cvss>().ok()?.score();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    let tenths = (score * 10.0).round().clamp(0.0, 100.0) as u8;
    Some(tenths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_the_scores_that_their_publishers_give() {
        for (vector, expected) in [
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Some(98)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", Some(100)),
            ("CVSS:3.0/AV:L/AC:H/PR:L/UI:N/S:U/C:L/I:N/A:N", Some(25)),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", Some(93)),
            ("CVSS:3.1/AV:X", None),
            ("garbage", None),
        ] {
            assert_eq!(score(vector), expected, "{vector}");
        }
        assert_eq!(Severity::from_score(98), Severity::Critical);
        assert!("urgent".parse::<Severity>().is_err());
    }
}

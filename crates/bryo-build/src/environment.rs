// SPDX-License-Identifier: Apache-2.0
//! The environment of a stage: in order, and found by name in no time, since a Dockerfile may set thousands.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Variables, in the order in which they were first set.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Environment {
    /// `NAME=VALUE`, as a configuration has them.
    entries: Vec<String>,
    places: HashMap<String, usize>,
}

impl Environment {
    /// Returns the variables as a configuration has them.
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    /// Looks a variable up.
    pub fn get(&self, name: &str) -> Option<&str> {
        let entry = &self.entries[*self.places.get(name)?];
        entry.get(name.len() + 1..)
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self.places.get(name) {
            Some(place) => self.entries[*place] = entry,
            None => {
                self.places.insert(name.to_owned(), self.entries.len());
                self.entries.push(entry);
            }
        }
    }
}

impl From<Vec<String>> for Environment {
    /// Takes what a configuration has. What is no variable is left out; of two of one name the first is meant.
    fn from(entries: Vec<String>) -> Self {
        let mut all = Self::default();
        for entry in entries {
            if let Some((name, value)) = entry.split_once('=')
                && all.get(name).is_none()
            {
                all.set(name, value);
            }
        }
        all
    }
}

impl From<Environment> for Vec<String> {
    fn from(environment: Environment) -> Self {
        environment.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stay_where_they_were_set_first() {
        let entries = ["A=1", "none", "B=", "A=2", "C=x=y"].map(str::to_owned).to_vec();
        let mut environment = Environment::from(entries);
        environment.set("D", "4");
        environment.set("A", "5=6");
        assert_eq!(environment.entries(), ["A=5=6", "B=", "C=x=y", "D=4"]);
        assert_eq!((environment.get("A"), environment.get("B")), (Some("5=6"), Some("")));
        assert_eq!((environment.get("C"), environment.get("none"), environment.get("")), (Some("x=y"), None, None));
        let text = serde_json::to_string(&environment).unwrap();
        let back: Environment = serde_json::from_str(&text).unwrap();
        assert_eq!((back.entries(), back.get("D")), (environment.entries(), Some("4")));
    }
}

// SPDX-License-Identifier: Apache-2.0
//! Which version is newer, against those who decide it: dpkg, rpm, RubyGems and Python's packaging, where they are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cmp::Ordering;
use std::io::Write;
use std::process::{Command, Stdio};

use bryo_packages::version::Scheme;
use bryo_tests::skip::skip;

/// Numbers that look like chance and are the same every time: xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// Puts parts together, a few of them.
    fn text(&mut self, first: &[&str], parts: &[&str], most: usize) -> String {
        let mut text = self.one(first).to_owned();
        for _ in 0..self.below(most + 1) {
            text += self.one(parts);
        }
        text
    }

    /// Makes pairs; of many the second is the first with another end.
    fn pairs(&mut self, count: usize, first: &[&str], parts: &[&str]) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        while pairs.len() < count {
            let a = self.text(first, parts, 4);
            let b = match self.below(3) {
                0 => self.text(first, parts, 4),
                1 => format!("{a}{}", self.one(parts)),
                _ => {
                    let end = a.len() - self.below(a.len().min(3));
                    format!("{}{}", &a[..end], self.one(parts))
                }
            };
            pairs.push((a, b));
        }
        pairs
    }
}

const FIRST: [&str; 8] = ["0", "1", "1.0", "1.2.3", "2.36", "10", "01.2", "20230101"];

/// Asks a program for the order of all pairs, which it reads and answers line by line with -1, 0 or 1.
fn ask(program: &str, arguments: &[&str], pairs: &[(String, String)]) -> Option<Vec<i8>> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        skip(program);
        return None;
    };
    let mut input = child.stdin.take().unwrap();
    let text: String = pairs.iter().map(|(a, b)| format!("{a}\t{b}\n")).collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    if !output.status.success() {
        skip(program);
        return None;
    }
    let answers = String::from_utf8(output.stdout).unwrap();
    Some(answers.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| line.parse().unwrap()).collect())
}

fn agree(scheme: Scheme, pairs: &[(String, String)], answers: &[i8]) {
    assert_eq!(pairs.len(), answers.len());
    let mut counts = [0; 3];
    for ((a, b), answer) in pairs.iter().zip(answers) {
        let expected = answer.cmp(&0);
        assert_eq!(scheme.compare(a, b), Some(expected), "{scheme:?}: {a} and {b}");
        counts[match expected {
            Ordering::Less => 0,
            Ordering::Equal => 1,
            Ordering::Greater => 2,
        }] += 1;
    }
    // Pairs that are all of one kind would prove nothing.
    assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
}

/// Leaves out the pairs of which one is no version, for which the answer is 9.
fn agree_where_sound(scheme: Scheme, pairs: Vec<(String, String)>, answers: &[i8]) {
    let sound = pairs.into_iter().zip(answers.iter().copied()).filter(|(_, answer)| *answer != 9);
    let (pairs, answers): (Vec<_>, Vec<_>) = sound.unzip();
    assert!(pairs.len() > 2000, "{}", pairs.len());
    agree(scheme, &pairs, &answers);
}

#[test]
fn dpkg_agrees_over_thousands_of_pairs() {
    let parts = [
        "",
        "~",
        "~rc1",
        "+deb12u1",
        "-1",
        "-1ubuntu2",
        ".0",
        ".1",
        ".10",
        "a",
        "+dfsg",
        "b1",
        "~~",
        "-0",
        "+b1",
        "00",
    ];
    let mut pairs = Chance(11).pairs(2200, &FIRST, &parts);
    let epochs = ["", "0:", "1:", "2:"];
    let mut chance = Chance(7);
    pairs.iter_mut().for_each(|(a, b)| {
        *a = format!("{}{a}", chance.one(&epochs));
        *b = format!("{}{b}", chance.one(&epochs));
    });
    let script = "while IFS='\t' read -r a b; do if dpkg --compare-versions \"$a\" lt \"$b\"; then echo -1; \
        elif dpkg --compare-versions \"$a\" eq \"$b\"; then echo 0; else echo 1; fi; done";
    if Command::new("dpkg").arg("--version").output().is_err() {
        return skip("dpkg");
    }
    if let Some(answers) = ask("sh", &["-c", script], &pairs) {
        agree(Scheme::Dpkg, &pairs, &answers);
    }
}

#[test]
fn rpm_agrees_over_thousands_of_pairs() {
    let parts =
        ["", "~", "^", "~rc1", "^git1", ".el9", "_1", ".0", ".1", ".10", "a", "A", "+x", "b1", "~~", "..", "00"];
    let pairs = Chance(3).pairs(6000, &FIRST, &parts);
    let lua = "%{lua: for line in io.lines('/dev/stdin') do local a, b = line:match('^(.-)\\t(.*)$'); \
        print(rpm.vercmp(a, b) .. '\\n') end}";
    if let Some(answers) = ask("rpm", &["--eval", lua], &pairs) {
        agree(Scheme::Rpm, &pairs, &answers);
    }
}

#[test]
fn rubygems_agrees_over_thousands_of_pairs() {
    let parts = ["", ".0", ".1", ".10", ".a", ".rc1", ".pre", "-1", "-beta", ".b2", "a", ".00"];
    let pairs = Chance(5).pairs(4000, &FIRST, &parts);
    let script = "STDIN.each_line { |l| a, b = l.chomp.split(\"\\t\", -1); \
        puts((Gem::Version.new(a) <=> Gem::Version.new(b) rescue 9)) }";
    if let Some(answers) = ask("ruby", &["-e", script], &pairs) {
        agree_where_sound(Scheme::Rubygems, pairs, &answers);
    }
}

#[test]
fn pythons_packaging_agrees_over_thousands_of_pairs() {
    let parts = ["", ".0", ".1", ".10", "a1", "rc1", "b2", ".dev1", ".post1", ".00"];
    let script = "import sys\ntry:\n from packaging.version import Version\nexcept ImportError:\n \
        from pip._vendor.packaging.version import Version\n\
        for line in sys.stdin:\n a, b = line.rstrip('\\n').split('\\t')\n \
        try:\n  a, b = Version(a), Version(b)\n  print((a > b) - (a < b))\n except Exception:\n  print(9)";
    let pairs = Chance(13).pairs(8000, &FIRST, &parts);
    if let Some(answers) = ask("python3", &["-c", script], &pairs) {
        agree_where_sound(Scheme::Pep440, pairs, &answers);
    }
}

/// Reads apk's own test data, a pair a line: `BRYO_TEST_APK_VERSIONS` names the file `test/unit/version.data` of apk-tools.
#[test]
#[ignore = "wants apk's test data, which is not in this repository"]
fn apk_agrees_over_its_own_test_data() {
    let text = std::fs::read_to_string(std::env::var_os("BRYO_TEST_APK_VERSIONS").unwrap()).unwrap();
    let mut counted = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let [a, operator, b] = words[..] else { continue };
        let order = Scheme::Apk.compare(a, b).unwrap();
        let holds = match operator {
            "<" => order.is_lt(),
            ">" => order.is_gt(),
            "=" => order.is_eq(),
            _ => continue,
        };
        assert!(holds, "{line}: {order:?}");
        counted += 1;
    }
    assert!(counted > 600, "{counted}");
}

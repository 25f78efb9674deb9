// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;

const ALL: [Scheme; 7] =
    [Scheme::Dpkg, Scheme::Apk, Scheme::Rpm, Scheme::Pep440, Scheme::Semver, Scheme::Golang, Scheme::Rubygems];

/// Checks lists of which each is older than the next, in both directions.
fn ascending(scheme: Scheme, lists: &[&[&str]]) {
    for list in lists {
        for (n, a) in list.iter().enumerate() {
            for (m, b) in list.iter().enumerate() {
                assert_eq!(scheme.compare(a, b), Some(n.cmp(&m)), "{scheme:?} {a} {b}");
            }
        }
    }
}

#[test]
fn each_world_has_its_order() {
    ascending(
        Scheme::Dpkg,
        &[&["1.0~rc1-1", "1.0-1", "1.0-1+deb12u1", "1.0-2", "1.0a-1", "1.0+b-1", "1.10-1", "1:0.1-1"]],
    );
    ascending(
        Scheme::Rpm,
        &[&["1.0~rc1-1.el9", "1.0-1.el9", "1.0^git1-1.el9", "1.0.1-1.el9", "1.10-1.el9", "1:0.1-1"]],
    );
    ascending(Scheme::Apk, &[&["1.0_alpha1", "1.0_rc1", "1.0", "1.0-r1", "1.0_p1", "1.0a", "1.0.1", "1.1", "1.10"]]);
    ascending(Scheme::Pep440, &[&["1.0.dev1", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1.1", "1!0.1"]]);
    ascending(Scheme::Semver, &[&["1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.1", "1.0.0", "1.2.0", "1.10.0"]]);
    ascending(Scheme::Golang, &[&["1.20.5", "1.21.0-0", "1.21rc2", "go1.21", "v1.21.3", "1.22.0"]]);
    ascending(Scheme::Rubygems, &[&["1.0.a", "1.0.b2", "1.0.b10", "1.0", "1.0.1", "1.10"]]);
}

#[test]
fn what_is_no_version_compares_with_nothing() {
    assert_eq!(Scheme::Dpkg.compare("x:1", "1"), None);
    assert_eq!(Scheme::Pep440.compare("latest", "1"), None);
    assert_eq!(Scheme::Semver.compare("latest", "1.0.0"), None);
    assert_eq!(Scheme::Rubygems.compare("a", "1"), None);
    assert_eq!(Scheme::Rpm.compare(&"1".repeat(5000), "1"), None);
    assert_eq!(Scheme::Dpkg.compare("0:1.0-0", "1.0"), Some(Ordering::Equal));
}

proptest! {
    #[test]
    fn the_order_is_the_same_from_both_sides(a in "[0-9a-z.~^+_:-]{0,12}", b in "[0-9a-z.~^+_:-]{0,12}") {
        for scheme in ALL {
            prop_assert_eq!(scheme.compare(&a, &b), scheme.compare(&b, &a).map(Ordering::reverse), "{:?}", scheme);
            if let Some(order) = scheme.compare(&a, &a) {
                prop_assert_eq!(order, Ordering::Equal);
            }
        }
    }

    #[test]
    fn nothing_makes_it_fail(a in ".{0,40}", b in ".{0,40}") {
        for scheme in ALL {
            scheme.compare(&a, &b);
        }
    }
}

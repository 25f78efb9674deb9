// SPDX-License-Identifier: Apache-2.0
//! Names that lead out, and whatever else a name can be made of.

use proptest::prelude::*;

use super::{Archive, Ground};
use crate::error::Kind;

#[test]
fn the_root_cannot_be_replaced() {
    for name in ["./", "/", "."] {
        let archive = Archive::default().symlink(name, "/etc").end();
        assert_eq!(Ground::new().kind_of(&archive), Kind::EscapesRoot, "{name}");
    }
}

#[test]
fn names_that_leave_the_root_end_the_layer() {
    for name in ["../x", "a/../../x", "/../x", "a/..", "../.wh.canary", ".wh..", "a/.wh..."] {
        for archive in [
            Archive::default().file(name, b"evil"),
            Archive::default().dir(name),
            Archive::default().symlink(name, "x"),
            Archive::default().add(b'3', name, "", b"", |_| {}),
        ] {
            assert_eq!(Ground::new().kind_of(&archive.end()), Kind::EscapesRoot, "{name}");
        }
    }
}

fn any_name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        5 => prop::sample::select(vec!["a", "b", "c", "d"]),
        1 => prop::sample::select(vec!["..", ".", "", ".wh.a", ".wh..wh..opq", ".wh.", ".wh..", "canary", "file"]),
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn any_target() -> impl Strategy<Value = String> {
    prop_oneof![
        any_name(),
        prop::sample::select(vec!["..", "../canary", "../../..", "/", "/a", "a/..", "../canary/file", "."])
            .prop_map(str::to_owned)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_ever_leaves_the_root(
        members in prop::collection::vec((0_u8..7, any_name(), any_target()), 1..12),
    ) {
        let ground = Ground::new();
        let types = *b"0025136";
        let archive = members.iter().fold(Archive::default(), |archive, (at, name, target)| {
            let entry_type = types[usize::from(*at)];
            let data: &[u8] = if entry_type == b'0' { b"data" } else { b"" };
            archive.add(entry_type, name, target, data, |header| header.set_mode(0o777))
        });
        // Whether it is refused or not, `apply` looks at the canary.
        ground.apply(&archive.end()).ok();
    }
}

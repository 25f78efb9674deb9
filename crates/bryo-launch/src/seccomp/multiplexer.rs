// SPDX-License-Identifier: Apache-2.0
//! Calls of i386 that carry other calls: `socketcall(2)` and `ipc(2)`.
//!
//! The first argument selects the carried call; its own arguments are behind a pointer that a filter cannot follow.
//! A profile that permits `socket` for some families only therefore refuses it here altogether: programs built in
//! the last ten years use the direct calls and do not notice.

use super::conditions::{Condition, Test};
use super::rules::{Action, Rule};

/// A call that carries others.
#[derive(Debug)]
pub(super) struct Multiplexer {
    pub(super) name: &'static str,
    /// The bits of the first argument that select.
    mask: u64,
    /// (selector, name of the carried call)
    calls: &'static [(u64, &'static str)],
}

/// The multiplexers of i386: linux/net.h (`SYS_SOCKET`...) and linux/ipc.h (`SEMOP`...).
pub(super) static I386: [Multiplexer; 2] = [
    Multiplexer {
        name: "socketcall",
        mask: 0xffff_ffff,
        calls: &[
            (1, "socket"),
            (2, "bind"),
            (3, "connect"),
            (4, "listen"),
            (5, "accept"),
            (6, "getsockname"),
            (7, "getpeername"),
            (8, "socketpair"),
            (9, "send"),
            (10, "recv"),
            (11, "sendto"),
            (12, "recvfrom"),
            (13, "shutdown"),
            (14, "setsockopt"),
            (15, "getsockopt"),
            (16, "sendmsg"),
            (17, "recvmsg"),
            (18, "accept4"),
            (19, "recvmmsg"),
            (20, "sendmmsg"),
        ],
    },
    Multiplexer {
        name: "ipc",
        // The upper 16 bits are the version of the calling convention.
        mask: 0xffff,
        calls: &[
            (1, "semop"),
            (2, "semget"),
            (3, "semctl"),
            (4, "semtimedop"),
            (11, "msgsnd"),
            (12, "msgrcv"),
            (13, "msgget"),
            (14, "msgctl"),
            (21, "shmat"),
            (22, "shmdt"),
            (23, "shmget"),
            (24, "shmctl"),
        ],
    },
];

impl Multiplexer {
    /// Yields the rules for the multiplexer: its own ones, tightened by what its carried calls would meet directly.
    pub(super) fn rules(&self, own: &[Rule], carried: impl Fn(&str) -> Action) -> Vec<Rule> {
        let mut rules = Vec::new();
        for &(selector, name) in self.calls {
            let action = carried(name);
            let selected = Condition { index: 0, test: Test::Masked { mask: self.mask, value: selector } };
            for rule in own {
                let mut conditions = vec![selected];
                conditions.extend(&rule.conditions);
                rules.push(Rule { conditions, action: action.strictest(rule.action) });
            }
            if own.iter().all(|rule| !rule.conditions.is_empty()) {
                rules.push(Rule { conditions: vec![selected], action });
            }
        }
        rules.extend_from_slice(own);
        rules
    }
}

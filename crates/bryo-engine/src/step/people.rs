// SPDX-License-Identifier: Apache-2.0
//! Who the processes of a step believe to be, where one id is all that there is.
//!
//! A process that has become somebody is told so when it asks, and so are those that it starts: programs that give rights
//! up look whether they have. To the kernel they stay who they are.

use std::collections::HashMap;

use bryo_sys::listener::{Asked, Call, Whose, write_number};
use rustix::io::Errno;

/// How far up it is looked for one who has changed.
const ANCESTORS: usize = 64;

/// The processes that have become somebody, by their numbers.
#[derive(Debug, Default)]
pub(super) struct People(HashMap<u32, Person>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Person {
    /// When it began, by which it is told from an earlier one of the same number.
    begun: u64,
    user: Ids,
    group: Ids,
}

/// The real, effective and saved id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ids([u32; 3]);

/// What the kernel says about a process.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    number: u32,
    parent: u32,
    begun: u64,
}

impl People {
    /// Answers a call about ids; `waits` tells whether whoever has made it still waits.
    pub fn answer(&mut self, call: &Call, asked: Asked, waits: impl Fn() -> bool) -> rustix::io::Result<u32> {
        let changes = matches!(asked, Asked::Become(..) | Asked::BecomeTwo(..) | Asked::BecomeThree(..));
        // As long as nobody has changed, everybody is root.
        let process = if changes || !self.0.is_empty() { Some(Process::of_thread(call.thread)?) } else { None };
        let found = process.as_ref().and_then(|process| self.find(process));
        let mut person = found.unwrap_or_default();
        if !waits() {
            return Err(Errno::SRCH);
        }
        let privileged = person.user.0[1] == 0;
        match asked {
            Asked::Real(whose) => return Ok(person.of(whose).0[0]),
            Asked::Effective(whose) => return Ok(person.of(whose).0[1]),
            Asked::All(whose, addresses) => {
                let ids = person.of(whose).0;
                addresses.iter().zip(ids).try_for_each(|(address, id)| write_number(call.thread, *address, id))?;
            }
            Asked::Become(whose, id) => person.of(whose).become_one(id, privileged)?,
            Asked::BecomeTwo(whose, ids) => person.of(whose).become_two(ids, privileged)?,
            Asked::BecomeThree(whose, ids) => person.of(whose).become_three(ids, privileged)?,
            Asked::Chown(_) => return Err(Errno::NOSYS),
        }
        if let Some(process) = process.filter(|_| changes) {
            self.0.insert(process.number, Person { begun: process.begun, ..person });
        }
        Ok(0)
    }

    /// Tells whether whoever makes a call is root.
    pub fn is_root(&self, call: &Call) -> rustix::io::Result<bool> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let found = self.find(&Process::of_thread(call.thread)?);
        Ok(found.is_none_or(|person| person.user.0[1] == 0))
    }

    /// Finds who a process is: who it has become, or whoever has started it.
    fn find(&self, process: &Process) -> Option<Person> {
        let known = |process: &Process| self.0.get(&process.number).filter(|known| known.begun == process.begun);
        if let Some(person) = known(process) {
            return Some(*person);
        }
        let mut parent = process.parent;
        for _ in 0..ANCESTORS {
            let above = Process::of_thread(parent).ok()?;
            if let Some(person) = known(&above) {
                return Some(*person);
            }
            parent = above.parent;
        }
        None
    }
}

impl Person {
    fn of(&mut self, whose: Whose) -> &mut Ids {
        match whose {
            Whose::User => &mut self.user,
            Whose::Group => &mut self.group,
        }
    }
}

impl Ids {
    /// Source: `setuid(2)`.
    fn become_one(&mut self, id: u32, privileged: bool) -> rustix::io::Result<()> {
        if privileged {
            self.become_three([Some(id); 3], true)
        } else {
            self.become_three([None, Some(id), None], false)
        }
    }

    /// Source: `setreuid(2)`.
    fn become_two(&mut self, [real, effective]: [Option<u32>; 2], privileged: bool) -> rustix::io::Result<()> {
        let was = self.0[0];
        self.become_three([real, effective, None], privileged)?;
        if real.is_some() || effective.is_some_and(|id| id != was) {
            self.0[2] = self.0[1];
        }
        Ok(())
    }

    /// Source: `setresuid(2)`.
    fn become_three(&mut self, ids: [Option<u32>; 3], privileged: bool) -> rustix::io::Result<()> {
        if !privileged && ids.iter().flatten().any(|id| !self.0.contains(id)) {
            return Err(Errno::PERM);
        }
        for (own, new) in self.0.iter_mut().zip(ids) {
            *own = new.unwrap_or(*own);
        }
        Ok(())
    }
}

impl Process {
    /// Reads about the process of a thread, in the current directory, which is that of the processes.
    fn of_thread(thread: u32) -> rustix::io::Result<Self> {
        let read = |number: u32, what: &str| {
            let text = std::fs::read_to_string(format!("{number}/{what}"));
            text.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::SRCH))
        };
        let status = read(thread, "status")?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
        let (Some(number), Some(parent)) = (field("Tgid:"), field("PPid:")) else { return Err(Errno::SRCH) };
        let begun = begun(&read(number, "stat")?).ok_or(Errno::SRCH)?;
        Ok(Self { number, parent, begun })
    }
}

/// Reads when a process began. Source: `proc_pid_stat(5)`, field 22; the second may have anything in it.
fn begun(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_change_as_the_kernel_changes_them() {
        let mut ids = Ids([0; 3]);
        ids.become_one(5, true).unwrap();
        assert_eq!(ids, Ids([5; 3]));
        assert_eq!(ids.become_one(0, false), Err(Errno::PERM));
        ids.become_one(5, false).unwrap();
        let mut ids = Ids([0; 3]);
        ids.become_two([None, Some(6)], true).unwrap();
        assert_eq!(ids, Ids([0, 6, 6]));
        ids.become_two([Some(6), Some(0)], false).unwrap();
        assert_eq!(ids, Ids([6, 0, 0]));
        ids.become_three([None, Some(6), None], false).unwrap();
        assert_eq!(ids, Ids([6, 6, 0]));
        assert_eq!(ids.become_three([Some(7), None, None], false), Err(Errno::PERM));
        assert_eq!(ids, Ids([6, 6, 0]));
    }

    #[test]
    fn a_process_is_known_by_its_beginning() {
        let stat = "1 (a) b) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 4242 23";
        assert_eq!(begun(stat), Some(4242));
        assert_eq!(begun("1 (a"), None);
    }
}

// SPDX-License-Identifier: Apache-2.0
//! What a build tells while it goes on.

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A step begins; its number, counted from 1, and its name.
    Begin(usize, &'a str),
    /// A step is as it was.
    Cached(usize),
    /// A step says something.
    Output(usize, Stream, &'a [u8]),
    /// The build says something about a step.
    Note(usize, &'a str),
    /// A step has ended.
    End(usize),
    /// A step has failed.
    Failed(usize, &'a str),
    /// A step was ended because another one has failed.
    Canceled(usize),
}

impl Event<'_> {
    /// Returns the number of the step.
    pub fn number(&self) -> usize {
        match self {
            Self::Begin(number, _)
            | Self::Cached(number)
            | Self::Output(number, ..)
            | Self::Note(number, _)
            | Self::End(number)
            | Self::Failed(number, _)
            | Self::Canceled(number) => *number,
        }
    }
}

/// Which stream of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stream {
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
}

/// Who is told.
pub trait Progress {
    /// Hears of something.
    fn event(&self, event: Event<'_>);

    /// Tells whether it wants to hear now and then that time passes.
    fn follows_time(&self) -> bool {
        false
    }

    /// Hears that time passes.
    fn tick(&self) {}
}

//! What went wrong in a launch.

use std::error::Error;
use std::ffi::{CStr, c_char};
use std::fmt;
use std::path::Path;

use crate::lines::Lines;

/// What kind of mistake a finding is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There is no such kernel, or not with such an argument or grid.
    Launch,
    /// Threads of a block wait at different barriers.
    Divergence,
    /// A barrier or a warp operation waits for threads that have returned.
    Exited,
    /// Threads wait for each other.
    Deadlock,
    /// Lanes don't agree on a warp operation, or read a lane that takes no part.
    Warp,
    /// Sixteen bytes at an address that isn't a multiple of sixteen.
    Misaligned,
    /// An address in no registered memory. Only the checked build finds it.
    OutOfBounds,
    /// A read of what nobody wrote. Only the checked build finds it.
    Uninitialised,
    /// Two threads at one place, one of them writing, with nothing that orders them. Only the checked build finds it.
    Race,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Launch,
        Self::Divergence,
        Self::Exited,
        Self::Deadlock,
        Self::Warp,
        Self::Misaligned,
        Self::OutOfBounds,
        Self::Uninitialised,
        Self::Race,
    ];
}

/// A place in the source of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Name of the file, without its folder; empty if it isn't known.
    pub file: String,
    /// Line, from 1; 0 if it isn't known.
    pub line: u32,
}

/// A thread of a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// `blockIdx`.
    pub block: [u32; 3],
    /// `threadIdx.x`.
    pub thread: u32,
}

/// One mistake, at the place where it was found first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Where in the source.
    pub place: Place,
    /// Which thread.
    pub thread: Thread,
    /// The earlier of the two accesses of a race.
    pub earlier: Option<(Place, Thread)>,
    /// More about it, in words.
    pub text: String,
}

/// Why a launch is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kernel.
    pub kernel: String,
    /// Everything found, at least one.
    pub findings: Vec<Finding>,
}

impl Fault {
    /// Whether something of this kind was found.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.findings.iter().any(|f| f.kind == kind)
    }
}

impl Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kernel)?;
        self.findings
            .iter()
            .try_for_each(|found| write!(f, "\n  {found}"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} at {}, {}: {}",
            self.kind, self.place, self.thread, self.text
        )?;
        if let Some((place, thread)) = &self.earlier {
            write!(f, "; before: {place}, {thread}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            return f.write_str("an unknown place");
        }
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.block;
        write!(f, "block {x},{y},{z} thread {}", self.thread)
    }
}

/// A finding as the library has it: `cpp/finding.h`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RawFinding {
    kind: u32,
    block: [u32; 3],
    thread: u32,
    other_block: [u32; 3],
    other_thread: u32,
    line: u32,
    file: *const c_char,
    pc: u64,
    other_pc: u64,
    kernel: [c_char; 64],
    text: [c_char; 160],
}

impl RawFinding {
    pub(crate) const NONE: Self = Self {
        kind: 0,
        block: [0; 3],
        thread: 0,
        other_block: [0; 3],
        other_thread: 0,
        line: 0,
        file: std::ptr::null(),
        pc: 0,
        other_pc: 0,
        kernel: [0; 64],
        text: [0; 160],
    };

    pub(crate) fn kernel(&self) -> String {
        words(&self.kernel)
    }

    /// The finding, with its places looked up.
    ///
    /// # Safety
    /// `file` must be null or a string of the library it comes from.
    pub(crate) unsafe fn finding(&self, lines: &Lines) -> Finding {
        let mut places = lines.places([self.pc, self.other_pc]);
        let (before, mut place) = (
            places.pop().unwrap_or_default(),
            places.pop().unwrap_or_default(),
        );
        if self.pc == 0 && !self.file.is_null() {
            // SAFETY: said by the caller.
            let path = unsafe { CStr::from_ptr(self.file) }.to_string_lossy();
            let name = Path::new(&*path).file_name().unwrap_or_default();
            place = Place {
                file: name.to_string_lossy().into_owned(),
                line: self.line,
            };
        }
        let other = Thread {
            block: self.other_block,
            thread: self.other_thread,
        };
        Finding {
            kind: Kind::ALL
                .get(self.kind as usize)
                .copied()
                .unwrap_or(Kind::Launch),
            place,
            thread: Thread {
                block: self.block,
                thread: self.thread,
            },
            earlier: (self.other_pc != 0).then_some((before, other)),
            text: words(&self.text),
        }
    }
}

/// Text up to its NUL.
pub(crate) fn words(bytes: &[c_char]) -> String {
    let text: Vec<u8> = bytes
        .iter()
        .map(|&b| b.to_ne_bytes()[0])
        .take_while(|&b| b != 0)
        .collect();
    String::from_utf8_lossy(&text).into_owned()
}

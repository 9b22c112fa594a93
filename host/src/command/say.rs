//! Printing that doesn't mind when nobody reads on: `elucid plan | head` ends quietly.

use std::fmt;
use std::io::{ErrorKind, Write, stdout};

/// Prints a line; ends the program if the reader is gone.
pub fn line(text: fmt::Arguments<'_>) {
    let mut out = stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.write_all(b"\n")) {
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("elucid: cannot write to standard output: {error}");
            std::process::exit(1);
        }
        std::process::exit(0);
    }
}

macro_rules! say {
    ($($arg:tt)*) => {
        $crate::command::say::line(format_args!($($arg)*))
    };
}

pub(super) use say;

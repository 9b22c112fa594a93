//! Printing that doesn't mind when nobody reads on: `elucid plan | head` ends quietly, and `elucid explain photos/ | head`
//! still explains every photo.

use std::fmt;
use std::io::{ErrorKind, Write, stdout};

/// Prints a line; a reader that is gone is no error.
pub fn line(text: fmt::Arguments<'_>) {
    let mut out = stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.write_all(b"\n"))
        && error.kind() != ErrorKind::BrokenPipe
    {
        eprintln!("elucid: cannot write to standard output: {error}");
        std::process::exit(1);
    }
}

macro_rules! say {
    ($($arg:tt)*) => {
        $crate::command::say::line(format_args!($($arg)*))
    };
}

pub(super) use say;

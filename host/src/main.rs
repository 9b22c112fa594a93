//! The program `elucid`: see [`elucid_host::command`].

use std::process::ExitCode;

fn main() -> ExitCode {
    elucid_host::command::main()
}

//! `elucid doctor`: what was found on this machine.

use anyhow::Result;
use elucid_core::simd::Isa;

use super::say::say;

pub fn run() -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    say!("elucid   {}", env!("CARGO_PKG_VERSION"));
    say!(
        "system   {} {}, {threads} threads",
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    say!("kernels  {}", Isa::detect().name());
    for line in elucid::probe().lines() {
        say!("cuda     {line}");
    }
    Ok(())
}

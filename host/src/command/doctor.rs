//! `elucid doctor`: what was found on this machine.

use anyhow::Result;
use elucid_core::simd::Isa;

pub fn run() -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("elucid   {}", env!("CARGO_PKG_VERSION"));
    println!(
        "system   {} {}, {threads} threads",
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    println!("kernels  {}", Isa::detect().name());
    for line in elucid::probe().lines() {
        println!("cuda     {line}");
    }
    Ok(())
}

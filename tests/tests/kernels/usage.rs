//! What the assembler says of a kernel.

/// What a kernel takes of a multiprocessor, by `ptxas -v`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of shared memory of a block.
    pub shared: u32,
    /// Bytes of memory that a thread has instead of registers.
    pub stack: u32,
    /// Bytes that it puts there and takes from there since registers don't suffice.
    pub spills: u32,
}

/// The number before `unit` in a list of such, 0 if there is none.
fn number(line: &str, unit: &str) -> u32 {
    let before = line.split(unit).next().filter(|b| b.len() < line.len());
    let word = before.and_then(|b| b.split_whitespace().last());
    word.and_then(|w| w.parse().ok()).unwrap_or(0)
}

/// Every kernel of a log. What functions that weren't inlined take of the stack counts for the kernel they follow.
pub fn parse(log: &str) -> Vec<(String, Usage)> {
    let mut all: Vec<(String, Usage)> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let name = rest.split('\'').next().unwrap_or_default();
            all.push((name.to_owned(), Usage::default()));
        }
        let Some((_, usage)) = all.last_mut() else {
            continue;
        };
        if line.contains("bytes stack frame") {
            usage.stack += number(line, " bytes stack frame");
            usage.spills +=
                number(line, " bytes spill stores") + number(line, " bytes spill loads");
        }
        if line.contains("registers") && line.contains("Used ") {
            usage.registers = number(line, " registers");
            usage.shared = number(line, " bytes smem");
        }
    }
    all
}

#[test]
fn logs_are_understood() {
    let log = "\
ptxas info    : 4 bytes gmem
ptxas info    : Compiling entry function 'elucid_one' for 'sm_87'
ptxas info    : Function properties for elucid_one
ptxas         .     8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 37 registers, used 1 barriers, 64 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function 'elucid_two' for 'sm_87'
ptxas info    : Function properties for elucid_two
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 255 registers, 400 bytes cmem[0]";
    let of = |registers, shared, stack, spills| Usage {
        registers,
        shared,
        stack,
        spills,
    };
    let want = [
        ("elucid_one".to_owned(), of(37, 64, 8, 16)),
        ("elucid_two".to_owned(), of(255, 0, 0, 0)),
    ];
    assert_eq!(parse(log), want);
}

//! Every kernel compiled for every architecture: what it takes of a multiprocessor.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::{env, fmt::Write as _, fs, thread};

use elucid_kernels::{Source, kernels, sources};

use crate::nvrtc::{Code, Nvrtc};
use crate::occupancy;
use crate::sass::{self, Function};
use crate::say;
use crate::usage::{self, Usage};

/// Nano, TX2, Xavier, Turing, A100, RTX 30, Orin, RTX 40, H100, Thor and RTX 50.
const ARCHITECTURES: [u32; 11] = [53, 62, 72, 75, 80, 86, 87, 89, 90, THOR, 120];

/// Those whose machine code is looked at.
const DISASSEMBLED: [u32; 5] = [80, 86, 87, 90, 120];

/// Thor, which CUDA 13 calls 110.
const THOR: u32 = 101;

/// The most shared memory that a block has without asking for more.
const MOST_SHARED: u32 = 48 * 1024;

/// What pins may be above the worst of all architectures: counts move between toolkits.
const LEEWAY: f64 = 1.15;

/// What must not be in any PTX: approximations that nobody asked for.
const FAST: [&str; 3] = ["div.full", "div.approx", "sqrt.approx"];

/// What must not be in PTX of a file that promises to equal the CPU bit for bit, unless its text has the second string.
/// Operations without `.rn` may still be fused by the assembler. Doubles are sums of ledgers, which only agree.
const LOOSE: [(&str, &str); 7] = [
    ("mad.f32", "never"),
    ("mul.f32", "never"),
    ("add.f32", "never"),
    ("sub.f32", "never"),
    ("fma.rn.f32", "fmaf("),
    (".ftz", "expf("),
    (".approx", "expf("),
];

/// A kernel for one architecture.
pub struct Compiled {
    pub arch: u32,
    pub entry: &'static str,
    /// Threads of a block.
    pub block: u32,
    pub usage: Usage,
    /// Its machine code, where there is a disassembler that reads it.
    pub function: Option<Function>,
}

/// All kernels for all architectures; nothing where there is no NVRTC.
pub fn all() -> &'static [Compiled] {
    static ALL: OnceLock<Vec<Compiled>> = OnceLock::new();
    ALL.get_or_init(|| Nvrtc::named().map_or_else(Vec::new, |nvrtc| compile_all(&nvrtc)))
}

fn compile_all(nvrtc: &Nvrtc) -> Vec<Compiled> {
    let known = nvrtc.architectures();
    let (major, minor) = nvrtc.version();
    let named = ARCHITECTURES.map(|arch| match arch {
        THOR if !known.contains(&THOR) => 110,
        arch => arch,
    });
    let (mut jobs, mut left_out) = (Vec::new(), Vec::new());
    for arch in named {
        if known.contains(&arch) {
            jobs.extend(sources().into_iter().map(|source| (source, arch)));
        } else {
            left_out.push(arch);
        }
    }
    if !left_out.is_empty() {
        say(&format!(
            "skipped: kernels for {left_out:?}, which NVRTC {major}.{minor} doesn't know"
        ));
    }
    assert!(!jobs.is_empty(), "NVRTC {major}.{minor} knows {known:?}");
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((source, arch)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let compiled = kernels_of(source, *arch, &nvrtc.compile(source, *arch));
            done.lock().expect("no thread panicked").extend(compiled);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    let mut all = done.into_inner().expect("no thread panicked");
    all.sort_by_key(|c| (c.entry, c.arch));
    all
}

/// The kernels of a file, with what must hold of each whatever it does.
fn kernels_of(source: &Source, arch: u32, code: &Code) -> Vec<Compiled> {
    let at = format!("{} for sm_{arch}", source.name);
    assert!(!code.cubin.is_empty(), "{at}: no machine code");
    for fast in FAST {
        assert!(!code.ptx.contains(fast), "{at} has {fast}");
    }
    for (loose, unless) in LOOSE {
        let exact = source.text.contains("bit for bit") && !source.text.contains(unless);
        assert!(!exact || !code.ptx.contains(loose), "{at} has {loose}");
    }
    let mut functions = sass::disassembler()
        .filter(|_| DISASSEMBLED.contains(&arch))
        .and_then(|program| sass::disassemble(&program, &code.cubin))
        .unwrap_or_default();
    let mut usages = usage::parse(&code.log);
    let all: Vec<Compiled> = (kernels().filter(|k| k.source.name == source.name))
        .map(|kernel| {
            let argument = format!(
                ".visible .entry {}(\n\t.param .align 8 .b8 {}_param_0[{}]\n)",
                kernel.entry, kernel.entry, kernel.argument
            );
            assert!(code.ptx.contains(&argument), "{at}: no {argument}");
            let threads = format!(".maxntid {}, 1, 1", kernel.block);
            let body = code.ptx.split(&argument).nth(1).unwrap_or_default();
            assert!(body.trim_start().starts_with(&threads), "{at}: {threads}");
            let found = usages.iter().position(|(name, _)| name == kernel.entry);
            let index = found.unwrap_or_else(|| panic!("{at}: nothing of {}", kernel.entry));
            let function = functions.iter().position(|f| f.name == kernel.entry);
            Compiled {
                arch,
                entry: kernel.entry,
                block: kernel.block,
                usage: usages.swap_remove(index).1,
                function: function.map(|index| functions.swap_remove(index)),
            }
        })
        .collect();
    assert!(
        usages.is_empty(),
        "{at}: kernels that Rust doesn't know: {usages:?}"
    );
    all
}

/// The file with the most registers that a kernel may take.
const PINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels.csv");

/// The pins; written anew where `ELUCID_PIN_KERNELS` is set.
fn pins(worst: &BTreeMap<&str, u32>) -> BTreeMap<String, u32> {
    if env::var_os("ELUCID_PIN_KERNELS").is_some() {
        let mut text = String::from("kernel,registers\n");
        for (entry, registers) in worst {
            let most = (f64::from(*registers) * LEEWAY).ceil().min(255.0);
            let _ = writeln!(text, "{entry},{most}");
        }
        fs::write(PINS, text).expect("the pins can be written");
    }
    let text = fs::read_to_string(PINS).expect("the pins are there");
    let pin = |line: &str| {
        let (entry, registers) = line.split_once(',').expect("two columns");
        (entry.to_owned(), registers.parse().expect("a number"))
    };
    text.lines().skip(1).map(pin).collect()
}

#[test]
fn kernels_compile_into_registers_for_every_architecture() {
    let all = all();
    if all.is_empty() {
        say("skipped: kernels aren't compiled, as ELUCID_NVRTC names no libnvrtc");
        return;
    }
    let mut wrong = String::new();
    let mut worst: BTreeMap<&str, u32> = BTreeMap::new();
    for c in all {
        let u = c.usage;
        if u.spills + u.stack > 0 || u.shared > MOST_SHARED || u.registers == 0 {
            let _ = writeln!(wrong, "{} for sm_{}: {u:?}", c.entry, c.arch);
        }
        let most = worst.entry(c.entry).or_default();
        *most = (*most).max(u.registers);
    }
    assert_eq!(worst.len(), kernels().count(), "kernels");
    let pins = pins(&worst);
    for (entry, registers) in &worst {
        match pins.get(*entry) {
            Some(pin) if registers <= pin => {}
            pin => {
                let _ = writeln!(wrong, "{entry}: {registers} registers, pinned {pin:?}");
            }
        }
    }
    for entry in pins.keys().filter(|e| !worst.contains_key(e.as_str())) {
        let _ = writeln!(wrong, "{entry}: pinned, but there is no such kernel");
    }
    assert!(
        wrong.is_empty(),
        "{wrong}mend it, or pin anew: tests/run.sh pin_kernels"
    );
}

/// Enough warps of a multiprocessor: 8 for each of its schedulers.
const ENOUGH: u32 = 32;

/// Warps that a multiprocessor of Nano, Xavier, Orin and H100 has at least, for kernels that don't have enough everywhere.
/// kernels/README.md says why each can do with so few.
const WARPS: &[(&str, [u32; 4])] = &[
    ("elucid_conv_f32", [16, 16, 16, 16]),
    ("elucid_conv_f16", [16, 16, 16, 16]),
    ("elucid_conv_half_f32", [20, 20, 20, 20]),
    ("elucid_conv_half_f16", [20, 20, 20, 20]),
    ("elucid_conv_single_f32", [16, 16, 16, 16]),
    ("elucid_conv_single_f16", [16, 16, 16, 16]),
    ("elucid_tensor_f16", [12, 12, 12, 12]),
    ("elucid_tensor_z_f16", [12, 12, 12, 12]),
    ("elucid_z_f32", [16, 16, 16, 16]),
    ("elucid_z_f16", [16, 16, 16, 16]),
    ("elucid_z_half_f32", [20, 20, 20, 20]),
    ("elucid_z_half_f16", [20, 20, 20, 20]),
    ("elucid_z_single_f32", [16, 16, 16, 16]),
    ("elucid_z_single_f16", [16, 16, 16, 16]),
    ("elucid_back_f32", [16, 16, 16, 16]),
    ("elucid_back_f16", [16, 16, 16, 16]),
    ("elucid_back_half_f32", [20, 20, 20, 20]),
    ("elucid_back_half_f16", [20, 20, 20, 20]),
    ("elucid_back_single_f32", [16, 16, 16, 16]),
    ("elucid_back_single_f16", [16, 16, 16, 16]),
    ("elucid_matmul", [16, 16, 16, 16]),
    ("elucid_attention_16", [8, 12, 16, 16]),
    ("elucid_attention_32", [6, 8, 12, 12]),
    ("elucid_attention_40", [4, 8, 12, 12]),
    ("elucid_attention_64", [4, 6, 8, 8]),
    ("elucid_attention_128", [2, 4, 6, 8]),
    ("elucid_attention_wide", [4, 6, 8, 8]),
];

#[test]
fn multiprocessors_have_the_warps_that_are_said() {
    let mut wrong = String::new();
    for entry in kernels().map(|k| k.entry) {
        let pin = WARPS.iter().find(|(name, _)| *name == entry);
        let least = pin.map_or([ENOUGH; 4], |(_, warps)| *warps);
        let mut got = [None; 4];
        for c in all().iter().filter(|c| c.entry == entry) {
            let Some(i) = occupancy::ARCHITECTURES.iter().position(|a| *a == c.arch) else {
                continue;
            };
            let (warps, blocks) = occupancy::warps(c.arch, c.usage, c.block);
            println!(
                "{entry} for sm_{}: {} registers, {} bytes shared, {blocks} blocks, {warps} warps",
                c.arch, c.usage.registers, c.usage.shared
            );
            if warps < least[i] {
                let _ = writeln!(wrong, "{entry} for sm_{}: {warps} warps", c.arch);
            }
            got[i] = Some(warps);
        }
        let all_enough = got.iter().flatten().all(|warps| *warps >= ENOUGH);
        if pin.is_some() && got[0].is_some() && all_enough {
            let _ = writeln!(wrong, "{entry}: has enough, and needs no line in the list");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

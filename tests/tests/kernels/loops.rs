//! What the machine code consists of: no local memory anywhere, and inner loops that are mostly multiply-adds fed by accesses
//! of sixteen bytes.

use std::fmt::Write as _;

use elucid_kernels::Kernel;
use elucid_kernels::conv::{BACK, FORWARD, TENSOR, TENSOR_Z, Tiles, Z};
use elucid_kernels::token::ATTENTION_64;

use crate::compile::{self, Compiled};
use crate::sass::{self, Function, base};
use crate::say;

/// Fused multiply-adds of a loop that is a product's.
const MANY: usize = 128;

/// The least share of multiply-adds, in percent, among a loop's instructions: of tiles of 64 pixels, of 32 (as much for
/// weights and addresses, half as many products), and of those that read channel by channel.
const WHOLE: f64 = 65.0;
const HALF: f64 = 60.0;
const SINGLE: f64 = 60.0;

/// How much less may be multiply-adds from sm_100 on, where constants have to be loaded first.
const CONSTANTS: f64 = 2.0;

/// The same for attention.
const ATTENTION: f64 = 75.0;

/// Matrix products of a step of the tensor kernel's warp, and the cycles for which one keeps Orin's tensor core busy.
const MATRIX_PRODUCTS: usize = 16;
const MATRIX_CYCLES: usize = 8;

/// Instructions of such a step, for each cycle of its matrix products, at most: a scheduler issues one a cycle.
const MOST_ISSUED: f64 = 1.4;
/// The same of the kernel that takes what is positive of the weights, and looks for activations too small for halves.
const MOST_ISSUED_Z: f64 = 1.75;

/// The main loops of a kernel and what is wrong with them.
struct Verdict<'a> {
    at: String,
    function: &'a Function,
    wrong: String,
}

impl<'a> Verdict<'a> {
    fn of(compiled: &Compiled, function: &'a Function) -> Self {
        Self {
            at: format!("{} for sm_{}", compiled.entry, compiled.arch),
            function,
            wrong: String::new(),
        }
    }

    fn wrong(&mut self, what: &str) {
        let _ = writeln!(self.wrong, "{}: {what}", self.at);
    }

    /// As many loops with multiply-adds of this share.
    fn multiplies(&mut self, loops: usize, least: f64) {
        let all = self.function.main_loops("FFMA", MANY);
        if all.len() != loops {
            self.wrong(&format!("{} loops of products, not {loops}", all.len()));
        }
        for body in all {
            let (products, length) = (self.function.count(body, "FFMA"), body.1 - body.0 + 1);
            let share = 100.0 * products as f64 / length as f64;
            println!("{}: {products} of {length} are FFMA, {share:.1} %", self.at);
            if share < least {
                self.wrong(&format!("{share:.1} % are FFMA, at least {least} %"));
            }
        }
    }

    /// Whether these instructions of the loops with many `of` are all of sixteen bytes.
    fn by_sixteen(&mut self, of: (&str, usize), names: &[&str]) {
        for (from, to) in self.function.main_loops(of.0, of.1) {
            for name in &self.function.instructions[from..=to] {
                if names.contains(&base(name)) && !name.contains(".128") {
                    self.wrong(&format!("{name} in its loop"));
                }
            }
        }
    }

    fn tensors(&mut self, most: f64) {
        let all = self.function.main_loops("HMMA", MATRIX_PRODUCTS / 2);
        for &body in &all {
            let (products, length) = (self.function.count(body, "HMMA"), body.1 - body.0 + 1);
            let busy = products * MATRIX_CYCLES;
            println!(
                "{}: {products} HMMA ({busy} cycles of Orin's tensor core) of {length} instructions",
                self.at
            );
            if products != MATRIX_PRODUCTS || length as f64 > most * busy as f64 {
                self.wrong(&format!("{products} HMMA of {length}"));
            }
        }
        if all.len() != 1 {
            self.wrong(&format!("{} loops of matrix products", all.len()));
        }
    }
}

/// A tile of 64 pixels, of 32, or one that reads single channels: its kernels, the share of its loop, whether what it loads
/// from memory is sixteen bytes each.
fn tiles(tiles: Tiles) -> [(&'static Kernel, f64, bool); 6] {
    [
        (tiles.whole.f32, WHOLE, true),
        (tiles.whole.f16, WHOLE, true),
        (tiles.half.f32, HALF, true),
        (tiles.half.f16, HALF, true),
        (tiles.single.f32, SINGLE, false),
        (tiles.single.f16, SINGLE, false),
    ]
}

fn judge(compiled: &Compiled, function: &Function) -> String {
    let mut verdict = Verdict::of(compiled, function);
    for name in &function.instructions {
        if ["LDL", "STL"].contains(&base(name)) {
            verdict.wrong(name);
        }
    }
    let all = [tiles(FORWARD), tiles(Z), tiles(BACK)].concat();
    if let Some((_, least, wide)) = all.iter().find(|(k, ..)| k.entry == compiled.entry) {
        let less = if compiled.arch < 100 { 0.0 } else { CONSTANTS };
        verdict.multiplies(1, *least - less);
        verdict.by_sixteen(("FFMA", MANY), &["LDS"]);
        if *wide {
            // LD is a load of which the compiler couldn't tell that it is from global memory.
            verdict.by_sixteen(("FFMA", MANY), &["LDG", "LD"]);
        }
    }
    if compiled.entry == ATTENTION_64.entry {
        verdict.multiplies(2, ATTENTION);
        verdict.by_sixteen(("FFMA", MANY), &["LDS", "LDG"]);
    }
    let tensors = [(TENSOR, MOST_ISSUED), (TENSOR_Z, MOST_ISSUED_Z)];
    if let Some((_, most)) = tensors.iter().find(|(k, _)| k.entry == compiled.entry) {
        verdict.tensors(*most);
        verdict.by_sixteen(("HMMA", MATRIX_PRODUCTS / 2), &["LDS", "LDG"]);
    }
    verdict.wrong
}

#[test]
fn inner_loops_multiply_and_add() {
    let all = compile::all();
    if all.is_empty() || sass::disassembler().is_none() {
        say(
            "skipped: machine code isn't looked at, as ELUCID_NVDISASM names no nvdisasm, or ELUCID_NVRTC no libnvrtc",
        );
        return;
    }
    let mut seen = 0;
    let mut wrong = String::new();
    for compiled in all {
        if let Some(function) = &compiled.function {
            seen += 1;
            wrong += &judge(compiled, function);
        }
    }
    assert!(seen > 0, "ELUCID_NVDISASM reads none of the architectures");
    assert!(wrong.is_empty(), "{wrong}");
}

//! Machine code as nvdisasm prints it.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// The program that `ELUCID_NVDISASM` names, if it is set.
pub fn disassembler() -> Option<PathBuf> {
    let path = env::var_os("ELUCID_NVDISASM").filter(|v| !v.is_empty())?;
    Some(path.into())
}

/// A kernel's instructions.
#[derive(Debug)]
pub struct Function {
    pub name: String,
    /// Names with their modifiers, in order: `LDG.E.128`.
    pub instructions: Vec<String>,
    /// Bodies of loops: the first instruction and the branch back.
    pub loops: Vec<(usize, usize)>,
}

/// Disassembles a file; `None` for an architecture that the program doesn't know.
pub fn disassemble(program: &PathBuf, cubin: &[u8]) -> Option<Vec<Function>> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), cubin).expect("a temporary file");
    let output = Command::new(program).arg("-c").arg(file.path()).output();
    let output = output.expect("ELUCID_NVDISASM names a program");
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("deprecated") || said.contains("not supported") && !output.status.success() {
        return None;
    }
    assert!(output.status.success(), "nvdisasm: {said}");
    Some(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Every function of a listing.
pub fn parse(text: &str) -> Vec<Function> {
    let mut all: Vec<Function> = Vec::new();
    // Labels of the current function, and its branches to be resolved when it ends.
    let mut labels: Vec<(&str, usize)> = Vec::new();
    let mut branches: Vec<(usize, &str)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix(".text.")
            .and_then(|l| l.strip_suffix(':'))
        {
            resolve(all.last_mut(), &mut labels, &mut branches);
            all.push(Function {
                name: name.to_owned(),
                instructions: Vec::new(),
                loops: Vec::new(),
            });
            continue;
        }
        let Some(function) = all.last_mut() else {
            continue;
        };
        if let Some(label) = line.strip_suffix(':').filter(|l| l.starts_with(".L_")) {
            labels.push((label, function.instructions.len()));
            continue;
        }
        let Some(name) = instruction(line) else {
            continue;
        };
        if name.starts_with("BRA") {
            let target = line.split("`(").nth(1).and_then(|l| l.split(')').next());
            branches.extend(target.map(|t| (function.instructions.len(), t)));
        }
        function.instructions.push(name.to_owned());
    }
    resolve(all.last_mut(), &mut labels, &mut branches);
    all
}

/// Makes loops of a function's branches to earlier labels.
fn resolve<'t>(
    function: Option<&mut Function>,
    labels: &mut Vec<(&'t str, usize)>,
    branches: &mut Vec<(usize, &'t str)>,
) {
    if let Some(function) = function {
        for (from, target) in branches.iter() {
            let at = labels.iter().find(|(label, _)| label == target);
            function
                .loops
                .extend(at.filter(|(_, at)| at <= from).map(|(_, at)| (*at, *from)));
        }
    }
    labels.clear();
    branches.clear();
}

/// The name of the instruction in a line `/*0a10*/ @!P0 LDG.E R2, [R4] ;`, possibly the first of a pair in braces.
fn instruction(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(['{', ' ']).strip_prefix("/*")?;
    let (address, rest) = rest.split_once("*/")?;
    if address.len() < 4 || !address.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut words = rest.trim_start_matches(['{', ' ']).split_whitespace();
    let first = words.next()?;
    let name = if first.starts_with('@') {
        words.next()?
    } else {
        first
    };
    let name = name.trim_end_matches(';');
    name.starts_with(|c: char| c.is_ascii_uppercase())
        .then_some(name)
}

impl Function {
    /// How many of the instructions start so.
    pub fn count(&self, body: (usize, usize), name: &str) -> usize {
        let all = &self.instructions[body.0..=body.1];
        all.iter().filter(|i| base(i) == name).count()
    }

    /// The innermost loops that multiply: those with at least so many of these instructions and none like it inside.
    pub fn main_loops(&self, name: &str, least: usize) -> Vec<(usize, usize)> {
        let main: Vec<_> = (self.loops.iter().copied())
            .filter(|body| self.count(*body, name) >= least)
            .collect();
        let inside = |a: (usize, usize), b: (usize, usize)| a != b && a.0 <= b.0 && b.1 <= a.1;
        let mut inner: Vec<_> = (main.iter().copied())
            .filter(|a| !main.iter().any(|b| inside(*a, *b)))
            .collect();
        inner.dedup();
        inner
    }
}

/// An instruction without its modifiers.
pub fn base(instruction: &str) -> &str {
    instruction.split('.').next().unwrap_or_default()
}

#[test]
fn listings_are_understood() {
    let text = "\
.text.one:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/              @!P0 LDG.E.128 R4, [R2.64] ;
.L_x_2:
        /*0020*/                   FFMA R0, R4, R5, R0 ;
        /*0030*/               @P1 BRA `(.L_x_2) ;
        /*0040*/              @!P2 BRA `(.L_x_1) ;
        /*0050*/                   EXIT ;
.text.two:
        /*0000*/                   FFMA R0, R4, R5, R0 ;";
    let all = parse(text);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].instructions[1], "LDG.E.128");
    assert_eq!(all[0].loops, [(2, 3), (1, 4)]);
    assert_eq!(all[0].main_loops("FFMA", 1), [(2, 3)]);
    assert_eq!(all[1].instructions, ["FFMA"]);
}

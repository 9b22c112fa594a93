//! Named tensors from safetensors files, widened to f64, and the comparison every golden test uses.
//!
//! A golden case is one folder: `weights.safetensors` and one or more `golden*.safetensors` parts. Whatever a test
//! computes is compared tensor by tensor with [`worst`], which names the worst entry with both values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

/// A dense row-major tensor: `[n, c, h, w]`, `[n, c]` or `[c]`, as its shape says.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extent of every axis, outermost first.
    pub shape: Vec<usize>,
    /// The values in row-major order.
    pub data: Vec<f64>,
}

impl Tensor {
    /// A tensor of `shape` holding `data`. Panics when their sizes disagree.
    pub fn new(shape: &[usize], data: Vec<f64>) -> Self {
        assert_eq!(
            shape.iter().product::<usize>(),
            data.len(),
            "shape {shape:?} does not hold {} values",
            data.len()
        );
        Self {
            shape: shape.to_vec(),
            data,
        }
    }

    /// A tensor of `shape` with `value` everywhere.
    pub fn full(shape: &[usize], value: f64) -> Self {
        Self::new(shape, vec![value; shape.iter().product()])
    }

    /// The values rounded to f32, the type of the implementation under test.
    pub fn to_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&v| v as f32).collect()
    }

    /// The sum of all values; of a relevance tensor, the relevance that has arrived there.
    pub fn sum(&self) -> f64 {
        self.data.iter().sum()
    }
}

/// The f16, f32 and f64 tensors of one or more safetensors files, by name.
#[derive(Clone, Debug, Default)]
pub struct Tensors {
    by_name: BTreeMap<String, Tensor>,
    files: Vec<String>,
}

impl Tensors {
    /// Reads one file. Tensors of other types (`num_batches_tracked` is an integer) are left out.
    /// Panics, naming the file, when it cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Self {
        let file = path.as_ref().display().to_string();
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let parsed =
            SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut by_name = BTreeMap::new();
        for (name, view) in parsed.iter() {
            if let Some(data) = widen(view.dtype(), view.data()) {
                by_name.insert(name.to_owned(), Tensor::new(view.shape(), data));
            }
        }
        Self {
            by_name,
            files: vec![file],
        }
    }

    /// Reads and merges every `PREFIX*.safetensors` of a folder. Panics when there is none.
    pub fn load_parts(folder: impl AsRef<Path>, prefix: &str) -> Self {
        let folder = folder.as_ref();
        let entries = std::fs::read_dir(folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut all = Self::default();
        for entry in entries {
            let path = entry
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
                .path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with(prefix) && name.ends_with(".safetensors") {
                all.merge(Self::load(&path));
            }
        }
        assert!(
            !all.files.is_empty(),
            "no {prefix}*.safetensors in {}",
            folder.display()
        );
        all
    }

    /// Takes over all tensors of `other`. Panics when a name occurs in both.
    pub fn merge(&mut self, other: Self) {
        self.files.extend(other.files);
        for (name, tensor) in other.by_name {
            self.insert(&name, tensor);
        }
    }

    /// Adds one tensor. Panics when the name is taken.
    pub fn insert(&mut self, name: &str, tensor: Tensor) {
        assert!(
            self.by_name.insert(name.to_owned(), tensor).is_none(),
            "{name} occurs twice in {self}"
        );
    }

    /// The tensor called `name`. Panics with the name and the files when it is missing.
    pub fn get(&self, name: &str) -> &Tensor {
        self.by_name
            .get(name)
            .unwrap_or_else(|| panic!("no tensor {name} in {self}"))
    }

    /// Whether there is a tensor called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

impl fmt::Display for Tensors {
    /// The files the tensors came from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.files.is_empty() {
            f.write_str("memory")
        } else {
            f.write_str(&self.files.join(", "))
        }
    }
}

/// Little-endian values of a floating-point type as f64; `None` for any other type.
fn widen(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    match dtype {
        Dtype::F64 => Some(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|&b| f64::from_le_bytes(b))
                .collect(),
        ),
        Dtype::F32 => Some(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|&b| f64::from(f32::from_le_bytes(b)))
                .collect(),
        ),
        Dtype::F16 => Some(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|&b| half(u16::from_le_bytes(b)))
                .collect(),
        ),
        _ => None,
    }
}

/// IEEE 754 binary16 to f64, exactly.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        _ => sign * (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

/// The entry where two tensors differ most, as [`worst`] finds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// Flat index of the entry.
    pub index: usize,
    /// The computed value.
    pub got: f64,
    /// The expected value.
    pub want: f64,
    /// `|got - want|` divided by the largest `|want|` of the tensor (by 1 where that is 0).
    pub error: f64,
}

impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            index,
            got,
            want,
            error,
        } = self;
        write!(
            f,
            "worst at [{index}]: got {got:e}, want {want:e}, {error:.2e} of the largest value"
        )
    }
}

/// Compares `got` (f32 or f64) with `want` and returns the entry with the largest absolute difference. A value that is
/// not finite on either side counts as an infinite error, so that `worst(..).error < tolerance` cannot pass over a
/// NaN. Panics when the lengths differ.
pub fn worst<T: Copy + Into<f64>>(got: &[T], want: &[f64]) -> Worst {
    assert_eq!(got.len(), want.len(), "compared tensors differ in length");
    let largest = want
        .iter()
        .fold(0.0, |largest: f64, v| largest.max(v.abs()));
    let scale = if largest > 0.0 { largest } else { 1.0 };
    let mut worst = Worst {
        index: 0,
        got: 0.0,
        want: 0.0,
        error: -1.0,
    };
    for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
        let got = got.into();
        let difference = (got - want).abs();
        let error = if difference.is_finite() {
            difference / scale
        } else {
            f64::INFINITY
        };
        if error > worst.error {
            worst = Worst {
                index,
                got,
                want,
                error,
            };
        }
    }
    Worst {
        error: worst.error.max(0.0),
        ..worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_widened_exactly() {
        let cases = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 2f64.powi(-24)),
            (0x7bff, 65504.0),
            (0x3555, 0.33325195),
        ];
        for (bits, value) in cases {
            assert!(
                (half(bits) - value).abs() < 1e-8,
                "{bits:#x} gave {}",
                half(bits)
            );
        }
        assert_eq!(half(0xfc00), f64::NEG_INFINITY);
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn worst_names_the_entry_and_is_not_fooled_by_nan() {
        let found = worst(&[1.0f32, 2.5, -4.0], &[1.0, 2.0, -4.0]);
        assert_eq!(
            found,
            Worst {
                index: 1,
                got: 2.5,
                want: 2.0,
                error: 0.125
            }
        );
        assert!(found.to_string().contains("got 2.5e0, want 2e0"), "{found}");
        assert_eq!(worst(&[f64::NAN, 2.0], &[1.0, 2.0]).error, f64::INFINITY);
        assert_eq!(worst(&[1.0, 2.0], &[1.0, f64::NAN]).error, f64::INFINITY);
        assert_eq!(worst::<f32>(&[], &[]).error, 0.0);
        assert_eq!(worst(&[0.0f32], &[0.0]).error, 0.0);
    }

    #[test]
    #[should_panic(expected = "no tensor conv1.weight in memory")]
    fn a_missing_tensor_is_named() {
        Tensors::default().get("conv1.weight");
    }
}

//! Weights as trainers save them: safetensors files and PyTorch state dicts.
//!
//! Names are brought to torchvision's: the prefix of a wrapper (`module.`, `model.`) is dropped and `.shortcut.` becomes
//! `.downsample.`. Everything is widened to f32. NaN and infinity are refused here, with the tensor's name.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::pickle::PthTensors;
use candle_core::{DType, Tensor as Array};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

/// A tensor in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub data: Vec<f32>,
}

/// All tensors of a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// By name.
    pub tensors: BTreeMap<String, Tensor>,
    /// What the file says of itself.
    pub metadata: BTreeMap<String, String>,
}

/// Counters of training that no inference needs.
const IGNORED: &str = "num_batches_tracked";
/// Prefixes that wrappers put before every name.
const WRAPPERS: [&str; 4] = ["module.", "model.", "backbone.", "net."];
/// Keys under which training scripts nest the state dict.
const NESTED: [&str; 6] = [
    "state_dict",
    "model",
    "model_state_dict",
    "net",
    "teacher",
    "student",
];

impl Checkpoint {
    /// Reads a `.safetensors`, `.pth` or `.pt` file.
    ///
    /// # Errors
    /// One line that says what is wrong with the file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| anyhow!("cannot read {}: {e}", path.display()))?;
        if file.metadata().is_ok_and(|m| m.is_dir()) {
            bail!(
                "{} is a folder; name the weights file in it",
                path.display()
            );
        }
        let magic = read_magic(&file).with_context(|| format!("cannot read {}", path.display()))?;
        let mut checkpoint = match &magic {
            [b'P', b'K', ..] => Self::open_pth(path)?,
            [_, _, _, _, _, _, _, _, b'{', ..] => Self::open_safetensors(path)?,
            _ => bail!(
                "{} is neither a safetensors file nor a PyTorch .pth (zip) file; save the weights with torch.save(model.state_dict(), ...) of PyTorch 1.6 or later, or as safetensors",
                path.display()
            ),
        };
        checkpoint.rename();
        if checkpoint.tensors.is_empty() {
            bail!(
                "{} holds no tensors; save the model's state dict, not the whole model",
                path.display()
            );
        }
        for (name, tensor) in &checkpoint.tensors {
            if let Some(at) = tensor.data.iter().position(|v| !v.is_finite()) {
                bail!(
                    "{}: tensor {name} holds {} at index {at}; the training went wrong, use an earlier checkpoint",
                    path.display(),
                    tensor.data[at]
                );
            }
        }
        Ok(checkpoint)
    }

    fn open_safetensors(path: &Path) -> Result<Self> {
        let damaged = |e| {
            anyhow!(
                "{} is not an intact safetensors file ({e}); copy it again",
                path.display()
            )
        };
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let mut checkpoint = Self::default();
        for (key, value) in header.metadata().iter().flatten() {
            checkpoint.metadata.insert(key.clone(), value.clone());
        }
        for (name, view) in file.iter().filter(|(name, _)| !name.ends_with(IGNORED)) {
            let bytes = view.data();
            let data = match view.dtype() {
                Dtype::F32 => floats(bytes, f32::from_le_bytes),
                Dtype::F64 => floats(bytes, |b| f64::from_le_bytes(b) as f32),
                Dtype::F16 => floats(bytes, |b| f16::from_le_bytes(b).to_f32()),
                Dtype::BF16 => floats(bytes, |b| bf16::from_le_bytes(b).to_f32()),
                other => bail!(
                    "{}: tensor {name} has type {other:?}; floating-point weights are needed",
                    path.display()
                ),
            };
            let tensor = Tensor {
                shape: view.shape().to_vec(),
                data,
            };
            checkpoint.tensors.insert(name.to_owned(), tensor);
        }
        Ok(checkpoint)
    }

    fn open_pth(path: &Path) -> Result<Self> {
        let broken = |e| {
            anyhow!(
                "{} is not a PyTorch state dict that can be read ({e}); save it again with torch.save(model.state_dict(), ...)",
                path.display()
            )
        };
        let mut file = PthTensors::new(path, None).map_err(broken)?;
        // Training scripts nest the state dict beside other things, tensors among them. A key that isn't there is no
        // error: the next one is tried, and an empty file is reported by the caller.
        for nested in NESTED
            .iter()
            .filter_map(|key| PthTensors::new(path, Some(key)).ok())
        {
            if nested.tensor_infos().len() > file.tensor_infos().len() {
                file = nested;
            }
        }
        let mut checkpoint = Self::default();
        let names: Vec<String> = file
            .tensor_infos()
            .keys()
            .filter(|n| !n.ends_with(IGNORED))
            .cloned()
            .collect();
        for name in names {
            let array = file.get(&name).map_err(broken)?;
            let array = array
                .ok_or_else(|| anyhow!("{}: tensor {name} is missing its data", path.display()))?;
            let shape = array.dims().to_vec();
            let values = |a: &Array| a.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
            let data = values(&array).map_err(broken)?;
            checkpoint.tensors.insert(name, Tensor { shape, data });
        }
        Ok(checkpoint)
    }

    /// Brings names to torchvision's.
    fn rename(&mut self) {
        while let Some(wrapper) = WRAPPERS
            .iter()
            .find(|w| !self.tensors.is_empty() && self.tensors.keys().all(|k| k.starts_with(**w)))
        {
            let old = std::mem::take(&mut self.tensors);
            self.tensors = old
                .into_iter()
                .map(|(k, v)| (k[wrapper.len()..].to_owned(), v))
                .collect();
        }
        let old = std::mem::take(&mut self.tensors);
        self.tensors = old
            .into_iter()
            .map(|(k, v)| (k.replace(".shortcut.", ".downsample."), v))
            .collect();
    }

    /// The shape of a tensor, if it is there.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }
}

fn read_magic(mut file: &File) -> Result<[u8; 9]> {
    use std::io::{Read, Seek};
    let mut magic = Vec::new();
    file.take(9).read_to_end(&mut magic)?;
    file.rewind()?;
    magic.resize(9, 0);
    Ok(magic.try_into().unwrap_or_default())
}

fn floats<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|&b| convert(b))
        .collect()
}

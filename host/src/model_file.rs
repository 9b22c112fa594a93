//! `.elucid` files on disk: reading one into aligned memory, assembling one for writing.
//!
//! The layout of every record is the core's ([`elucid_core::model`]); this module only decides where sections go.
//! A model is read, not mapped: a mapped file that somebody truncates kills the process.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use elucid_core::builder::Named;
use elucid_core::model::{
    BLOB_ALIGN, Blob, Dtype, Header, Meta, Model, NodeRecord, Preprocess, RECORD, TextRef, seal,
};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::aligned::Aligned;

/// The demo model, part of the program.
const DEMO: &[u8] = include_bytes!("../demo/flowers.elucid");

/// The bytes of a model in aligned memory.
pub struct ModelBytes {
    memory: Aligned,
    name: String,
}

impl ModelBytes {
    /// Reads a model file, or the demo model without a path.
    ///
    /// # Errors
    /// One line if the file can't be read.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self {
                memory: Aligned::copy_of(DEMO),
                name: "the demo model".to_owned(),
            });
        };
        let name = path.display().to_string();
        let unreadable = |e: std::io::Error| anyhow!("cannot read the model {name}: {e}");
        let mut file = File::open(path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                anyhow!(
                    "there is no model {name}; check the path, or make one with `elucid import`"
                )
            }
            _ => unreadable(e),
        })?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            bail!("{name} is a folder, not a model; make a model with `elucid import`");
        }
        let mut start = [0; RECORD];
        let read = (&mut file).take(RECORD as u64);
        let found = read_up_to(read, &mut start).map_err(unreadable)?;
        // A foreign file is named before its gigabytes are read.
        Header::decode(&start[..found]).map_err(|e| anyhow!("{name}: {e}"))?;
        let memory = if metadata.is_file() {
            let size = usize::try_from(metadata.len())?.max(found);
            let mut memory = Aligned::zeroed(size)?;
            memory.bytes_mut()[..found].copy_from_slice(&start[..found]);
            let rest = read_up_to(file, &mut memory.bytes_mut()[found..]).map_err(unreadable)?;
            memory.truncate(found + rest);
            memory
        } else {
            // A pipe doesn't know its length.
            let mut bytes = start[..found].to_vec();
            file.read_to_end(&mut bytes).map_err(unreadable)?;
            Aligned::copy_of(&bytes)
        };
        Ok(Self { memory, name })
    }

    /// A model made in memory.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], name: &str) -> Self {
        Self {
            memory: Aligned::copy_of(bytes),
            name: name.to_owned(),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.memory.bytes()
    }

    /// Parses the model and checks its checksum and its weights.
    ///
    /// # Errors
    /// One line that says what is wrong with the file.
    pub fn parse(&self) -> Result<Model<'_>> {
        let model = Model::parse(self.memory.bytes()).map_err(|e| anyhow!("{}: {e}", self.name))?;
        if let Some(tensor) = model.first_not_finite() {
            bail!(
                "{}: tensor {tensor} holds NaN or infinity; import sound weights again",
                self.name
            );
        }
        Ok(model)
    }
}

fn read_up_to(mut from: impl Read, to: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    loop {
        match from.read(&mut to[done..])? {
            0 => return Ok(done),
            n => done += n,
        }
    }
}

/// A tensor ready to be stored: panels or a vector, and in which precision.
pub struct Stored {
    /// Values in the order of the file.
    pub data: Vec<f32>,
    /// Precision in the file.
    pub dtype: Dtype,
}

/// Everything a model file holds.
pub struct Contents<'c> {
    /// The graph.
    pub nodes: &'c [Named],
    /// The weights, in the order the nodes refer to them.
    pub tensors: &'c [Stored],
    /// Class names, or none.
    pub classes: &'c [String],
    /// How a picture becomes an input.
    pub preprocess: Preprocess,
    /// One line about the model.
    pub description: &'c str,
}

/// Collects strings and hands out references to them.
#[derive(Default)]
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, text: &str) -> TextRef {
        let reference = TextRef {
            offset: self.0.len() as u32,
            len: text.len() as u32,
        };
        self.0.extend_from_slice(text.as_bytes());
        reference
    }
}

impl Contents<'_> {
    /// The bytes of the file, checksum included.
    ///
    /// # Errors
    /// If the model is larger than the format can hold.
    pub fn assemble(&self) -> Result<Vec<u8>> {
        let mut strings = Strings::default();
        let mut meta = Meta {
            preprocess: self.preprocess,
            description: TextRef::default(),
        };
        meta.description = strings.add(self.description);
        let nodes: Vec<NodeRecord> = self
            .nodes
            .iter()
            .map(|n| NodeRecord {
                node: n.node,
                name: strings.add(n.name.as_str()),
            })
            .collect();
        let classes: Vec<TextRef> = self.classes.iter().map(|c| strings.add(c)).collect();

        let mut header = Header {
            node_count: u16::try_from(nodes.len())?,
            tensor_count: u16::try_from(self.tensors.len())?,
            class_count: u32::try_from(classes.len())?,
            meta: RECORD as u32,
            nodes: 2 * RECORD as u32,
            strings_len: u32::try_from(strings.0.len())?,
            ..Header::default()
        };
        header.tensors = header.nodes + u32::try_from(nodes.len() * RECORD)?;
        header.classes = header.tensors + u32::try_from(self.tensors.len() * RECORD)?;
        header.strings = header.classes + u32::try_from(classes.len() * TextRef::SIZE)?;

        let mut bytes = vec![0; header.strings as usize];
        bytes.extend_from_slice(&strings.0);
        let put = |bytes: &mut Vec<u8>, at: usize, record: &[u8]| {
            bytes[at..at + record.len()].copy_from_slice(record);
        };
        put(&mut bytes, header.meta as usize, &meta.encode());
        for (i, node) in nodes.iter().enumerate() {
            put(
                &mut bytes,
                header.nodes as usize + i * RECORD,
                &node.encode(),
            );
        }
        for (i, class) in classes.iter().enumerate() {
            class.encode(&mut bytes[header.classes as usize + i * TextRef::SIZE..]);
        }
        for (i, tensor) in self.tensors.iter().enumerate() {
            bytes.resize(bytes.len().next_multiple_of(BLOB_ALIGN), 0);
            let offset = bytes.len() as u64;
            match tensor.dtype {
                Dtype::F32 => bytes.extend(tensor.data.iter().flat_map(|v| v.to_le_bytes())),
                Dtype::F16 => {
                    let mut halves = vec![f16::ZERO; tensor.data.len()];
                    halves.convert_from_f32_slice(&tensor.data);
                    bytes.extend(halves.iter().flat_map(|v| v.to_le_bytes()));
                }
            }
            let blob = Blob {
                dtype: tensor.dtype,
                offset,
                len: bytes.len() as u64 - offset,
            };
            put(
                &mut bytes,
                header.tensors as usize + i * RECORD,
                &blob.encode(),
            );
        }
        bytes.resize(bytes.len().next_multiple_of(BLOB_ALIGN), 0);
        header.file_len = bytes.len() as u64;
        put(&mut bytes, 0, &header.encode());
        seal(&mut bytes);
        Ok(bytes)
    }
}

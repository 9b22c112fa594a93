//! Labelled pictures with masks and boxes, read from the layouts that data sets have on disk: CUB-200-2011, ImageNet
//! validation, ImageNet-S, PASCAL VOC and plain folders.
//!
//! Opening a data set reads its lists and folder names into an index of about a hundred bytes a sample. Pictures and masks
//! are opened one by one, and one that is broken is an error of that sample alone: whether to skip and count it or to stop
//! is for the caller to decide ([`DataError::concerns_one_sample`]).
//!
//! ```no_run
//! use elucid_host::dataset::{Dataset, Format, Options, Selection};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let data = Dataset::open(Format::Cub, "CUB_200_2011".as_ref(), &Options::default())?;
//! for at in data.select(&Selection::default())? {
//!     let sample = data.sample(at);
//!     println!("{} is of class {:?}", sample.id, sample.label);
//! }
//! # Ok(())
//! # }
//! ```

mod coding;
mod cub;
mod error;
mod folder;
mod imagenet;
mod imagenet_s;
mod labels;
mod list;
mod mask;
mod order;
#[cfg(test)]
mod tests;
mod voc;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use elucid_core::model::Preprocess;

pub use coding::Coding;
pub use error::{DataError, Trouble};
pub use mask::{Mask, MaskSource, Rect};
pub use order::{Order, Selection, Shard, paper, shuffled};

use crate::photo::Photo;

/// The layout of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// CUB-200-2011 with its official lists.
    Cub,
    /// ImageNet validation: a folder per synset, or flat files with a list.
    Imagenet,
    /// ImageNet-S with 50, 300 or 919 classes.
    ImagenetS,
    /// PASCAL VOC.
    Voc,
    /// Pictures in folders of one's own.
    Folder,
}

impl Format {
    /// Every format by the name that `--format` takes.
    pub const NAMES: [(&str, Format); 5] = [
        ("cub", Format::Cub),
        ("imagenet", Format::Imagenet),
        ("imagenet-s", Format::ImagenetS),
        ("voc", Format::Voc),
        ("folder", Format::Folder),
    ];

    /// The part that is read unless another one is asked for.
    #[must_use]
    pub fn usual_split(self) -> Split {
        match self {
            Format::Cub => Split::Test,
            Format::Imagenet | Format::ImagenetS | Format::Voc => Split::Val,
            Format::Folder => Split::All,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Format::NAMES, self))
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        by_name(&Format::NAMES, text, "format")
    }
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What networks are trained on.
    Train,
    /// What they are tuned on.
    Val,
    /// What they are judged by.
    Test,
    /// Everything.
    All,
}

impl Split {
    /// Every split by the name that `--split` takes.
    pub const NAMES: [(&str, Split); 4] = [
        ("train", Split::Train),
        ("val", Split::Val),
        ("test", Split::Test),
        ("all", Split::All),
    ];
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(&Split::NAMES, self))
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Split, String> {
        by_name(&Split::NAMES, text, "split")
    }
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], wanted: &T) -> &'static str {
    let found = names.iter().find(|(_, value)| value == wanted);
    found.map_or("", |(name, _)| name)
}

fn by_name<T: Copy>(names: &[(&str, T)], text: &str, what: &str) -> Result<T, String> {
    let found = names.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!("there is no {what} {text}; choose {}", known.join(", "))
    })
}

/// How a data set is read; what is left out is as the layout has it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The part to read: test for CUB, otherwise validation.
    pub split: Option<Split>,
    /// A list of pictures and labels instead of the one in the data set's folder.
    pub list: Option<PathBuf>,
    /// A list of classes, one a line in the order of the network's outputs.
    pub classes: Option<PathBuf>,
    /// A folder of masks instead of the one in the data set's folder (CUB and plain folders).
    pub masks: Option<PathBuf>,
    /// The brightest level that is background in masks of grey levels. CUB's annotators disagree: 0 takes what any of
    /// them marked, 127 what most of them did.
    pub above: u8,
    /// Whether only the sample's own class counts as object in masks that tell classes apart, or anything marked.
    pub own_class: bool,
}

/// A class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// What the data set's files call it: a synset such as n01440764, or a folder's name.
    pub key: String,
    /// What people call it.
    pub name: String,
}

/// One picture of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// A name that is the same on every machine: the picture's path in the data set, with forward slashes.
    pub id: String,
    /// The picture's file.
    pub image: PathBuf,
    /// Its class.
    pub label: Option<u32>,
    /// Its mask.
    pub mask: Option<MaskSource>,
    /// Boxes around its objects, in the picture's pixels. Where there are none, [`Mask::bounds`] gives one.
    pub boxes: Vec<Rect>,
}

impl Sample {
    /// Reads the picture.
    ///
    /// # Errors
    /// [`Trouble::Photo`].
    pub fn photo(&self) -> Result<Photo, DataError> {
        Photo::open(&self.image).map_err(|e| DataError::new(Trouble::Photo, e))
    }

    /// Reads the mask, if the sample has one.
    ///
    /// # Errors
    /// [`Trouble::Mask`].
    pub fn mask(&self) -> Result<Option<Mask>, DataError> {
        self.mask.as_ref().map(MaskSource::open).transpose()
    }

    /// Reads the mask, if the sample has one, and takes it where `how` takes a picture of `size` (width, height).
    ///
    /// # Errors
    /// [`Trouble::Mask`].
    pub fn input_mask(
        &self,
        size: (u32, u32),
        how: &Preprocess,
    ) -> Result<Option<Mask>, DataError> {
        let Some(source) = &self.mask else {
            return Ok(None);
        };
        let fitted = source.open()?.fit(size, how);
        let named = |e| {
            DataError::new(
                Trouble::Mask,
                format_args!("{}: {e}", source.path.display()),
            )
        };
        fitted.map(Some).map_err(named)
    }

    /// What the network sees of the boxes, as [`input_mask`](Sample::input_mask) does for the mask.
    #[must_use]
    pub fn input_boxes(&self, size: (u32, u32), how: &Preprocess) -> Vec<Rect> {
        let boxes = self.boxes.iter();
        boxes.filter_map(|rect| rect.fit(size, how)).collect()
    }
}

/// A sample in the index.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// Path of the picture below the pictures' folder.
    id: Box<str>,
    label: Option<u32>,
    /// Path of the mask below the masks' folder.
    mask: Option<Box<str>>,
    /// Its class in masks that tell classes apart.
    marked: Option<u16>,
    boxes: Box<[Rect]>,
}

impl Entry {
    fn new(id: &str, label: Option<u32>) -> Entry {
        Entry {
            id: id.into(),
            label,
            ..Entry::default()
        }
    }
}

/// How to read the masks of a data set, but for the class.
#[derive(Clone, Copy, Debug)]
enum Masks {
    Grey { above: u8 },
    ImagenetS { own: bool },
    Voc { own: bool },
}

/// The index of a data set.
#[derive(Debug)]
pub struct Dataset {
    /// The folder that ids are relative to.
    images: PathBuf,
    /// The folder that holds the masks.
    masks: PathBuf,
    coding: Masks,
    classes: Vec<Class>,
    counted: bool,
    entries: Vec<Entry>,
    remarks: Vec<String>,
}

impl Dataset {
    /// Reads the lists of the data set in the folder `root`.
    ///
    /// # Errors
    /// One line that names the folder, list or line at fault and the mend.
    pub fn open(format: Format, root: &Path, options: &Options) -> Result<Dataset, DataError> {
        if !root.is_dir() {
            let what = if root.exists() {
                "is not a folder; --data names the folder that holds the data set"
            } else {
                "does not exist; check --data"
            };
            return Err(DataError::at(Trouble::Root, root, what));
        }
        let found = match format {
            Format::Cub => cub::open(root, options),
            Format::Imagenet => imagenet::open(root, options),
            Format::ImagenetS => imagenet_s::open(root, options),
            Format::Voc => voc::open(root, options),
            Format::Folder => folder::open(root, options),
        }?;
        if found.entries.is_empty() {
            return Err(DataError::at(
                Trouble::Root,
                root,
                "holds no picture that was asked for; check --data and --split",
            ));
        }
        let mut ids = HashSet::new();
        if let Some(twice) = found.entries.iter().find(|entry| !ids.insert(&entry.id)) {
            return Err(DataError::at(
                Trouble::Line,
                root,
                format_args!("lists {} twice; remove one of the lines", twice.id),
            ));
        }
        Ok(found)
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none; an opened data set has some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sample number `at` in the data set's own order.
    ///
    /// # Panics
    /// If there is no such sample.
    #[must_use]
    pub fn sample(&self, at: usize) -> Sample {
        let entry = &self.entries[at];
        let coding = match self.coding {
            Masks::Grey { above } => Coding::Grey { above },
            Masks::ImagenetS { own } => Coding::ImagenetS {
                only: entry.marked.filter(|_| own),
            },
            Masks::Voc { own } => Coding::Voc {
                only: entry.marked.filter(|_| own),
            },
        };
        let source = |path: &str| MaskSource {
            path: self.masks.join(path),
            coding,
        };
        Sample {
            id: entry.id.to_string(),
            image: self.images.join(&*entry.id),
            label: entry.label,
            mask: entry.mask.as_deref().map(source),
            boxes: entry.boxes.to_vec(),
        }
    }

    /// The classes in the order of labels.
    #[must_use]
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// What people call the classes, in the order of labels.
    #[must_use]
    pub fn class_names(&self) -> Vec<&str> {
        self.classes.iter().map(|c| c.name.as_str()).collect()
    }

    /// Whether labels only count the classes that are there, such as folders in sorted order: those of a network for more
    /// classes are others.
    #[must_use]
    pub fn counted(&self) -> bool {
        self.counted
    }

    /// What a person should know about this copy of the data set: a line each.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Positions of the samples that a run takes, in its order.
    ///
    /// # Errors
    /// If the order needs labels and some samples have none.
    pub fn select(&self, selection: &Selection) -> Result<Vec<usize>, DataError> {
        let labels: Vec<Option<u32>> = self.entries.iter().map(|entry| entry.label).collect();
        selection.positions(&labels, self.classes.len())
    }
}

/// The error for a split that a layout doesn't have.
fn no_split(format: Format, split: Split, known: &str) -> DataError {
    DataError::new(
        Trouble::Root,
        format_args!("--format {format} has no split {split}; {known}"),
    )
}

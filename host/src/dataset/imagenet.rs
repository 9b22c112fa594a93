//! ImageNet validation: a folder per synset, or flat files and one of the lists that go round with them. Either way samples
//! come as torchvision's `ImageNet` has them, by class and then by name, since the papers' choice of samples depends on it.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::list::{self, List, is_synset};
use super::{
    Class, DataError, Dataset, Entry, Format, Masks, Options, Rect, Split, Trouble, labels,
    no_split,
};

/// Where the pictures lie below the root.
const PLACES: [&str; 6] = [
    "",
    "val",
    "validation",
    "images",
    "ILSVRC2012_img_val",
    "ILSVRC/Data/CLS-LOC/val",
];
/// Where lists lie below the root or beside it.
const LISTS: [&str; 7] = [
    "",
    "..",
    "../../../..",
    "data",
    "devkit/data",
    "ILSVRC2012_devkit_t12/data",
    "../ILSVRC2012_devkit_t12/data",
];
/// Lists of all synsets in the order of the network's outputs.
const SYNSETS: [&str; 4] = [
    "LOC_synset_mapping.txt",
    "synset_words.txt",
    "synsets.txt",
    "imagenet_synsets.txt",
];
/// How many classes networks for ImageNet have.
const CLASSES: usize = 1000;
const TABLE: &str = "labels.csv";
const KAGGLE: &str = "LOC_val_solution.csv";
const CAFFE: &str = "val.txt";
const SYNSET_LABELS: &str = "imagenet_2012_validation_synset_labels.txt";
const GROUND_TRUTH: &str = "ILSVRC2012_validation_ground_truth.txt";
/// The synset of every number in [`GROUND_TRUTH`].
const NUMBERS: &str = "map_clsloc.txt";

pub(super) fn open(root: &Path, options: &Options) -> Result<Dataset, DataError> {
    if let Some(split) = options.split.filter(|&split| split != Split::Val) {
        return Err(no_split(Format::Imagenet, split, "only val is read"));
    }
    let near: Vec<PathBuf> = LISTS.iter().map(|place| root.join(place)).collect();
    let known = options
        .classes
        .clone()
        .or_else(|| List::find(&near, &SYNSETS));
    let known = known.map(list::classes).transpose()?;
    let listed = options
        .list
        .clone()
        .or_else(|| List::find(&near[..1], &[TABLE, CAFFE]))
        .or_else(|| List::find(&near, &[KAGGLE, SYNSET_LABELS, GROUND_TRUTH]));

    for place in PLACES {
        let images = root.join(place);
        if !images.is_dir() {
            continue;
        }
        let synsets = list::folders(&images)?;
        let synsets: Vec<String> = synsets.into_iter().filter(|f| is_synset(f)).collect();
        if !synsets.is_empty() && options.list.is_none() {
            return folders(images, &synsets, known);
        }
        let files = list::pictures(&images)?;
        if files.is_empty() && synsets.is_empty() {
            continue;
        }
        let Some(listed) = listed else {
            return Err(DataError::at(
                Trouble::Missing,
                &images,
                format_args!(
                    "holds pictures but no list of labels; put {TABLE} (file,label), {KAGGLE}, {CAFFE} or \
                     {SYNSET_LABELS} into {}, or sort the pictures into a folder per synset",
                    root.display()
                ),
            ));
        };
        return flat(images, &files, &listed, &near, known);
    }
    Err(DataError::at(
        Trouble::Root,
        root,
        "is not ImageNet validation: neither folders named like n01440764 nor pictures are in it or in val/; check --data",
    ))
}

/// A folder per synset.
fn folders(
    images: PathBuf,
    synsets: &[String],
    known: Option<Vec<Class>>,
) -> Result<Dataset, DataError> {
    let mut remarks = Vec::new();
    let classes = known.unwrap_or_else(|| unnamed(synsets.iter().cloned(), &mut remarks));
    let places = places(&classes);
    let mut entries = Vec::new();
    for synset in synsets {
        let folder = images.join(synset);
        let label = *places.get(synset.as_str()).ok_or_else(|| {
            DataError::at(
                Trouble::Class,
                &folder,
                "is not in the list of classes; add the synset there or remove the folder",
            )
        })?;
        for name in list::pictures(&folder)? {
            entries.push(Entry::new(&format!("{synset}/{name}"), Some(label)));
        }
    }
    Ok(dataset(images, classes, entries, remarks))
}

/// Flat files and a list.
fn flat(
    images: PathBuf,
    files: &[String],
    listed: &Path,
    near: &[PathBuf],
    known: Option<Vec<Class>>,
) -> Result<Dataset, DataError> {
    let mut remarks = Vec::new();
    let name = listed.file_name().unwrap_or_default().to_string_lossy();
    let (mut entries, classes) = if name == KAGGLE {
        kaggle(listed, files, known, &mut remarks)?
    } else if name.ends_with(".csv") {
        let (list, rows) = labels::read(listed)?;
        labels::label(&list, &rows, known)?
    } else if name == GROUND_TRUTH {
        ground_truth(listed, files, near, known, &mut remarks)?
    } else {
        words(listed, files, known, &mut remarks)?
    };
    entries.sort_by(|a, b| (a.label, &a.id).cmp(&(b.label, &b.id)));
    Ok(dataset(images, classes, entries, remarks))
}

fn dataset(
    images: PathBuf,
    classes: Vec<Class>,
    entries: Vec<Entry>,
    remarks: Vec<String>,
) -> Dataset {
    Dataset {
        images,
        masks: PathBuf::new(),
        coding: Masks::Grey { above: 0 },
        counted: classes.len() != CLASSES,
        classes,
        entries,
        remarks,
    }
}

type Labelled = (Vec<Entry>, Vec<Class>);

/// `ImageId,PredictionString` with the synset and boxes of a picture.
fn kaggle(
    path: &Path,
    files: &[String],
    known: Option<Vec<Class>>,
    remarks: &mut Vec<String>,
) -> Result<Labelled, DataError> {
    let list = List::read(path)?;
    let mut rows = Vec::new();
    for (line, text) in list.lines().skip(1) {
        let fault = || {
            list.fault(
                line,
                "an image and its synset with boxes are expected; copy the list again",
            )
        };
        let (image, found) = text.split_once(',').ok_or_else(fault)?;
        let words: Vec<&str> = found.split_whitespace().collect();
        let synset = *words.first().ok_or_else(fault)?;
        let mut boxes = Vec::new();
        for object in words.chunks(5) {
            let side = |at: usize| list.number(line, object.get(at).copied().unwrap_or_default());
            boxes.push(Rect {
                left: side(1)?,
                top: side(2)?,
                right: side(3)?,
                bottom: side(4)?,
            });
        }
        rows.push((line, image, synset, boxes));
    }
    let classes = known.unwrap_or_else(|| {
        unnamed(
            rows.iter().map(|(_, _, synset, _)| (*synset).to_owned()),
            remarks,
        )
    });
    let places = places(&classes);
    let files: HashMap<&str, &String> = files.iter().map(|f| (list::stem(f), f)).collect();
    let mut entries = Vec::new();
    for (line, image, synset, boxes) in rows {
        let label = *places
            .get(synset)
            .ok_or_else(|| labels::unknown(&list, line, synset))?;
        // Pictures that aren't here can't be scored; who has a part of the set wants that part.
        if let Some(file) = files.get(image) {
            let mut entry = Entry::new(file, Some(label));
            entry.boxes = boxes.into();
            entries.push(entry);
        }
    }
    Ok((entries, classes))
}

/// Lines `file label` with an index from 0 or a synset, or a synset alone for the files in order.
fn words(
    path: &Path,
    files: &[String],
    known: Option<Vec<Class>>,
    remarks: &mut Vec<String>,
) -> Result<Labelled, DataError> {
    let list = List::read(path)?;
    let mut rows = Vec::new();
    let bare = |(_, text): (usize, &str)| !text.contains(char::is_whitespace);
    if list.lines().next().is_some_and(bare) {
        let files = in_order(&list, files)?;
        rows.extend(
            list.lines()
                .zip(files)
                .map(|((line, text), file)| (line, file.clone(), text)),
        );
    } else {
        for (line, text) in list.lines() {
            let pair = text.rsplit_once(char::is_whitespace);
            let (file, label) = pair.ok_or_else(|| {
                list.fault(line, "a file and its label are expected; mend the line")
            })?;
            rows.push((line, list.relative(line, file)?, label));
        }
    }
    let synsets = rows.iter().map(|(_, _, label)| *label);
    let synsets = synsets.filter(|label| is_synset(label)).map(str::to_owned);
    let classes = match known {
        Some(classes) => classes,
        None if rows.first().is_some_and(|row| is_synset(row.2)) => unnamed(synsets, remarks),
        None => (0..CLASSES)
            .map(|at| Class {
                key: at.to_string(),
                name: format!("class {at}"),
            })
            .collect(),
    };
    let places = places(&classes);
    let mut entries = Vec::new();
    for (line, file, label) in rows {
        let place = match places.get(label) {
            Some(&place) => place,
            None if is_synset(label) => return Err(labels::unknown(&list, line, label)),
            None => list.number(line, label)?,
        };
        if place as usize >= classes.len() {
            return Err(labels::unknown(&list, line, label));
        }
        entries.push(Entry::new(&file, Some(place)));
    }
    Ok((entries, classes))
}

/// Numbers of the challenge's own, which are not the outputs of networks: they need [`NUMBERS`].
fn ground_truth(
    path: &Path,
    files: &[String],
    near: &[PathBuf],
    known: Option<Vec<Class>>,
    remarks: &mut Vec<String>,
) -> Result<Labelled, DataError> {
    let map = List::find(near, &[NUMBERS]).ok_or_else(|| {
        DataError::at(
            Trouble::Class,
            path,
            format_args!(
                "numbers the classes in the challenge's own way; put {NUMBERS} (n02119789 1 kit_fox) beside it, or \
                 {SYNSET_LABELS} in its place"
            ),
        )
    })?;
    let map = List::read(map)?;
    let mut synsets: HashMap<u32, &str> = HashMap::new();
    for (line, text) in map.lines() {
        let mut words = text.split_whitespace();
        let synset = words.next().filter(|word| is_synset(word));
        let synset = synset
            .ok_or_else(|| map.fault(line, "a synset is expected first; copy the list again"))?;
        synsets.insert(map.number(line, words.next().unwrap_or_default())?, synset);
    }
    let classes =
        known.unwrap_or_else(|| unnamed(synsets.values().map(|s| (*s).to_owned()), remarks));
    let places = places(&classes);
    let list = List::read(path)?;
    let mut entries = Vec::new();
    for ((line, text), file) in list.lines().zip(in_order(&list, files)?) {
        let synset = synsets.get(&list.number(line, text)?);
        let label = synset.and_then(|synset| places.get(synset));
        let label = *label.ok_or_else(|| labels::unknown(&list, line, text))?;
        entries.push(Entry::new(file, Some(label)));
    }
    Ok((entries, classes))
}

/// The files that a list without names means line by line, which only a whole folder can tell.
fn in_order<'f>(list: &List, files: &'f [String]) -> Result<&'f [String], DataError> {
    let lines = list.lines().count();
    if lines == files.len() {
        return Ok(files);
    }
    Err(DataError::at(
        Trouble::Class,
        list.path(),
        format_args!(
            "has {lines} labels without file names for {} pictures; complete the folder or use {TABLE} (file,label)",
            files.len()
        ),
    ))
}

/// Classes in sorted order; part of the synsets alone can't tell the labels of a network for all.
fn unnamed(synsets: impl Iterator<Item = String>, remarks: &mut Vec<String>) -> Vec<Class> {
    let synsets: BTreeSet<String> = synsets.collect();
    if synsets.len() != CLASSES {
        remarks.push(format!(
            "{} synsets instead of {CLASSES}: labels count these alone and are wrong for a network of {CLASSES} classes; \
             put {} beside the pictures if yours is one",
            synsets.len(),
            SYNSETS[0]
        ));
    }
    let class = |key: String| Class {
        name: key.clone(),
        key,
    };
    synsets.into_iter().map(class).collect()
}

fn places(classes: &[Class]) -> HashMap<&str, u32> {
    let numbered = classes.iter().enumerate();
    numbered
        .map(|(at, class)| (class.key.as_str(), at as u32))
        .collect()
}

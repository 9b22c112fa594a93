//! CUB-200-2011 in its official layout. The segmentations are a download of their own and lie beside or inside the folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::list::{List, stem};
use super::{
    Class, DataError, Dataset, Entry, Format, Masks, Options, Rect, Split, Trouble, no_split,
};

pub(super) fn open(root: &Path, options: &Options) -> Result<Dataset, DataError> {
    let root = find(root)?;
    let split = options.split.unwrap_or(Format::Cub.usual_split());
    if split == Split::Val {
        return Err(no_split(Format::Cub, split, "choose train, test or all"));
    }
    let classes = classes(options.classes.clone().unwrap_or(root.join("classes.txt")))?;
    let class_of = numbers(&root.join("image_class_labels.txt"))?;
    let training = match split {
        Split::All => HashMap::new(),
        _ => numbers(&root.join("train_test_split.txt"))?,
    };
    let mut remarks = Vec::new();
    let mut boxes = boxes(&root, &mut remarks)?;
    let masks = masks(&root, options)?;
    if masks.is_none() {
        remarks.push("there is no folder segmentations, so there are no masks".to_owned());
    }

    let list = List::read(options.list.clone().unwrap_or(root.join("images.txt")))?;
    let mut entries = Vec::new();
    for (line, text) in list.lines() {
        let (number, path) = list.numbered(line, text)?;
        let path = list.relative(line, path)?;
        let unlisted = |name: &str| {
            list.fault(
                line,
                format_args!(
                    "image {number} is not in {name}; copy the lists of one data set together again"
                ),
            )
        };
        if split != Split::All {
            let train = *training
                .get(&number)
                .ok_or_else(|| unlisted("train_test_split.txt"))?;
            if (train == 1) != (split == Split::Train) {
                continue;
            }
        }
        let class = *class_of
            .get(&number)
            .ok_or_else(|| unlisted("image_class_labels.txt"))?;
        let label = class.wrapping_sub(1);
        if label as usize >= classes.len() {
            return Err(list.trouble(
                Trouble::Class,
                line,
                format_args!("image {number} is of class {class}, which classes.txt doesn't name; add it there"),
            ));
        }
        let mut entry = Entry::new(&path, Some(label));
        entry.mask = masks
            .is_some()
            .then(|| format!("{}.png", stem(&path)).into());
        entry.boxes = boxes.remove(&number).into_iter().collect();
        entries.push(entry);
    }
    Ok(Dataset {
        counted: false,
        images: root.join("images"),
        masks: masks.unwrap_or_default(),
        coding: Masks::Grey {
            above: options.above,
        },
        classes,
        entries,
        remarks,
    })
}

/// The folder with the lists: `root` or the one that the archive makes in it.
fn find(root: &Path) -> Result<PathBuf, DataError> {
    let inner = root.join("CUB_200_2011");
    let places = [root.to_owned(), inner];
    let found = places.into_iter().find(|p| p.join("images.txt").is_file());
    let found = found.ok_or_else(|| {
        DataError::at(
            Trouble::Root,
            root,
            "is not CUB-200-2011: there is no images.txt; --data names the folder CUB_200_2011",
        )
    })?;
    if found.join("images").is_dir() {
        return Ok(found);
    }
    Err(DataError::at(
        Trouble::Missing,
        &found.join("images"),
        "is missing; unpack the whole archive of CUB-200-2011",
    ))
}

fn masks(root: &Path, options: &Options) -> Result<Option<PathBuf>, DataError> {
    if let Some(folder) = &options.masks {
        if !folder.is_dir() {
            return Err(DataError::at(
                Trouble::Missing,
                folder,
                "is not a folder; --masks names the folder of masks",
            ));
        }
        return Ok(Some(folder.clone()));
    }
    let places = [root.join("segmentations"), root.join("../segmentations")];
    Ok(places.into_iter().find(|folder| folder.is_dir()))
}

/// Lines `image number`.
fn numbers(path: &Path) -> Result<HashMap<u32, u32>, DataError> {
    let list = List::read(path)?;
    let pair = |(line, text)| {
        let (image, value) = list.numbered(line, text)?;
        Ok((image, list.number(line, value)?))
    };
    list.lines().map(pair).collect()
}

/// Lines `image left top width height`.
fn boxes(root: &Path, remarks: &mut Vec<String>) -> Result<HashMap<u32, Rect>, DataError> {
    let path = root.join("bounding_boxes.txt");
    if !path.is_file() {
        remarks.push("there is no bounding_boxes.txt, so there are no boxes".to_owned());
        return Ok(HashMap::new());
    }
    let list = List::read(path)?;
    let pair = |(line, text)| {
        let (image, sides) = list.numbered(line, text)?;
        let sides: Vec<f32> = sides
            .split_whitespace()
            .map(|side| list.number(line, side))
            .collect::<Result<_, _>>()?;
        let sides = sides.try_into().map_err(|_| {
            list.fault(
                line,
                "a box needs left, top, width and height; copy the list again",
            )
        })?;
        Ok((image, Rect::sized(sides)))
    };
    list.lines().map(pair).collect()
}

/// Lines `class name`, any of which may be missing.
fn classes(path: PathBuf) -> Result<Vec<Class>, DataError> {
    let list = List::read(path)?;
    let mut classes = Vec::new();
    for (line, text) in list.lines() {
        let (number, key) = list.numbered(line, text)?;
        let at = number as usize;
        if !(1..=100_000).contains(&at) {
            return Err(list.fault(line, "classes are counted from 1; mend the number"));
        }
        for missing in classes.len()..at {
            let key = (missing + 1).to_string();
            let name = format!("class {key}");
            classes.push(Class { key, name });
        }
        let name = key.split_once('.').map_or(key, |(_, name)| name);
        classes[at - 1] = Class {
            key: key.to_owned(),
            name: name.replace('_', " "),
        };
    }
    Ok(classes)
}

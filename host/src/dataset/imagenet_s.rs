//! ImageNet-S with 50, 300 or 919 classes. Masks count classes from 1 in the order of sorted synsets; labels are the same
//! less 1, unless a list of classes gives the outputs of a network, such as one for all of ImageNet, in their order.

use std::path::{Path, PathBuf};

use super::list::{self, List, is_synset, stem};
use super::{
    Class, DataError, Dataset, Entry, Format, Masks, Options, Split, Trouble, labels, no_split,
};

pub(super) fn open(root: &Path, options: &Options) -> Result<Dataset, DataError> {
    let coding = Masks::ImagenetS {
        own: options.own_class,
    };
    let known = options.classes.clone().map(list::classes).transpose()?;
    if let Some(path) = &options.list {
        return listed(root, path, known, coding);
    }
    let part = match options.split.unwrap_or(Format::ImagenetS.usual_split()) {
        Split::Val => "validation",
        Split::Train => "train-semi",
        other => {
            return Err(no_split(
                Format::ImagenetS,
                other,
                "only val and train (the photos with masks) have masks to read",
            ));
        }
    };
    let (images, masks) = (root.join(part), root.join(format!("{part}-segmentation")));
    if !images.is_dir() {
        return Err(DataError::at(
            Trouble::Root,
            root,
            format_args!(
                "is not ImageNet-S: there is no folder {part}; --data names the folder that holds it"
            ),
        ));
    }
    if !masks.is_dir() {
        return Err(DataError::at(
            Trouble::Missing,
            &masks,
            "is missing; unpack the data set's masks there",
        ));
    }
    let synsets: Vec<String> = list::folders(&images)?
        .into_iter()
        .filter(|name| is_synset(name))
        .collect();
    let mut remarks = Vec::new();
    if ![50, 300, 919].contains(&synsets.len()) {
        remarks.push(format!(
            "{} synsets instead of 50, 300 or 919: if folders are missing, the classes in masks can't be told",
            synsets.len()
        ));
    }
    let classes = known.unwrap_or_else(|| {
        let class = |key: &String| Class {
            key: key.clone(),
            name: key.clone(),
        };
        synsets.iter().map(class).collect()
    });
    let mut entries = Vec::new();
    for (marked, synset) in (1..).zip(&synsets) {
        let folder = images.join(synset);
        let label = classes.iter().position(|class| class.key == *synset);
        let label = label.ok_or_else(|| {
            DataError::at(
                Trouble::Class,
                &folder,
                "is not in the list of classes; add the synset there or remove the folder",
            )
        })?;
        for name in list::pictures(&folder)? {
            let mut entry = Entry::new(&format!("{synset}/{name}"), Some(label as u32));
            entry.mask = Some(format!("{}.png", stem(&entry.id)).into());
            entry.marked = Some(marked);
            entries.push(entry);
        }
    }
    Ok(Dataset {
        counted: options.classes.is_none(),
        images,
        masks,
        coding,
        classes,
        entries,
        remarks,
    })
}

/// Lines `image,label,mask` with labels from 1 and paths below the root.
fn listed(
    root: &Path,
    path: &Path,
    known: Option<Vec<Class>>,
    coding: Masks,
) -> Result<Dataset, DataError> {
    let list = List::read(path)?;
    let fixed = known.is_some();
    let mut classes = known.unwrap_or_default();
    let mut entries = Vec::new();
    for (line, text) in list.lines() {
        let cells: Vec<&str> = text.split(',').collect();
        let &[image, label, mask] = cells.as_slice() else {
            return Err(list.fault(line, "image,label,mask is expected; mend the line"));
        };
        let number: u32 = list.number(line, label)?;
        // The masks' 1000 is no class.
        if !(1..1000).contains(&number) || fixed && number as usize > classes.len() {
            return Err(labels::unknown(&list, line, label));
        }
        let image = list.relative(line, below(root, image))?;
        for at in classes.len()..number as usize {
            let key = (at + 1).to_string();
            let name = format!("class {key}");
            classes.push(Class { key, name });
        }
        let folder = image.rsplit('/').nth(1).filter(|folder| is_synset(folder));
        if let Some(synset) = folder.filter(|_| !fixed) {
            let key = synset.to_owned();
            let name = key.clone();
            classes[number as usize - 1] = Class { key, name };
        }
        let mut entry = Entry::new(&image, Some(number - 1));
        entry.mask = Some(list.relative(line, below(root, mask))?.into());
        entry.marked = Some(number as u16);
        entries.push(entry);
    }
    Ok(Dataset {
        counted: false,
        images: root.to_owned(),
        masks: PathBuf::from(root),
        coding,
        classes,
        entries,
        remarks: Vec::new(),
    })
}

/// A path below the root without the root, in case a list was written with whole paths.
fn below<'p>(root: &Path, path: &'p str) -> &'p str {
    let inside = Path::new(path.trim()).strip_prefix(root).ok();
    inside.and_then(Path::to_str).unwrap_or(path)
}

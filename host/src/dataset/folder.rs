//! Pictures of one's own: a folder per class, a table `labels.csv`, or no labels at all; and if there are masks, a folder
//! with a PNG of the same name for each picture that has one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::list::{self, stem};
use super::{Class, DataError, Dataset, Entry, Format, Masks, Options, Trouble, labels, no_split};

/// What the folder of pictures may be called if it isn't the root.
const IMAGES: [&str; 2] = ["images", "img"];
/// What the folder of masks may be called.
const MASKS: [&str; 3] = ["masks", "gt", "segmentations"];

pub(super) fn open(root: &Path, options: &Options) -> Result<Dataset, DataError> {
    if let Some(split) = options.split {
        return Err(no_split(
            Format::Folder,
            split,
            "name the split's own folder with --data",
        ));
    }
    let images = first_folder(root, &IMAGES).unwrap_or_else(|| root.to_owned());
    let masks = match &options.masks {
        Some(folder) if !folder.is_dir() => {
            return Err(DataError::at(
                Trouble::Missing,
                folder,
                "is not a folder; --masks names the folder of masks",
            ));
        }
        Some(folder) => Some(folder.clone()),
        None => first_folder(root, &MASKS),
    };
    let known = options.classes.clone().map(list::classes).transpose()?;
    let table = options.list.clone().or_else(|| {
        let places = [root.join("labels.csv"), images.join("labels.csv")];
        places.into_iter().find(|path| path.is_file())
    });
    let counted = table.is_none() && known.is_none();
    let (mut entries, classes) = match table {
        Some(table) => {
            let (list, rows) = labels::read(&table)?;
            labels::label(&list, &rows, known)?
        }
        None => walk(&images, masks.as_deref(), known)?,
    };
    let mut remarks = Vec::new();
    if let Some(masks) = &masks {
        match_masks(&mut entries, masks, &mut remarks)?;
    }
    Ok(Dataset {
        counted,
        images,
        masks: masks.unwrap_or_default(),
        coding: Masks::Grey {
            above: options.above,
        },
        classes,
        entries,
        remarks,
    })
}

fn first_folder(root: &Path, names: &[&str]) -> Option<PathBuf> {
    let mut places = names.iter().map(|name| root.join(name));
    places.find(|place| place.is_dir())
}

/// Folders of classes in sorted order, or pictures without a class.
fn walk(
    images: &Path,
    masks: Option<&Path>,
    known: Option<Vec<Class>>,
) -> Result<(Vec<Entry>, Vec<Class>), DataError> {
    let masks = masks.and_then(|folder| folder.canonicalize().ok());
    let mut folders = Vec::new();
    for name in list::folders(images)? {
        let folder = images.join(&name);
        if masks.is_some() && folder.canonicalize().ok() == masks {
            continue;
        }
        let pictures = list::pictures(&folder)?;
        if !pictures.is_empty() {
            folders.push((name, pictures));
        }
    }
    let loose = list::pictures(images)?;
    if !folders.is_empty() && !loose.is_empty() {
        return Err(DataError::at(
            Trouble::Class,
            images,
            format_args!(
                "holds folders of pictures and pictures beside them, such as {}; sort them into the folders, or write \
                 labels.csv (file,label)",
                loose[0]
            ),
        ));
    }
    if folders.is_empty() {
        let entries = loose.iter().map(|name| Entry::new(name, None)).collect();
        return Ok((entries, known.unwrap_or_default()));
    }
    let classes = known.unwrap_or_else(|| {
        let class = |(key, _): &(String, Vec<String>)| Class {
            key: key.clone(),
            name: key.replace('_', " "),
        };
        folders.iter().map(class).collect()
    });
    let mut entries = Vec::new();
    for (key, pictures) in &folders {
        let label = classes
            .iter()
            .position(|class| class.key == *key || class.name == *key);
        let label = label.ok_or_else(|| {
            DataError::at(
                Trouble::Class,
                &images.join(key),
                "is not in the list of classes; rename the folder or add the class",
            )
        })?;
        for name in pictures {
            entries.push(Entry::new(&format!("{key}/{name}"), Some(label as u32)));
        }
    }
    Ok((entries, classes))
}

/// Gives each picture the mask of the same name, in the same folder below the masks' or right in it.
fn match_masks(
    entries: &mut [Entry],
    masks: &Path,
    remarks: &mut Vec<String>,
) -> Result<(), DataError> {
    let mut found: HashMap<String, String> = HashMap::new();
    let mut take = |path: String| {
        let png = path.to_ascii_lowercase().ends_with(".png");
        let place = found.entry(stem(&path).to_owned());
        // PNG loses nothing, so it goes before other formats of the same name.
        place
            .and_modify(|old| {
                if png {
                    old.clone_from(&path);
                }
            })
            .or_insert(path);
    };
    list::pictures(masks)?.into_iter().for_each(&mut take);
    for folder in list::folders(masks)? {
        let inner = list::pictures(&masks.join(&folder))?;
        inner
            .iter()
            .for_each(|name| take(format!("{folder}/{name}")));
    }
    let mut without = 0;
    for entry in &mut *entries {
        let whole = stem(&entry.id);
        let name = whole.rsplit('/').next().unwrap_or_default();
        let mask = found.get(whole).or_else(|| found.get(name));
        without += usize::from(mask.is_none());
        entry.mask = mask.map(|path| path.as_str().into());
    }
    if without == entries.len() && without > 0 {
        return Err(DataError::at(
            Trouble::Missing,
            masks,
            format_args!(
                "holds no mask for any picture; {} needs {}.png there",
                entries[0].id,
                stem(&entries[0].id)
            ),
        ));
    }
    if without > 0 {
        remarks.push(format!(
            "{without} of {} pictures have no mask",
            entries.len()
        ));
    }
    Ok(())
}

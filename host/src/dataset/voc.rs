//! PASCAL VOC. The list for segmentation is taken where there is one, else the one for detection. A picture's label is the
//! class of its largest box, as it shows several; boxes come from the annotations in XML, without them there are none and
//! [`Mask::bounds`](super::Mask::bounds) has to do.

use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};

use super::list::List;
use super::{
    Class, DataError, Dataset, Entry, Format, Masks, Options, Rect, Split, Trouble, no_split,
};

/// The classes in the order of the masks' palette, in which they count from 1.
const CLASSES: [&str; 20] = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];

pub(super) fn open(root: &Path, options: &Options) -> Result<Dataset, DataError> {
    let root = find(root)?;
    let name = match options.split.unwrap_or(Format::Voc.usual_split()) {
        Split::Train => "train.txt",
        Split::Val => "val.txt",
        Split::Test => "test.txt",
        Split::All => "trainval.txt",
    };
    let sets = ["Segmentation", "Main"].map(|set| root.join("ImageSets").join(set));
    let list = options.list.clone().or_else(|| List::find(&sets, &[name]));
    let list = list.ok_or_else(|| match options.split {
        Some(split) => no_split(
            Format::Voc,
            split,
            &format!(
                "there is no ImageSets/Segmentation/{name} in {}",
                root.display()
            ),
        ),
        None => DataError::at(
            Trouble::Missing,
            &sets[0].join(name),
            "is missing, and so is the list in ImageSets/Main; unpack the whole archive",
        ),
    })?;
    let list = List::read(list)?;
    let masks = root.join("SegmentationClass");
    let annotations = root.join("Annotations");
    let mut remarks = Vec::new();
    if !annotations.is_dir() {
        remarks.push(
            "there is no folder Annotations, so there are neither labels nor boxes".to_owned(),
        );
    }
    let mut entries = Vec::new();
    for (line, text) in list.lines() {
        // Lists for one class have a second column: 1 where it is, -1 where not, 0 where it is hard to see.
        let (id, flag) = text
            .split_once(char::is_whitespace)
            .map_or((text, "1"), |(id, flag)| (id, flag.trim()));
        if flag != "1" {
            continue;
        }
        let id = list.relative(line, id)?;
        let mut entry = Entry::new(&format!("{id}.jpg"), None);
        let mask = format!("{id}.png");
        entry.mask = masks.join(&mask).is_file().then(|| mask.into());
        let annotation = annotations.join(format!("{id}.xml"));
        if annotation.is_file() {
            let objects = objects(&annotation)?;
            // The first of several that are as large.
            let largest = objects
                .iter()
                .rev()
                .max_by(|a, b| area(&a.1).total_cmp(&area(&b.1)));
            entry.label = largest.map(|(label, _)| *label);
            entry.marked = entry.label.map(|label| label as u16 + 1);
            entry.boxes = objects.iter().map(|(_, rect)| *rect).collect();
        }
        entries.push(entry);
    }
    let class = |name: &str| Class {
        key: name.to_owned(),
        name: name.to_owned(),
    };
    Ok(Dataset {
        counted: false,
        images: root.join("JPEGImages"),
        masks,
        coding: Masks::Voc {
            own: options.own_class,
        },
        classes: CLASSES.map(class).into(),
        entries,
        remarks,
    })
}

/// The folder with the pictures: `root` or one that the archives make in it.
fn find(root: &Path) -> Result<PathBuf, DataError> {
    let inner = [
        "",
        "VOC2012",
        "VOC2007",
        "VOCdevkit/VOC2012",
        "VOCdevkit/VOC2007",
    ];
    let mut places = inner.iter().map(|place| root.join(place));
    let found = places.find(|place| place.join("JPEGImages").is_dir());
    found.ok_or_else(|| {
        DataError::at(
            Trouble::Root,
            root,
            "is not PASCAL VOC: there is no folder JPEGImages; --data names the folder VOC2012",
        )
    })
}

fn area(rect: &Rect) -> f32 {
    (rect.right - rect.left) * (rect.bottom - rect.top)
}

/// Classes and boxes of the objects in an annotation.
fn objects(path: &Path) -> Result<Vec<(u32, Rect)>, DataError> {
    let fault = |what: String| {
        DataError::at(
            Trouble::Line,
            path,
            format_args!("{what}; unpack the annotations again"),
        )
    };
    let text = std::fs::read_to_string(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
    let document = Document::parse(&text).map_err(|e| fault(format!("is not sound XML: {e}")))?;
    let objects = document.root_element().children();
    objects
        .filter(|node| node.has_tag_name("object"))
        .map(|object| {
            let name = child(object, "name")
                .and_then(|n| n.text())
                .unwrap_or_default();
            let label = CLASSES.iter().position(|class| *class == name.trim());
            let label = label.ok_or_else(|| {
                DataError::at(
                    Trouble::Class,
                    path,
                    format_args!(
                        "names the class \"{name}\", which PASCAL VOC doesn't have; mend it"
                    ),
                )
            })?;
            let corners = child(object, "bndbox");
            let side = |name: &str| -> Result<f32, DataError> {
                let text = corners.and_then(|c| child(c, name)).and_then(|n| n.text());
                let number = text.and_then(|text| text.trim().parse().ok());
                number.ok_or_else(|| fault(format!("has an object without {name}")))
            };
            // Pixels are counted from 1 there, and the last one belongs to the object.
            let rect = Rect {
                left: side("xmin")? - 1.0,
                top: side("ymin")? - 1.0,
                right: side("xmax")?,
                bottom: side("ymax")?,
            };
            Ok((label as u32, rect))
        })
        .collect()
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(name))
}

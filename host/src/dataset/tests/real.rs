//! Real data, where there is some.

use std::io::Write;

use elucid_core::model::{ChannelOrder, Filter, Fit, Preprocess};

use super::*;

/// The folder of real data, or a line that says what isn't tested.
fn real(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("ELUCID_DATA").map(|data| Path::new(&data).join(name));
    let found = folder.filter(|folder| folder.is_dir());
    if found.is_none() {
        // Past the test harness, which keeps the words of tests that pass to itself.
        let note = format!("skipped: ELUCID_DATA names no folder that holds {name}\n");
        std::io::stderr().write_all(note.as_bytes()).unwrap();
    }
    found
}

const IMAGENET: Preprocess = Preprocess {
    fit: Fit::ShortSide,
    resize: 256,
    crop: [224, 224],
    filter: Filter::Bilinear,
    order: ChannelOrder::Rgb,
    scale: 1.0 / 255.0,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
};

/// Every `step`-th sample: its picture and mask open and fit; the mask's box overlaps the given one by this on average.
fn overlap(data: &Dataset, step: usize) -> f64 {
    let mut shares = Vec::new();
    for at in (0..data.len()).step_by(step) {
        let sample = data.sample(at);
        let size = sample.photo().unwrap().rgb.dimensions();
        let Some(mask) = sample.mask().unwrap() else {
            continue;
        };
        assert_eq!((mask.width, mask.height), size, "{}", sample.id);
        let fitted = sample.input_mask(size, &IMAGENET).unwrap().unwrap();
        assert_eq!(fitted.object.len(), 224 * 224);
        let given = sample.input_boxes(size, &IMAGENET);
        if let (Some(found), Some(given)) = (fitted.bounds(), given.first()) {
            let side =
                |a: (f32, f32), b: (f32, f32)| f64::from((a.1.min(b.1) - a.0.max(b.0)).max(0.0));
            let area = |r: &Rect| f64::from((r.right - r.left) * (r.bottom - r.top));
            let both = side((found.left, found.right), (given.left, given.right))
                * side((found.top, found.bottom), (given.top, given.bottom));
            shares.push(both / (area(&found) + area(given) - both));
        }
    }
    shares.iter().sum::<f64>() / shares.len() as f64
}

#[test]
fn real_birds_have_masks_in_their_boxes() {
    let Some(root) = real("cub50") else { return };
    let mut options = Options::default();
    let data = Dataset::open(Format::Cub, &root, &options).unwrap();
    assert_eq!((data.len(), data.classes().len()), (357, 50));
    assert!(data.remarks().is_empty(), "{:?}", data.remarks());
    let share = overlap(&data, 10);
    assert!(share > 0.75, "masks and boxes overlap by {share}");
    options.split = Some(Split::Train);
    assert_eq!(
        Dataset::open(Format::Cub, &root, &options).unwrap().len(),
        1500
    );
    let selection = Selection {
        order: Order::Paper { seed: 42 },
        ..Selection::default()
    };
    assert_eq!(data.select(&selection).unwrap().len(), 357);
}

#[test]
fn real_photos_of_other_layouts_open() {
    if let Some(root) = real("imagenet300") {
        let data = Dataset::open(Format::Imagenet, &root, &Options::default()).unwrap();
        assert_eq!(data.len(), 300);
        let first = data.sample(0);
        assert_eq!(
            (first.id.as_str(), first.label),
            ("n01440764_tench.jpg", Some(0))
        );
        assert_eq!(data.classes()[3].key, "n01491361");
        assert_eq!(data.class_names()[3], "tiger shark");
        first.photo().unwrap();
    }
    if let Some(root) = real("coco_mval") {
        let data = Dataset::open(Format::Folder, &root, &Options::default()).unwrap();
        assert_eq!(data.len(), 248);
        assert!(data.remarks().is_empty() && data.sample(0).label.is_none());
        overlap(&data, 20);
    }
    if let Some(root) = real("flowers128") {
        let data = Dataset::open(Format::Folder, &root, &Options::default()).unwrap();
        assert_eq!(data.len(), 4317);
        assert_eq!(
            data.class_names(),
            ["daisy", "dandelion", "rose", "sunflower", "tulip"]
        );
    }
}

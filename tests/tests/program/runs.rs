//! Runs of `elucid eval` on a small data set.

use serde_json::Value;

use super::Place;

/// Pictures of the data set.
pub const PICTURES: usize = 9;
/// A run with most that can be random.
pub const RUN: &str = "eval insdel --model m.elucid --data photos --step 100 --method lrp --method gradcam \
                   --method lrp:paper:q4 --method smoothgrad:3 --method edge";

/// A folder with classes, masks and a list of labels.
pub fn place() -> Place {
    let place = Place::new();
    for folder in ["photos", "photos/images", "photos/masks"] {
        place.folder(folder);
    }
    let mut labels = String::from("file,label\n");
    for i in 0..PICTURES {
        let name = format!("picture{i}");
        place.photo(&format!("photos/images/{name}.png"), 40 + i as u32, 36);
        let mask = image::GrayImage::from_fn(40 + i as u32, 36, |x, y| {
            let inside = (10..30).contains(&x) && (8 + i as u32..28).contains(&y);
            image::Luma([if inside { 255 } else { 0 }])
        });
        mask.save(place.path(&format!("photos/masks/{name}.png")))
            .unwrap();
        labels.push_str(&format!(
            "{name}.png,{}
",
            i % 5
        ));
    }
    place.write("photos/labels.csv", labels);
    place
}

/// What two runs must have in common.
pub fn results(place: &Place, run: &str) -> [Vec<u8>; 3] {
    ["images.jsonl", "summary.json", "curves.csv"].map(|file| place.read(&format!("{run}/{file}")))
}

pub fn records(place: &Place, run: &str) -> Vec<Value> {
    let text = String::from_utf8(place.read(&format!("{run}/images.jsonl"))).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn summary(place: &Place, run: &str) -> Value {
    serde_json::from_slice(&place.read(&format!("{run}/summary.json"))).unwrap()
}

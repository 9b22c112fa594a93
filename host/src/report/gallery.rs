//! Pictures: what the network saw, every method's map over it, and the outline of the object. A cross-section of the run, and
//! where the first method does best and worst.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::PathBuf;

use anyhow::{Context, Result};
use base64::Engine;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, ExtendedColorType, GrayImage, ImageEncoder, ImageReader, Rgb, RgbImage};
use serde::Serialize;

use super::number::{count, counted, figure, percent};
use super::outline;
use super::palette::{Look, Palette};
use super::source::Run;
use super::table::TIES;
use crate::picture::ColorMap;
use crate::run::measure::{Better, Measure};
use crate::run::preview::file_name;
use crate::run::record::Record;

/// Best and worst pictures.
const EXTREMES: usize = 4;
/// Longer sides of the embedded pictures in pixels: the first that keeps the page small is taken.
const SIDES: [u32; 4] = [224, 160, 112, 80];
/// Bytes of all embedded pictures.
const ROOM: usize = 7_000_000;
/// Up to this side pictures are embedded without loss.
const TINY: u32 = 64;

/// All pictures of the page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Gallery {
    /// One for every network and set of pictures.
    pub sets: Vec<Set>,
    /// Different pictures that are shown.
    pub pictures: usize,
    /// What couldn't be shown.
    pub remarks: Vec<String>,
}

/// Pictures of one network and data set.
#[derive(Clone, Debug, Serialize)]
pub struct Set {
    /// Network and data set.
    pub subject: String,
    /// How they were chosen.
    pub groups: Vec<Group>,
    /// Whether a picture has an outline.
    pub outlined: bool,
}

/// Pictures that were chosen in the same way.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// What they are.
    pub title: String,
    /// How they were chosen.
    pub caption: String,
    /// The pictures.
    pub rows: Vec<Row>,
}

/// A picture with its maps.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its path in the data set.
    pub id: String,
    /// What the network said of it.
    pub said: String,
    /// Whether it was wrong.
    pub wrong: bool,
    /// Photo first, then the maps.
    pub tiles: Vec<Tile>,
    /// Identifies the outline on the page.
    pub outline_id: String,
    /// Path of the outline; empty without a mask.
    pub outline: String,
    /// Width and height of what the outline is drawn on.
    pub size: (u32, u32),
}

/// A photo or a map.
#[derive(Clone, Debug, Serialize)]
pub struct Tile {
    /// The method; none for the photo.
    pub look: Option<Look>,
    /// The picture as a `data:` address; empty if there is none.
    pub source: String,
    /// What it shows, in words.
    pub alt: String,
    /// What the map is worth.
    pub score: String,
    /// Share of ties in it.
    pub ties: String,
    /// Whether pixels are to be shown as squares.
    pub tiny: bool,
}

/// Chooses pictures and makes them small enough for the page.
///
/// # Errors
/// A file of a run that can't be read. A missing or broken preview is only remarked.
pub fn make(runs: &[Run], palette: &Palette, rows: usize) -> Result<Gallery> {
    let mut sets: Vec<Vec<&Run>> = Vec::new();
    for run in ordered(runs) {
        match sets.iter_mut().find(|set| set[0].shares_maps_with(run)) {
            Some(set) => set.push(run),
            None => sets.push(vec![run]),
        }
    }
    let mut gallery = Gallery::default();
    for side in SIDES {
        gallery = Gallery::default();
        for (i, runs) in sets.iter().enumerate() {
            let mut maker = Maker {
                runs,
                palette,
                side,
                remarks: Vec::new(),
                shown: BTreeSet::new(),
                name: i,
            };
            if let Some(set) = maker.set(rows)? {
                gallery.sets.push(set);
            }
            gallery.pictures += maker.shown.len();
            gallery.remarks.append(&mut maker.remarks);
        }
        let groups = gallery.sets.iter().flat_map(|set| &set.groups);
        let tiles = groups
            .flat_map(|group| &group.rows)
            .flat_map(|row| &row.tiles);
        if tiles.map(|tile| tile.source.len()).sum::<usize>() <= ROOM {
            break;
        }
    }
    Ok(gallery)
}

/// Runs with previews, those first whose score tells most of a map.
fn ordered(runs: &[Run]) -> Vec<&Run> {
    let mut some: Vec<&Run> = runs
        .iter()
        .filter(|run| !run.previews.is_empty() && run.measure() != Measure::Accuracy)
        .collect();
    some.sort_by_key(|run| super::section::place(run.measure()));
    some
}

struct Maker<'a> {
    /// Runs of the same maps; the first gives the scores.
    runs: &'a [&'a Run],
    palette: &'a Palette,
    side: u32,
    remarks: Vec<String>,
    shown: BTreeSet<usize>,
    name: usize,
}

impl Maker<'_> {
    fn set(&mut self, rows: usize) -> Result<Option<Set>> {
        let run = self.runs[0];
        let mut groups: Vec<(String, String, Vec<usize>)> = Vec::new();
        let all: Vec<usize> = run.previews.iter().copied().collect();
        let of = match all.len() >= run.summary.images {
            true => counted(all.len(), "picture"),
            false => format!("{} that have previews", counted(all.len(), "picture")),
        };
        let some: Vec<usize> = match rows {
            0 => Vec::new(),
            rows if rows >= all.len() => all.clone(),
            rows => (0..rows)
                .map(|i| all[(2 * i + 1) * all.len() / (2 * rows)])
                .collect(),
        };
        if !some.is_empty() {
            let caption = match some.len() == all.len() {
                true => format!("All {of}, in the run's order."),
                false => format!(
                    "{} at even distances in the run's order, of the {of}: not chosen by hand.",
                    count(some.len())
                ),
            };
            groups.push(("A cross-section".to_owned(), caption, some));
        }
        groups.extend(self.extremes(&of));
        let wanted: BTreeSet<usize> = groups.iter().flat_map(|group| &group.2).copied().collect();
        let records = run.records(&wanted)?;
        let mut cache: BTreeMap<usize, Option<Row>> = BTreeMap::new();
        let mut finished = Vec::new();
        for (title, caption, positions) in groups {
            let mut rows = Vec::new();
            for position in positions {
                let row = match cache.entry(position) {
                    Entry::Occupied(known) => known.get().clone(),
                    Entry::Vacant(free) => {
                        let record = records.get(&position);
                        let row = record.map(|record| self.row(record)).transpose()?;
                        free.insert(row.flatten()).clone()
                    }
                };
                rows.extend(row);
            }
            if !rows.is_empty() {
                finished.push(Group {
                    title,
                    caption,
                    rows,
                });
            }
        }
        Ok((!finished.is_empty()).then(|| Set {
            subject: super::section::subject(run),
            outlined: finished
                .iter()
                .any(|group| group.rows.iter().any(|row| !row.outline.is_empty())),
            groups: finished,
        }))
    }

    /// Where the first method does best and worst.
    fn extremes(&self, of: &str) -> Vec<(String, String, Vec<usize>)> {
        let run = self.runs[0];
        let score = run.headline();
        let Some(subject) = run.subject() else {
            return Vec::new();
        };
        let mut ranking = run.ranking.clone();
        let lower = score.better == Better::Lower;
        ranking.sort_by(|a, b| {
            let order = if lower {
                a.1.total_cmp(&b.1)
            } else {
                b.1.total_cmp(&a.1)
            };
            order.then(a.0.cmp(&b.0))
        });
        let many = EXTREMES.min(ranking.len() / 2);
        if many == 0 {
            return Vec::new();
        }
        let positions = |some: &[(usize, f64)]| some.iter().map(|r| r.0).collect();
        let (name, title) = (&subject.name, score.title);
        let best: Vec<usize> = positions(&ranking[..many]);
        let mut worst: Vec<usize> = positions(&ranking[ranking.len() - many..]);
        worst.reverse();
        let words = if lower {
            ["lowest", "highest"]
        } else {
            ["highest", "lowest"]
        };
        vec![
            (
                format!("Where {name} does best"),
                format!(
                    "The {many} with the {} {title} of {name}, of the {of}.",
                    words[0]
                ),
                best,
            ),
            (
                format!("Where {name} does worst"),
                format!(
                    "The {many} with the {} {title} of {name}, of the {of}.",
                    words[1]
                ),
                worst,
            ),
        ]
    }

    /// The first of the runs' files with this name.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let paths = self
            .runs
            .iter()
            .map(|run| run.folder.join("previews").join(name));
        paths.into_iter().find(|path| path.is_file())
    }

    /// Decodes a file; one that is broken is remarked.
    fn open(&mut self, name: &str) -> Option<DynamicImage> {
        let path = self.find(name)?;
        let opened = ImageReader::open(&path).map_err(anyhow::Error::from);
        let opened = opened.and_then(|reader| Ok(reader.with_guessed_format()?.decode()?));
        if let Err(error) = &opened {
            self.remarks.push(format!(
                "{}: left out, it can't be decoded ({error})",
                path.display()
            ));
        }
        opened.ok()
    }

    /// A picture with its maps; `None` if it can't be shown.
    fn row(&mut self, record: &Record) -> Result<Option<Row>> {
        let name = format!("{:06}", record.position);
        let Some(photo) = self.open(&format!("{name}.jpg")) else {
            return Ok(None);
        };
        let mask = self
            .open(&format!("{name}.mask.png"))
            .map(|mask| mask.to_luma8());
        let photo = self.fit(&photo.to_rgb8());
        let size = mask
            .as_ref()
            .map_or(photo.dimensions(), GrayImage::dimensions);
        let id = &record.id;
        let mut tiles = vec![Tile {
            look: None,
            source: encoded(&photo)?,
            alt: format!("What the network saw of {id}"),
            score: record
                .probability
                .map_or_else(String::new, |p| format!("p {}", figure(p))),
            ties: String::new(),
            tiny: tiny(&photo),
        }];
        let mut methods: Vec<&str> = Vec::new();
        for method in self.runs.iter().flat_map(|run| &run.summary.methods) {
            if !methods.contains(&method.name.as_str()) {
                methods.push(&method.name);
            }
        }
        let runs = self.runs;
        let headline = runs[0].headline();
        for method in methods {
            // A method may only be part of another run of the same maps: then its map has no score here.
            let scores = record.methods.get(method).map(|outcome| &outcome.scores);
            let value = scores.and_then(|scores| scores.get(headline.name));
            let ties = scores.and_then(|scores| scores.get(TIES));
            let map = self.open(&format!("{name}.{}.png", file_name(method)));
            let score = value.map_or_else(String::new, |v| {
                format!("{} {}", headline.title, figure(*v))
            });
            let told = if score.is_empty() {
                String::new()
            } else {
                format!(", {score}")
            };
            tiles.push(Tile {
                source: match map {
                    Some(map) => encoded(&blended(&photo, &map.to_luma8()))?,
                    None => String::new(),
                },
                look: Some(self.palette.look(method)),
                alt: format!("Map of {method} for {id}{told}"),
                score,
                ties: ties.map_or_else(String::new, |t| format!("ties {}", percent(*t))),
                tiny: tiny(&photo),
            });
        }
        self.shown.insert(record.position);
        Ok(Some(Row {
            id: id.clone(),
            said: said(record),
            wrong: record.label.is_some() && record.label != record.predicted,
            tiles,
            outline_id: format!("o{}-{}", self.name, record.position),
            outline: mask.map_or_else(String::new, |mask| outline::path(&mask)),
            size,
        }))
    }

    /// The photo at the size of the page.
    fn fit(&self, photo: &RgbImage) -> RgbImage {
        let (w, h) = photo.dimensions();
        let longer = w.max(h);
        if longer <= self.side {
            return photo.clone();
        }
        let scaled = |side: u32| {
            (u64::from(side) * u64::from(self.side))
                .div_ceil(u64::from(longer))
                .max(1) as u32
        };
        resize(photo, scaled(w), scaled(h), FilterType::CatmullRom)
    }
}

/// What the network said of a picture.
fn said(record: &Record) -> String {
    let mut text = String::new();
    if let Some(label) = record.label {
        text += &format!("class {label}");
    }
    if let Some(predicted) = record.predicted {
        text += match record.label {
            Some(label) if label == predicted => ", predicted right",
            Some(_) => ", predicted ",
            None => "predicted class ",
        };
        if record.label != Some(predicted) {
            text += &predicted.to_string();
        }
    }
    if let Some(target) = record.target
        && record.predicted != Some(target)
        && record.label != Some(target)
    {
        text += &format!(", explained {target}");
    }
    text
}

/// The map over the photo: the photo grey and dim, so that only the map has colour, and the more relevance the more of it.
fn blended(photo: &RgbImage, map: &GrayImage) -> RgbImage {
    let (w, h) = photo.dimensions();
    let map = match map.dimensions() == (w, h) {
        true => map.clone(),
        false => resize(map, w, h, FilterType::Triangle),
    };
    RgbImage::from_fn(w, h, |x, y| {
        let Rgb([r, g, b]) = *photo.get_pixel(x, y);
        let grey = 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b);
        let relevance = f32::from(map.get_pixel(x, y).0[0]) / 255.0;
        let opaque = 0.35 + 0.6 * relevance.sqrt();
        let Rgb(colour) = ColorMap::Inferno.color(relevance);
        Rgb(colour.map(|c| (grey * (1.0 - opaque) + f32::from(c) * opaque).round() as u8))
    })
}

fn tiny(picture: &RgbImage) -> bool {
    picture.width().max(picture.height()) <= TINY
}

/// The picture as an address that holds it.
pub(super) fn encoded(picture: &RgbImage) -> Result<String> {
    let mut bytes = Vec::new();
    let (w, h) = picture.dimensions();
    let kind = if tiny(picture) {
        let encoder = image::codecs::png::PngEncoder::new(Cursor::new(&mut bytes));
        encoder
            .write_image(picture, w, h, ExtendedColorType::Rgb8)
            .context("cannot encode a picture")?;
        "png"
    } else {
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 84);
        encoder
            .encode(picture, w, h, ExtendedColorType::Rgb8)
            .context("cannot encode a picture")?;
        "jpeg"
    };
    let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
    Ok(format!("data:image/{kind};base64,{text}"))
}

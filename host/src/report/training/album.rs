//! Maps over time: the same held-out pictures after several epochs, or of the variants of a comparison, side by side.
//!
//! A run keeps figures of a photo, its map and both laid over each other. As narrow as a page needs them these couldn't be
//! read, so the photo is cut out once for every picture, and the overlay for every epoch.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use image::imageops::{FilterType, crop_imm, resize};
use image::{ImageReader, RgbImage};
use serde::Serialize;

use super::source::{Comparison, Run};
use crate::picture::panels;
use crate::report::gallery::encoded;

/// Epochs that are shown of a run.
const EPOCHS: usize = 6;
/// Bytes of all embedded pictures.
const ROOM: usize = 2_600_000;
/// Width of the pictures, and how many of each run: the first with which the page stays small is taken.
const SIZES: [(u32, usize); 7] = [
    (200, usize::MAX),
    (160, usize::MAX),
    (120, usize::MAX),
    (96, usize::MAX),
    (96, 3),
    (96, 2),
    (80, 1),
];

/// All maps of a page.
#[derive(Clone, Debug, Default)]
pub struct Albums {
    /// One for each comparison, then one for each run; empty where there are no maps.
    pub all: Vec<Vec<Row>>,
    /// Pictures that are shown.
    pub pictures: usize,
    /// What couldn't be shown.
    pub remarks: Vec<String>,
}

/// A picture with its maps.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is.
    pub id: String,
    /// Photo first, then the maps.
    pub tiles: Vec<Tile>,
}

/// A photo or a map.
#[derive(Clone, Debug, Serialize)]
pub struct Tile {
    /// The picture as a `data:` address; empty if there is none.
    pub source: String,
    /// What it shows, in words.
    pub alt: String,
    /// What is written below.
    pub title: String,
    /// Whether it is of the best epoch.
    pub best: bool,
}

/// A column: a run after an epoch.
struct Column<'a> {
    title: String,
    run: &'a Run,
    epoch: u32,
    best: bool,
}

/// A row whose pictures aren't encoded yet.
struct Raw {
    id: String,
    tiles: Vec<(Option<RgbImage>, Tile)>,
}

/// Chooses maps and makes them small enough for the page; at most `rows` pictures of each run.
///
/// # Errors
/// If a picture can't be encoded. A missing or broken file is only remarked.
pub fn make(comparisons: &[Comparison], runs: &[Run], rows: usize) -> Result<Albums> {
    let mut albums = Albums::default();
    let mut raw: Vec<Vec<Raw>> = Vec::new();
    let columns = (comparisons.iter().map(variants)).chain(runs.iter().map(epochs));
    for columns in columns {
        raw.push(album(&columns, rows, &mut albums.remarks));
    }
    for (side, most) in SIZES {
        albums.all = (raw.iter())
            .map(|rows| {
                rows.iter()
                    .take(most)
                    .map(|row| finish(row, side))
                    .collect()
            })
            .collect::<Result<_>>()?;
        let rows = albums.all.iter().flatten();
        let tiles = rows.flat_map(|row| &row.tiles);
        if tiles.map(|tile| tile.source.len()).sum::<usize>() <= ROOM {
            break;
        }
    }
    albums.pictures = albums.all.iter().map(Vec::len).sum();
    Ok(albums)
}

/// Epochs of a run that are shown: the last, the best, and others at even distances.
fn chosen(epochs: &[u32], best: Option<u32>) -> Vec<u32> {
    if epochs.len() <= EPOCHS {
        return epochs.to_vec();
    }
    let last = epochs.len() - 1;
    let mut places: Vec<usize> = (0..EPOCHS)
        .map(|i| (2 * i * last + EPOCHS - 1) / (2 * (EPOCHS - 1)))
        .collect();
    let best = best.and_then(|best| epochs.iter().position(|e| *e == best));
    if let Some(best) = best
        && !places.contains(&best)
    {
        // It takes the place of the nearest, but not of the last.
        let nearest = (0..EPOCHS - 1).min_by_key(|i| places[*i].abs_diff(best));
        places[nearest.unwrap_or(0)] = best;
    }
    places.into_iter().map(|place| epochs[place]).collect()
}

/// The columns of a run.
fn epochs(run: &Run) -> Vec<Column<'_>> {
    let known: BTreeSet<u32> = run.maps.iter().map(|(epoch, _)| *epoch).collect();
    let known: Vec<u32> = known.into_iter().collect();
    let best = run.progress.best_epoch;
    let column = |epoch| Column {
        title: format!("epoch {epoch}"),
        run,
        epoch,
        best: best == Some(epoch),
    };
    chosen(&known, best).into_iter().map(column).collect()
}

/// The columns of a comparison: every variant's best epoch by its first seed, by which they hold out the same pictures.
fn variants(comparison: &Comparison) -> Vec<Column<'_>> {
    let variants = comparison.table.variants.iter().zip(&comparison.runs);
    let columns = variants.filter_map(|(variant, runs)| {
        let run = runs.first()?.as_ref()?;
        Some(Column {
            title: variant.name.clone(),
            run,
            epoch: run.progress.best_epoch?,
            best: false,
        })
    });
    columns.collect()
}

/// The pictures that the columns have.
fn album(columns: &[Column<'_>], rows: usize, remarks: &mut Vec<String>) -> Vec<Raw> {
    let of = |c: &Column<'_>| -> Vec<usize> {
        let own = c.run.maps.iter().filter(|(epoch, _)| *epoch == c.epoch);
        own.map(|(_, number)| *number).collect()
    };
    let numbers: BTreeSet<usize> = columns.iter().flat_map(of).collect();
    let mut album = Vec::new();
    for number in numbers.into_iter().take(rows) {
        let mut tiles = Vec::new();
        let mut photo = None;
        let id = columns[0].run.picture(number);
        for column in columns {
            let cut = match column.run.maps.contains(&(column.epoch, number)) {
                true => cut(&column.run.map(column.epoch, number), remarks),
                false => None,
            };
            let (own, map) = cut.map_or((None, None), |(own, map)| (own, Some(map)));
            photo = photo.or(own);
            let tile = Tile {
                source: String::new(),
                alt: format!("Map for {id}, {}", column.title),
                title: column.title.clone(),
                best: column.best,
            };
            tiles.push((map, tile));
        }
        if tiles.iter().all(|(map, _)| map.is_none()) {
            continue;
        }
        if photo.is_some() {
            let tile = Tile {
                source: String::new(),
                alt: format!("What the network saw of {id}"),
                title: "photo".to_owned(),
                best: false,
            };
            tiles.insert(0, (photo, tile));
        }
        album.push(Raw { id, tiles });
    }
    album
}

/// The photo and the overlay of a figure on disk; of another picture, the whole.
fn cut(path: &Path, remarks: &mut Vec<String>) -> Option<(Option<RgbImage>, RgbImage)> {
    let opened = ImageReader::open(path).map_err(anyhow::Error::from);
    let decoded = opened.and_then(|reader| Ok(reader.with_guessed_format()?.decode()?));
    let figure = match decoded {
        Ok(figure) => figure.to_rgb8(),
        Err(error) => {
            remarks.push(format!(
                "{}: left out, it can't be decoded ({error})",
                path.display()
            ));
            return None;
        }
    };
    let side = SIZES[0].0;
    Some(match panels(figure.width(), figure.height()) {
        Some([photo, _, overlay]) => {
            let part =
                |[x, y, w, h]: [u32; 4]| fit(&crop_imm(&figure, x, y, w, h).to_image(), side);
            (Some(part(photo)), part(overlay))
        }
        None => (None, fit(&figure, side)),
    })
}

/// A picture of at most this width.
fn fit(picture: &RgbImage, width: u32) -> RgbImage {
    let (w, h) = picture.dimensions();
    if w <= width {
        return picture.clone();
    }
    let height = (u64::from(h) * u64::from(width)).div_ceil(u64::from(w));
    resize(picture, width, height as u32, FilterType::CatmullRom)
}

fn finish(row: &Raw, side: u32) -> Result<Row> {
    let tile = |(picture, tile): &(Option<RgbImage>, Tile)| -> Result<Tile> {
        let picture = picture.as_ref().map(|picture| encoded(&fit(picture, side)));
        Ok(Tile {
            source: picture.transpose()?.unwrap_or_default(),
            ..tile.clone()
        })
    };
    Ok(Row {
        id: row.id.clone(),
        tiles: row.tiles.iter().map(tile).collect::<Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_and_the_best_are_always_chosen() {
        assert_eq!(chosen(&[1, 3, 5], Some(1)), [1, 3, 5]);
        let many: Vec<u32> = (0..40).map(|i| 2 * i + 1).collect();
        assert_eq!(chosen(&many, None), [1, 17, 33, 47, 63, 79]);
        for best in &many {
            let chosen = chosen(&many, Some(*best));
            assert!(chosen.contains(best) && chosen.contains(&79), "{chosen:?}");
            assert!(chosen.len() == EPOCHS && chosen.is_sorted());
        }
        let seven: Vec<u32> = (1..=7).collect();
        assert_eq!(chosen(&seven, Some(6)).len(), EPOCHS);
    }
}

//! The outline of a mask as a path of SVG: followed along the edges of its pixels, then freed of the corners that nobody
//! needs, so that it is crisp at any size and short.

use image::GrayImage;

use super::number::place;

/// Grey of a mask from which on a pixel is the object's.
const OBJECT: u8 = 192;
/// How far, in pixels, the path may be from the pixels' edges.
const TOLERANCE: f64 = 0.8;

type Point = (i32, i32);

/// The path; empty if there is no object.
#[must_use]
pub fn path(mask: &GrayImage) -> String {
    let mut text = String::new();
    for around in loops(mask) {
        let points = simplified(&around);
        if points.len() < 3 {
            continue;
        }
        for (i, &(x, y)) in points.iter().enumerate() {
            text.push(match i {
                0 => 'M',
                1 => 'L',
                _ => ' ',
            });
            place(&mut text, x.into());
            text.push(' ');
            place(&mut text, y.into());
        }
        text.push('Z');
    }
    text
}

/// Every boundary as a closed walk over the corners of pixels, the object at its right hand.
fn loops(mask: &GrayImage) -> Vec<Vec<Point>> {
    let (w, h) = (mask.width() as i32, mask.height() as i32);
    let inside = |x: i32, y: i32| {
        (0..w).contains(&x)
            && (0..h).contains(&y)
            && mask.get_pixel(x as u32, y as u32).0[0] >= OBJECT
    };
    // A walk east has the object below and none above, and so on for the other directions.
    let open = |(x, y): Point, direction: Point| match direction {
        (1, 0) => inside(x, y) && !inside(x, y - 1),
        (0, 1) => inside(x - 1, y) && !inside(x, y),
        (-1, 0) => inside(x - 1, y - 1) && !inside(x - 1, y),
        _ => inside(x, y - 1) && !inside(x - 1, y - 1),
    };
    let mut walked = vec![false; (w as usize + 1) * (h as usize + 1)];
    let mut found = Vec::new();
    for y in 0..h {
        for x in 0..w {
            // Every boundary has an edge that goes east: mark those.
            let cell = |p: Point| p.1 as usize * (w as usize + 1) + p.0 as usize;
            if !open((x, y), (1, 0)) || walked[cell((x, y))] {
                continue;
            }
            let (mut at, mut direction) = ((x, y), (1, 0));
            let mut around = Vec::new();
            loop {
                if direction == (1, 0) {
                    if walked[cell(at)] {
                        break;
                    }
                    walked[cell(at)] = true;
                }
                around.push(at);
                at = (at.0 + direction.0, at.1 + direction.1);
                // Right first, so that pixels that touch at a corner are outlined apart.
                let (dx, dy) = direction;
                let turns = [(-dy, dx), (dx, dy), (dy, -dx)];
                match turns.into_iter().find(|&turn| open(at, turn)) {
                    Some(turn) => direction = turn,
                    None => break,
                }
            }
            found.push(around);
        }
    }
    found
}

/// The walk without points that lie within the tolerance of the line between those that stay (Douglas and Peucker 1973).
fn simplified(around: &[Point]) -> Vec<Point> {
    // A closed walk has no ends: cut it at its first point and at the one farthest from it.
    let far = |p: &Point| (p.0 - around[0].0).pow(2) + (p.1 - around[0].1).pow(2);
    let Some(middle) = (0..around.len()).max_by_key(|&i| far(&around[i])) else {
        return Vec::new();
    };
    let mut closed = around.to_vec();
    closed.push(around[0]);
    let mut keep = vec![false; closed.len()];
    keep[0] = true;
    keep[middle] = true;
    let mut parts = vec![(0, middle), (middle, around.len())];
    while let Some((from, to)) = parts.pop() {
        let worst = (from + 1..to)
            .map(|i| (distance(closed[i], closed[from], closed[to]), i))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((off, i)) = worst
            && off > TOLERANCE
        {
            keep[i] = true;
            parts.push((from, i));
            parts.push((i, to));
        }
    }
    let points = around.iter().zip(&keep);
    points.filter(|&(_, &keep)| keep).map(|(&p, _)| p).collect()
}

/// From a point to the line through two others, or to one of them if they are the same.
fn distance(p: Point, a: Point, b: Point) -> f64 {
    let (dx, dy) = (f64::from(b.0 - a.0), f64::from(b.1 - a.1));
    let (px, py) = (f64::from(p.0 - a.0), f64::from(p.1 - a.1));
    match dx.hypot(dy) {
        0.0 => px.hypot(py),
        length => (px * dy - py * dx).abs() / length,
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma};

    use super::*;

    #[test]
    fn a_rectangle_has_four_corners_and_a_hole_is_a_loop_of_its_own() {
        let mut mask = GrayImage::new(12, 10);
        for y in 2..8 {
            for x in 3..11 {
                mask.put_pixel(x, y, Luma([255]));
            }
        }
        assert_eq!(path(&mask), "M3 2L11 2 11 8 3 8Z");
        for (x, y) in [(5, 4), (6, 4), (7, 4), (5, 5), (6, 5), (7, 5)] {
            mask.put_pixel(x, y, Luma([128]));
        }
        assert_eq!(path(&mask).matches('Z').count(), 2);
    }

    #[test]
    fn pixels_at_the_edge_and_corner_to_corner_end() {
        let mask = GrayImage::from_fn(6, 6, |x, y| Luma([if (x + y) % 2 == 0 { 255 } else { 0 }]));
        assert_eq!(loops(&mask).len(), 18);
        let full = GrayImage::from_pixel(4, 4, Luma([255]));
        assert_eq!(path(&full), "M0 0L4 0 4 4 0 4Z");
        assert_eq!(path(&GrayImage::new(4, 4)), "");
    }

    #[test]
    fn a_disk_is_short() {
        let mask = GrayImage::from_fn(224, 224, |x, y| {
            let (x, y) = (f64::from(x) - 112.0, f64::from(y) - 112.0);
            Luma([if x.hypot(y) < 80.0 { 255 } else { 0 }])
        });
        let path = path(&mask);
        assert!(path.len() < 1200, "{}", path.len());
    }
}

//! Text in pictures, in Noto Sans Mono.

use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::blend;

/// One weight and size of Noto Sans Mono.
pub(super) struct Font {
    pub(super) weight: FontWeight,
    pub(super) height: RasterHeight,
}

impl Font {
    /// `text` cut to `room` pixels with three dots. What follows the last double space is kept.
    pub(super) fn shorten(&self, text: &str, room: u32) -> String {
        let room = room as usize / get_raster_width(self.weight, self.height);
        let count = text.chars().count();
        if count <= room {
            return text.to_string();
        }
        let tail = text.rfind("  ").map_or("", |at| &text[at..]);
        let tail = if tail.chars().count() + 8 > room {
            ""
        } else {
            tail
        };
        let kept = room.saturating_sub(3 + tail.chars().count());
        let head: String = text.chars().take(kept).collect();
        format!("{}...{tail}", head.trim_end())
    }

    /// Writes one line with its upper left corner at (`left`, `top`); what runs over the edge is cut.
    pub(super) fn write(&self, page: &mut RgbImage, left: u32, top: u32, text: &str, ink: Rgb<u8>) {
        let advance = get_raster_width(self.weight, self.height) as u32;
        for (index, character) in (0..).zip(text.chars()) {
            let glyph = get_raster(character, self.weight, self.height)
                .or_else(|| get_raster('?', self.weight, self.height))
                .expect("the font has a question mark");
            for (y, row) in (top..).zip(glyph.raster()) {
                for (x, &cover) in (left + index * advance..).zip(*row) {
                    if let Some(pixel) = page.get_pixel_mut_checked(x, y) {
                        *pixel = blend(*pixel, ink, f32::from(cover) / 255.0);
                    }
                }
            }
        }
    }
}

//! How numbers become colours.

use std::fmt;
use std::str::FromStr;

use colorous::Gradient;
use image::Rgb;

use super::PERCENTILE;

/// A colour map for relevance without negative values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorMap {
    /// Black over purple and orange to pale yellow; perceptually uniform.
    #[default]
    Inferno,
    /// Purple over green to yellow; perceptually uniform and fit for most colour-blind eyes.
    Viridis,
    /// Black over purple and pink to pale yellow; perceptually uniform.
    Magma,
    /// An improved rainbow: many steps, nearly uniform.
    Turbo,
    /// Black to white.
    Gray,
    /// The old rainbow of many papers, for comparison with them; its steps are not uniform.
    Jet,
}

impl ColorMap {
    /// The names that [`FromStr`] accepts.
    pub const NAMES: [&'static str; 6] = ["inferno", "viridis", "magma", "turbo", "gray", "jet"];
    const ALL: [ColorMap; 6] = [
        ColorMap::Inferno,
        ColorMap::Viridis,
        ColorMap::Magma,
        ColorMap::Turbo,
        ColorMap::Gray,
        ColorMap::Jet,
    ];

    /// The colour of `t`, clipped to 0..=1.
    pub fn color(self, t: f32) -> Rgb<u8> {
        let t = t.clamp(0.0, 1.0);
        match self {
            ColorMap::Inferno => sample(colorous::INFERNO, t),
            ColorMap::Viridis => sample(colorous::VIRIDIS, t),
            ColorMap::Magma => sample(colorous::MAGMA, t),
            ColorMap::Turbo => sample(colorous::TURBO, t),
            ColorMap::Gray => Rgb([(255.0 * t).round() as u8; 3]),
            // The piecewise linear form: each channel is a trapezium about its own centre.
            ColorMap::Jet => Rgb([3.0, 2.0, 1.0].map(|centre| {
                let height = 1.5 - (4.0 * t - centre).abs();
                (255.0 * height.clamp(0.0, 1.0)).round() as u8
            })),
        }
    }
}

impl fmt::Display for ColorMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ColorMap::NAMES[*self as usize])
    }
}

impl FromStr for ColorMap {
    type Err = String;

    fn from_str(name: &str) -> Result<ColorMap, String> {
        let known = ColorMap::ALL
            .into_iter()
            .find(|map| map.to_string() == name.to_ascii_lowercase());
        known.ok_or_else(|| {
            format!(
                "there is no colour map `{name}`; choose one of {}",
                ColorMap::NAMES.join(", ")
            )
        })
    }
}

fn sample(gradient: Gradient, t: f32) -> Rgb<u8> {
    Rgb(gradient.eval_continuous(t.into()).as_array())
}

/// How numbers become colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) map: ColorMap,
    /// The value of the last colour; 0 when there is no relevance at all.
    pub(super) limit: f32,
    /// Whether negative relevance has colours of its own.
    pub(super) signed: bool,
    /// Whether values beyond the limit exist.
    pub(super) clipped: bool,
    /// How many values are NaN or infinite.
    pub(super) broken: usize,
}

impl Scale {
    pub(super) fn of(heat: &[f32], map: ColorMap) -> Scale {
        let mut sizes: Vec<f32> = heat
            .iter()
            .filter(|value| value.is_finite())
            .map(|value| value.abs())
            .collect();
        let broken = heat.len() - sizes.len();
        let most = sizes.iter().copied().fold(0.0, f32::max);
        let lowest = heat
            .iter()
            .copied()
            .filter(|value| value.is_finite())
            .fold(0.0, f32::min);
        let mut limit = 0.0;
        if !sizes.is_empty() {
            let rank = (PERCENTILE * (sizes.len() - 1) as f64).round() as usize;
            limit = *sizes.select_nth_unstable_by(rank, f32::total_cmp).1;
        }
        if limit == 0.0 {
            limit = most; // nearly everything is zero: show the rest
        }
        // Rounding leaves specks below zero in maps that have no negative relevance; they get no colours.
        Scale {
            map,
            limit,
            signed: lowest < -0.01 * limit,
            clipped: most > limit,
            broken,
        }
    }

    /// `value` in units of the limit, clipped to -1..=1; 0 for NaN and infinity.
    pub(super) fn shade(&self, value: f32) -> f32 {
        if !value.is_finite() || self.limit == 0.0 {
            return 0.0;
        }
        (value / self.limit).clamp(if self.signed { -1.0 } else { 0.0 }, 1.0)
    }

    pub(super) fn color(&self, shade: f32) -> Rgb<u8> {
        if self.signed {
            sample(colorous::RED_BLUE, 0.5 - 0.5 * shade)
        } else {
            self.map.color(shade)
        }
    }
}

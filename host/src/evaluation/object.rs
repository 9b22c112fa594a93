//! Where the map lies on the object.

use std::ops::Range;

use anyhow::Result;

use super::{Case, Judge, Verdict};
use crate::classifier::Classifier;
use crate::dataset::Rect;
use crate::method::{Attribution, Spec};
use crate::metric::overlap::{
    energy_in_boxes, energy_in_mask, iou_best, iou_byte, iou_deviation, iou_mean, pointing,
    sparseness,
};
use crate::metric::ranking::tie_fraction;
use crate::run::record::Outcome;

/// Intersection over union by four conventions.
pub struct Iou;

impl Judge for Iou {
    fn judge(
        &mut self,
        network: &mut Classifier<'_>,
        case: &Case,
        (_, method): (&Spec, &mut dyn Attribution),
    ) -> Result<Verdict> {
        let map = method.map(network, &case.subject())?;
        let mask = case.object()?;
        let mut outcome = Outcome::default();
        outcome.set("iou", iou_mean(&map, mask));
        outcome.set("iou_best", iou_best(&map, mask));
        outcome.set("iou_deviation", iou_deviation(&map, case.size(), mask));
        outcome.set("iou_byte", iou_byte(&map, mask));
        outcome.set("tie_fraction", tie_fraction(&map));
        Ok(Verdict { outcome, map })
    }
}

/// Pixels that the authors of the pointing game forgive.
const TOLERANCE: usize = 15;

/// The pointing game, energy and sparseness.
pub struct Pointing;

impl Judge for Pointing {
    fn judge(
        &mut self,
        network: &mut Classifier<'_>,
        case: &Case,
        (_, method): (&Spec, &mut dyn Attribution),
    ) -> Result<Verdict> {
        let map = method.map(network, &case.subject())?;
        let mask = case.object()?;
        let [_, width] = case.size();
        let mut outcome = Outcome::default();
        outcome.set("pointing", pointing(&map, width, mask, TOLERANCE));
        outcome.set("pointing_exact", pointing(&map, width, mask, 0));
        outcome.set("energy_mask", energy_in_mask(&map, mask));
        let bounds = case.mask.as_ref().and_then(|mask| mask.bounds());
        let rects = match case.boxes.as_slice() {
            [] => bounds.as_slice(),
            boxes => boxes,
        };
        if !rects.is_empty() {
            let boxes: Vec<_> = rects.iter().map(|rect| pixels(rect, case.size())).collect();
            outcome.set("energy_box", energy_in_boxes(&map, width, &boxes));
        }
        outcome.set("sparseness", sparseness(&map));
        outcome.set("tie_fraction", tie_fraction(&map));
        Ok(Verdict { outcome, map })
    }
}

/// Rows and columns whose centres lie in the box.
fn pixels(rect: &Rect, [height, width]: [usize; 2]) -> (Range<usize>, Range<usize>) {
    let range = |from: f32, to: f32, most: usize| {
        let at = |edge: f32| ((edge - 0.5).ceil().max(0.0) as usize).min(most);
        at(from)..at(to)
    };
    (
        range(rect.top, rect.bottom, height),
        range(rect.left, rect.right, width),
    )
}

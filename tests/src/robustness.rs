//! Doing everything with bytes that nobody made on purpose, to see whether anything panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use elucid_core::cpu::Cpu;
use elucid_core::explain::Explainer;
use elucid_core::graph::NONE;
use elucid_core::par::Serial;
use elucid_core::plan::{Memory, Options};
use elucid_core::rule::{Composite, Init, Split, Target};
use elucid_core::{Error, Model, Shape};
use elucid_host::aligned::Aligned;
use elucid_host::engine::PlanMemory;

use crate::schedule::check;

/// Images are at most this large.
const IMAGES: [(u32, u32); 3] = [(1, 1), (3, 2), (9, 8)];
/// Larger arenas, in floats, are planned but not run.
const ARENA: usize = 1 << 20;

/// Parses a model, looks at everything in it, plans it for small images and runs the plans.
///
/// # Errors
/// If the bytes are no model. An image that doesn't fit and numbers that aren't finite are no errors.
pub fn exercise(bytes: &[u8]) -> Result<(), Error> {
    let bytes = Aligned::copy_of(bytes);
    let model = Model::parse(bytes.bytes())?;
    for id in (0..=model.node_count()).chain([NONE]) {
        let _ = (model.node(id).op.kind(), model.node_name(id));
    }
    for id in (0..=model.tensor_count()).chain([NONE]) {
        let _ = (model.weights(id).map(|w| w.len()), model.vector(id));
    }
    for index in (0..=model.classes()).chain([u32::MAX]) {
        let _ = model.class_name(index);
    }
    let _ = (
        model.description(),
        model.sizes(),
        model.preprocess(),
        model.first_not_finite(),
    );
    let composites = [
        None,
        Some(Composite::exact(Split::Ratio)),
        Some(Composite::exact(Split::ProjectionHalf)),
        Some(Composite::paper(Split::Half)),
        Some(Composite::guided()),
        Some(Composite::duplicated(0.0)),
        Some(Composite::alpha2_beta1(true)),
        Some(Composite::epsilon_gamma_box([-2.0; 3], [2.0; 3], false)),
    ];
    let mut memory = PlanMemory::new(&model);
    for (h, w) in IMAGES {
        for (composite, mode) in composites
            .iter()
            .flat_map(|&c| Memory::ALL.map(|(mode, _)| (c, mode)))
        {
            let options = Options {
                memory: mode,
                half: mode == Memory::Stage,
                ..Options::new(Shape::new(h, w, 3), composite)
            };
            // An image that doesn't fit is no failure.
            let Ok(plan) = memory.plan(&model, &options) else {
                continue;
            };
            check(&plan, "a plan");
            if plan.arena() > ARENA {
                continue;
            }
            let mut arena = vec![0.0; plan.arena()];
            let image: Vec<f32> = (0..options.image.elements())
                .map(|i| (i as f32).sin())
                .collect();
            let mut explainer = Explainer::new(plan, Cpu::new(&model, &plan, &mut arena, &Serial)?);
            if explainer.forward(&image).is_ok() && composite.is_some() {
                // Numbers that aren't finite are an answer, too.
                let _ = explainer.relevance(Target::Predicted, Init::Probability, None);
                explainer.heat(&mut vec![0.0; options.image.pixels()])?;
            }
        }
    }
    Ok(())
}

/// Runs `f`.
///
/// # Errors
/// What its panic said.
pub fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        format!("a panic: {}", text.unwrap_or_default())
    })
}

/// How many cases a property is tried on: `usual`, or that many times `ELUCID_CASES`.
pub fn cases(usual: u32) -> u32 {
    let factor =
        std::env::var("ELUCID_CASES").map_or(1, |v| v.parse().expect("ELUCID_CASES is a number"));
    usual * factor
}

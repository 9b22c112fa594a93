//! The explainer: runs a plan on a backend.

use crate::audit::Ledger;
use crate::backend::{Backend, Lend, Seeding};
use crate::error::{Buffer, Error};
use crate::op::head::Seed;
use crate::plan::{Act, Plan, Region};
use crate::rule::{Init, Target};

/// Explains images, batch after batch, with the memory of one batch.
pub struct Explainer<'p, B> {
    plan: Plan<'p>,
    backend: B,
    /// Whether the arena holds the forward pass of the last image.
    ready: bool,
    /// Whether the arena holds the results of the last forward pass.
    forwarded: bool,
    /// Whether the arena holds the results of the last explanation.
    explained: bool,
}

impl<'p, B: Backend> Explainer<'p, B> {
    /// An explainer for `plan` on a backend that was made for the same plan.
    pub fn new(plan: Plan<'p>, backend: B) -> Self {
        Self {
            plan,
            backend,
            ready: false,
            forwarded: false,
            explained: false,
        }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan<'p> {
        &self.plan
    }

    /// The backend.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Runs the network on normalised images `[images, h, w, 3]`.
    ///
    /// # Errors
    /// [`Error::Length`] for an image of another size, [`Error::NotFinite`] for one with NaN or infinity, or the
    /// backend's.
    pub fn forward(&mut self, image: &[f32]) -> Result<(), B::Error> {
        self.put(image)?;
        self.run()
    }

    /// Checks images and copies them to their region; what was computed before is forgotten.
    fn put(&mut self, image: &[f32]) -> Result<(), B::Error> {
        let (need, have) = (u64::from(self.plan.image().len), image.len() as u64);
        if need != have {
            return Err(Error::Length {
                buffer: Buffer::Image,
                need,
                have,
            }
            .into());
        }
        finite(image)?;
        self.forget();
        self.backend.put(self.plan.image(), image)
    }

    /// Whether [`Explainer::maps`] has a forward pass to start from.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Forgets what was computed.
    pub fn forget(&mut self) {
        (self.ready, self.forwarded, self.explained) = (false, false, false);
    }

    /// The network on what lies in the image's region.
    fn run(&mut self) -> Result<(), B::Error> {
        self.backend.run(self.plan.forward_steps(), None)?;
        (self.ready, self.forwarded) = (true, true);
        Ok(())
    }

    /// [`Explainer::maps`] for a plan of one target of one image.
    ///
    /// # Errors
    /// Those of [`Explainer::maps`].
    pub fn relevance(
        &mut self,
        target: Target,
        init: Init,
        ledger: Option<&mut Ledger<'_>>,
    ) -> Result<Seed, B::Error> {
        let mut seed = [Seed::default()];
        self.maps(&[target], init, &mut seed, ledger)?;
        let [seed] = seed;
        Ok(seed)
    }

    /// Propagates relevance back to the images of the last [`Explainer::forward`], once: the way back uses up what the way
    /// forward left. `targets` says what to explain and `seeds` takes what that was, one for each map, those of one image
    /// side by side: `[images, targets]`. With a ledger, every step is audited.
    ///
    /// # Errors
    /// [`Error::Order`] without a forward pass before, [`Error::Length`] for another number of targets than planned,
    /// [`Error::Target`], [`Error::NotFinite`], or the backend's.
    pub fn maps(
        &mut self,
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
        ledger: Option<&mut Ledger<'_>>,
    ) -> Result<(), B::Error> {
        if !self.ready || self.plan.relevance_steps().is_empty() {
            return Err(Error::Order.into());
        }
        self.fits(targets, seeds)?;
        self.ready = false;
        match ledger {
            None => {
                let seeding = Seeding {
                    targets,
                    init,
                    seeds,
                };
                self.backend
                    .run(self.plan.relevance_steps(), Some(seeding))?;
            }
            Some(ledger) => self.audited(targets, init, seeds, ledger)?,
        }
        self.explained = true;
        Ok(())
    }

    /// As many targets and seeds as were planned for.
    fn fits(&self, targets: &[Target], seeds: &[Seed]) -> Result<(), Error> {
        let maps = self.plan.options().maps();
        let other = [targets.len(), seeds.len()]
            .into_iter()
            .find(|&n| n != maps);
        match other {
            None => Ok(()),
            Some(other) => Err(Error::Length {
                buffer: Buffer::Targets,
                need: maps as u64,
                have: other as u64,
            }),
        }
    }

    /// The way back, step by step, each with its entries.
    fn audited(
        &mut self,
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
        ledger: &mut Ledger<'_>,
    ) -> Result<(), B::Error> {
        ledger.open(self.plan.options().maps());
        for step in self.plan.relevance_steps() {
            let entries = match step.act {
                Act::Seed | Act::Split | Act::Relevance | Act::Collect | Act::Weigh | Act::Gate => {
                    ledger.next(step.node, step.act)?
                }
                Act::Forward | Act::Recompute | Act::Enlarge | Act::Pack | Act::Unpack => &mut [],
            };
            if step.act == Act::Seed {
                self.backend.seed(step, targets, init, seeds)?;
                for (entry, seed) in entries.iter_mut().zip(seeds.iter()) {
                    entry.tally.out = f64::from(seed.relevance);
                }
            } else {
                self.backend.step(step, entries)?;
            }
        }
        Ok(())
    }

    /// [`Explainer::forward`] and [`Explainer::relevance`]; without a ledger as one list of steps.
    ///
    /// # Errors
    /// Those of both.
    pub fn explain(
        &mut self,
        image: &[f32],
        target: Target,
        init: Init,
        ledger: Option<&mut Ledger<'_>>,
    ) -> Result<Seed, B::Error> {
        if ledger.is_some() || self.plan.relevance_steps().is_empty() {
            self.forward(image)?;
            return self.relevance(target, init, ledger);
        }
        let mut seed = [Seed::default()];
        self.explain_maps(image, &[target], init, &mut seed)?;
        let [seed] = seed;
        Ok(seed)
    }

    /// [`Explainer::forward`] and [`Explainer::maps`] as one list of steps, without a ledger.
    ///
    /// # Errors
    /// Those of both.
    pub fn explain_maps(
        &mut self,
        image: &[f32],
        targets: &[Target],
        init: Init,
        seeds: &mut [Seed],
    ) -> Result<(), B::Error> {
        if self.plan.relevance_steps().is_empty() {
            return Err(Error::Order.into());
        }
        self.fits(targets, seeds)?;
        self.put(image)?;
        let seeding = Seeding {
            targets,
            init,
            seeds,
        };
        self.backend.run(self.plan.steps(), Some(seeding))?;
        (self.forwarded, self.explained) = (true, true);
        Ok(())
    }

    /// Copies the maps of the last explanation, `[images, targets, h, w]`.
    ///
    /// # Errors
    /// [`Error::Order`] if the last image was not explained or the plan ends at a node, [`Error::Length`] for a buffer of
    /// another size.
    pub fn heat(&mut self, to: &mut [f32]) -> Result<(), B::Error> {
        self.result(self.explained, self.plan.heat(), to)
    }

    /// Heat Quantization of the maps of the last explanation, where they lie: an explicit step, which doesn't conserve their
    /// sums. [`Explainer::heat`] then gives quantised maps.
    ///
    /// # Errors
    /// [`Error::Order`] if the last image was not explained or the plan ends at a node, or the backend's.
    pub fn quantize(&mut self, levels: u32) -> Result<(), B::Error> {
        let heat = self.plan.heat();
        if !self.explained || heat == Region::EMPTY {
            return Err(Error::Order.into());
        }
        let maps = self.plan.options().maps();
        self.backend.quantize(heat, maps, levels)
    }

    /// Copies what the last images left at the node where the plan ends ([`crate::plan::End::Node`]),
    /// `[images, h, w, c]` of that node's output: after [`Explainer::forward`], and still after [`Explainer::maps`].
    ///
    /// # Errors
    /// [`Error::Order`] without a forward pass before or if the plan ends in a map, [`Error::Length`] for a buffer of
    /// another size.
    pub fn end_activation(&mut self, to: &mut [f32]) -> Result<(), B::Error> {
        self.result(self.forwarded, self.plan.end_activation(), to)
    }

    /// Copies the relevance that reached the node where the plan ends, `[images, targets, h, w, c]` of that node's output:
    /// the derivative of the logits by it for [`crate::rule::Composite::gradient`] and [`Init::One`].
    ///
    /// # Errors
    /// [`Error::Order`] if the last image was not explained or the plan ends in a map, [`Error::Length`] for a buffer of
    /// another size.
    pub fn end_relevance(&mut self, to: &mut [f32]) -> Result<(), B::Error> {
        self.result(self.explained, self.plan.end_relevance(), to)
    }

    fn result(&mut self, there: bool, from: Region, to: &mut [f32]) -> Result<(), B::Error> {
        if !there || from == Region::EMPTY {
            return Err(Error::Order.into());
        }
        self.backend.get(from, to)
    }

    /// Copies the logits of the last images, `[images, classes]`.
    ///
    /// # Errors
    /// [`Error::Length`] for a buffer of another size.
    pub fn logits(&mut self, to: &mut [f32]) -> Result<(), B::Error> {
        self.backend.get(self.plan.logits(), to)
    }
}

impl<B: Lend> Explainer<'_, B> {
    /// [`Explainer::forward`] on an image that `paint` writes where the network reads it, so that no copy of it is needed. It also gets
    /// working memory, as much as [`Plan::spare`] says for the image's region.
    ///
    /// # Errors
    /// That of `paint`, [`Error::NotFinite`] for an image with NaN or infinity, or the backend's.
    pub fn forward_from(
        &mut self,
        paint: impl FnOnce(&mut [f32], &mut [f32]) -> Result<(), Error>,
    ) -> Result<(), B::Error> {
        self.forget();
        let region = self.plan.image();
        let (image, spare) = self.backend.lend(&self.plan, region, false)?;
        paint(image, spare)?;
        finite(image)?;
        self.backend.settle(region)?;
        self.run()
    }

    /// Shows the maps of the last explanation, `[images, targets, h, w]`, where they lie, with working memory as much as
    /// [`Plan::spare`] says for their region.
    ///
    /// # Errors
    /// [`Error::Order`] if the last image was not explained, or the backend's.
    pub fn map(&mut self) -> Result<(&[f32], &mut [f32]), B::Error> {
        if !self.explained {
            return Err(Error::Order.into());
        }
        let (map, spare) = self.backend.lend(&self.plan, self.plan.heat(), true)?;
        Ok((map, spare))
    }

    /// The logits of the last images, `[images, classes]`, where they lie.
    ///
    /// # Errors
    /// The backend's.
    pub fn scores(&mut self) -> Result<&[f32], B::Error> {
        Ok(self.backend.lend(&self.plan, self.plan.logits(), true)?.0)
    }
}

/// A NaN would vanish in the first ReLU and leave a plausible lie.
fn finite(image: &[f32]) -> Result<(), Error> {
    let sound = image.iter().fold(true, |sound, v| sound & v.is_finite());
    if sound { Ok(()) } else { Err(Error::NotFinite) }
}

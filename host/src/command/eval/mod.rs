//! `elucid eval`: how good maps are, on a data set, in a folder that can be gone on with.

mod choice;
mod labels;
mod pace;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};

use self::choice::{Choice, Scoring, Sets};
use self::pace::Pace;
use super::{say::say, tell};
use crate::classifier::Classifier;
use crate::dataset::Sample;
use crate::engine::Threads;
use crate::evaluation::{
    Accuracy, Case, Conservation, Insdel, Iou, Judge, Pointing, Question, Randomised, Sanity,
    Sensitivity, Skip,
};
use crate::method::{Attribution, Spec, is_control};
use crate::model_file::ModelBytes;
use crate::run::config::{Config, Settings};
use crate::run::folder::{Folder, Journal};
use crate::run::measure::Measure;
use crate::run::merge::merge;
use crate::run::preview::Previews;
use crate::run::record::Record;
use crate::run::summary::{Summary, Tally};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Insertion, deletion and ID score: does the probability follow the pixels that the map ranks first?
    Insdel {
        #[command(flatten)]
        scoring: Scoring,
        #[command(flatten)]
        choice: Choice,
    },
    /// Intersection over union of map and object mask, by four conventions
    Iou(Choice),
    /// Pointing game, energy on the object and in its box, sparseness
    Pointing(Choice),
    /// How much relevance is lost on the way to the image (lrp only)
    Conservation(Choice),
    /// How often the network is right
    Accuracy(Choice),
    /// Does the map change when the network's weights are randomised?
    Sanity(Choice),
    /// Sensitivity-n: does the relevance of random sets of pixels tell how much the probability falls without them?
    Sensitivity {
        #[command(flatten)]
        sets: Sets,
        #[command(flatten)]
        choice: Choice,
    },
    /// Put the shards of a run together: the same as the run in one piece
    Merge {
        /// Folders of all shards
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<PathBuf>,
        /// Folder of the merged run
        #[arg(short, long, value_name = "OUT/")]
        output: PathBuf,
        /// Print the summary as JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Insdel { scoring, choice } => evaluate(Measure::Insdel, choice, Some(scoring), None),
        What::Iou(choice) => evaluate(Measure::Iou, choice, None, None),
        What::Pointing(choice) => evaluate(Measure::Pointing, choice, None, None),
        What::Conservation(choice) => evaluate(Measure::Conservation, choice, None, None),
        What::Accuracy(choice) => evaluate(Measure::Accuracy, choice, None, None),
        What::Sanity(choice) => evaluate(Measure::Sanity, choice, None, None),
        What::Sensitivity { sets, choice } => {
            evaluate(Measure::Sensitivity, choice, None, Some(sets))
        }
        What::Merge { runs, output, json } => {
            let runs: Result<Vec<Folder>> = runs.iter().map(|run| Folder::open(run)).collect();
            let (folder, settings) = merge(&runs?, output)?;
            conclude(&folder, &settings, *json)
        }
    }
}

/// A method with its name in the records.
struct Entry {
    spec: Spec,
    method: Box<dyn Attribution>,
}

fn evaluate(
    measure: Measure,
    choice: &Choice,
    scoring: Option<&Scoring>,
    sets: Option<&Sets>,
) -> Result<()> {
    let bytes = ModelBytes::open(choice.model.as_deref())?;
    let model = bytes.parse()?;
    let threads = Threads::new(choice.threads)?;
    let place = choice.place.open()?;
    let plan = choice.plan(measure, scoring, sets, &model)?;
    let mut cascade = Vec::new();
    let mut ignorant = Vec::new();
    let mut settings = plan.settings.clone();
    if measure == Measure::Sanity {
        cascade = Randomised::cascade(bytes.bytes(), &model, settings.seed)?;
        let depths: Vec<&str> = cascade.iter().map(|part| part.depth.as_str()).collect();
        settings
            .options
            .insert("depths".to_owned(), depths.join(","));
    }
    for part in &cascade {
        ignorant.push(part.bytes.parse()?);
    }
    let batch = usize::from(choice.batch);
    let judge: Box<dyn Judge + '_> = match measure {
        Measure::Insdel => {
            let scoring = scoring.ok_or_else(|| anyhow!("insertion and deletion need a scorer"))?;
            Box::new(Insdel::new(scoring.walk(), scoring.baseline, batch))
        }
        Measure::Iou => Box::new(Iou),
        Measure::Pointing => Box::new(Pointing),
        Measure::Conservation => Box::new(Conservation),
        Measure::Accuracy => Box::new(Accuracy),
        Measure::Sanity => Box::new(Sanity::new(&ignorant, &threads)),
        Measure::Sensitivity => {
            let sets = sets.ok_or_else(|| anyhow!("sensitivity-n needs sets of pixels"))?;
            Box::new(Sensitivity::new(
                sets.pixels(&model),
                sets.sets,
                sets.baseline,
                batch,
            ))
        }
    };
    let config = Config {
        elucid: env!("CARGO_PKG_VERSION").to_owned(),
        command: ["elucid".to_owned()]
            .into_iter()
            .chain(std::env::args().skip(1))
            .collect(),
        settings,
    };
    let (folder, journal, done) =
        Folder::begin(&choice.output, &config, plan.positions.iter().copied())?;
    for remark in plan.data.remarks() {
        eprintln!("elucid: note: {remark}");
    }
    let entries = plan.methods.iter().map(|spec| Entry {
        method: spec.make(batch),
        spec: spec.clone(),
    });
    let previews = (measure != Measure::Accuracy && choice.previews > 0)
        .then(|| Previews::new(&folder, plan.order.len().div_ceil(choice.previews)))
        .transpose()?;
    let mut worker = Worker {
        network: Classifier::new(&model, model.input_shape(), &threads).at(&place),
        judge,
        entries: entries.collect(),
        previews,
        question: plan.question,
        needs_mask: measure.needs_mask(),
        seed: config.settings.seed,
        stop: interruptible()?,
    };
    let todo: Vec<usize> = plan.positions.iter().copied().skip(done).collect();
    if done > 0 && !todo.is_empty() {
        eprintln!(
            "elucid: going on with {}: {done} of {} pictures are done",
            folder.path().display(),
            plan.positions.len()
        );
    }
    let mut pace = Pace::new(done, plan.positions.len());
    let samples = todo
        .iter()
        .map(|&position| (position, plan.sample(position)));
    let finished = worker.work(samples, journal, choice.strict_data, &mut pace)?;
    pace.finish();
    tell(&place);
    if !finished {
        bail!(
            "interrupted; {} keeps what is done, the same command goes on from there",
            folder.path().display()
        );
    }
    conclude(&folder, &config.settings, choice.json)
}

/// Summarises the records of a finished run.
fn conclude(folder: &Folder, settings: &Settings, json: bool) -> Result<()> {
    let mut tally = Tally::default();
    for record in folder.records()? {
        tally.add(&record?);
    }
    let summary = tally.summary(settings, is_control);
    folder.finish(&summary)?;
    if summary.images == 0 && summary.skipped > 0 {
        bail!(
            "none of the {} pictures could be scored; the lines above say why",
            summary.skipped
        );
    }
    if json {
        say!("{}", serde_json::to_string(&summary)?);
    } else {
        print(folder, &summary);
    }
    Ok(())
}

fn print(folder: &Folder, summary: &Summary) {
    for line in table::lines(summary) {
        say!("{line}");
    }
    let shown = folder.path().display();
    say!("{shown} holds the records; `elucid report {shown}` makes a page of them");
}

/// Set by the first Ctrl-C; the second one kills.
fn interruptible() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            // What is in the journal is whole.
            std::process::exit(130);
        }
        eprintln!("elucid: stopping after this map; once more to stop at once");
    })?;
    Ok(stop)
}

/// What works through the pictures.
struct Worker<'w> {
    network: Classifier<'w>,
    judge: Box<dyn Judge + 'w>,
    entries: Vec<Entry>,
    previews: Option<Previews>,
    question: Question,
    needs_mask: bool,
    seed: u64,
    stop: Arc<AtomicBool>,
}

impl Worker<'_> {
    /// Judges samples with their positions one by one; `false` if it was interrupted.
    fn work(
        &mut self,
        samples: impl Iterator<Item = (usize, Sample)>,
        mut journal: Journal,
        strict: bool,
        pace: &mut Pace,
    ) -> Result<bool> {
        for (position, sample) in samples {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let Some(record) = self.record(position, &sample, strict, pace)? else {
                return Ok(false);
            };
            journal.add(&record)?;
            pace.step();
        }
        Ok(true)
    }

    /// Judges a picture; `None` if it was interrupted.
    fn record(
        &mut self,
        position: usize,
        sample: &Sample,
        strict: bool,
        pace: &Pace,
    ) -> Result<Option<Record>> {
        let mut record = Record {
            position,
            id: sample.id.clone(),
            ..Record::default()
        };
        // Neighbouring positions get unlike seeds.
        let seed = self.seed ^ (position as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let case = Case::open(
            &mut self.network,
            sample,
            self.question,
            self.needs_mask,
            seed,
        )?;
        let case = match case {
            Ok(case) => case,
            Err(skip) => {
                let line = match &skip {
                    Skip::Data(error) => error.to_string(),
                    Skip::Lacks(what) => format!("{}: {what}", sample.id),
                };
                if strict {
                    bail!("{line}; without --strict-data such pictures are left out and counted");
                }
                pace.say(&format!("elucid: left out: {line}"));
                record.skipped = Some(skip.reason().to_owned());
                return Ok(Some(record));
            }
        };
        record.label = case.label;
        record.predicted = Some(case.predicted.target);
        record.target = Some(case.scored.target);
        record.probability = Some(f64::from(case.scored.probability));
        let previews = self
            .previews
            .as_ref()
            .filter(|previews| previews.shows(position));
        if let Some(previews) = previews {
            previews.photo(position, &case.prepared.crop)?;
            if let Some(mask) = &case.mask {
                previews.mask(position, mask)?;
            }
        }
        let size = case.size().map(|side| side as u32);
        self.judge.begin(&mut self.network, &case)?;
        for Entry { spec, method } in &mut self.entries {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let verdict = self
                .judge
                .judge(&mut self.network, &case, (spec, method.as_mut()))
                .map_err(|e| anyhow!("{}, {spec}: {e}", sample.id))?;
            if let Some(previews) = previews.filter(|_| !verdict.map.is_empty()) {
                previews.map(position, spec.name(), size, &verdict.map)?;
            }
            record
                .methods
                .insert(spec.name().to_owned(), verdict.outcome);
        }
        Ok(Some(record))
    }
}

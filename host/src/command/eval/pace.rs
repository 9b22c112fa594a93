//! How far a run is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Between lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(30);

/// The progress of a run.
pub struct Pace {
    bar: Option<ProgressBar>,
    began: Instant,
    said: Instant,
    /// Pictures done before this process began.
    before: usize,
    done: usize,
    all: usize,
}

impl Pace {
    /// Of a run of `all` pictures of which `done` are.
    pub fn new(done: usize, all: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{bar:32} {pos}/{len} pictures  {per_sec}  {eta} left  {wide_msg}",
            );
            let bar = ProgressBar::new(all as u64)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_position(done as u64);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_secs(1));
            bar
        });
        Self {
            bar,
            began: Instant::now(),
            said: Instant::now(),
            before: done,
            done,
            all,
        }
    }

    /// A picture is done.
    pub fn step(&mut self) {
        self.done += 1;
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if self.said.elapsed() >= PAUSE => {
                self.said = Instant::now();
                let each = self.began.elapsed() / (self.done - self.before) as u32;
                let left = each * u32::try_from(self.all - self.done).unwrap_or(u32::MAX);
                eprintln!(
                    "elucid: {} of {} pictures, {:.2} s each, {} left",
                    self.done,
                    self.all,
                    each.as_secs_f64(),
                    HumanDuration(left)
                );
            }
            None => {}
        }
    }

    /// Says something in between.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

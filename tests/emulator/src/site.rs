//! What accesses of memory cost.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::fmt;

use crate::fault::{Place, words};
use crate::lines::Lines;

/// All accesses of one kind that a kernel makes in one line.
///
/// A request is what the lanes of a warp ask for at once. Global memory answers in sectors of 32 bytes; shared memory in
/// wavefronts, each of at most one word of four bytes from each of 32 banks. Ideal is the least for the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The kernel.
    pub kernel: String,
    /// Where in the source.
    pub place: Place,
    /// Shared memory, else global.
    pub shared: bool,
    /// A store, else a load.
    pub store: bool,
    /// Requests of warps.
    pub requests: u64,
    /// Lanes that took part, of all requests.
    pub lanes: u64,
    /// Bytes they asked for, those asked for twice counted twice.
    pub bytes: u64,
    /// Sectors of global memory.
    pub sectors: u64,
    /// The least there could be.
    pub ideal_sectors: u64,
    /// Wavefronts of shared memory.
    pub wavefronts: u64,
    /// The least there could be.
    pub ideal_wavefronts: u64,
}

impl Site {
    /// Sectors or wavefronts over the least there could be: 1 is best.
    #[must_use]
    pub fn excess(&self) -> f64 {
        let (all, ideal) = (
            self.sectors + self.wavefronts,
            self.ideal_sectors + self.ideal_wavefronts,
        );
        if ideal == 0 {
            1.0
        } else {
            all as f64 / ideal as f64
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, ideal, unit) = if self.shared {
            (self.wavefronts, self.ideal_wavefronts, "wavefronts")
        } else {
            (self.sectors, self.ideal_sectors, "sectors")
        };
        let each = |n: u64| n as f64 / self.requests.max(1) as f64;
        write!(
            f,
            "{} {}: {} {}, {} requests of {:.1} lanes, {} bytes, {:.2} {unit} a request (ideal {:.2})",
            self.kernel,
            self.place,
            if self.shared { "shared" } else { "global" },
            if self.store { "store" } else { "load" },
            self.requests,
            each(self.lanes),
            self.bytes,
            each(all),
            each(ideal),
        )
    }
}

/// A site as the library has it: `cpp/tally.h`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RawSite {
    pc: u64,
    shared: u32,
    write: u32,
    requests: u64,
    lanes: u64,
    bytes: u64,
    sectors: u64,
    ideal_sectors: u64,
    wavefronts: u64,
    ideal_wavefronts: u64,
    kernel: [c_char; 64],
}

impl RawSite {
    pub(crate) const NONE: Self = Self {
        pc: 0,
        shared: 0,
        write: 0,
        requests: 0,
        lanes: 0,
        bytes: 0,
        sectors: 0,
        ideal_sectors: 0,
        wavefronts: 0,
        ideal_wavefronts: 0,
        kernel: [0; 64],
    };
}

/// Sites by line: a line may be several instructions.
pub(crate) fn by_line(raw: &[RawSite], lines: &Lines) -> Vec<Site> {
    let mut all: BTreeMap<_, Site> = BTreeMap::new();
    for (one, place) in raw.iter().zip(lines.places(raw.iter().map(|r| r.pc))) {
        let kernel = words(&one.kernel);
        let (shared, store) = (one.shared != 0, one.write != 0);
        let key = (kernel.clone(), place.clone(), shared, store);
        let site = all.entry(key).or_insert_with(|| Site {
            kernel,
            place,
            shared,
            store,
            ..Site::default()
        });
        site.requests += one.requests;
        site.lanes += one.lanes;
        site.bytes += one.bytes;
        site.sectors += one.sectors;
        site.ideal_sectors += one.ideal_sectors;
        site.wavefronts += one.wavefronts;
        site.ideal_wavefronts += one.ideal_wavefronts;
    }
    all.into_values().collect()
}

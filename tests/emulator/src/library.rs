//! The emulator's library.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::OnceLock;

use bytemuck::NoUninit;
use libloading::Library;

use crate::fault::{Fault, RawFinding};
use crate::lines::Lines;
use crate::memory::Memory;
use crate::mock_driver;
use crate::site::{RawSite, Site, by_line};

/// In which order the blocks of a grid, and the threads of a block, get their turn. A GPU promises none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// First to last.
    Ascending,
    /// Last to first.
    Descending,
    /// At random, the same for the same seed.
    Shuffled(u64),
}

/// A kernel as it registered itself in the library.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registered {
    /// Name of the function.
    pub entry: String,
    /// Bytes of its argument.
    pub argument: usize,
    /// Threads of a block.
    pub block: u32,
}

type Launch =
    unsafe extern "C" fn(*const c_char, *const u32, *const c_void, usize, u32, u64) -> usize;
type Findings = unsafe extern "C" fn(*mut RawFinding, usize);
type Kernel = unsafe extern "C" fn(usize, *mut *const c_char, *mut u32, *mut u32) -> bool;
type Register = unsafe extern "C" fn(u64, usize, *const c_char, bool);
type Initialise = unsafe extern "C" fn(u64, usize);
type Forget = unsafe extern "C" fn(u64);
type Sites = unsafe extern "C" fn(*mut RawSite, usize) -> usize;
type ClearSites = unsafe extern "C" fn();

/// What only the checked build has.
#[derive(Debug)]
struct Checker {
    register: Register,
    initialise: Initialise,
    forget: Forget,
    sites: Sites,
    clear_sites: ClearSites,
}

/// The kernels as host code, in one of two builds.
#[derive(Debug)]
pub struct Emulator {
    launch: Launch,
    findings: Findings,
    kernel: Kernel,
    checker: Option<Checker>,
    lines: Lines,
}

impl Emulator {
    /// The fast build: finds what makes threads wait in vain, and what ends at misaligned addresses.
    ///
    /// # Panics
    /// If the library can't be loaded.
    #[must_use]
    pub fn fast() -> &'static Self {
        static FAST: OnceLock<Emulator> = OnceLock::new();
        FAST.get_or_init(|| Self::load(false))
    }

    /// The checked build: also finds accesses out of bounds, reads of what nobody wrote and races, and counts what
    /// accesses cost. About a hundred times slower, and one launch at a time.
    ///
    /// # Panics
    /// If the library can't be loaded.
    #[must_use]
    pub fn checked() -> &'static Self {
        static CHECKED: OnceLock<Emulator> = OnceLock::new();
        CHECKED.get_or_init(|| Self::load(true))
    }

    fn load(checked: bool) -> Self {
        let path = mock_driver(checked).join("libcuda.so.1");
        // SAFETY: this crate's build script made the library; its initialisers only make a list of its kernels.
        let library = unsafe { Library::new(&path) }.expect("the build script made it");
        // Never unloaded: threads keep stacks of it.
        let library: &'static Library = Box::leak(Box::new(library));
        /// # Safety
        /// `T` must be the type of the function.
        unsafe fn get<T: Copy>(library: &'static Library, name: &str) -> T {
            // SAFETY: said by the caller.
            *unsafe { library.get::<T>(name) }.expect("the emulator exports it")
        }
        // SAFETY: the types are those of `cpp/api.cpp`.
        unsafe {
            Self {
                launch: get(library, "emulator_launch"),
                findings: get(library, "emulator_findings"),
                kernel: get(library, "emulator_kernel"),
                checker: checked.then(|| Checker {
                    register: get(library, "emulator_register"),
                    initialise: get(library, "emulator_initialise"),
                    forget: get(library, "emulator_forget"),
                    sites: get(library, "emulator_sites"),
                    clear_sites: get(library, "emulator_clear_sites"),
                }),
                lines: Lines::of(path),
            }
        }
    }

    /// Whether this is the checked build.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.checker.is_some()
    }

    /// Runs a kernel over a grid; the bytes of its struct are its argument. Blocks have as many threads as the kernel says.
    ///
    /// Memory of the host is the device's. As on a device the addresses in the argument are taken at their word: the fast
    /// build can't know whether they are good, the checked build refuses what wasn't registered.
    ///
    /// # Errors
    /// Everything found. What ends a launch ends it at once, with the rest of the grid not run.
    ///
    /// # Panics
    /// If the name holds a NUL.
    pub fn launch(
        &self,
        entry: &str,
        grid: [u32; 3],
        argument: &[u8],
        order: Order,
    ) -> Result<(), Fault> {
        let name = CString::new(entry).expect("names hold no NUL");
        let (order, seed) = match order {
            Order::Ascending => (0, 0),
            Order::Descending => (1, 0),
            Order::Shuffled(seed) => (2, seed),
        };
        // SAFETY: the name and the grid live to the end of the call; the library copies the argument after comparing its
        // length. What the kernel does with addresses is said above.
        let count = unsafe {
            (self.launch)(
                name.as_ptr(),
                grid.as_ptr(),
                argument.as_ptr().cast(),
                argument.len(),
                order,
                seed,
            )
        };
        if count == 0 {
            return Ok(());
        }
        let mut raw = vec![RawFinding::NONE; count];
        // SAFETY: there is room for as many.
        unsafe { (self.findings)(raw.as_mut_ptr(), raw.len()) }
        Err(Fault {
            kernel: raw[0].kernel(),
            // SAFETY: the library's files are string literals, and it stays loaded.
            findings: raw
                .iter()
                .map(|r| unsafe { r.finding(&self.lines) })
                .collect(),
        })
    }

    /// Every kernel in the library, by name, except the tests' own fixtures.
    #[must_use]
    pub fn kernels(&self) -> Vec<Registered> {
        let mut all: Vec<Registered> = (0..).map_while(|index| self.registered(index)).collect();
        all.retain(|k| !k.entry.starts_with("fixture_"));
        all.sort();
        all
    }

    fn registered(&self, index: usize) -> Option<Registered> {
        let (mut entry, mut argument, mut block) = (ptr::null(), 0, 0);
        // SAFETY: the three places are written to if there is such a kernel, with a string literal for the name.
        unsafe {
            (self.kernel)(index, &raw mut entry, &raw mut argument, &raw mut block).then(|| {
                Registered {
                    entry: CStr::from_ptr(entry).to_string_lossy().into_owned(),
                    argument: argument as usize,
                    block,
                }
            })
        }
    }

    /// Memory with a copy of `content`.
    #[must_use]
    pub fn upload<T: NoUninit>(&self, name: &str, content: &[T]) -> Memory<'_> {
        let bytes = bytemuck::cast_slice(content);
        Memory::new(self, name, bytes.len(), Some(bytes))
    }

    /// Memory that nobody has written to, of so many bytes: poisoned.
    #[must_use]
    pub fn allocate(&self, name: &str, bytes: usize) -> Memory<'_> {
        Memory::new(self, name, bytes, None)
    }

    /// Tells the checker of memory that kernels may use. Nothing in the fast build.
    ///
    /// # Panics
    /// If the name holds a NUL.
    pub fn register(&self, address: u64, len: usize, name: &str, initialised: bool) {
        if let Some(checker) = &self.checker {
            let name = CString::new(name).expect("names hold no NUL");
            // SAFETY: the library copies the name and doesn't touch the memory.
            unsafe { (checker.register)(address, len, name.as_ptr(), initialised) }
        }
    }

    /// Tells the checker that the host has written to registered memory.
    pub fn initialise(&self, address: u64, len: usize) {
        if let Some(checker) = &self.checker {
            // SAFETY: the library doesn't touch the memory.
            unsafe { (checker.initialise)(address, len) }
        }
    }

    /// Takes memory that starts at `address` from what kernels may use.
    pub fn forget(&self, address: u64) {
        if let Some(checker) = &self.checker {
            // SAFETY: the library doesn't touch the memory.
            unsafe { (checker.forget)(address) }
        }
    }

    /// What all accesses have cost since the last [`Self::clear_report`], by kernel and line. Empty in the fast build.
    #[must_use]
    pub fn report(&self) -> Vec<Site> {
        let Some(checker) = &self.checker else {
            return Vec::new();
        };
        let mut raw = Vec::new();
        loop {
            // SAFETY: the library writes no more than there is room for.
            let count = unsafe { (checker.sites)(raw.as_mut_ptr(), raw.len()) };
            let complete = count <= raw.len();
            raw.resize(count, RawSite::NONE);
            if complete {
                break;
            }
        }
        by_line(&raw, &self.lines)
    }

    /// Begins a new [`Self::report`].
    pub fn clear_report(&self) {
        if let Some(checker) = &self.checker {
            // SAFETY: it has no preconditions.
            unsafe { (checker.clear_sites)() }
        }
    }
}

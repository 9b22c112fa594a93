//! Memory that kernels may use.

use std::alloc::{self, Layout};
use std::slice;

use bytemuck::{AnyBitPattern, NoUninit};

use crate::library::Emulator;

/// Memory of a device is aligned to this many bytes.
const ALIGN: usize = 256;

/// Bytes on both sides that nobody may write.
const CANARY: usize = 256;
const CANARY_VALUE: u8 = 0xC5;

/// What fresh memory holds: floats that aren't numbers.
const POISON: u8 = 0xFF;

/// One allocation, at a multiple of 256, with canaries around it. The checked emulator knows its bounds.
#[derive(Debug)]
pub struct Memory<'e> {
    emulator: &'e Emulator,
    block: *mut u8,
    len: usize,
}

impl<'e> Memory<'e> {
    pub(crate) fn new(
        emulator: &'e Emulator,
        name: &str,
        len: usize,
        content: Option<&[u8]>,
    ) -> Self {
        let layout = layout(len);
        // SAFETY: the layout isn't empty: it has canaries.
        let block = unsafe { alloc::alloc(layout) };
        if block.is_null() {
            alloc::handle_alloc_error(layout);
        }
        // SAFETY: all writes are within the layout, and `content` is elsewhere.
        unsafe {
            block.write_bytes(CANARY_VALUE, layout.size());
            let start = block.add(CANARY);
            match content {
                Some(bytes) => start.copy_from_nonoverlapping(bytes.as_ptr(), len.min(bytes.len())),
                None => start.write_bytes(POISON, len),
            }
        }
        let memory = Self {
            emulator,
            block,
            len,
        };
        emulator.register(memory.address(), len, name, content.is_some());
        memory
    }

    /// Its address, for the argument of a kernel.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.start() as u64
    }

    /// Address of element `index` of what is seen as an array of `T`.
    #[must_use]
    pub fn element<T>(&self, index: usize) -> u64 {
        self.address() + (index * size_of::<T>()) as u64
    }

    fn start(&self) -> *mut u8 {
        self.block.wrapping_add(CANARY)
    }

    /// What it holds now.
    ///
    /// # Panics
    /// If a canary was written to, or the length is no multiple of that of a `T`.
    #[must_use]
    pub fn download<T: AnyBitPattern + NoUninit>(&self) -> Vec<T> {
        self.check();
        let mut all = vec![T::zeroed(); self.len / size_of::<T>()];
        assert_eq!(size_of_val(&*all), self.len, "memory of {} bytes", self.len);
        // SAFETY: the allocation has `len` initialised bytes there, and no kernel is running that was given it: launches
        // return when they are done.
        let bytes = unsafe { slice::from_raw_parts(self.start(), self.len) };
        bytemuck::cast_slice_mut(&mut all).copy_from_slice(bytes);
        all
    }

    /// Puts other content in, from the start.
    ///
    /// # Panics
    /// If it is longer.
    pub fn upload<T: NoUninit>(&self, content: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(content);
        assert!(
            bytes.len() <= self.len,
            "{} bytes into {}",
            bytes.len(),
            self.len
        );
        // SAFETY: as long as asserted above; nothing else refers to the allocation.
        unsafe {
            self.start()
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.emulator.initialise(self.address(), bytes.len());
    }

    /// Puts content in from byte `offset` on.
    ///
    /// # Panics
    /// If it is longer than what is left.
    pub fn upload_at<T: NoUninit>(&self, offset: usize, content: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(content);
        let end = offset.checked_add(bytes.len());
        assert!(
            end.is_some_and(|end| end <= self.len),
            "{} bytes at {offset} into {}",
            bytes.len(),
            self.len
        );
        // SAFETY: within the allocation, as asserted above; nothing else refers to it.
        unsafe {
            self.start()
                .add(offset)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.emulator
            .initialise(self.address() + offset as u64, bytes.len());
    }

    /// `count` elements from byte `offset` on.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn part<T: AnyBitPattern + NoUninit>(&self, offset: usize, count: usize) -> Vec<T> {
        let mut all = vec![T::zeroed(); count];
        let end = offset.checked_add(size_of_val(&*all));
        assert!(
            end.is_some_and(|end| end <= self.len),
            "{count} at {offset}"
        );
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut all);
        // SAFETY: within the allocation, as asserted above, and no kernel is running.
        let from = unsafe { slice::from_raw_parts(self.start().add(offset), bytes.len()) };
        bytes.copy_from_slice(from);
        all
    }

    /// # Panics
    /// If a canary was written to.
    pub fn check(&self) {
        for (side, start) in [
            ("before", self.block),
            ("after", self.start().wrapping_add(self.len)),
        ] {
            // SAFETY: both canaries are within the allocation.
            let canary = unsafe { slice::from_raw_parts(start, CANARY) };
            let written = canary.iter().position(|&b| b != CANARY_VALUE);
            assert!(
                written.is_none(),
                "byte {written:?} {side} memory of {} bytes was written",
                self.len
            );
        }
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        self.emulator.forget(self.address());
        // SAFETY: allocated with this layout.
        unsafe { alloc::dealloc(self.block, layout(self.len)) }
    }
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len + 2 * CANARY, ALIGN).expect("tests use sizes that there are")
}

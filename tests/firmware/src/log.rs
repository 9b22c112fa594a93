//! A global logger whose frames go into a file of the emulator's host, as they would over a probe on a board.

use core::cell::UnsafeCell;

use crate::board::semihost;

#[defmt::global_logger]
struct File;

struct State(UnsafeCell<(defmt::Encoder, Option<u32>)>);

// SAFETY: one core and no interrupts: nothing can come between two uses.
unsafe impl Sync for State {}

static STATE: State = State(UnsafeCell::new((defmt::Encoder::new(), None)));

const NAME: &core::ffi::CStr = c"defmt.frames";

/// Opens the file at the first frame.
fn write(file: &mut Option<u32>, bytes: &[u8]) {
    let handle = *file.get_or_insert_with(|| {
        // Mode 5: write, binary.
        let block = [NAME.as_ptr() as u32, 5, NAME.to_bytes().len() as u32];
        // SAFETY: SYS_OPEN takes a name, a mode and the name's length.
        unsafe { semihost(0x01, block.as_ptr()) }
    });
    let block = [handle, bytes.as_ptr() as u32, bytes.len() as u32];
    // SAFETY: SYS_WRITE takes a file, bytes and their number.
    unsafe { semihost(0x05, block.as_ptr()) };
}

// SAFETY: one core and no interrupts, so `acquire` and `release` need to hold nothing back.
unsafe impl defmt::Logger for File {
    fn acquire() {
        // SAFETY: as for the state; nobody else refers to it.
        let (encoder, file) = unsafe { &mut *STATE.0.get() };
        encoder.start_frame(|bytes| write(file, bytes));
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: as for the state; nobody else refers to it.
        let (encoder, file) = unsafe { &mut *STATE.0.get() };
        encoder.end_frame(|bytes| write(file, bytes));
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: as for the state; nobody else refers to it.
        let (encoder, file) = unsafe { &mut *STATE.0.get() };
        encoder.write(bytes, |bytes| write(file, bytes));
    }
}

defmt::timestamp!("");

//! A global logger that hands every byte to the board, as one over RTT or a serial line would.
//!
//! Frames aren't encoded further: what arrives is the index of the interned format string and the arguments.

unsafe extern "C" {
    /// The board's: takes `len` bytes.
    fn board_write(bytes: *const u8, len: usize);
}

#[defmt::global_logger]
struct Board;

// SAFETY: one thread only, so nothing can come between `acquire` and `release`.
unsafe impl defmt::Logger for Board {
    fn acquire() {}

    unsafe fn flush() {}

    unsafe fn release() {}

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: pointer and length of a slice.
        unsafe { board_write(bytes.as_ptr(), bytes.len()) }
    }
}

defmt::timestamp!("");

/// defmt's own panics end where all do.
#[defmt::panic_handler]
fn panic() -> ! {
    crate::board_panic()
}

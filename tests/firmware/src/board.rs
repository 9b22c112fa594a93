//! The board: reset, faults, semihosting, and a painted stack.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::ptr;

/// Memory that only one place uses.
pub struct Static<T>(UnsafeCell<T>);

// SAFETY: there is one core, no interrupt is enabled, and whoever calls `get` vouches for being the only one.
unsafe impl<T> Sync for Static<T> {}

impl<T> Static<T> {
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}

unsafe extern "C" {
    static mut data_start: u32;
    static data_end: u32;
    static data_load: u32;
    static mut bss_start: u32;
    static bss_end: u32;
    static mut stack_bottom: u32;
    static stack_top: u32;
}

/// What the stack is painted with.
const PAINT: u32 = 0xC5C5_C5C5;

#[repr(C)]
struct Vectors {
    stack: *const u32,
    reset: unsafe extern "C" fn() -> !,
    faults: [unsafe extern "C" fn() -> !; 14],
}

// SAFETY: only the processor reads it.
unsafe impl Sync for Vectors {}

#[used]
#[unsafe(link_section = ".vectors")]
static VECTORS: Vectors = Vectors {
    stack: &raw const stack_top,
    reset,
    faults: [fault; 14],
};

/// # Safety
/// Called by the processor at reset, and by nobody else.
#[unsafe(no_mangle)]
unsafe extern "C" fn reset() -> ! {
    // SAFETY: the FPU's register (CPACR), full access; before any float is touched.
    unsafe {
        (0xE000_ED88 as *mut u32).write_volatile(0xF << 20);
        asm!("dsb", "isb");
    }
    // SAFETY: the linker's symbols bound these pieces of memory, which nobody uses yet; the stack only above its pointer.
    unsafe {
        let (mut to, mut from) = (&raw mut data_start, &raw const data_load);
        while to.cast_const() < &raw const data_end {
            to.write_volatile(from.read_volatile());
            (to, from) = (to.add(1), from.add(1));
        }
        let mut to = &raw mut bss_start;
        while to.cast_const() < &raw const bss_end {
            to.write_volatile(0);
            to = to.add(1);
        }
        let here: *const u32;
        asm!("mov {}, sp", out(reg) here);
        let mut to = &raw mut stack_bottom;
        while to.cast_const() < here {
            to.write_volatile(PAINT);
            to = to.add(1);
        }
    }
    exit(crate::main())
}

/// Bytes of the stack that lost their paint so far.
pub fn stack_used() -> usize {
    let (mut at, top) = (&raw const stack_bottom, &raw const stack_top);
    // SAFETY: inside the stack's memory.
    while at < top && unsafe { at.read_volatile() } == PAINT {
        at = at.wrapping_add(1);
    }
    top.addr() - at.addr()
}

unsafe extern "C" fn fault() -> ! {
    write(b"fault\n");
    exit(102)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    write(b"panic\n");
    exit(101)
}

/// Asks the emulator for something.
///
/// # Safety
/// `argument` is what the operation takes.
pub unsafe fn semihost(operation: u32, argument: *const u32) -> u32 {
    let mut result = operation;
    // SAFETY: the caller's promise; the emulator reads what the argument points to.
    unsafe { asm!("bkpt 0xAB", inout("r0") result, in("r1") argument, options(nostack)) };
    result
}

fn exit(code: u32) -> ! {
    let block = [0x20026, code];
    // SAFETY: SYS_EXIT_EXTENDED takes a reason and a code.
    unsafe { semihost(0x20, block.as_ptr()) };
    loop {}
}

fn write(text: &[u8]) {
    for byte in text {
        // SAFETY: SYS_WRITEC takes a byte.
        unsafe { semihost(0x03, ptr::from_ref(byte).cast()) };
    }
}

/// A line with a number at its end.
pub fn print(text: &[u8], number: i64) {
    write(text);
    if number < 0 {
        write(b"-");
    }
    let (mut rest, mut digits, mut count) = (number.unsigned_abs() as u32, [0; 10], 0);
    loop {
        digits[count] = b'0' + (rest % 10) as u8;
        (rest, count) = (rest / 10, count + 1);
        if rest == 0 {
            break;
        }
    }
    while count > 0 {
        count -= 1;
        write(&digits[count..=count]);
    }
    write(b"\n");
}

//! From reset to `board_main`.
//!
//! 1. The stack pointer is set; its place, and those of all sections, are the linker script's.
//! 2. The floating-point unit is enabled.
//! 3. Cortex-M: initialised variables are copied from flash memory. The others become 0, those of
//!    the section `.arena` too, which lies in memory that needs no set-up.
//! 4. The 64-bit core: the emulator has loaded initialised variables, the others become 0. The MMU
//!    is enabled: without it all memory counts as that of devices, where loads must be aligned.
//! 5. The stack's memory is painted, so that [`stack_used`] can tell how deep it went.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicBool, Ordering};

/// What unused memory of the stack holds.
const PAINT: u32 = 0xa5a5_a5a5;

unsafe extern "C" {
    static mut __stack_low: u32;
    static mut __stack_top: u32;
}

/// Memory that is handed out once.
pub struct Memory<T> {
    taken: AtomicBool,
    content: core::cell::UnsafeCell<T>,
}

// SAFETY: `take` gives the content to one caller alone.
unsafe impl<T: Send> Sync for Memory<T> {}

impl<T> Memory<T> {
    /// For a static.
    pub const fn new(content: T) -> Self {
        Self { taken: AtomicBool::new(false), content: core::cell::UnsafeCell::new(content) }
    }

    /// The content, the first time. These programs have one thread and no interrupts.
    pub fn take(&'static self) -> Option<&'static mut T> {
        let first = !self.taken.load(Ordering::Relaxed);
        self.taken.store(true, Ordering::Relaxed);
        // SAFETY: nobody else has it, nor will have.
        first.then(|| unsafe { &mut *self.content.get() })
    }
}

/// Bytes of the stack that were ever in use.
pub fn stack_used() -> usize {
    let (low, top) = (&raw const __stack_low, &raw const __stack_top);
    let mut place = low;
    // SAFETY: the linker script puts the stack between both; painted words are only read.
    while place < top && unsafe { place.read_volatile() } == PAINT {
        place = place.wrapping_add(1);
    }
    top.addr() - place.addr()
}

/// The vectors of a Cortex-M: the first stack pointer, reset, and 14 exceptions, all fatal here.
#[cfg(target_arch = "arm")]
#[repr(C)]
struct Vectors {
    stack: *const u32,
    reset: unsafe extern "C" fn() -> !,
    exceptions: [unsafe extern "C" fn() -> !; 14],
}

// SAFETY: never written.
#[cfg(target_arch = "arm")]
unsafe impl Sync for Vectors {}

#[cfg(target_arch = "arm")]
#[used]
#[unsafe(link_section = ".vectors")]
static VECTORS: Vectors =
    Vectors { stack: &raw const __stack_top, reset: start, exceptions: [fault; 14] };

/// What an exception ends in.
#[cfg(target_arch = "arm")]
unsafe extern "C" fn fault() -> ! {
    super::semihosting::Line::new("fault").end();
    super::semihosting::exit(false)
}

/// Where a Cortex-M begins.
#[cfg(target_arch = "arm")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn start() -> ! {
    naked_asm!(
        ".cpu cortex-m4",
        // Full access to the floating-point unit, and with it to vectors: CPACR, CP10 and CP11.
        "movw r0, #0xed88",
        "movt r0, #0xe000",
        "ldr r1, [r0]",
        "orr r1, r1, #0xf00000",
        "str r1, [r0]",
        "dsb",
        "isb",
        "ldr r0, =__data",
        "ldr r1, =__data_end",
        "ldr r2, =__data_source",
        "1: cmp r0, r1",
        "bhs 2f",
        "ldr r3, [r2], #4",
        "str r3, [r0], #4",
        "b 1b",
        "2: ldr r0, =__bss",
        "ldr r1, =__bss_end",
        "movs r2, #0",
        "3: cmp r0, r1",
        "bhs 4f",
        "str r2, [r0], #4",
        "b 3b",
        // A `Memory` that lies there has its flag with it.
        "4: ldr r0, =__arena",
        "ldr r1, =__arena_end",
        "5: cmp r0, r1",
        "bhs 6f",
        "str r2, [r0], #4",
        "b 5b",
        "6: ldr r0, =__stack_low",
        "mov r1, sp",
        "movw r2, #{low}",
        "movt r2, #{high}",
        "7: cmp r0, r1",
        "bhs 8f",
        "str r2, [r0], #4",
        "b 7b",
        "8: bl board_main",
        "b .",
        ".ltorg",
        low = const PAINT & 0xffff,
        high = const PAINT >> 16,
    )
}

/// Where a 64-bit core begins, in the exception level of a kernel.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".start")]
unsafe extern "C" fn start() -> ! {
    naked_asm!(
        "adrp x0, __stack_top",
        "add x0, x0, :lo12:__stack_top",
        "mov sp, x0",
        // No trap of floating point: CPACR_EL1.FPEN.
        "mrs x0, cpacr_el1",
        "orr x0, x0, #(3 << 20)",
        "msr cpacr_el1, x0",
        "isb",
        "adrp x0, __bss",
        "add x0, x0, :lo12:__bss",
        "adrp x1, __bss_end",
        "add x1, x1, :lo12:__bss_end",
        "1: cmp x0, x1",
        "b.hs 2f",
        "str xzr, [x0], #8",
        "b 1b",
        // One table maps each address to itself: a block of 1 GB of devices (attribute 0), then one
        // of normal memory, cached and written back (attribute 1, inner shareable); both accessed.
        "2: adrp x0, __table",
        "add x0, x0, :lo12:__table",
        "mov x1, #0x401",
        "str x1, [x0]",
        "ldr x1, =0x40000705",
        "str x1, [x0, #8]",
        "msr ttbr0_el1, x0",
        "mov x1, #0xff00",
        "msr mair_el1, x1",
        // Addresses of 39 bits by the first table, 4 kB pages, tables in cached memory, no second
        // table.
        "ldr x1, =0x200803519",
        "msr tcr_el1, x1",
        "dsb sy",
        "isb",
        "tlbi vmalle1",
        "dsb sy",
        "isb",
        // MMU and caches on; unaligned accesses allowed.
        "mrs x1, sctlr_el1",
        "mov x2, #0x1005",
        "orr x1, x1, x2",
        "bic x1, x1, #2",
        "msr sctlr_el1, x1",
        "isb",
        "adrp x0, __stack_low",
        "add x0, x0, :lo12:__stack_low",
        "mov x1, sp",
        "movz w2, #{low}",
        "movk w2, #{high}, lsl #16",
        "3: cmp x0, x1",
        "b.hs 4f",
        "str w2, [x0], #4",
        "b 3b",
        "4: bl board_main",
        "b .",
        ".ltorg",
        low = const PAINT & 0xffff,
        high = const PAINT >> 16,
    )
}

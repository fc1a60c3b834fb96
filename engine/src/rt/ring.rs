//! Rings that do not interrupt their core.
//!
//! When something completes, the kernel by default interrupts the core that owns the ring, wherever it
//! is in its own work: for a server whose peers send all the time, tens of thousands of interrupts a second, which on
//! a virtual machine each leave the guest. `IORING_SETUP_COOP_TASKRUN` (Linux 5.19; io_uring_setup(2)) lets the
//! completion wait for the core's next system call or timer tick, which a shard at work reaches within microseconds.
//! What that is worth here is in `perf/RESULTS.md`.
//!
//! The runtime offers no way to ask for it, so the linker puts [`setup`] in the place of the one
//! function of its C library that makes a ring (`--wrap`, in `build.rs`). Where it is linked without that, rings are as the
//! runtime makes them.

use nix::libc;
use rustix::io_uring::{IoringSetupFlags, io_uring_params};
use std::sync::atomic::{AtomicU32, Ordering};

/// Rings of this process that do not interrupt.
static QUIET: AtomicU32 = AtomicU32::new(0);

/// How many rings of this process leave their core uninterrupted; 0 on kernels before 5.19.
pub fn quiet_rings() -> u32 {
    QUIET.load(Ordering::Relaxed)
}

/// Makes a ring as asked, but without interrupts where the kernel can. As io_uring_setup(2): a
/// descriptor, or -1 with `errno`.
// SAFETY: `--wrap` calls for this very name, and nothing else has it.
#[unsafe(export_name = "__wrap___sys_io_uring_setup")]
extern "C" fn setup(entries: libc::c_uint, parameters: *mut io_uring_params) -> libc::c_int {
    // SAFETY: the runtime's C library passes parameters that live on its stack, and nobody else
    // knows of them while it waits for this call.
    let parameters = unsafe { &mut *parameters };
    let asked = parameters.flags;
    parameters.flags |= IoringSetupFlags::COOP_TASKRUN;
    let ring = make(entries, parameters);
    if 0 <= ring {
        QUIET.fetch_add(1, Ordering::Relaxed);
        return ring;
    }
    parameters.flags = asked;
    make(entries, parameters)
}

fn make(entries: libc::c_uint, parameters: &mut io_uring_params) -> libc::c_int {
    let parameters: *mut io_uring_params = parameters;
    // SAFETY: the parameters are valid for reading and writing as long as the call takes.
    unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, parameters) as libc::c_int }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::{Plan, block_on};

    #[test]
    fn an_executors_rings_do_not_interrupt_it() {
        let release = rustix::system::uname();
        let release = release.release().to_string_lossy();
        let mut parts = release.split(|c: char| !c.is_ascii_digit());
        let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
        let before = quiet_rings();
        block_on(&Plan::small("quiet"), async {}).unwrap();
        // Other tests make rings, too; without the linker's help nobody would count any.
        let can = (5, 19) <= (number().unwrap(), number().unwrap());
        assert_eq!(before < quiet_rings(), can, "Linux {release}");
    }

    #[test]
    fn a_ring_that_cannot_be_is_refused_as_the_kernel_says() {
        let mut parameters = io_uring_params::default();
        assert_eq!(setup(0, &raw mut parameters), -1);
        let error = std::io::Error::last_os_error();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(parameters.flags.is_empty());
    }
}

//! Asks the linker to put `rt::ring` in the place of the runtime's own way to make a ring.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg=-Wl,--wrap=__sys_io_uring_setup");
}

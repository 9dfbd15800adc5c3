//! How the binary is linked.

fn main() {
    // Addresses that the loader has to fill in take a few bytes instead of 24 each: less to read
    // whenever a tool starts.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo:rerun-if-changed=build.rs");
}

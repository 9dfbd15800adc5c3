//! The fence agent as an executable of its own.

#![forbid(unsafe_code)]

fn main() {
    let mut args = std::env::args();
    let path = args.next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let args: Vec<String> = args.collect();
    std::process::exit(fence_agents_ipmi::run(&name, &args));
}

//! The compatible tools alone, as one binary that is started under their names.

fn main() {
    let mut args = std::env::args();
    let path = args.next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().to_string();
    let args: Vec<String> = args.collect();
    if !cli_tools::TOOLS.contains(&name.as_str()) {
        eprintln!("{name}: not a known tool; link one of these names to this binary:");
        cli_tools::TOOLS.iter().for_each(|name| eprintln!("  {name}"));
        std::process::exit(127);
    }
    std::process::exit(cli_tools::run(&name, &args));
}

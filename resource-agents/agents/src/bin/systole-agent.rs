//! The agents as an executable of their own: started through a link named
//! `.../systole/NAME ACTION`, or as `systole-agent NAME ACTION`.

fn main() {
    let mut args = std::env::args();
    let path = args.next().unwrap_or_default();
    let mut args: Vec<String> = args.collect();
    let name = match resource_agents_agents::name_from_path(path.as_ref()) {
        Some(name) => name.to_owned(),
        None if args.is_empty() => {
            eprintln!("usage: systole-agent NAME ACTION");
            std::process::exit(2);
        }
        None => args.remove(0),
    };
    std::process::exit(resource_agents_agents::run(&name, &args));
}

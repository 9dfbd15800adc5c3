//! Which agents cannot be called at all.

use crate::Agent;

impl Agent {
    /// Why no node can ever call the agent: its name leads to no file, or this cluster does what the
    /// agent stands for in no way yet. Such an agent is answered for as one that is not installed.
    pub fn flaw(&self) -> Option<String> {
        let names = [Some(&self.class), self.provider.as_ref(), Some(&self.name)];
        if let Some(name) = names.into_iter().flatten().find(|name| !self.is_possible(name)) {
            return Some(format!("{self} cannot be an agent: '{name}' is not a possible name"));
        }
        let parts = (self.class.as_str(), self.provider.as_deref(), self.name.as_str());
        (parts == ("ocf", Some("pacemaker"), "remote")).then(|| {
            format!(
                "{self} is not supported: this cluster cannot run resources on remote nodes yet"
            )
        })
    }

    /// What can be the name of a file in an agents' folder. Names of units have further characters.
    fn is_possible(&self, name: &str) -> bool {
        let is_unit = matches!(self.class.as_str(), "systemd" | "service");
        let further = if is_unit { "_.-+@:\\" } else { "_.-+" };
        let plain = |c: char| c.is_ascii_alphanumeric() || further.contains(c);
        !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
    }
}

impl std::fmt::Display for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.provider {
            Some(provider) => write!(f, "{}:{provider}:{}", self.class, self.name),
            None => write!(f, "{}:{}", self.class, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(spec: &str) -> Option<String> {
        let parts: Vec<&str> = spec.splitn(3, ':').collect();
        let (class, provider, name) = match parts[..] {
            [class, provider, name] if class == "ocf" => (class, Some(provider.to_owned()), name),
            [class, ..] => (class, None, spec.split_once(':').map_or("", |(_, name)| name)),
            [] => unreachable!("a text has a first part"),
        };
        Agent { class: class.into(), provider, name: name.into() }.flaw()
    }

    #[test]
    fn what_leads_to_no_file_or_out_of_the_folder_cannot_be_an_agent() {
        for spec in [
            "ocf:heartbeat:ip=10.77.99.1/16",
            "ocf:heartbeat:ip=x",
            "ocf:..:evil",
            "ocf:../x:evil",
            "ocf:heartbeat:../x",
            "ocf:heartbeat:",
            "ocf:heartbeat:a b",
            "ocf:heartbeat:a\0b",
            "lsb:../x",
            "systemd:../x",
        ] {
            let flaw = flaw(spec).unwrap_or_else(|| panic!("{spec}"));
            assert!(flaw.contains("is not a possible name"), "{flaw}");
        }
        for spec in [
            "ocf:heartbeat:IPaddr2",
            "ocf:linbit:drbd-attr",
            "systemd:getty@tty1.service",
            "systemd:dev-disk\\x2dby",
            "lsb:foo.sh",
            "stonith:fence_ipmilan",
        ] {
            assert_eq!(flaw(spec), None, "{spec}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let flaw = flaw("ocf:pacemaker:remote").unwrap();
        assert!(flaw.contains("ocf:pacemaker:remote is not supported"), "{flaw}");
    }
}

//! What really happened: the ledger that agents keep outside of the hosts, the power log, and who
//! could not hear whom. Times are microseconds of the machine's one clock.

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When: before a start takes effect, and after a stop or a fence has.
    pub at_us: u64,
    /// The host the agent ran on.
    pub host: String,
    /// Names this boot of the host.
    pub boot: String,
    /// What it did.
    pub what: What,
}

/// What an agent did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Made a resource active that was not.
    Start {
        /// Which one.
        resource: String,
        /// The parameter it was given.
        value: String,
    },
    /// Was told to stop a resource, whether or not it was active.
    Stop {
        /// Which one.
        resource: String,
        /// The parameter it was given.
        value: String,
    },
    /// Had an answer from a fence device.
    Fence {
        /// The host to fence.
        target: String,
        /// `off`, `reboot`, `on`, ...
        action: String,
        /// Whether the device says that it is done.
        done: bool,
    },
}

/// A host's power was switched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Power {
    /// When this was done.
    pub at_us: u64,
    /// Which host.
    pub host: String,
    /// The new state.
    pub on: bool,
    /// A fence device did it.
    pub by_device: bool,
}

/// A time during which groups of hosts did not hear each other in any way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// When it was complete.
    pub from_us: u64,
    /// When it began to end.
    pub to_us: u64,
    /// The groups.
    pub groups: Vec<Vec<String>>,
}

impl Cut {
    fn parts(&self, one: &str, other: &str) -> bool {
        let group = |name| self.groups.iter().position(|g| g.iter().any(|host| host == name));
        group(one) != group(other)
    }
}

/// How a resource's activity ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It goes on.
    Open,
    /// It was stopped at this time.
    Stopped(u64),
    /// Its host lost its power at this time.
    PowerLost(u64),
}

/// A time during which a resource was active on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenure {
    /// The resource.
    pub resource: String,
    /// The parameter that it was started with.
    pub value: String,
    /// Where.
    pub host: String,
    /// Since when.
    pub from_us: u64,
    /// Until when, and why.
    pub end: End,
}

impl Tenure {
    fn to_us(&self) -> u64 {
        match self.end {
            End::Open => u64::MAX,
            End::Stopped(at) | End::PowerLost(at) => at,
        }
    }
}

/// Reads a ledger; an error names the line.
pub(crate) fn read(text: &str) -> Result<Vec<Entry>, String> {
    let line = |(number, line): (usize, &str)| {
        entry(line).ok_or_else(|| format!("line {number} of the ledger is '{line}'"))
    };
    (1..).zip(text.lines()).map(line).collect()
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let (seconds, fraction) = words.next()?.split_once('.')?;
    let micros: u64 = fraction.parse().ok().filter(|_| fraction.len() == 6)?;
    let at_us = seconds.parse::<u64>().ok()? * 1_000_000 + micros;
    let mut word = || words.next().map(str::to_owned);
    let (host, boot) = (word()?, word()?);
    let what = match word()?.as_str() {
        "start" => What::Start { resource: word()?, value: word()? },
        "stop" => What::Stop { resource: word()?, value: word()? },
        "fence" => What::Fence { target: word()?, action: word()?, done: word()? == "0" },
        _ => return None,
    };
    words.next().is_none().then_some(Entry { at_us, host, boot, what })
}

/// All that is known of a round.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The ledger.
    pub entries: Vec<Entry>,
    /// The power log.
    pub power: Vec<Power>,
    /// Who could not hear whom.
    pub cuts: Vec<Cut>,
}

/// An entry or a loss of power, to be gone through in order.
enum Step<'a> {
    Entry(&'a Entry),
    Off(&'a str),
}

impl Evidence {
    /// Where resources of `names` were active, in the order in which they became so, and
    /// what was said to stop something else than what was started.
    pub fn tenures(&self, names: &[&str]) -> (Vec<Tenure>, Vec<String>) {
        let entries = self.entries.iter().map(|entry| (entry.at_us, Step::Entry(entry)));
        let off = self.power.iter().filter(|event| !event.on);
        let off = off.map(|event| (event.at_us, Step::Off(&event.host)));
        let mut steps: Vec<(u64, Step<'_>)> = entries.chain(off).collect();
        steps.sort_by_key(|(at_us, _)| *at_us);
        let (mut tenures, mut wrong) = (Vec::<Tenure>::new(), Vec::new());
        for (at_us, step) in steps {
            match step {
                Step::Off(host) => {
                    let open = |t: &&mut Tenure| t.end == End::Open && t.host == host;
                    tenures.iter_mut().filter(open).for_each(|t| t.end = End::PowerLost(at_us));
                }
                Step::Entry(Entry { host, what: What::Start { resource, value }, .. })
                    if names.contains(&resource.as_str()) =>
                {
                    tenures.push(Tenure {
                        resource: resource.clone(),
                        value: value.clone(),
                        host: host.clone(),
                        from_us: at_us,
                        end: End::Open,
                    });
                }
                Step::Entry(Entry { host, what: What::Stop { resource, value }, .. }) => {
                    let open = |t: &&mut Tenure| {
                        t.end == End::Open && t.host == *host && t.resource == *resource
                    };
                    for tenure in tenures.iter_mut().filter(open) {
                        if tenure.value == *value {
                            tenure.end = End::Stopped(at_us);
                        } else {
                            wrong.push(format!(
                                "{} {resource} is stopped on {host} with value={value}, and was \
                                 started with value={}",
                                time(at_us),
                                tenure.value
                            ));
                        }
                    }
                }
                Step::Entry(_) => {}
            }
        }
        (tenures, wrong)
    }

    /// Invariant 1: a resource is active on at most one host.
    pub fn at_most_one_active(&self, names: &[&str]) -> Vec<String> {
        let (tenures, _) = self.tenures(names);
        let mut found = Vec::new();
        for (at, later) in tenures.iter().enumerate() {
            let both = |earlier: &&Tenure| {
                earlier.resource == later.resource && later.from_us < earlier.to_us()
            };
            found.extend(tenures[..at].iter().filter(both).map(|earlier| {
                format!(
                    "{} invariant 1: {} is started on {} while it is active on {}",
                    time(later.from_us),
                    later.resource,
                    later.host,
                    earlier.host
                )
            }));
        }
        found
    }

    /// Invariant 2: what a host had that is lost is started elsewhere only after its fence.
    ///
    /// A host is lost that has lost its power, until it boots again; and one that is cut off, for
    /// those that it is cut off from. What it has stopped since then nobody else can know.
    pub fn nothing_starts_before_the_fence(&self, names: &[&str]) -> Vec<String> {
        let (tenures, _) = self.tenures(names);
        let mut found = Vec::new();
        for (at, new) in tenures.iter().enumerate() {
            let Some(old) = tenures[..at].iter().rfind(|old| old.resource == new.resource) else {
                continue;
            };
            let lost_at = match old.end {
                _ if old.host == new.host => None,
                End::Open => None,
                End::PowerLost(at) => Some(at).filter(|at| !self.booted(&old.host, *at, new)),
                End::Stopped(at) => self.cut_off(&old.host, at, new),
            };
            // What goes on when the new one starts is another violation.
            if let Some(lost_at) = lost_at.filter(|_| old.to_us() <= new.from_us)
                && !self.fenced(&old.host, lost_at, new.from_us)
            {
                found.push(format!(
                    "{} invariant 2: {} is started on {} though {}, which had it, is lost since \
                     {} and not fenced",
                    time(new.from_us),
                    new.resource,
                    new.host,
                    old.host,
                    time(lost_at)
                ));
            }
        }
        found
    }

    fn booted(&self, host: &str, since_us: u64, new: &Tenure) -> bool {
        let boots = self.power.iter().filter(|event| event.on && event.host == host);
        boots.map(|event| event.at_us).any(|at| (since_us..new.from_us).contains(&at))
    }

    /// Since when the one that starts something has not heard that it was stopped at `stopped_us`.
    fn cut_off(&self, host: &str, stopped_us: u64, new: &Tenure) -> Option<u64> {
        let during = |cut: &&Cut| {
            cut.from_us < stopped_us && new.from_us < cut.to_us && cut.parts(host, &new.host)
        };
        self.cuts.iter().find(during).map(|cut| cut.from_us)
    }

    /// Whether a device has confirmed within that time that the host is off.
    fn fenced(&self, host: &str, from_us: u64, to_us: u64) -> bool {
        self.entries.iter().any(|entry| {
            let What::Fence { target, action, done: true } = &entry.what else { return false };
            target == host
                && matches!(action.as_str(), "off" | "reboot")
                && (from_us..=to_us).contains(&entry.at_us)
        })
    }

    /// Invariant 8: a stop gets the parameters of its start.
    pub fn stops_get_what_starts_got(&self, names: &[&str]) -> Vec<String> {
        let (_, wrong) = self.tenures(names);
        wrong.into_iter().map(|text| text.replacen(' ', " invariant 8: ", 1)).collect()
    }

    /// How often fence devices have cut a host's power.
    pub fn fences_of(&self, host: &str) -> usize {
        let cuts = self.power.iter().filter(|event| !event.on && event.by_device);
        cuts.filter(|event| event.host == host).count()
    }

    /// Where a resource is active now, with the parameter it was started with.
    pub fn active(&self, resource: &str) -> Vec<(String, String)> {
        let (tenures, _) = self.tenures(&[resource]);
        let open = tenures.into_iter().filter(|tenure| tenure.end == End::Open);
        open.map(|tenure| (tenure.host, tenure.value)).collect()
    }
}

/// A time as it is in the ledger, and nearly so in the hosts' logs.
pub(crate) fn time(at_us: u64) -> String {
    format!("{}.{:06}", at_us / 1_000_000, at_us % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(ledger: &str) -> Evidence {
        Evidence { entries: read(ledger).unwrap(), ..Evidence::default() }
    }

    fn power(at_us: u64, host: &str, on: bool) -> Power {
        Power { at_us, host: host.into(), on, by_device: false }
    }

    const MOVED: &str = "1.000000 node1 b1 start alpha v1\n3.000000 node2 b2 start alpha v1\n";

    #[test]
    fn a_resource_that_starts_while_another_host_has_it_is_active_twice() {
        let mut evidence = evidence(MOVED);
        let found = evidence.at_most_one_active(&["alpha"]);
        assert_eq!(
            found,
            ["3.000000 invariant 1: alpha is started on node2 while it is active on node1"]
        );
        assert_eq!(evidence.at_most_one_active(&["beta"]), [""; 0]);
        evidence.power.push(power(2_000_000, "node1", false));
        assert_eq!(evidence.at_most_one_active(&["alpha"]), [""; 0]);
    }

    #[test]
    fn a_stop_ends_activity_only_where_it_happens() {
        let stop = |host: &str| format!("{MOVED}2.000000 {host} b1 stop alpha v1\n");
        assert_eq!(evidence(&stop("node1")).at_most_one_active(&["alpha"]), [""; 0]);
        assert_eq!(evidence(&stop("node3")).at_most_one_active(&["alpha"]).len(), 1);
    }

    #[test]
    fn a_host_without_power_is_fenced_or_booted_before_its_resource_starts_elsewhere() {
        let lost = |more: &str| {
            let mut evidence = evidence(&format!("{MOVED}{more}"));
            evidence.power.push(power(2_000_000, "node1", false));
            evidence
        };
        assert_eq!(
            lost("").nothing_starts_before_the_fence(&["alpha"]),
            ["3.000000 invariant 2: alpha is started on node2 though node1, which had it, is \
              lost since 2.000000 and not fenced"]
        );
        for (line, violations) in [
            ("2.500000 node2 b2 fence node1 off 0", 0),
            ("2.500000 node2 b2 fence node1 reboot 0", 0),
            ("2.500000 node2 b2 fence node1 off 1", 1),
            ("2.500000 node2 b2 fence node1 on 0", 1),
            ("2.500000 node2 b2 fence node3 off 0", 1),
            ("1.500000 node2 b2 fence node1 off 0", 1),
            ("3.500000 node2 b2 fence node1 off 0", 1),
        ] {
            let found = lost(line).nothing_starts_before_the_fence(&["alpha"]);
            assert_eq!(found.len(), violations, "{line}: {found:?}");
        }
        let mut back = lost("");
        back.power.push(power(2_500_000, "node1", true));
        assert_eq!(back.nothing_starts_before_the_fence(&["alpha"]), [""; 0]);
    }

    #[test]
    fn what_a_host_stops_while_it_is_cut_off_nobody_knows_of() {
        let cut = |from_us, to_us, groups: [&[&str]; 2]| {
            let mut evidence = evidence(&format!("{MOVED}2.000000 node1 b1 stop alpha v1\n"));
            let groups = groups.map(|group| group.iter().map(|host| (*host).into()).collect());
            evidence.cuts.push(Cut { from_us, to_us, groups: groups.into() });
            evidence.nothing_starts_before_the_fence(&["alpha"]).len()
        };
        let apart: [&[&str]; 2] = [&["node1"], &["node2", "node3"]];
        assert_eq!(cut(1_500_000, 4_000_000, apart), 1);
        assert_eq!(cut(1_500_000, 2_500_000, apart), 0, "it was heard after the cut");
        assert_eq!(cut(2_100_000, 4_000_000, apart), 0, "it was heard before the cut");
        assert_eq!(cut(1_500_000, 4_000_000, [&["node1", "node2"], &["node3"]]), 0);
    }

    #[test]
    fn a_stop_with_other_parameters_than_its_start_is_wrong_and_stops_nothing() {
        let ledger = "1.000000 node1 b1 start alpha v1\n2.000000 node1 b1 stop alpha v2\n";
        let evidence = evidence(ledger);
        let found = evidence.stops_get_what_starts_got(&["alpha"]);
        assert_eq!(
            found,
            ["2.000000 invariant 8: alpha is stopped on node1 with value=v2, and was started \
              with value=v1"]
        );
        assert_eq!(evidence.active("alpha"), [("node1".to_owned(), "v1".to_owned())]);
    }

    #[test]
    fn lines_that_are_none_are_refused() {
        for line in ["x", "1.5 node1 b start alpha v1", "1.000000 node1 b dance alpha v1"] {
            assert!(read(line).unwrap_err().contains("line 1"), "{line}");
        }
        assert!(read("1.000000 node1 b start alpha").is_err());
        assert!(read("1.000000 node1 b start alpha v1 x").is_err());
    }
}

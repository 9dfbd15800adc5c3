//! Agents: which there are, what they say about themselves, and running them past the cluster.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use cib_model::{ResourceKind, Time};

use super::{Fail, Work, usage};
use crate::agents::{self, Agent, ocf, providers};
use crate::args::Given;
use crate::dates::Date;
use crate::exit;
use crate::output::{Element, Out};

const OCF_ROOT: &str = "/usr/lib/ocf";

/// Agents that are installed.
pub(super) fn list(command: &str, given: &Given, out: &mut Out) -> Result<(), Fail> {
    let spec = given.get(command).unwrap_or_default();
    let names = match command {
        "list-standards" => {
            ["lsb", "ocf", "service", "stonith", "systemd"].map(str::to_string).to_vec()
        }
        "list-ocf-providers" => providers(),
        "list-ocf-alternatives" => {
            let has = |provider: &String| ocf(provider).iter().any(|name| name == spec);
            providers().into_iter().filter(has).collect()
        }
        "list-agents" => {
            let none = || (exit::NOSUCH, format!("No agents found for standard '{spec}'"));
            let found = agents::of(spec).ok_or_else(none)?;
            let names: BTreeSet<String> = found.into_iter().map(|agent| agent.name).collect();
            names.into_iter().collect()
        }
        _ => return metadata(spec, out),
    };
    if names.is_empty() {
        return Err((exit::NOSUCH, format!("Nothing is installed for '{spec}'")));
    }
    let mut xml = Element::new("list");
    for name in names {
        out.line(&name);
        xml.push(Element::new("item").text(name));
    }
    out.xml(xml);
    Ok(())
}

/// Prints what an agent says about itself.
fn metadata(spec: &str, out: &mut Out) -> Result<(), Fail> {
    let parts: Vec<&str> = spec.split(':').collect();
    let (class, provider, name) = match parts[..] {
        ["ocf", provider, agent] => ("ocf", Some(provider.to_string()), agent),
        ["stonith", agent] => ("stonith", None, agent),
        _ => return usage(&format!("'{spec}' is not a valid agent specification")),
    };
    let agent = Agent { class: class.to_string(), provider, name: name.to_string() };
    let failed = |text| (exit::NOSUCH, format!("Metadata query for {spec} failed: {text}"));
    let text = agent.metadata().map_err(failed)?;
    out.print(&text);
    out.xml(Element::new("resource-agent").raw(text));
    Ok(())
}

/// What is run, and for whom.
struct Call {
    /// The resource, if it is one of the configuration.
    resource: Option<String>,
    class: String,
    provider: Option<String>,
    kind: String,
    node: String,
    params: Vec<(String, String)>,
    /// Parameters that were given instead of the configured ones.
    overrides: Vec<(String, String)>,
}

/// Runs the agent of a resource on this machine, past the cluster.
pub(super) fn execute(command: &str, work: &Work<'_>, out: &mut Out) -> Result<(), Fail> {
    let at = work.rsc()?;
    let rsc = work.cluster.rsc(at);
    if rsc.def.kind != ResourceKind::Primitive {
        let text = format!("{} is no primitive: name the resource inside", rsc.id);
        return usage(&text);
    }
    let top = work.cluster.rsc(work.cluster.top(at, true));
    if matches!(command, "force-start" | "force-promote") && rsc.id != top.id && !work.force {
        let text = format!(
            "It is not safe to {command} {} as part of {}: the cluster could start it elsewhere \
             too. Use --force if you are sure",
            rsc.id, top.id
        );
        return Err((exit::UNSAFE, text));
    }
    let node = work.node_name().unwrap_or_else(crate::nvattrs::local_node);
    let now = Time::from_epoch(Date::now().epoch());
    let model = work.cluster.model.clone();
    let params = crm_scheduler::overview::parameters(model, now, &rsc.id, Some(&node));
    let text = |value: &Option<cib_model::Str>| value.as_ref().map(|v| v.to_string());
    let call = Call {
        resource: Some(rsc.id.to_string()),
        class: text(&rsc.def.class).unwrap_or_default(),
        provider: text(&rsc.def.provider),
        kind: text(&rsc.def.agent).unwrap_or_default(),
        node,
        params: params.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
        overrides: pairs(work.given.rest.iter().map(String::as_str))?,
    };
    call.run(command, out)
}

/// Runs an agent that the command line describes.
pub(super) fn execute_given(command: &str, given: &Given, out: &mut Out) -> Result<(), Fail> {
    let class = given.get("class").unwrap_or("ocf").to_string();
    let Some(kind) = given.get("agent") else { return usage("--agent is needed with --class") };
    let provider = given.get("provider").map(str::to_string);
    if class == "ocf" && provider.is_none() {
        return usage("--provider is needed with class ocf");
    }
    let call = Call {
        resource: None,
        class,
        provider,
        kind: kind.to_string(),
        node: crate::nvattrs::local_node(),
        params: pairs(given.all("option").into_iter())?,
        overrides: pairs(given.rest.iter().map(String::as_str))?,
    };
    call.run(command, out)
}

fn pairs<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<(String, String)>, Fail> {
    let pair = |text: &str| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => usage(&format!("Error parsing '{text}' as a name=value pair")),
    };
    texts.map(pair).collect()
}

impl Call {
    fn run(&self, command: &str, out: &mut Out) -> Result<(), Fail> {
        let Call { class, kind, .. } = self;
        let provider = self.provider.as_deref().unwrap_or("heartbeat");
        if class != "ocf" || kind.contains('/') || provider.contains('/') {
            let text = format!("--{command} is supported for agents of class ocf only");
            return Err((3, text));
        }
        let action = match command {
            "validate" => "validate-all",
            "force-check" => "monitor",
            other => other.strip_prefix("force-").unwrap_or(other),
        };
        let path = Path::new(OCF_ROOT).join("resource.d").join(provider).join(kind);
        let name = self.resource.as_deref().unwrap_or("test");
        let mut agent = Command::new(&path);
        agent
            .arg(action)
            .env("OCF_ROOT", OCF_ROOT)
            .env("OCF_RA_VERSION_MAJOR", "1")
            .env("OCF_RA_VERSION_MINOR", "1")
            .env("OCF_RESOURCE_INSTANCE", name)
            .env("OCF_RESOURCE_TYPE", kind)
            .env("OCF_RESOURCE_PROVIDER", provider)
            .env("OCF_RESKEY_CRM_meta_on_node", &self.node);
        let params = self.params.iter().chain(&self.overrides).cloned().collect();
        for (name, value) in crate::devices::filled(name, params)? {
            agent.env(format!("OCF_RESKEY_{name}"), value);
        }
        out.flush();
        let (code, execution, stdout, stderr) = match agent.output() {
            Ok(done) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let code = done.status.code().unwrap_or(exit::ERROR);
                (code, 0, text(&done.stdout), text(&done.stderr))
            }
            Err(e) => (5, 7, String::new(), format!("{}: {e}\n", path.display())),
        };
        self.report(command, (code, execution), (&stdout, &stderr), out);
        if code == 0 { Ok(()) } else { Err((code, String::new())) }
    }

    fn report(
        &self,
        command: &str,
        (code, execution): (i32, i32),
        (stdout, stderr): (&str, &str),
        out: &mut Out,
    ) {
        let Call { class, provider, kind, .. } = self;
        let text = exit::exit_text(code);
        let execution_text = crate::show::status_text(Some(execution));
        let mut last_first = stderr.lines().rev();
        let reason = last_first.find_map(|l| l.split_once("ocf-exit-reason:"));
        let reason = reason.map(|(_, reason)| reason.trim());
        let about = self.resource.as_ref().map_or(String::new(), |r| format!(" for {r}"));
        let colon = provider.as_ref().map_or(String::new(), |p| format!(":{p}"));
        let agent = format!("{class}{colon}:{kind}");
        let why = reason.map_or(String::new(), |r| format!(": {r}"));
        if out.verbose > 0 {
            for (name, value) in &self.overrides {
                let of = self.resource.as_deref().unwrap_or("test");
                out.line(&format!(
                    "Overriding the cluster configuration for '{of}' with '{name}' = '{value}'"
                ));
            }
        }
        out.line(&match execution {
            0 => format!("Operation {command}{about} ({agent}) returned {code} ({text}{why})"),
            _ => format!(
                "Operation {command}{about} ({agent}) could not be executed ({execution_text}{why})"
            ),
        });
        let shown = out.verbose > 0 || (code != 0 && command != "validate");
        if shown {
            out.print(stdout);
            out.print(stderr);
        }
        let mut xml = Element::new("resource-agent-action")
            .attr("action", command)
            .attr("class", class)
            .attr("type", kind)
            .maybe("rsc", self.resource.as_ref())
            .maybe("provider", provider.as_ref());
        let mut overrides = Element::new("overrides");
        for (name, value) in &self.overrides {
            let element = Element::new("override").maybe("rsc", self.resource.as_ref());
            overrides.push(element.attr("name", name).attr("value", value));
        }
        xml.push(overrides);
        xml.push(
            Element::new("agent-status")
                .attr("code", code)
                .attr("message", text)
                .maybe("exit_reason", reason)
                .attr("execution_code", execution)
                .attr("execution_message", execution_text),
        );
        if !stdout.is_empty() || !stderr.is_empty() {
            let mut command = Element::new("command").attr("code", code);
            for (source, text) in [("stdout", stdout), ("stderr", stderr)] {
                if !text.is_empty() {
                    command.push(Element::new("output").attr("source", source).raw(text));
                }
            }
            xml.push(command);
        }
        out.xml(xml);
    }
}

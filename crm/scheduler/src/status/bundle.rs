//! Bundles: for each replica a container, an address, a connection and an instance inside.

use std::fmt::Write as _;
use std::sync::Arc;

use cib_model::{
    Attrs, Blocks, BundleDef, INFINITY, Mount, OpDef, PortMapping, ResourceDef, Str, eq_ci,
};

use super::resources::instance_limit;
use crate::base::{NodeIx, NodeKind, Probe, Replica, RscIx, Slot, Table, Variant, Ws, rf};

/// Port of the remote executor.
const REMOTE_PORT: &str = "3121";
/// Key of the remote executor, on the host as in the container.
const REMOTE_KEY: &str = "/etc/pacemaker/authkey";
/// Where containers' logs are kept on the host.
const LOG_DIR: &str = "/var/log/pacemaker/bundles";
/// What runs in the container.
const REMOTE_EXECUTOR: &str = "/usr/sbin/pacemaker-remoted";

impl Ws {
    pub(crate) fn unpack_bundle(&mut self, rsc: RscIx) -> bool {
        let def = self[rsc].def.clone();
        let Some(mut bundle) = def.bundle.clone() else { return false };
        let networked = has_network(&mut bundle);
        if bundle.replicas_per_host == 1 {
            self[rsc].clear(rf::UNIQUE);
        }
        let limit = instance_limit(self.node_order.len(), bundle.replicas_per_host);
        if bundle.replicas > limit {
            let text = format!(
                "Making no more than {limit} replicas of {} (replicas={})",
                self[rsc].id, bundle.replicas
            );
            self.error(text);
            bundle.replicas = limit;
        }
        let mut child = None;
        if let Some(inner) = def.children.first() {
            if !networked {
                let text = format!(
                    "Cannot control {} inside {} without either ip-range-start or control-port",
                    self[rsc].id, inner.id
                );
                self.error(text);
                return false;
            }
            let clone = inner_clone(&self[rsc].id, &bundle, inner.clone());
            child = self.unpack_resource(Arc::new(clone), Some(rsc), None);
            if child.is_none() {
                return false;
            }
            add_default_mounts(&mut bundle);
        }
        let (ips, host_options) = allocate_addresses(&self[rsc].id, &bundle);
        let offsets: Vec<Option<RscIx>> = match child {
            Some(clone) => self[clone].children.iter().copied().map(Some).collect(),
            None => vec![None; bundle.replicas.max(0) as usize],
        };
        if let Some(clone) = child {
            self.prepare_instances(rsc, clone);
        }
        self[rsc].bundle.child = child;
        for (offset, instance) in offsets.into_iter().enumerate() {
            let ip = ips.get(offset).cloned().flatten();
            let made =
                self.create_replica(rsc, &bundle, offset as i32, instance, ip, &host_options);
            if !made {
                let text = format!("Failed unpacking resource {}", self[rsc].id);
                self.error(text);
                return false;
            }
        }
        self[rsc].bundle.max = bundle.replicas;
        self[rsc].bundle.per_host = bundle.replicas_per_host;
        if let Some(clone) = child {
            self[rsc].children.push(clone);
        }
        true
    }

    fn prepare_instances(&mut self, rsc: RscIx, clone: RscIx) {
        let mut target: Option<Str> = None;
        for instance in self[clone].children.clone() {
            self[instance].set(rf::EXCLUSIVE_PROBES);
            if self[instance].is(rf::NOTIFY) {
                self[clone].set(rf::NOTIFY);
            }
            target = self[instance].meta.get_str("container-attribute-target").cloned();
        }
        if let Some(target) = target {
            self[rsc].meta.set("container-attribute-target", &target);
            self[clone].meta.set("container-attribute-target", &target);
        }
    }

    fn create_replica(
        &mut self,
        rsc: RscIx,
        bundle: &BundleDef,
        offset: i32,
        child: Option<RscIx>,
        ipaddr: Option<Str>,
        host_options: &str,
    ) -> bool {
        let prefix = self[rsc].id.clone();
        let container = container_def(
            &prefix,
            bundle,
            offset,
            ipaddr.as_deref(),
            host_options,
            child.is_some(),
        );
        let Some(container) = self.unpack_resource(Arc::new(container), Some(rsc), None) else {
            return false;
        };
        self[container].set(rf::REPLICA_CONTAINER);
        self[rsc].children.push(container);
        let mut replica = Replica {
            offset,
            ipaddr: ipaddr.clone(),
            node: None,
            ip: None,
            child,
            container,
            remote: None,
        };
        if let Some(address) = &ipaddr {
            let def = address_def(&prefix, bundle, offset, address);
            let Some(ip) = self.unpack_resource(Arc::new(def), Some(rsc), None) else {
                return false;
            };
            self[rsc].children.push(ip);
            replica.ip = Some(ip);
        }
        if let Some(instance) = child {
            if !self.create_connection(rsc, bundle, &mut replica, instance) {
                return false;
            }
            if let Some(address) = &ipaddr {
                self[instance].meta.set("external-ip", address);
            }
            if let Some(remote) = replica.remote {
                self[remote].set(rf::REMOTE_NESTING_ALLOWED);
            }
            // Capacity is used where the container runs.
            let needs = std::mem::take(&mut self[instance].utilization);
            self[container].utilization = needs;
        }
        self[rsc].bundle.replicas.push(replica);
        true
    }

    fn create_connection(
        &mut self,
        rsc: RscIx,
        bundle: &BundleDef,
        replica: &mut Replica,
        instance: RscIx,
    ) -> bool {
        let mut name = format!("{}-{}", self[rsc].id, replica.offset);
        if self.by_id.contains_key(name.as_str()) {
            name = format!("pcmk-internal-{}-remote-{}", self[instance].id, replica.offset);
        }
        let node = match self.find_node(&name) {
            Some(node) => {
                self[node].base.score = -INFINITY;
                node
            }
            None => self.create_node(&name, &name, NodeKind::Remote, -INFINITY),
        };
        self[node].base.probe = Probe::Never;
        for other in self.top.clone() {
            self.disallow_node(other, node);
        }
        let cell = Slot { present: true, probe: Probe::Exclusive, score: 500, count: 0 };
        let mut row = Table::default();
        row.insert(node, cell);
        self[instance].allowed = row;
        if let Some(clone) = self[instance].parent {
            self[clone].allowed.insert(node, Slot { score: -INFINITY, ..cell });
        }
        let address = replica.ipaddr.as_deref().unwrap_or("#uname");
        let port = bundle.control_port.as_deref().unwrap_or(REMOTE_PORT);
        let container_id = self[replica.container].id.clone();
        let def = ResourceDef::bundle_connection(&name, &container_id, address, port);
        let Some(remote) = self.unpack_resource(Arc::new(def), Some(rsc), None) else {
            return false;
        };
        let remote_nodes: Vec<NodeIx> =
            self[remote].allowed.nodes().filter(|n| self.is_remote_kind(*n)).collect();
        for n in remote_nodes {
            if let Some(slot) = self[remote].allowed.get_mut(n) {
                slot.score = -INFINITY;
            }
        }
        self[node].remote = Some(remote);
        self[node].attrs.set("#kind", "container");
        self[remote].launcher = Some(replica.container);
        self[rsc].children.push(remote);
        replica.remote = Some(remote);
        replica.node = Some(node);
        true
    }

    /// Bans an existing resource from a node that only a bundle's instance may use.
    fn disallow_node(&mut self, rsc: RscIx, node: NodeIx) {
        if let Some(slot) = self[rsc].allowed.get_mut(node) {
            slot.score = -INFINITY;
            slot.probe = Probe::Never;
        }
        for child in self[rsc].children.clone() {
            self.disallow_node(child, node);
        }
    }

    /// The replica that a connection belongs to.
    fn replica_of_remote(&self, remote: RscIx) -> Option<&Replica> {
        let top = self.top_of(remote, true);
        self[top].bundle.replicas.iter().find(|r| r.remote == Some(remote))
    }

    /// Whether a connection's address is the name of the host that its container runs on.
    pub(crate) fn needs_host_address(&mut self, rsc: RscIx) -> bool {
        if !self[rsc].is(rf::REMOTE_CONNECTION) {
            return false;
        }
        let address = self.params(rsc, None).get("addr");
        address.is_some_and(|a| eq_ci(a, "#uname"))
    }

    /// That host's name, as planned or as it is.
    pub(crate) fn host_address(&mut self, rsc: RscIx) -> Option<Str> {
        if !self.needs_host_address(rsc) {
            return None;
        }
        let container = self.replica_of_remote(rsc)?.container;
        let node = self[container].assigned_node().or_else(|| self.current_node(container))?;
        Some(self[node].name.clone())
    }

    /// The instance inside a container.
    pub(crate) fn inside(&self, container: RscIx) -> Option<RscIx> {
        let top = self.top_of(container, true);
        if !self.is_bundle(top) {
            return None;
        }
        let replicas = &self[top].bundle.replicas;
        replicas.iter().find(|r| r.container == container).and_then(|r| r.child)
    }

    /// The clone that a bundle runs instances of.
    pub(crate) fn bundled_clone(&self, rsc: RscIx) -> Option<RscIx> {
        self[self.top_of(rsc, true)].bundle.child
    }

    pub(crate) fn containers(&self, bundle: RscIx) -> Vec<RscIx> {
        self[bundle].bundle.replicas.iter().map(|r| r.container).collect()
    }
}

/// Whether an instance inside can be reached. A port at the host allows only one replica there.
fn has_network(bundle: &mut BundleDef) -> bool {
    if bundle.ip_range_start.is_some() {
        return true;
    }
    if bundle.control_port.is_some() {
        bundle.replicas_per_host = 1;
        return true;
    }
    false
}

fn inner_clone(prefix: &str, bundle: &BundleDef, inner: Arc<ResourceDef>) -> ResourceDef {
    let suffix = if bundle.promoted_max > 0 { "master" } else { "clone" };
    let mut def = ResourceDef::primitive(&format!("{prefix}-{suffix}"), "", "", "");
    def.kind = Variant::Clone;
    let (max, node_max) = (bundle.replicas.to_string(), bundle.replicas_per_host.to_string());
    let promoted = bundle.promoted_max.to_string();
    let unique = if bundle.replicas_per_host > 1 { "true" } else { "false" };
    let mut meta = vec![
        ("ordered", "true"),
        ("clone-max", max.as_str()),
        ("clone-node-max", node_max.as_str()),
        ("globally-unique", unique),
    ];
    if bundle.promoted_max > 0 {
        meta.extend([("promotable", "true"), ("promoted-max", promoted.as_str())]);
    }
    def.meta = Blocks::of(&meta);
    def.children = vec![inner];
    def
}

fn add_default_mounts(bundle: &mut BundleDef) {
    let own_log = bundle.mounts.iter().any(|m| &*m.target == "/var/log");
    let mount = |source: &str, target: &str, per_replica: bool| Mount {
        source: source.into(),
        target: target.into(),
        options: None,
        per_replica,
    };
    bundle.mounts.push(mount(REMOTE_KEY, REMOTE_KEY, false));
    if !own_log {
        bundle.mounts.push(mount(LOG_DIR, "/var/log", true));
    }
    let port: Str = bundle.control_port.clone().unwrap_or_else(|| REMOTE_PORT.into());
    bundle.ports.push(PortMapping { source: port.clone(), target: port });
}

/// Addresses of the replicas, and the options that tell containers of one another.
fn allocate_addresses(prefix: &str, bundle: &BundleDef) -> (Vec<Option<Str>>, String) {
    let mut options = String::new();
    let mut ips: Vec<Option<Str>> = Vec::new();
    let Some(first) = &bundle.ip_range_start else { return (ips, options) };
    let mut last: Option<Str> = None;
    for offset in 0..bundle.replicas.max(0) {
        let ip = match &last {
            None => Some(first.clone()),
            Some(last) => next_address(last),
        };
        if let Some(ip) = &ip {
            let text = if bundle.add_host {
                format!(" --add-host={prefix}-{offset}:{ip}")
            } else {
                format!(" --hosts-entry={ip}={prefix}-{offset}")
            };
            options.push_str(&text);
            last = Some(ip.clone());
        }
        ips.push(ip);
    }
    (ips, options)
}

fn next_address(last: &str) -> Option<Str> {
    let parts: Vec<u32> = last.split('.').map(|p| p.parse().ok()).collect::<Option<_>>()?;
    let [a, b, c, d] = parts[..] else { return None };
    if c > 253 {
        return None;
    }
    let (c, d) = if d > 253 { (c + 1, 1) } else { (c, d + 1) };
    Some(format!("{a}.{b}.{c}.{d}").into())
}

/// An id in which whatever XML does not allow is replaced by dots.
fn sanitized(id: &str) -> String {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    let mut out: String = id.chars().map(|c| if fine(c) { c } else { '.' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '.')) {
        out.replace_range(..1, "_");
    }
    out
}

fn address_def(prefix: &str, bundle: &BundleDef, _offset: i32, address: &str) -> ResourceDef {
    let id = sanitized(&format!("{prefix}-ip-{address}"));
    let mut def = ResourceDef::primitive(&id, "ocf", "heartbeat", "IPaddr2");
    let mut params = vec![("ip", address)];
    params.extend(bundle.host_interface.as_deref().map(|nic| ("nic", nic)));
    params.push(("cidr_netmask", bundle.host_netmask.as_deref().unwrap_or("32")));
    def.params = Blocks::of(&params);
    def.ops.push(OpDef::made_up(&id, "monitor", "60s", None));
    def
}

fn container_def(
    prefix: &str,
    bundle: &BundleDef,
    offset: i32,
    ipaddr: Option<&str>,
    host_options: &str,
    has_child: bool,
) -> ResourceDef {
    let id = sanitized(&format!("{prefix}-{}-{offset}", bundle.agent));
    let mut def = ResourceDef::primitive(&id, "ocf", "heartbeat", bundle.agent);
    let mut run = String::new();
    if bundle.agent == "docker" {
        run.push_str(" --restart=no");
    }
    if bundle.ip_range_start.is_some() {
        let _ = write!(run, " -h {prefix}-{offset}");
    }
    run.push_str(" -e PCMK_stderr=1");
    if let Some(network) = &bundle.network {
        let _ = write!(run, " --net={network}");
    }
    let port = bundle.control_port.as_deref().unwrap_or(REMOTE_PORT);
    let _ = write!(run, " -e PCMK_remote_port={port}");
    let mut directories: Vec<String> = Vec::new();
    for mount in &bundle.mounts {
        let source = if mount.per_replica {
            let own = format!("{}/{prefix}-{offset}", mount.source);
            directories.push(own.clone());
            own
        } else {
            mount.source.to_string()
        };
        let _ = write!(run, " -v {source}:{}", mount.target);
        if let Some(options) = &mount.options {
            let _ = write!(run, ":{options}");
        }
    }
    for mapping in &bundle.ports {
        if let Some(ip) = ipaddr {
            let _ = write!(run, " -p {ip}:{}:{}", mapping.source, mapping.target);
        } else if bundle.network.as_deref() != Some("host") {
            let _ = write!(run, " -p {}:{}", mapping.source, mapping.target);
        }
    }
    if let Some(options) = &bundle.options {
        let _ = write!(run, " {options}");
    }
    let _ = write!(run, " {host_options}");
    let mut params = Attrs::new();
    if let Some(image) = &bundle.image {
        params.set("image", image);
    }
    params.set("allow_pull", "true");
    params.set("force_kill", "false");
    params.set("reuse", "false");
    params.set("run_opts", &run);
    params.set("mount_points", &directories.join(","));
    match (&bundle.run_command, has_child) {
        (Some(command), _) => params.set("run_cmd", command),
        (None, true) => params.set("run_cmd", REMOTE_EXECUTOR),
        (None, false) => {}
    }
    params.set("monitor_cmd", "/bin/true");
    let pairs: Vec<(&str, &str)> = params.iter().map(|(n, v)| (&**n, &**v)).collect();
    def.params = Blocks::of(&pairs);
    def.ops.push(OpDef::made_up(&id, "monitor", "60s", None));
    def
}

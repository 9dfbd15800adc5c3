//! Operations as configured: which definition applies, and its meta-attributes.

use cib_model::{Attrs, Role, RuleInput, Time, capabilities, scan_int, timeout_ms};
use cib_model::{parse_ms, seconds_of_ms};

use crate::base::{NodeIx, OnFail, RscIx, Ws, rf};

impl Ws {
    /// Index of the definition of an operation.
    pub(crate) fn action_config(
        &self,
        rsc: RscIx,
        name: &str,
        interval: u32,
        with_disabled: bool,
    ) -> Option<usize> {
        let exact = |name: &str, interval: u32| {
            self[rsc].def.ops.iter().position(|op| {
                (with_disabled || !op.disabled()) && op.interval_ms == interval && &*op.name == name
            })
        };
        exact(name, interval)
            .or_else(|| name.starts_with("migrate_").then(|| exact("migrate", 0)).flatten())
    }

    /// Parameters that are set for one operation.
    pub(crate) fn op_params(&mut self, rsc: RscIx, config: Option<usize>, node: NodeIx) -> Attrs {
        let mut params = Attrs::new();
        let Some(config) = config else { return params };
        let def = self[rsc].def.clone();
        let blocks = &def.ops[config].params;
        if blocks.is_empty() {
            return params;
        }
        let input = RuleInput {
            now: Some(self.config.now),
            node_attrs: Some(&self[node].attrs),
            ..RuleInput::default()
        };
        let mut next = None;
        blocks.unpack(&input, &mut params, &mut next);
        next.into_iter().for_each(|at| self.recheck_at(at));
        params
    }

    /// Meta-attributes of an operation: as configured, with defaults, cleaned up.
    pub(crate) fn action_meta(
        &mut self,
        rsc: RscIx,
        node: Option<NodeIx>,
        name: &str,
        interval: u32,
        config: Option<usize>,
    ) -> Attrs {
        let model = self.model.clone();
        let def = self[rsc].def.clone();
        let op = config.map(|c| &def.ops[c]);
        let input = RuleInput {
            now: Some(self.config.now),
            agent: (def.class.as_deref(), def.provider.as_deref(), def.agent.as_deref()),
            op: Some((name, interval)),
            ..RuleInput::default()
        };
        let mut meta = Attrs::new();
        let mut next = None;
        if let Some(op) = op {
            op.meta.unpack(&input, &mut meta, &mut next);
            let attrs = op.attrs.iter().filter(|(name, _)| &**name != "id");
            attrs.for_each(|(n, v)| meta.set_str(n, v));
        }
        let is_probe = name == "monitor" && interval == 0;
        if is_probe && !meta.has("timeout") {
            let recurring = def
                .ops
                .iter()
                .filter(|o| &*o.name == "monitor" && o.interval_ms > 0 && !o.disabled());
            // The first of the most frequent ones.
            let most_frequent = recurring.min_by_key(|o| o.interval_ms);
            if let Some(timeout) = most_frequent.and_then(|o| o.timeout.as_ref()) {
                meta.set("timeout", timeout);
            }
        }
        model.op_defaults.unpack(&input, &mut meta, &mut next);
        next.into_iter().for_each(|at| self.recheck_at(at));
        meta.remove("id");
        if interval > 0 {
            let text = self.names.number(interval.into());
            meta.set_str(&self.names.shared("interval"), &text);
        } else {
            meta.remove("interval");
        }
        if capabilities(def.class.as_deref()).fencing && (name == "start" || is_probe) {
            let timeout = self.params(rsc, node).get("pcmk_monitor_timeout").map(str::to_owned);
            if let Some(timeout) = timeout {
                meta.set("timeout", &timeout);
            }
        }
        let timeout = timeout_ms(meta.get("timeout"));
        let text = self.names.number(timeout.into());
        meta.set_str(&self.names.shared("timeout"), &text);
        self.validate_on_fail(rsc, name, config, &mut meta);
        self.set_start_delay(interval, &mut meta);
        meta
    }

    fn set_start_delay(&self, interval: u32, meta: &mut Attrs) {
        if let Some(text) = meta.get("start-delay") {
            let ms = parse_ms(text).unwrap_or(0).clamp(0, i64::from(i32::MAX));
            meta.set("start-delay", &ms.to_string());
            return;
        }
        let now = self.config.now;
        let origin = meta.get("interval-origin").and_then(|o| Time::parse(o, Some(now)));
        if let Some(origin) = origin.filter(|_| interval > 0) {
            let seconds = seconds_of_ms(interval);
            let since = (now.seconds - origin.seconds) % seconds;
            let delay = if since <= 0 { -since } else { seconds - since };
            meta.set("start-delay", &(delay * 1000).to_string());
        }
    }

    /// Takes back failure policies that an operation cannot have.
    fn validate_on_fail(
        &mut self,
        rsc: RscIx,
        name: &str,
        config: Option<usize>,
        meta: &mut Attrs,
    ) {
        let value = meta.get("on-fail").map(str::to_ascii_lowercase);
        let promoted = |role: Option<&str>| role.and_then(Role::parse) == Some(Role::Promoted);
        match name {
            "stop" if matches!(value.as_deref(), Some("standby" | "demote" | "stop")) => {
                let text =
                    format!("Resetting 'on-fail' for {} stop action to default", self[rsc].id);
                self.error(text);
                meta.remove("on-fail");
                return;
            }
            "demote" if value.is_none() => {
                // It follows the monitor of the promoted role.
                for op in &self[rsc].def.clone().ops {
                    let Some(on_fail) = &op.on_fail else { continue };
                    let applies = &*op.name == "monitor"
                        && promoted(op.role.as_deref())
                        && op.interval_ms > 0
                        && !op.disabled()
                        && !on_fail.eq_ignore_ascii_case("demote");
                    if applies {
                        meta.set("on-fail", on_fail);
                    }
                }
                return;
            }
            "lrm_delete" => {
                meta.set("on-fail", "ignore");
                return;
            }
            _ => {}
        }
        if value.as_deref() == Some("demote") {
            let def = self[rsc].def.clone();
            let fits = config.map(|c| &def.ops[c]).is_some_and(|op| {
                &*op.name == "promote"
                    || (&*op.name == "monitor"
                        && op.interval_ms > 0
                        && promoted(op.role.as_deref()))
            });
            if !fits {
                let text = format!(
                    "Resetting 'on-fail' for {} {name} action to default value because 'demote' \
                     is not allowed for it",
                    self[rsc].id
                );
                self.error(text);
                meta.remove("on-fail");
            }
        }
    }

    /// What the failure of an operation leads to.
    pub(crate) fn parse_on_fail(
        &mut self,
        rsc: RscIx,
        name: &str,
        interval: u32,
        value: Option<&str>,
    ) -> OnFail {
        let fencing = self.config.fencing_enabled;
        let mut chosen = match value.map(str::to_ascii_lowercase).as_deref() {
            Some("block") => Some(OnFail::Block),
            Some("fence") if fencing => Some(OnFail::Fence),
            Some("fence") => {
                let text = format!(
                    "Resetting 'on-fail' for {name} of {} to 'stop' because 'fence' is not valid when fencing is disabled",
                    self[rsc].id
                );
                self.error(text);
                Some(OnFail::Stop)
            }
            Some("standby") => Some(OnFail::Standby),
            Some("ignore" | "nothing") => Some(OnFail::Ignore),
            Some("migrate") => Some(OnFail::Ban),
            Some("stop") => Some(OnFail::Stop),
            Some("restart") => Some(OnFail::Restart),
            Some("restart-container") if self[rsc].launcher.is_some() => {
                Some(OnFail::RestartContainer)
            }
            Some("demote") => Some(OnFail::Demote),
            _ => None,
        };
        let managed = self[rsc].is(rf::MANAGED);
        let is_probe = name == "monitor" && interval == 0;
        let id = self[rsc].id.clone();
        let remote_reset = self[rsc].is(rf::REMOTE_CONNECTION)
            && self.find_node(&id).is_some_and(|n| self.is_remote(n))
            && !is_probe
            && name != "start";
        if remote_reset && !managed {
            chosen = None;
        }
        chosen.unwrap_or(if self[rsc].launcher.is_some() {
            OnFail::RestartContainer
        } else if remote_reset {
            if managed { OnFail::ResetRemote } else { OnFail::Stop }
        } else if name == "stop" {
            if fencing { OnFail::Fence } else { OnFail::Block }
        } else {
            OnFail::Restart
        })
    }

    /// Sets the exit status that a monitor is expected to have.
    pub(crate) fn expect_result(&mut self, action: crate::base::ActionIx, rc: i32) {
        self[action].meta.set("op_target_rc", &rc.to_string());
    }

    /// Interval of an action in its meta-attributes, 0 if it does not recur.
    pub(crate) fn meta_interval(&self, action: crate::base::ActionIx) -> u32 {
        let text = self[action].meta.get("interval");
        text.and_then(scan_int).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    }
}

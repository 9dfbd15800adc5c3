//! What tools ask of a node.

use cib_store::{Who, acl};
use crm_api::{Info, Request, Response, exit};
use crm_attributes::Update;
use crm_fencer::{Record, State};
use membership_base::Instant;

use crate::node::Node;
use crate::sight::Sight;
use crate::{Effect, Message, REQUEST_MAX};

impl Node {
    pub(crate) fn client(&mut self, now: Instant, id: u64, who: Who, request: Request) {
        // What is too large for the ring is refused here: nobody waits yet for it to come back.
        let size = postcard::to_extend(&request, Vec::new()).map_or(usize::MAX, |b| b.len());
        if size > REQUEST_MAX {
            let reason = format!(
                "the request has {size} bytes, and {REQUEST_MAX} is the most that the members can \
                 tell each other; make several smaller changes"
            );
            self.fail(id, exit::DATAERR, &reason);
            return;
        }
        if let Request::Cib { operation, force } = request {
            self.cib_request(now, id, who, operation, force);
            return;
        }
        if let Request::KeepSecret(change) = request {
            self.keep_secret(now, id, &who.user, change);
            return;
        }
        let reads = matches!(
            request,
            Request::QueryAttributes { .. }
                | Request::FencingHistory
                | Request::FencingDevices { .. }
                | Request::Info
        );
        if !reads && !may_act(&who) {
            let reason = format!("user {} may not change the cluster's state", who.user);
            self.fail(id, exit::INSUFFICIENT_PRIVILEGES, &reason);
            return;
        }
        if !reads && self.is_behind() {
            let reason = "too many requests wait for the ring; try again in a moment";
            return self.fail(id, exit::BUSY, reason);
        }
        self.permitted(now, id, who, request);
    }

    /// Whether access rules apply to somebody, so that there may be something to hide.
    pub fn restricts(&self, who: &Who) -> bool {
        acl::required(who) && acl::enabled(self.cib())
    }

    fn permitted(&mut self, now: Instant, id: u64, who: Who, request: Request) {
        match request {
            Request::UpdateAttributes(updates) => {
                let updates = updates.into_iter().map(|u| self.localize(u)).collect();
                self.send(Message::Attributes(crm_attributes::Message::Update(updates)));
                self.reply_when_heard(id, Response::Done);
            }
            Request::ClearAttributes { node, prefix } => {
                let node = if node.is_empty() { self.name().to_owned() } else { node };
                self.send(Message::Attributes(crm_attributes::Message::Clear { node, prefix }));
                self.reply_when_heard(id, Response::Done);
            }
            Request::QueryAttributes { name, node } => {
                let node = node.map(|n| if n.is_empty() { self.name().to_owned() } else { n });
                let wanted = |have: &str, want: &Option<String>| {
                    want.as_deref().is_none_or(|want| want == have)
                };
                let sight = Sight::of(self.cib(), &who);
                let found = self
                    .attributes
                    .all()
                    .filter(|(n, host, _)| wanted(n, &name) && wanted(host, &node))
                    .filter(|(n, host, _)| sight.attribute(host, n))
                    .map(|(n, host, value)| (n.to_owned(), host.to_owned(), value.to_owned()))
                    .collect();
                self.reply(id, Response::Attributes(found));
            }
            Request::RefreshAttributes => {
                self.attributes.handle(now, crm_attributes::Input::Refresh);
                self.reply(id, Response::Done);
            }
            Request::Fence { target, action, timeout_ms } => {
                self.fence_request(now, id, who, target, action, timeout_ms);
            }
            Request::ConfirmFenced { target } => {
                let client = format!("{} ({})", who.client, who.user);
                self.fencer.handle(now, crm_fencer::Input::Confirm { target, client });
                self.reply_when_heard(id, Response::Done);
            }
            Request::FencingHistory => {
                let sight = Sight::of(self.cib(), &who);
                let seen = self.fencer.history().filter(|r| sight.node(&r.target));
                let all = seen.map(|r| (fencing_seen(r, &sight), r.at_s)).collect();
                self.reply(id, Response::Fencing(all));
            }
            Request::ClearFencingHistory { target } => {
                self.fencer.handle(now, crm_fencer::Input::Forget { target });
                self.reply_when_heard(id, Response::Done);
            }
            Request::FencingDevices { target } => {
                let devices = self.fencer.configuration().devices.values();
                let covers = |d: &&crm_fencer::Device| {
                    target.as_deref().is_none_or(|t| d.covers(t) != Some(false))
                };
                let sight = Sight::of(self.cib(), &who);
                let seen = devices.filter(covers).filter(|d| sight.resource(&d.id));
                let ids = seen.map(|d| d.id.clone()).collect();
                self.reply(id, Response::Devices(ids));
            }
            Request::ForgetResource { node, resource } => {
                self.forget_request(id, node, resource);
            }
            Request::Info => {
                let info = self.info(&Sight::of(self.cib(), &who));
                self.reply(id, Response::Info(Box::new(info)));
            }
            Request::Shutdown => {
                self.controller.handle(now, crm_controller::Input::Shutdown);
                self.reply(id, Response::Done);
            }
            Request::Cib { .. }
            | Request::KeepSecret(_)
            | Request::Membership
            | Request::Cmap { .. }
            | Request::ExpectVotes(_)
            | Request::CancelWaitForAll
            | Request::Subscribe => {
                self.fail(id, exit::ERROR, "the daemon's driver answers that");
            }
        }
    }

    fn localize(&self, mut update: Update) -> Update {
        if update.node.is_empty() {
            update.node = self.name().to_owned();
        }
        update
    }

    fn fence_request(
        &mut self,
        now: Instant,
        id: u64,
        who: Who,
        target: String,
        action: String,
        timeout_ms: u64,
    ) {
        if !matches!(action.as_str(), "reboot" | "off" | "on") {
            let reason = format!("'{action}' is no fencing action: use reboot, off or on");
            self.fail(id, exit::USAGE, &reason);
            return;
        }
        let (ticket, life, client) =
            (self.new_ticket(id), self.controller.life(&target), who.client);
        self.fencer.handle(
            now,
            crm_fencer::Input::Request { ticket, target, action, life, client, timeout_ms },
        );
    }

    fn forget_request(&mut self, id: u64, node: Option<String>, resource: Option<String>) {
        let targets: Vec<_> = self
            .setup
            .nodes
            .iter()
            .filter(|(_, name)| node.as_ref().is_none_or(|n| n == *name))
            .map(|(id, name)| (*id, name.clone()))
            .collect();
        if targets.is_empty() {
            let reason = format!("node {} is not known", node.unwrap_or_default());
            self.fail(id, exit::NOSUCH, &reason);
            return;
        }
        for (to, name) in targets {
            let suffix = resource.as_ref().map_or_else(String::new, |r| format!("{r}#"));
            for prefix in ["fail-count-", "last-failure-"] {
                let (node, prefix) = (name.clone(), format!("{prefix}{suffix}"));
                self.send(Message::Attributes(crm_attributes::Message::Clear { node, prefix }));
            }
            self.send(Message::Controller(crm_controller::Message::Forget {
                to,
                resource: resource.clone(),
                tag: None,
            }));
        }
        self.reply_when_heard(id, Response::Done);
    }

    /// How this node and the cluster stand. Its own name is no secret to who is on it.
    fn info(&self, sight: &Sight) -> Info {
        let seen = |name: &String| name == self.name() || sight.node(name);
        let name_of = |id| self.setup.nodes.get(&id).filter(|name| seen(name)).cloned();
        Info {
            local: self.setup.local,
            name: self.name().to_owned(),
            cluster: self.setup.cluster.clone(),
            dc: self.controller.dc().and_then(name_of),
            state: self.controller.phase().name().to_owned(),
            quorate: self.view.quorate,
            nodes: self
                .setup
                .nodes
                .iter()
                .filter(|(_, name)| seen(name))
                .map(|(id, name)| (*id, name.clone(), self.view.members.contains(id)))
                .collect(),
            version: self.setup.version.clone(),
        }
    }

    pub(crate) fn reply(&mut self, id: u64, response: Response) {
        self.effects.push_back(Effect::Reply { id, response });
    }

    pub(crate) fn fail(&mut self, id: u64, code: i32, reason: &str) {
        self.reply(id, Response::Failed { code, reason: reason.to_owned() });
    }
}

/// An entry of the fencing history as somebody may see it who may know of its target.
fn fencing_seen(record: &Record, sight: &Sight) -> Record {
    let mut record = record.clone();
    if sight.is_all() {
        return record;
    }
    record.device = record.device.filter(|id| sight.resource(id));
    record.executor = record.executor.filter(|name| sight.node(name));
    // The reason names devices and nodes, and says what they answered.
    if let State::Failed(reason) = &mut record.state {
        *reason = "the reason is not for everybody".to_owned();
    }
    for name in [&mut record.id.owner, &mut record.id.asked_by] {
        if !sight.node(name) {
            name.clear();
        }
    }
    record
}

/// Who may do what is not a change of the CIB (which has access rules of its own).
fn may_act(who: &Who) -> bool {
    who.internal || matches!(who.user.as_str(), "root" | "hacluster")
}

//! The commands the BMC knows.

use super::{Active, BmcConfig, PowerControl, PowerError};
use crate::chassis::{ChassisControl, code};
use crate::rakp::Privilege;
use crate::wire::Message;

const INVALID_COMMAND: u8 = 0xc1;
const INVALID_LENGTH: u8 = 0xc7;
const INVALID_DATA: u8 = 0xcc;
const INSUFFICIENT_PRIVILEGE: u8 = 0xd4;
const NOT_SUPPORTED_NOW: u8 = 0xd5;
const UNSPECIFIED: u8 = 0xff;

/// What a command answers.
pub(super) struct Reply {
    completion: u8,
    data: Vec<u8>,
    /// The session that is over once the answer is out.
    pub(super) closes: Option<u32>,
}

impl Reply {
    fn ok(data: impl Into<Vec<u8>>) -> Self {
        Self { completion: 0, data: data.into(), closes: None }
    }

    fn error(completion: u8) -> Self {
        Self { completion, data: Vec::new(), closes: None }
    }

    pub(super) fn message(&self, request: &Message) -> Message {
        let mut data = vec![self.completion];
        data.extend(&self.data);
        Message {
            net_fn: request.net_fn | 1,
            number: request.number,
            command: request.command,
            data,
        }
    }
}

/// Commands that need no session.
pub(super) fn outside(config: &BmcConfig, request: &Message) -> Reply {
    match (request.net_fn, request.command) {
        (code::NET_FN_APP, code::GET_AUTH_CAPABILITIES) => auth_capabilities(config, request),
        (code::NET_FN_APP, code::GET_CIPHER_SUITES) => cipher_suites(config, request),
        (code::NET_FN_APP, code::GET_SYSTEM_GUID) => Reply::ok(config.guid),
        (code::NET_FN_APP, code::GET_DEVICE_ID)
        | (code::NET_FN_CHASSIS, code::GET_CHASSIS_STATUS | code::CHASSIS_CONTROL) => {
            Reply::error(INSUFFICIENT_PRIVILEGE)
        }
        _ => Reply::error(INVALID_COMMAND),
    }
}

/// Commands inside a session.
pub(super) fn inside(
    config: &BmcConfig,
    session: &mut Active,
    request: &Message,
    power: &mut dyn PowerControl,
) -> Reply {
    match (request.net_fn, request.command) {
        (code::NET_FN_APP, code::SET_SESSION_PRIVILEGE) => set_privilege(session, request),
        (code::NET_FN_APP, code::CLOSE_SESSION) => close(request),
        (code::NET_FN_APP, code::GET_DEVICE_ID) => Reply::ok(DEVICE_ID),
        (code::NET_FN_CHASSIS, code::GET_CHASSIS_CAPABILITIES) => {
            Reply::ok([0, 0x20, 0x20, 0x20, 0x20])
        }
        (code::NET_FN_CHASSIS, code::GET_CHASSIS_STATUS) => chassis_status(power),
        (code::NET_FN_CHASSIS, code::CHASSIS_CONTROL) => {
            if session.privilege < Privilege::Operator {
                return Reply::error(INSUFFICIENT_PRIVILEGE);
            }
            chassis_control(request, power)
        }
        _ => outside(config, request),
    }
}

/// A chassis device with IPMI 2.0 (IPMI 2.0 §20.1).
const DEVICE_ID: [u8; 11] = [0x20, 0x01, 0x01, 0x00, 0x02, 0x80, 0, 0, 0, 0, 0];

/// IPMI 2.0 §22.13: only RMCP+ is offered.
fn auth_capabilities(config: &BmcConfig, request: &Message) -> Reply {
    const EXTENDED: u8 = 0x80;
    const NAMED_USERS: u8 = 0x04;
    const BMC_KEY_SET: u8 = 0x20;
    const IPMI_2_0: u8 = 0x02;
    let Some(channel) = request.data.first() else { return Reply::error(INVALID_LENGTH) };
    let asks_for_2_0 = channel & 0x80 != 0;
    let users = NAMED_USERS | if config.bmc_key.is_empty() { 0 } else { BMC_KEY_SET };
    let (kinds, extended) = if asks_for_2_0 { (EXTENDED, IPMI_2_0) } else { (0, 0) };
    Reply::ok([1, kinds, users, extended, 0, 0, 0, 0])
}

/// IPMI 2.0 §22.15: records of 0xC0, number, and the three algorithms with their tags; sixteen
/// bytes for each list index.
fn cipher_suites(config: &BmcConfig, request: &Message) -> Reply {
    let [_channel, _kind, index, ..] = request.data[..] else {
        return Reply::error(INVALID_LENGTH);
    };
    let mut records = Vec::new();
    for suite in &config.suites {
        let [authentication, integrity, confidentiality] = suite.algorithms();
        let tagged = [authentication, 0x40 | integrity, 0x80 | confidentiality];
        records.extend([0xc0, suite.number()]);
        records.extend(tagged);
    }
    let page = records.chunks(16).nth(usize::from(index & 0x3f)).unwrap_or_default();
    Reply::ok([&[1], page].concat())
}

/// IPMI 2.0 §22.18.
fn set_privilege(session: &mut Active, request: &Message) -> Reply {
    const ABOVE_LIMIT: u8 = 0x81;
    let Some(wanted) = request.data.first() else { return Reply::error(INVALID_LENGTH) };
    if wanted & 0x0f != 0 {
        let Some(level) = Privilege::from_number(wanted & 0x0f) else {
            return Reply::error(INVALID_DATA);
        };
        if level > session.limit {
            return Reply::error(ABOVE_LIMIT);
        }
        session.privilege = level;
    }
    Reply::ok([session.privilege as u8])
}

/// IPMI 2.0 §22.19. Only the session itself may be closed.
fn close(request: &Message) -> Reply {
    const INVALID_SESSION: u8 = 0x87;
    let Some(Ok(number)) = request.data.get(..4).map(<[u8; 4]>::try_from) else {
        return Reply::error(INVALID_LENGTH);
    };
    match u32::from_le_bytes(number) {
        0 => Reply::error(INVALID_SESSION),
        number => Reply { completion: 0, data: Vec::new(), closes: Some(number) },
    }
}

/// IPMI 2.0 §28.2: state, last event, miscellaneous. The restore policy is "unknown".
fn chassis_status(power: &mut dyn PowerControl) -> Reply {
    const POLICY_UNKNOWN: u8 = 0x60;
    Reply::ok([POLICY_UNKNOWN | u8::from(power.is_on()), 0, 0])
}

/// IPMI 2.0 §28.3.
fn chassis_control(request: &Message, power: &mut dyn PowerControl) -> Reply {
    let Some(number) = request.data.first() else { return Reply::error(INVALID_LENGTH) };
    let Some(control) = ChassisControl::from_number(*number) else {
        return Reply::error(INVALID_DATA);
    };
    // A host that is off can be neither cycled nor reset.
    let needs_power = !matches!(control, ChassisControl::PowerUp | ChassisControl::PowerDown);
    if needs_power && !power.is_on() {
        return Reply::error(NOT_SUPPORTED_NOW);
    }
    match power.control(control) {
        Ok(()) => Reply::ok([]),
        Err(PowerError::Unsupported) => Reply::error(INVALID_DATA),
        Err(PowerError::Failed) => Reply::error(UNSPECIFIED),
    }
}

//! The log-in: open session and RAKP messages 1 to 4, and the codes that prove both sides know
//! the password. Pure. IPMI 2.0 §13.17 to §13.24 and §13.31.

use zeroize::Zeroizing;

use crate::crypto::{CipherSuite, SessionKeys};
use crate::secret::Secret;

/// Longest user name IPMI 2.0 knows.
pub(crate) const USER_BYTES_MAX: usize = 16;
/// Longest password IPMI 2.0 knows.
pub(crate) const PASSWORD_BYTES_MAX: usize = 20;

/// RMCP+ status codes, IPMI 2.0 table 13-15.
pub(crate) mod status {
    pub(crate) const OK: u8 = 0x00;
    pub(crate) const NO_RESOURCES: u8 = 0x01;
    pub(crate) const INVALID_SESSION: u8 = 0x02;
    pub(crate) const INVALID_AUTHENTICATION: u8 = 0x04;
    pub(crate) const INVALID_INTEGRITY: u8 = 0x05;
    pub(crate) const INVALID_ROLE: u8 = 0x09;
    pub(crate) const UNAUTHORIZED_ROLE: u8 = 0x0a;
    pub(crate) const NO_RESOURCES_AT_ROLE: u8 = 0x0b;
    pub(crate) const INVALID_NAME_LENGTH: u8 = 0x0c;
    pub(crate) const UNAUTHORIZED_NAME: u8 = 0x0d;
    pub(crate) const INVALID_CODE: u8 = 0x0f;
    pub(crate) const INVALID_CONFIDENTIALITY: u8 = 0x10;
    pub(crate) const NO_MATCHING_SUITE: u8 = 0x11;
}

/// Privilege levels, IPMI 2.0 table 13-15 "role".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// May only ask to be called back.
    Callback = 1,
    /// May look.
    User = 2,
    /// May switch the power.
    Operator = 3,
    /// May do everything.
    Administrator = 4,
}

impl Privilege {
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Callback),
            2 => Some(Self::User),
            3 => Some(Self::Operator),
            4 => Some(Self::Administrator),
            _ => None,
        }
    }

    /// The level with this name, as the fence agent's option `privlvl` has it.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Callback, Self::User, Self::Operator, Self::Administrator]
            .into_iter()
            .find(|level| level.name() == name)
    }

    /// Name of the level.
    pub fn name(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::User => "user",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn array_at(bytes: &[u8], at: usize) -> Option<[u8; 16]> {
    bytes.get(at..at + 16)?.try_into().ok()
}

/// Algorithm proposals or choices: authentication, integrity, confidentiality.
fn put_algorithms(out: &mut Vec<u8>, algorithms: [u8; 3]) {
    for (kind, algorithm) in (0..).zip(algorithms) {
        out.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
}

fn algorithms_at(bytes: &[u8], at: usize) -> Option<[u8; 3]> {
    let mut algorithms = [0; 3];
    for (kind, algorithm) in algorithms.iter_mut().enumerate() {
        let record = bytes.get(at + 8 * kind..at + 8 * kind + 8)?;
        // A length of 0 would leave the choice to the BMC; we never do and never accept it.
        if usize::from(record[0]) != kind || record[3] != 8 {
            return None;
        }
        *algorithm = record[4] & 0x3f;
    }
    Some(algorithms)
}

/// Open Session Request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OpenRequest {
    pub(crate) tag: u8,
    /// Wanted privilege level; 0 is the highest the user may have.
    pub(crate) privilege: u8,
    pub(crate) console_session: u32,
    pub(crate) algorithms: [u8; 3],
}

impl OpenRequest {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.privilege, 0, 0];
        out.extend(self.console_session.to_le_bytes());
        put_algorithms(&mut out, self.algorithms);
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            tag: *bytes.first()?,
            privilege: *bytes.get(1)? & 0x0f,
            console_session: u32_at(bytes, 4)?,
            algorithms: algorithms_at(bytes, 8)?,
        })
    }
}

/// Open Session Response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OpenResponse {
    pub(crate) tag: u8,
    pub(crate) status: u8,
    pub(crate) privilege: u8,
    pub(crate) console_session: u32,
    /// The BMC's session number and the chosen algorithms; only when the status is "ok".
    pub(crate) chosen: Option<(u32, [u8; 3])>,
}

impl OpenResponse {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.status, self.privilege, 0];
        out.extend(self.console_session.to_le_bytes());
        if let Some((session, algorithms)) = self.chosen {
            out.extend(session.to_le_bytes());
            put_algorithms(&mut out, algorithms);
        }
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let status = *bytes.get(1)?;
        let chosen = if status == status::OK {
            Some((u32_at(bytes, 8)?, algorithms_at(bytes, 12)?))
        } else {
            None
        };
        Some(Self {
            tag: bytes[0],
            status,
            privilege: bytes.get(2).copied().unwrap_or(0),
            // Some BMCs leave everything after the status out of a refusal.
            console_session: u32_at(bytes, 4).unwrap_or(0),
            chosen,
        })
    }
}

/// RAKP message 1: the console's random number and the user's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rakp1 {
    pub(crate) tag: u8,
    pub(crate) bmc_session: u32,
    pub(crate) console_random: [u8; 16],
    /// Level in bits 0 to 3; bit 4 set: look the user up by name alone.
    pub(crate) role: u8,
    pub(crate) user: Vec<u8>,
}

impl Rakp1 {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.tag, 0, 0, 0];
        out.extend(self.bmc_session.to_le_bytes());
        out.extend(self.console_random);
        out.extend([self.role, 0, 0, self.user.len() as u8]);
        out.extend(&self.user);
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let length = usize::from(*bytes.get(27)?);
        Some(Self {
            tag: bytes[0],
            bmc_session: u32_at(bytes, 4)?,
            console_random: array_at(bytes, 8)?,
            role: bytes[24],
            user: bytes.get(28..28 + length)?.to_vec(),
        })
    }
}

/// RAKP message 2: the BMC's random number and its proof.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rakp2 {
    pub(crate) tag: u8,
    pub(crate) status: u8,
    pub(crate) console_session: u32,
    /// Random number, GUID and code; only when the status is "ok".
    pub(crate) proof: Option<([u8; 16], [u8; 16], Vec<u8>)>,
}

impl Rakp2 {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.status, 0, 0];
        out.extend(self.console_session.to_le_bytes());
        if let Some((random, guid, code)) = &self.proof {
            out.extend(random);
            out.extend(guid);
            out.extend(code);
        }
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let status = *bytes.get(1)?;
        let proof = if status == status::OK {
            Some((array_at(bytes, 8)?, array_at(bytes, 24)?, bytes.get(40..)?.to_vec()))
        } else {
            None
        };
        let console_session = u32_at(bytes, 4).unwrap_or(0);
        Some(Self { tag: bytes[0], status, console_session, proof })
    }
}

/// RAKP messages 3 and 4 have one form: a session number and a code. Message 3 carries the BMC's
/// session number and the console's proof, message 4 the console's and the BMC's last word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rakp34 {
    pub(crate) tag: u8,
    pub(crate) status: u8,
    pub(crate) session: u32,
    pub(crate) code: Vec<u8>,
}

impl Rakp34 {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.tag, self.status, 0, 0];
        out.extend(self.session.to_le_bytes());
        out.extend(&self.code);
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            tag: *bytes.first()?,
            status: *bytes.get(1)?,
            session: u32_at(bytes, 4).unwrap_or(0),
            code: bytes.get(8..).unwrap_or_default().to_vec(),
        })
    }
}

/// Everything both sides know once RAKP message 2 has arrived.
pub(crate) struct Exchange<'a> {
    pub(crate) suite: CipherSuite,
    pub(crate) password: &'a Secret,
    /// The BMC's own key; empty means that the password takes its place.
    pub(crate) bmc_key: &'a Secret,
    pub(crate) console_session: u32,
    pub(crate) bmc_session: u32,
    pub(crate) console_random: [u8; 16],
    pub(crate) bmc_random: [u8; 16],
    pub(crate) bmc_guid: [u8; 16],
    pub(crate) role: u8,
    pub(crate) user: &'a [u8],
}

impl Exchange<'_> {
    fn name(&self) -> Vec<u8> {
        let mut name = vec![self.role, self.user.len() as u8];
        name.extend(self.user);
        name
    }

    /// The BMC's proof in RAKP message 2.
    pub(crate) fn code2(&self) -> Zeroizing<Vec<u8>> {
        self.suite.hash(
            self.password.bytes(),
            &[
                &self.console_session.to_le_bytes(),
                &self.bmc_session.to_le_bytes(),
                &self.console_random,
                &self.bmc_random,
                &self.bmc_guid,
                &self.name(),
            ],
        )
    }

    /// The console's proof in RAKP message 3.
    pub(crate) fn code3(&self) -> Zeroizing<Vec<u8>> {
        let session = self.console_session.to_le_bytes();
        self.suite.hash(self.password.bytes(), &[&self.bmc_random, &session, &self.name()])
    }

    fn session_integrity_key(&self) -> Zeroizing<Vec<u8>> {
        let key = if self.bmc_key.is_empty() { self.password } else { self.bmc_key };
        self.suite.hash(key.bytes(), &[&self.console_random, &self.bmc_random, &self.name()])
    }

    /// The BMC's last word in RAKP message 4.
    pub(crate) fn code4(&self) -> Vec<u8> {
        let session = self.bmc_session.to_le_bytes();
        let parts: [&[u8]; 3] = [&self.console_random, &session, &self.bmc_guid];
        let code = self.suite.hash(&self.session_integrity_key(), &parts);
        code[..self.suite.code_len()].to_vec()
    }

    pub(crate) fn session_keys(&self) -> SessionKeys {
        SessionKeys::new(self.suite, &self.session_integrity_key())
    }
}

#[cfg(test)]
mod tests;

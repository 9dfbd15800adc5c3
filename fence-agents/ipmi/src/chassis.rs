//! The two chassis commands fencing needs. IPMI 2.0 §28.2 and §28.3.

/// Network functions and commands used by both sides.
pub(crate) mod code {
    pub(crate) const NET_FN_CHASSIS: u8 = 0x00;
    pub(crate) const NET_FN_APP: u8 = 0x06;
    pub(crate) const GET_CHASSIS_CAPABILITIES: u8 = 0x00;
    pub(crate) const GET_CHASSIS_STATUS: u8 = 0x01;
    pub(crate) const CHASSIS_CONTROL: u8 = 0x02;
    pub(crate) const GET_DEVICE_ID: u8 = 0x01;
    pub(crate) const GET_SYSTEM_GUID: u8 = 0x37;
    pub(crate) const GET_AUTH_CAPABILITIES: u8 = 0x38;
    pub(crate) const SET_SESSION_PRIVILEGE: u8 = 0x3b;
    pub(crate) const CLOSE_SESSION: u8 = 0x3c;
    pub(crate) const GET_CIPHER_SUITES: u8 = 0x54;
}

/// What Chassis Control can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChassisControl {
    /// Power off at once.
    PowerDown = 0,
    /// Power on.
    PowerUp = 1,
    /// Off, a pause, and on again.
    PowerCycle = 2,
    /// Reset without switching the power.
    HardReset = 3,
    /// Diagnostic interrupt (NMI).
    Diagnostic = 4,
    /// Ask the operating system to shut down.
    SoftShutdown = 5,
}

impl ChassisControl {
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        match number & 0x0f {
            0 => Some(Self::PowerDown),
            1 => Some(Self::PowerUp),
            2 => Some(Self::PowerCycle),
            3 => Some(Self::HardReset),
            4 => Some(Self::Diagnostic),
            5 => Some(Self::SoftShutdown),
            _ => None,
        }
    }

    /// What it does, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerDown => "power off",
            Self::PowerUp => "power on",
            Self::PowerCycle => "power cycle",
            Self::HardReset => "hard reset",
            Self::Diagnostic => "diagnostic interrupt",
            Self::SoftShutdown => "soft shutdown",
        }
    }
}

/// What Get Chassis Status tells that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChassisStatus {
    /// The power is on.
    pub power_on: bool,
    /// The power supply or its control reports a fault.
    pub power_fault: bool,
}

impl ChassisStatus {
    /// Reads the answer's data after the completion code.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let state = *data.first()?;
        // Three bytes are mandatory; a shorter answer is cut off and not to be trusted.
        (data.len() >= 3)
            .then_some(Self { power_on: state & 0x01 != 0, power_fault: state & 0x18 != 0 })
    }
}

use super::*;

fn lines(text: &str) -> Options {
    Options::from_lines(text).unwrap()
}

fn arguments(text: &str) -> Result<Options, String> {
    let args: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    Options::from_arguments(&args)
}

#[test]
fn old_and_new_names_mean_the_same() {
    let new = "ip=10.0.0.1\nusername=ADMIN\npassword=secret\naction=off\n";
    let old = "ipaddr=10.0.0.1\nlogin=ADMIN\npasswd=secret\noption=off\nport=node1\n";
    for text in [new, old] {
        let options = lines(text);
        assert_eq!((options.ip.as_str(), options.username.as_str()), ("10.0.0.1", "ADMIN"));
        assert_eq!(options.password().unwrap(), Secret::new("secret"));
        assert_eq!(options.action, Action::Off);
        assert!(options.warnings.is_empty() && options.check().is_ok());
    }
}

#[test]
fn command_line_forms() {
    for text in [
        "-a 10.0.0.1 -l ADMIN -p secret -P -C 17 -u 6230 -o status -L operator",
        "-a10.0.0.1 -lADMIN -psecret -PC17 -u6230 -ostatus -Loperator",
        "--ip=10.0.0.1 --username ADMIN --password=secret --lanplus --cipher=17 --ipport=6230 \
         --action=status --privlvl=operator",
    ] {
        let options = arguments(text).unwrap();
        assert_eq!(options.ip, "10.0.0.1");
        assert_eq!(options.port, 6230);
        assert_eq!(options.suites, [CipherSuite::Suite17]);
        assert_eq!(options.action, Action::Status);
        assert_eq!(options.privilege, Privilege::Operator);
    }
}

#[test]
fn defaults() {
    let options = lines("ip=x");
    assert_eq!(options.action, Action::Reboot);
    assert_eq!(options.port, 623);
    assert_eq!(options.suites, [CipherSuite::Suite17, CipherSuite::Suite3]);
    assert_eq!(options.power_timeout, Duration::from_secs(20));
    assert_eq!(options.power_wait, Duration::ZERO);
    assert_eq!(options.privilege, Privilege::Administrator);
    assert!(!options.cycle);
}

#[test]
fn secrets_stay_out_of_messages() {
    let options = lines("ip=x\npassword=hunter2\npasword=hunter2\nhexadecimal_kg=6162\n");
    let shown = format!("{options:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("97"), "{shown}");
    assert_eq!(options.warnings, ["ignoring unknown option \"pasword\""]);
    let error = Options::from_lines("hexadecimal_kg=hunter2").unwrap_err();
    assert!(!error.contains("hunter2"));
}

#[test]
fn wrong_values_are_named() {
    let error = |text: &str| Options::from_lines(text).unwrap_err();
    assert!(error("action=fly").contains("fly"));
    assert!(error("cipher=5").contains('5'));
    assert!(error("ipport=x").contains("ipport"));
    assert!(error("power_timeout=-1").contains("power_timeout"));
    assert!(error("method=none").contains("method"));
    assert!(error("privlvl=king").contains("king"));
    assert!(arguments("-Z").is_err());
    assert!(arguments("--ip").is_err());
    assert!(arguments("stray").is_err());
    assert!(lines("").check().is_err());
    assert!(lines("ip=x\ntarget=0x20").check().is_err());
}

#[test]
fn the_plug_can_be_the_address() {
    assert_eq!(lines("plug=10.0.0.9\nport_as_ip=1").ip, "10.0.0.9");
    assert_eq!(lines("ip=10.0.0.1\nplug=10.0.0.9").ip, "10.0.0.1");
}

#[test]
fn every_option_is_in_the_metadata() {
    let xml = super::super::metadata::xml("fence_ipmilan");
    for spec in SPECS {
        assert!(xml.contains(&format!("<parameter name=\"{}\"", spec.name)));
        if let Some(old) = spec.old_name {
            assert!(xml.contains(&format!("<parameter name=\"{old}\"")));
        }
    }
}

//! Nested files of the old tool, as they are.

use faythe_core::zone::{Role, Servers};

use super::*;

/// Such a file, with all the keys it can have that we can honor.
const NESTED: &str = r#"{
    "metrics_port": 9106,
    "lets_encrypt_url": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "lets_encrypt_email": "le@example.com",
    "lets_encrypt_proxy": "http://proxy.example.com:3128",
    "zones": {
        "acme.example.com": {
            "auth_dns_server": "ns.example.com",
            "challenge_driver": {"nsupdate": {"server": "primary.example.com", "key": "acme.key"}},
            "issue_wildcard_certs": true
        },
        "example.org": {
            "auth_dns_server": "ns.example.org",
            "challenge_driver": {"nsupdate": {"server": "ns.example.org", "key": "org.key"}}
        }
    },
    "val_dns_servers": ["8.8.8.8", "8.8.4.4"],
    "monitor_interval": 5000, "renewal_threshold": 30, "issue_grace": 28800000,
    "kube_monitor_configs": [{
        "secret_namespace": "certs",
        "secret_hostlabel": "host",
        "wildcard_cert_prefix": "star",
        "touch_annotation": "faythe.touched"
    }],
    "file_monitor_configs": [],
    "vault_monitor_configs": []
}"#;

/// Expects a change to the file to be refused with some words.
fn check(from: &str, to: &str, words: &str) {
    assert!(NESTED.contains(from), "{from}");
    let told = refused_text(&NESTED.replace(from, to));
    assert!(told.contains(words), "{told}");
}

#[test]
fn an_old_nested_file_keeps_its_meaning() {
    let (config, warnings) = read_text(NESTED).unwrap();
    assert_eq!(config.listen, Some("0.0.0.0:9106".parse().unwrap()));
    assert_eq!(
        config.cas[0].proxy,
        Some("http://proxy.example.com:3128".parse().unwrap())
    );
    assert_eq!(config.secret_namespace, "certs");
    assert_eq!(config.secret_hostlabel, "host");
    assert_eq!(config.wildcard_cert_k8s_prefix, "star");
    let [acme, org] = &config.zones[..] else {
        panic!("{config:?}")
    };
    assert_eq!(acme.servers, ["primary.example.com"]);
    assert_eq!(acme.key, file("acme.key"));
    assert!(acme.wildcards && !org.wildcards);
    let asked: Vec<_> = acme
        .rule
        .required
        .iter()
        .map(|check| (check.role, check.server.as_str()))
        .collect();
    assert_eq!(
        asked,
        [
            (Role::Update, "ns.example.com"),
            (Role::Listed, "8.8.8.8"),
            (Role::Listed, "8.8.4.4")
        ]
    );
    assert_eq!(acme.rule.servers, Servers::Primary);
    assert_eq!(acme.stale_values, Foreign::Removed);
    let [touch] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert!(
        touch
            .to_string()
            .starts_with("c.json:23: kube_monitor_configs[0].touch_annotation: it is not used; "),
        "{touch}"
    );
}

#[test]
fn defaults_are_those_of_the_nested_files() {
    let text = NESTED
        .replace("\"metrics_port\": 9106,", "")
        .replace("\"wildcard_cert_prefix\": \"star\",", "")
        .replace(", \"renewal_threshold\": 30", "");
    let (config, _) = read_text(&text).unwrap();
    assert_eq!(config.listen, Some("0.0.0.0:9105".parse().unwrap()));
    assert_eq!(config.wildcard_cert_k8s_prefix, "wild--card");
    assert_eq!(config.renewal_threshold, Threshold::Default);
}

#[test]
fn what_cannot_be_honored_is_refused_with_its_reason() {
    let driver = r#"{"nsupdate": {"server": "ns.example.org", "key": "org.key"}}"#;
    check(driver, r#""noop""#, "\"noop\" publishes nothing");
    check(
        driver,
        r#"{"webhook": {"url": "localhost:8080"}}"#,
        "by a web hook",
    );
    check(driver, "7", "an object: keys with values");
    check(
        r#""file_monitor_configs": []"#,
        r#""file_monitor_configs": [{"directory": "test", "prune": false, "specs": []}]"#,
        "certificates are not kept in files",
    );
    check(
        r#""vault_monitor_configs": []"#,
        r#""vault_monitor_configs": [{"key_prefix": "a"}]"#,
        "certificates are not kept in Vault",
    );
    check(
        "\"wildcard_cert_prefix\": \"star\",",
        "\"wildcard_cert_prefix\": \"star\" }, { \"secret_namespace\": \"b\", \"secret_hostlabel\": \"host\",",
        "it has 2 entries, and certificates are kept in one namespace",
    );
    check(
        "\"metrics_port\": 9106,",
        "\"metrics_port\": 9106, \"listen\": \"off\",",
        "it stands beside `metrics_port`",
    );
    check(
        "\"metrics_port\": 9106,",
        "\"metrics_port\": 70000,",
        "give a number from 1 to 65535",
    );
    check(
        "\"metrics_port\": 9106,",
        "\"secret_namespace\": \"b\",",
        "it stands beside `kube_monitor_configs`",
    );
    check(
        "\"issue_wildcard_certs\": true",
        "\"auth_dns_key\": \"other.key\"",
        "it stands beside `challenge_driver`",
    );
}

#[test]
fn a_challenge_suffix_gets_the_drivers_updates() {
    let text = NESTED.replace(
        "\"issue_wildcard_certs\": true",
        "\"challenge_suffix\": \"challenges.example.net\"",
    );
    let (config, _) = read_text(&text).unwrap();
    let [aside] = &config.aside()[..] else {
        panic!("{config:?}")
    };
    assert_eq!(aside.apex.as_str(), "challenges.example.net");
    assert_eq!(aside.servers, ["primary.example.com"]);
    assert_eq!(aside.key, file("acme.key"));
    let asked = aside.rule.required.iter().map(|check| check.server.as_str());
    assert_eq!(
        asked.collect::<Vec<_>>(),
        ["primary.example.com", "8.8.8.8", "8.8.4.4"]
    );
}

//! What a file may say, and what a person is told if it says something else.

use std::collections::BTreeMap;

use super::keys::Absent;
use super::v1::{SECTIONS, TOP};
use super::*;
use faythe_core::budget::Preset;
use faythe_core::zone::Role;

use crate::dns::server::ServerAddr;

mod cas;
mod documentation;
mod grown;
mod laws;
mod nested;
mod notation;

/// A file with all that is required and nothing else.
const LEAST: &str = r#"{
    "secret_namespace": "faythe",
    "secret_hostlabel": "host",
    "lets_encrypt_url": "https://acme.example/directory",
    "lets_encrypt_email": "a@example.com",
    "auth_dns_server": "ns1.example.com",
    "auth_dns_zone": "example.com",
    "auth_dns_key": "/etc/faythe/ddns.key",
    "val_dns_servers": []
}"#;

/// Reads a text as if all the files it names were fine.
fn read_text(text: &str) -> Result<(Config, Vec<Warning>), Problems> {
    v1::parse(Path::new("c.json"), text.as_bytes(), &|_, _| Ok(()))
}

/// The least file with one more entry, or with another value for one it has, on line 2.
fn with(key: &str, json: &str) -> String {
    let rest: String = LEAST
        .lines()
        .skip(1)
        .filter(|line| !line.contains(&format!("{key:?}")))
        .collect();
    let rest = rest.trim_end_matches('}').trim_end_matches([',', ' ']).to_owned();
    format!("{{\n    {key:?}: {json},\n{rest}}}")
}

/// A key file that says everything itself.
fn file(path: impl Into<PathBuf>) -> KeyConfig {
    KeyConfig::File {
        path: path.into(),
        hint: Hint::default(),
    }
}

fn accepted(key: &str, json: &str) -> Config {
    read_text(&with(key, json))
        .unwrap_or_else(|problems| panic!("{key}: {json}: {problems}"))
        .0
}

/// The single problem of a text, as it is printed.
fn refused_text(text: &str) -> String {
    let problems = read_text(text).expect_err(text);
    assert_eq!(problems.iter().count(), 1, "{problems}");
    problems.to_string()
}

fn refused(key: &str, json: &str) -> String {
    refused_text(&with(key, json))
}

/// Expects a value to be refused on its line, with some words.
fn check_refused(key: &str, json: &str, words: &str) {
    let told = refused(key, json);
    assert!(told.starts_with(&format!("c.json:2: {key}")), "{json}: {told}");
    assert!(told.contains(words), "{json}: {told}");
}

#[test]
fn s02_defaults_are_those_of_the_old_tool() {
    let (config, warnings) = read_text(LEAST).unwrap();
    assert_eq!(config.monitor_interval, Duration::from_secs(5));
    assert_eq!(config.renewal_threshold, Threshold::Default);
    assert_eq!(config.issue_grace, Duration::from_secs(8 * 60 * 60));
    assert!(!config.zones[0].wildcards);
    assert_eq!(config.wildcard_cert_k8s_prefix, "wild--card");
    assert_eq!(config.cas[0].root_certificates, None);
    assert_eq!(config.key_type, KeyType::EcdsaP256);
    assert_eq!(config.listen, Some("0.0.0.0:9105".parse().unwrap()));
    assert!(config.leader_election);
    assert_eq!(config.lease_name, "faythe");
    assert_eq!(warnings, []);
}

#[test]
fn s02_every_key_reaches_its_field() {
    let text = r#"{
        "secret_namespace": "certs", "secret_hostlabel": "example.com/Host_1",
        "lets_encrypt_url": "https://acme.example:14000/dir", "lets_encrypt_email": "a.b+c@example.com",
        "acme_root_certificates": "roots.pem", "key_type": "rsa-3072",
        "auth_dns_server": "[2001:db8::1]:5353", "auth_dns_zone": "Example.COM.", "auth_dns_key": "k.key",
        "val_dns_servers": ["192.0.2.1", "ns2.example.com:53"],
        "monitor_interval": 250, "renewal_threshold": 10, "issue_grace": 60000,
        "issue_wildcard_certs": true, "wildcard_cert_k8s_prefix": "star", "listen": "off",
        "leader_election": false, "lease_name": "faythe.web"
    }"#;
    let (config, warnings) = read_text(text).unwrap();
    assert_eq!(
        config,
        Config {
            secret_namespace: "certs".to_owned(),
            secret_hostlabel: "example.com/Host_1".to_owned(),
            cas: vec![CaConfig {
                name: "acme.example:14000".to_owned(),
                url: "https://acme.example:14000/dir".parse().unwrap(),
                email: Some("a.b+c@example.com".to_owned()),
                root_certificates: Some("roots.pem".into()),
                proxy: None,
                profile: None,
                profile_fallback: None,
                preferred_chain: None,
                account_key_type: KeyType::EcdsaP256,
                binding: None,
                limits: Preset::None.limits(),
                use_after: Duration::ZERO,
            }],
            key_type: KeyType::Rsa3072,
            zones: vec![ZoneConfig {
                apex: "example.com".parse().unwrap(),
                servers: vec!["[2001:db8::1]:5353".to_owned()],
                primary: Primary::Listed,
                key: file("k.key"),
                clock_skew_limit: Duration::from_secs(600),
                rule: Rule::flat(
                    "[2001:db8::1]:5353",
                    &["192.0.2.1".to_owned(), "ns2.example.com:53".to_owned()],
                ),
                name_server_port: 53,
                challenges: None,
                wildcards: true,
                profile: None,
                cas: None,
                ttl: Duration::from_secs(120),
                stale_values: Foreign::Removed,
            }],
            monitor_interval: Duration::from_millis(250),
            renewal_threshold: Threshold::Set(Duration::from_secs(10 * 24 * 60 * 60)),
            renewals_per_minute: NonZeroU32::new(60),
            issue_grace: Duration::from_secs(60),
            wildcard_cert_k8s_prefix: "star".to_owned(),
            listen: None,
            leader_election: false,
            lease_name: "faythe.web".to_owned(),
        }
    );
    assert_eq!(warnings, []);
}

#[test]
fn s01_the_sample_file_is_valid() {
    let sample = include_str!("../../config.json");
    let (config, warnings) = read_text(sample).unwrap();
    assert_eq!(config.secret_namespace, "faythe");
    assert_eq!(warnings, []);
}

#[test]
fn defaults_are_values_that_the_file_could_have() {
    for key in TOP.keys {
        if let Absent::As(json) = key.absent {
            accepted(key.name, json);
        }
    }
}

#[test]
fn a_missing_key_is_named_with_what_it_is_for() {
    let told = read_text("{}").unwrap_err().to_string();
    let required = TOP
        .keys
        .iter()
        .filter(|key| matches!(key.absent, Absent::Refused | Absent::RefusedWithout(_)));
    for key in required {
        let line = format!(
            "c.json: {}: it is missing; add it: it is {}",
            key.name, key.purpose
        );
        assert!(told.lines().any(|told| told == line), "{line} is not in {told}");
    }
    assert_eq!(told.lines().count(), 8);
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text = r#"{
        "listen": 9105,
        "monitor_intervall": 5000,
        "secret_namespace": "Faythe",
        "secret_hostlabel": "host",
        "secret_hostlabel": "host",
        "lets_encrypt_url": "https://acme.example/directory", "lets_encrypt_email": "a@example.com",
        "auth_dns_zone": "example.com", "auth_dns_key": "k",
        "val_dns_servers": ["192.0.2.1",
            "http://dns.example",
            7]
    }"#;
    let problems = v1::parse(Path::new("c.json"), text.as_bytes(), &|_, _| {
        Err(Fault::new("no", "yes"))
    })
    .unwrap_err();
    let told: Vec<_> = problems
        .iter()
        .map(|problem| (problem.line, problem.key.as_deref().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            (Some(2), "listen"),
            (Some(3), "monitor_intervall"),
            (Some(4), "secret_namespace"),
            (Some(6), "secret_hostlabel"),
            (Some(8), "auth_dns_key"),
            (Some(10), "val_dns_servers[1]"),
            (Some(11), "val_dns_servers[2]"),
            (None, "auth_dns_server"),
        ]
    );
}

#[test]
fn an_unknown_key_gets_the_nearest_known_one() {
    let near = |key: &str| refused(key, "1").split_once("; ").unwrap().1.to_owned();
    assert_eq!(near("renewal_treshold"), "did you mean `renewal_threshold`?");
    assert_eq!(near("issueGrace"), "did you mean `issue_grace`?");
    assert_eq!(
        near("Wildcard-Cert-Prefix"),
        "did you mean `wildcard_cert_k8s_prefix`?"
    );
    assert_eq!(
        near("certificates"),
        "remove it; docs/configuration.md lists the keys there are"
    );
    assert_eq!(
        near(&"x".repeat(1000)),
        "remove it; docs/configuration.md lists the keys there are"
    );
}

#[test]
fn a_key_that_stands_there_twice_is_refused() {
    let text = LEAST.replacen("\"val", "\"auth_dns_zone\": \"example.org\",\n\"val", 1);
    assert_eq!(
        refused_text(&text),
        "c.json:9: auth_dns_zone: it stands in the file twice, first on line 7; keep one of the two"
    );
}

#[test]
fn a_wrong_type_says_what_is_expected_and_what_was_found() {
    let told = refused("renewal_threshold", r#""30""#);
    let days = "give an integer number of days without quotes";
    assert_eq!(
        told,
        format!("c.json:2: renewal_threshold: \"30\" is a string; {days}")
    );
    check_refused(
        "issue_grace",
        "true",
        "true is a boolean; give an integer number of milliseconds",
    );
    check_refused(
        "issue_wildcard_certs",
        r#""true""#,
        "give true or false without quotes",
    );
    check_refused(
        "secret_namespace",
        "7",
        "7 is a number; give a string in double quotes",
    );
    check_refused("secret_namespace", "null", "null is no value");
    check_refused("listen", r#"{"a": 1}"#, "an object stands here");
    check_refused("val_dns_servers", r#""192.0.2.1""#, "give an array of strings");
    check_refused("val_dns_servers", "[[]]", "an array stands here");
    check_refused("secret_hostlabel", r#""\ud800""#, "surrogate");
}

#[test]
fn numbers_have_ranges() {
    check_refused(
        "monitor_interval",
        "0",
        "0 is too small; give a number of milliseconds from 1 to 86400000",
    );
    check_refused("monitor_interval", "86400001", "too large");
    check_refused("renewal_threshold", "-1", "-1 is negative");
    check_refused("renewal_threshold", "0", "too small");
    check_refused("renewal_threshold", "366", "too large");
    check_refused("renewal_threshold", "30.0", "30.0 is not written as an integer");
    check_refused("issue_grace", "28800e3", "28800e3 is not written as an integer");
    check_refused("issue_grace", "-28800000", "negative");
    check_refused("issue_grace", "99999999999999999999999", "too large");
}

#[test]
fn a_grace_of_zero_draws_a_warning() {
    let (config, warnings) = read_text(&with("issue_grace", "0")).unwrap();
    assert_eq!(config.issue_grace, Duration::ZERO);
    assert!(
        warnings[0]
            .to_string()
            .starts_with("c.json:2: issue_grace: 0 lets"),
        "{}",
        warnings[0]
    );
}

#[test]
fn s02_kubeconfig_path_draws_one_warning_whatever_it_says() {
    for json in [r#""/etc/faythe/kubeconfig""#, "null", "7"] {
        let (_, warnings) = read_text(&with("kubeconfig_path", json)).unwrap();
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}")
        };
        assert!(
            warning
                .to_string()
                .starts_with("c.json:2: kubeconfig_path: it is not used;"),
            "{warning}"
        );
        assert!(warning.to_string().contains("KUBECONFIG"), "{warning}");
    }
}

#[test]
fn names_for_kubernetes_have_its_shapes() {
    for bad in ["", "Faythe", "-a", "a-", "a.b", "a_b", &"a".repeat(64)] {
        check_refused(
            "secret_namespace",
            &format!("{bad:?}"),
            "lower-case letters, digits and hyphens",
        );
    }
    for good in ["host", "faythe/host", "example.com/a.b_c-D", &"a".repeat(63)] {
        assert_eq!(
            accepted("secret_hostlabel", &format!("{good:?}")).secret_hostlabel,
            good
        );
    }
    for bad in [
        "",
        "/host",
        "a/",
        "a/b/c",
        "A.com/host",
        "-a",
        "a b",
        &"a".repeat(64),
    ] {
        check_refused(
            "secret_hostlabel",
            &format!("{bad:?}"),
            "is not the key of a label",
        );
    }
    for bad in ["", "*", "Wild", "wild-", "a..b", ".a", &"a".repeat(64)] {
        check_refused(
            "wildcard_cert_k8s_prefix",
            &format!("{bad:?}"),
            "cannot begin the name of a Secret",
        );
    }
}

#[test]
fn servers_are_names_or_addresses_with_an_optional_port() {
    let good = [
        "ns1",
        "ns1.example.com",
        "ns1.example.com.",
        "ns1.example.com:5353",
        "192.0.2.1",
        "192.0.2.1:53",
        "2001:db8::1",
        "[2001:db8::1]",
        "[2001:db8::1]:53",
    ];
    for server in good {
        assert_eq!(
            accepted("auth_dns_server", &format!("{server:?}")).zones[0].servers,
            [server]
        );
        assert!(
            server.parse::<ServerAddr>().is_ok(),
            "{server} would be refused later"
        );
    }
    let bad = [
        "",
        ".",
        ":53",
        "ns1:",
        "ns1:0",
        "ns1:65536",
        "ns1:+53",
        "ns1:dns",
        "300.1.1.1",
        "192.0.2",
        "[ns1]",
        "[2001:db8::1]:",
        "[ns1]:53",
        "1:2:3",
        "udp://192.0.2.1",
        "192.0.2.1#53",
        "a b",
        "*.example.com",
        "ns_1.example.com",
    ];
    for server in bad {
        check_refused("auth_dns_server", &format!("{server:?}"), "is not a name server");
    }
}

#[test]
fn p10_a_zone_may_be_a_single_label_but_no_public_suffix() {
    assert_eq!(
        accepted("auth_dns_zone", r#""corp""#).zones[0].apex.as_str(),
        "corp"
    );
    assert_eq!(
        accepted("auth_dns_zone", r#""Example.com.""#).zones[0]
            .apex
            .as_str(),
        "example.com"
    );
    check_refused("auth_dns_zone", r#"".""#, "is not a zone");
    check_refused("auth_dns_zone", r#""*.example.com""#, "is not a zone");
    for suffix in ["com", "co.uk", "COM."] {
        check_refused("auth_dns_zone", &format!("{suffix:?}"), "is a public suffix");
    }
}

#[test]
fn the_directory_is_https_or_on_this_machine() {
    let good = [
        "https://a.example",
        "https://[2001:db8::1]:14000/dir",
        "http://127.0.0.1:14000/dir",
        "http://[::1]/d",
    ];
    for url in good.iter().chain(&["http://localhost:14000/dir"]) {
        assert_eq!(accepted("lets_encrypt_url", &format!("{url:?}")).cas[0].url, *url);
    }
    check_refused("lets_encrypt_url", r#""http://a.example/dir""#, "plain http");
    check_refused(
        "lets_encrypt_url",
        r#""http://127.0.0.1.example/dir""#,
        "plain http",
    );
    check_refused(
        "lets_encrypt_url",
        r#""ftp://a.example/dir""#,
        "scheme is not https",
    );
    check_refused("lets_encrypt_url", r#""/dir""#, "scheme or host is missing");
    check_refused("lets_encrypt_url", r#""a.example""#, "scheme or host is missing");
    check_refused("lets_encrypt_url", r#""""#, "it is not a URL");
    check_refused("lets_encrypt_url", r#""https://a b/""#, "it is not a URL");
}

#[test]
fn a_mail_address_has_its_shape() {
    for bad in [
        "",
        "a",
        "a@",
        "@a.example",
        "mailto:a@a.example",
        "a@b@c.example",
        "a@a.example,b@b.example",
        "a b@c.d",
    ] {
        check_refused("lets_encrypt_email", &format!("{bad:?}"), "is not a mail address");
    }
}

#[test]
fn choices_are_listed_when_none_is_met() {
    check_refused(
        "key_type",
        r#""rsa""#,
        "`ecdsa-p256`, `ecdsa-p384`, `rsa-2048`, `rsa-3072`, `rsa-4096`",
    );
    check_refused("listen", r#"":9105""#, "`0.0.0.0:9105`");
    assert_eq!(
        accepted("listen", r#""[::1]:0""#).listen,
        Some("[::1]:0".parse().unwrap())
    );
}

#[test]
fn a_server_that_is_listed_twice_is_asked_once() {
    let (config, warnings) =
        read_text(&with("val_dns_servers", r#"["a", "b", "a", "ns1.example.com"]"#)).unwrap();
    assert!(
        warnings[0]
            .to_string()
            .starts_with("c.json:2: val_dns_servers[2]: "),
        "{}",
        warnings[0]
    );
    let asked: Vec<_> = config.zones[0]
        .rule
        .clone()
        .required
        .into_iter()
        .map(|check| (check.role, check.server))
        .collect();
    assert_eq!(
        asked,
        [
            (Role::Update, "ns1.example.com".to_owned()),
            (Role::Listed, "a".to_owned()),
            (Role::Listed, "b".to_owned())
        ]
    );
}

#[test]
fn secrets_are_never_quoted() {
    let secret = "c2VjcmV0Cg==";
    let files = [
        with(
            "auth_dns_key",
            &format!(r#""key ddns {{\n secret \"{secret}\"; }}""#),
        ),
        with("auth_dns_key", &format!(r#"["{secret}"]"#)),
        with("auth_dns_secret", &format!("{secret:?}")),
        with(
            "lets_encrypt_url",
            &format!(r#""https://user:{secret}@acme.example/""#),
        ),
        with(
            "lets_encrypt_url",
            &format!(r#""https://user:{secret}@ac me.example/""#),
        ),
        format!("{secret:?}"),
        format!("{{\"auth_dns_key\": {secret}}}"),
        format!("key ddns {{ secret {secret:?}; }}"),
    ];
    for text in files {
        let told = format!("{:?}", read_text(&text).expect_err(&text));
        assert!(!told.contains("c2V"), "{told}");
    }
    let absent = format!("hmac-sha256:ddns:{secret}");
    let fault = look(Referenced::UpdateKey(&Hint::default()), Path::new(&absent)).unwrap_err();
    assert!(!format!("{fault:?}").contains("c2V"), "{fault:?}");
}

#[test]
fn what_is_not_json_is_placed_by_line_and_column() {
    assert_eq!(
        refused_text("{\n  \"listen\": \"off\"\n  \"key_type\": 7\n}"),
        "c.json:3:3: it is not JSON: expected `,` or `}`; \
         mend it there or just before it; JSON knows no comments and no comma after the last entry"
    );
    assert!(refused_text(&format!("{LEAST}\n}}")).starts_with("c.json:11:1: it is not JSON"));
    assert!(refused_text("[1]").starts_with("c.json:1:1: the file holds something else"));
    assert!(refused_text(" \n ").starts_with("c.json: the file is empty"));
    let problems = v1::parse(Path::new("c.json"), b"{\n\"listen\": \"\xff\"}", &|_, _| Ok(())).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "c.json:2: it is not UTF-8 text; save it as UTF-8"
    );
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert!(read_text(&format!("\u{feff}{LEAST}")).is_ok());
}

#[test]
fn the_files_are_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let text = |key: &str, roots: &str| {
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        with(
            "auth_dns_key",
            &format!("{:?}, \"acme_root_certificates\": {:?}", at(key), at(roots)),
        )
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let root = rcgen::CertificateParams::new(vec!["ca.example".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    write("roots.pem", &root.pem());
    write(
        "ddns.key",
        "key ddns { algorithm hmac-sha256; secret \"c2VjcmV0c2VjcmV0c2VjcmV0\"; };\n",
    );
    write("garbled.key", "key ddns {\n algorithm hmac-sha999; };\n");
    write("empty", "");

    let config = load(&write("good.json", &text("ddns.key", "roots.pem")))
        .unwrap()
        .0;
    assert_eq!(config.zones[0].key, file(directory.path().join("ddns.key")));

    let told = |text: &str| load(&write("bad.json", text)).unwrap_err().to_string();
    let absent = told(&text("absent", "ddns.key"));
    assert!(
        absent.contains("auth_dns_key: the file it names: it cannot be read: No such file"),
        "{absent}"
    );
    assert!(absent.contains("holds no certificate"), "{absent}");
    let garbled = told(&text("garbled.key", "absent"));
    assert!(
        garbled.contains("auth_dns_key: line 2, column 12 of the file it names: "),
        "{garbled}"
    );
    assert!(garbled.contains("absent\" cannot be read"), "{garbled}");
    assert!(told(&text(".", "roots.pem")).contains("auth_dns_key: the file it names: "));

    let told = load(&directory.path().join("absent.json"))
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("absent.json: ") && told.contains("name a file that exists"),
        "{told}"
    );
    let told = load(&write("huge.json", &" ".repeat(300_000)))
        .unwrap_err()
        .to_string();
    assert!(told.contains("has more than 262144 bytes"), "{told}");
}

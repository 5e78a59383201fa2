//! YAML beside JSON.

use super::*;

/// A file in YAML that has every kind of value.
const YAML: &str = "# ours
secret_namespace: faythe   # where they are
secret_hostlabel: 'host'
lets_encrypt_url: \"https://acme.example/directory\"
lets_encrypt_email: a@example.com
monitor_interval: 2500
listen: off

zones:
  example.com:
    auth_dns_server: ns1.example.com
    auth_dns_key: /etc/faythe/ddns.key
    val_dns_servers:
      - 192.0.2.1
      - 2001:db8::1
    issue_wildcard_certs: true
  example.org: {auth_dns_server: ns1, auth_dns_key: k}
";

fn read_yaml(text: &str) -> Result<(Config, Vec<Warning>), Problems> {
    v1::parse(Path::new("c.yaml"), text.as_bytes(), &|_, _| Ok(()))
}

/// The single problem of a text.
fn told(text: &str) -> String {
    let problems = read_yaml(text).expect_err(text);
    assert_eq!(problems.iter().count(), 1, "{problems}");
    problems.to_string()
}

#[test]
fn yaml_says_the_same_as_json() {
    let json = r#"{
        "secret_namespace": "faythe", "secret_hostlabel": "host",
        "lets_encrypt_url": "https://acme.example/directory", "lets_encrypt_email": "a@example.com",
        "monitor_interval": 2500, "listen": "off",
        "zones": {
            "example.com": {
                "auth_dns_server": "ns1.example.com", "auth_dns_key": "/etc/faythe/ddns.key",
                "val_dns_servers": ["192.0.2.1", "2001:db8::1"], "issue_wildcard_certs": true
            },
            "example.org": {"auth_dns_server": "ns1", "auth_dns_key": "k"}
        }
    }"#;
    assert_eq!(read_yaml(YAML).unwrap(), read_text(json).unwrap());
    assert_eq!(read_yaml(json).unwrap(), read_text(json).unwrap());
}

#[test]
fn the_content_tells_yaml_from_json_whatever_the_name() {
    assert!(read_text(YAML).is_ok());
    assert!(read_text(&format!("---\n{YAML}")).is_ok());
    assert!(
        read_yaml("{listen: off, zones: {}}")
            .unwrap_err()
            .to_string()
            .contains("zones: it names no zone")
    );
    assert!(refused_text("{\n// mine\n}").contains("it is not JSON"));
}

#[test]
fn problems_in_yaml_have_their_line_and_path() {
    let text = YAML
        .replace("monitor_interval: 2500", "monitor_interval: \"2500\"")
        .replace("ns1.example.com", "ns1:0")
        .replace("      - 2001:db8::1\n", "      - 7\n")
        .replace("wildcard_certs: true", "wildcard_certs: yes")
        .replace(", auth_dns_key: k", "");
    let problems = read_yaml(&text).unwrap_err();
    let places: Vec<_> = problems
        .iter()
        .map(|problem| (problem.line.unwrap(), problem.key.as_deref().unwrap()))
        .collect();
    assert_eq!(
        places,
        [
            (6, "monitor_interval"),
            (11, "zones.\"example.com\".auth_dns_server"),
            (15, "zones.\"example.com\".val_dns_servers[1]"),
            (16, "zones.\"example.com\".issue_wildcard_certs"),
            (17, "zones.\"example.org\".auth_dns_key"),
        ],
        "{problems}"
    );
    assert!(
        problems
            .to_string()
            .contains("\"yes\" is a string; give true or false without quotes")
    );
}

#[test]
fn single_values_are_what_the_core_schema_says() {
    let with = |value: &str| YAML.replace("2500", value);
    for number in ["7", "+7", "\"7\"", "0x7", "7.0", "~", "null", "", "true"] {
        let read = read_yaml(&with(number));
        assert_eq!(read.is_ok(), matches!(number, "7" | "+7"), "{number}: {read:?}");
    }
    assert!(told(&with("")).contains("null is no value"));
    assert!(told(&with("1e3")).contains("1e3 is not written as an integer"));
    let zone = YAML.replace("  example.org:", "  7.example:");
    assert_eq!(read_yaml(&zone).unwrap().0.zones[1].apex.as_str(), "7.example");
}

#[test]
fn what_is_not_yaml_is_placed_by_line_and_column() {
    let told_of = |text: &str, start: &str, words: &str| {
        let told = told(text);
        assert!(told.starts_with(start), "{told}");
        assert!(told.contains(words), "{told}");
    };
    told_of(
        "listen: [off\nzones: 7\n",
        "c.yaml:2:",
        "it is neither JSON nor YAML",
    );
    told_of("zones:\n\texample.com: 7\n", "c.yaml:2:", "spaces, not tabs");
    told_of(
        "- a\n- b\n",
        "c.yaml:1:1: ",
        "something else than keys with values",
    );
    told_of(
        "just words\n",
        "c.yaml:1:1: ",
        "something else than keys with values",
    );
    told_of("# nothing\n", "c.yaml: ", "holds no value");
    told_of(
        "listen: off\n---\nlisten: off\n",
        "c.yaml:2:1: ",
        "a second document",
    );
    told_of("listen: !!str off\n", "c.yaml:1:", "a tag stands here");
    told_of(
        "? [a]\n: b\n",
        "c.yaml:1:3: ",
        "a key stands here that is no plain text",
    );
    let deep = format!("listen: {}", "[".repeat(1000));
    told_of(&deep, "c.yaml:1:", "it is neither JSON nor YAML");
    let deep = format!("{{\"listen\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(refused_text(&deep).contains("nested too deeply"));
}

#[test]
fn aliases_are_read_and_bounded() {
    let text = YAML
        .replace("  example.com:", "  example.com: &usual")
        .replace("{auth_dns_server: ns1, auth_dns_key: k}", "*usual");
    let (config, _) = read_yaml(&text).unwrap();
    let [com, org] = &config.zones[..] else {
        panic!("{config:?}")
    };
    assert_eq!(
        (&org.servers, &org.key, &org.rule),
        (&com.servers, &com.key, &com.rule)
    );

    let mut laughs = "a: &a0 [x, x]\n".to_owned();
    for i in 1..40 {
        laughs += &format!("b{i}: &a{i} [*a{0}, *a{0}, *a{0}]\n", i - 1);
    }
    assert!(told(&laughs).contains("too many values"));
    assert!(told("a: &a [*a]\n").contains("inside of what it names"));
    assert!(told("a: *b\n").contains("unknown anchor"));
}

#[test]
fn a_key_that_stands_twice_in_yaml_is_refused() {
    let text = YAML.replace("listen: off", "listen: off\nlisten: off");
    assert_eq!(
        told(&text),
        "c.yaml:8: listen: it stands in the file twice, first on line 7; keep one of the two"
    );
}

#[test]
fn secrets_are_not_quoted_from_yaml_either() {
    let secret = "c2VjcmV0Cg==";
    let files = [
        YAML.replace("/etc/faythe/ddns.key", &format!("\n      secret: {secret}")),
        YAML.replace(
            "/etc/faythe/ddns.key",
            &format!("|\n      key ddns {{\n      secret {secret}; }}"),
        ),
        YAML.replace("/etc/faythe/ddns.key", &format!("[{secret}]")),
        YAML.replace("/etc/faythe/ddns.key", &format!("&{secret} *{secret}")),
        YAML.replace("auth_dns_key: /etc", &format!("auth_dns_secret: {secret} #/etc")),
        format!("key ddns {{ secret {secret:?}; }}"),
        secret.to_owned(),
    ];
    for text in files {
        let told = format!("{:?}", read_yaml(&text).expect_err(&text));
        assert!(!told.contains("c2V"), "{told}");
    }
}

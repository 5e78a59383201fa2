//! What holds for every file there could be.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// Names of keys, most of them known, so that much gets past the first look.
fn key() -> impl Strategy<Value = String> {
    let known: Vec<_> = SECTIONS
        .iter()
        .flat_map(|section| section.keys)
        .map(|key| key.name.to_owned())
        .collect();
    prop_oneof![
        8 => prop::sample::select(known),
        1 => Just("example.com".to_owned()),
        1 => "[ -~é]{0,8}",
    ]
}

/// Trees of JSON with keys and values that look like ours.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "ns1",
            "192.0.2.1",
            "example.com",
            "off",
            "none",
            "https://a.example"
        ])
        .prop_map(Value::from),
        "[ -~é]{0,12}".prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner),
        ]
    });
    object(tree)
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(key(), inner, 0..6)
        .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>()))
}

/// Whatever comes, it is a configuration or problems of which each says what is wrong and what to do.
fn check(file: &str, bytes: &[u8]) -> Result<(Config, Vec<Warning>), Problems> {
    let read = v1::parse(Path::new(file), bytes, &|_, _| Ok(()));
    if let Err(problems) = &read {
        assert!(problems.iter().count() > 0);
        for problem in problems.iter() {
            assert!(
                !problem.what.is_empty() && !problem.remedy.is_empty(),
                "{problem:?}"
            );
            assert!(!problem.to_string().contains('\n'), "{problem}");
            // To YAML, a carriage return alone ends a line too.
            let lines = bytes.iter().filter(|byte| b"\r\n".contains(byte)).count() + 1;
            assert!(
                problem.line.is_none_or(|line| (1..=lines).contains(&line)),
                "{problem}"
            );
        }
    }
    read
}

/// The same tree in YAML's block style.
fn yaml(value: &Value, indent: usize) -> String {
    let margin = " ".repeat(indent);
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            let lines = entries.iter().map(|(key, value)| {
                format!(
                    "\n{margin}{}: {}",
                    Value::from(key.as_str()),
                    yaml(value, indent + 2)
                )
            });
            lines.collect()
        }
        Value::Array(items) if !items.is_empty() => {
            let lines = items
                .iter()
                .map(|item| format!("\n{margin}- {}", yaml(item, indent + 2)));
            lines.collect()
        }
        Value::Array(_)
        | Value::Bool(_)
        | Value::Null
        | Value::Number(_)
        | Value::Object(_)
        | Value::String(_) => value.to_string(),
    }
}

/// A flat configuration that is good, with whatever its keys may be set to.
fn flat() -> impl Strategy<Value = Value> {
    let servers = prop::collection::vec("ns[0-9]{1,2}", 0..3);
    (any::<bool>(), servers, 1..1000_u64, "[a-z]{1,5}").prop_map(|(wildcards, servers, interval, name)| {
        json!({
            "secret_namespace": name, "secret_hostlabel": "host",
            "lets_encrypt_url": "https://acme.example/directory", "lets_encrypt_email": "a@example.com",
            "auth_dns_server": "ns1", "auth_dns_zone": "example.com", "auth_dns_key": "k",
            "val_dns_servers": servers, "monitor_interval": interval, "issue_wildcard_certs": wildcards,
        })
    })
}

/// The same in the grown form.
fn grown(flat: &Value) -> Value {
    let mut grown = flat.as_object().cloned().unwrap();
    let mut zone = Map::new();
    for key in [
        "auth_dns_server",
        "auth_dns_key",
        "val_dns_servers",
        "issue_wildcard_certs",
    ] {
        zone.insert(key.to_owned(), grown.remove(key).unwrap());
    }
    zone.insert("check".to_owned(), json!({"servers": "primary"}));
    let apex = grown.remove("auth_dns_zone").unwrap();
    grown.insert("zones".to_owned(), json!({apex.as_str().unwrap(): zone}));
    Value::Object(grown)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = check("c.json", &bytes);
        let _ = check("c.yaml", &bytes);
    }

    #[test]
    fn no_text_panics(text in r#"[\[\]{}:,"'#&*!|>\-? \n\ta-c0-9.\\]{0,80}"#) {
        let _ = check("c.json", text.as_bytes());
        let _ = check("c.json", format!("{{{text}").as_bytes());
        let _ = check("c.yaml", text.as_bytes());
    }

    /// A tree gives the same configuration, or the same complaints, in both notations.
    #[test]
    fn no_tree_panics_and_notation_makes_no_difference(tree in tree()) {
        let in_json = check("c.json", serde_json::to_string_pretty(&tree).unwrap().as_bytes());
        let in_yaml = check("c.yaml", yaml(&tree, 0).as_bytes());
        let told = |read: Result<(Config, Vec<Warning>), Problems>| {
            let sorted = |problems: Problems| {
                let mut told: Vec<_> = problems.iter().map(|p| (p.key.clone(), p.what.clone())).collect();
                told.sort();
                told
            };
            read.map(|(config, _)| config).map_err(sorted)
        };
        prop_assert_eq!(told(in_json), told(in_yaml));
    }

    #[test]
    fn a_flat_file_and_its_grown_form_say_the_same(flat in flat()) {
        let small = check("c.json", flat.to_string().as_bytes()).unwrap();
        let large = check("c.json", grown(&flat).to_string().as_bytes()).unwrap();
        prop_assert_eq!(small.0, large.0);
    }
}

//! The documentation and the program say the same.

use super::*;

/// The text that people read.
const DOCUMENTATION: &str = include_str!("../../../docs/configuration.md");

#[test]
fn the_documentation_lists_every_key_with_its_type_and_default() {
    let mut documented = BTreeMap::new();
    let mut key: Option<String> = None;
    for line in DOCUMENTATION.lines() {
        if let Some(name) = line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`')) {
            key = Some(name.to_owned());
            documented.insert(name.to_owned(), (String::new(), String::new(), 0));
        } else if let Some((kind, default, reasons)) = key.as_ref().and_then(|key| documented.get_mut(key)) {
            if let Some(text) = line.strip_prefix("- Type: ") {
                *kind = text.split(';').next().unwrap().to_owned();
            } else if let Some(text) = line.strip_prefix("- Default: ") {
                *default = text.to_owned();
            } else if line.starts_with("- Changes: ") || line.starts_with("- When to change: ") {
                *reasons += 1;
            }
        }
    }
    let keys = SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(move |key| (section.prefix, key)));
    let known = keys.map(|(prefix, key)| {
        let name = format!("{prefix}{}", key.name);
        (name, (key.kind.to_string(), key.absent.to_string(), 2))
    });
    assert_eq!(documented, known.collect());
}

#[test]
fn the_documentation_shows_messages_as_they_are() {
    let text = LEAST
        .replace("\"auth_dns_server\"", "\n\n\"auth_dns_sever\"")
        .replace(
            "\"val_dns_servers\"",
            "\n\n\n\"renewal_threshold\": \"30\", \"val_dns_servers\"",
        );
    let problems = v1::parse(Path::new("config.json"), text.as_bytes(), &|_, _| Ok(())).unwrap_err();
    for problem in problems.iter() {
        assert!(DOCUMENTATION.contains(&format!("    {problem}\n")), "{problem}");
    }
    assert_eq!(problems.iter().count(), 3);
}

/// The page of servers that have none of their own.
const OTHER_SERVERS: &str = include_str!("../../../docs/servers/other.md");

/// Every example in the text is a whole file, and a good one.
#[test]
fn the_documentations_examples_can_be_read() {
    check_examples(DOCUMENTATION, 2);
}

#[test]
fn p07_the_example_for_active_directory_can_be_read() {
    check_examples(OTHER_SERVERS, 1);
}

/// Reads every example of a text, of which there are so many at least.
fn check_examples(text: &str, least: usize) {
    let mut count = 0;
    for block in text.split("```").skip(1).step_by(2) {
        let (notation, text) = block.split_once('\n').unwrap();
        let file = format!("example.{notation}");
        let read = v1::parse(Path::new(&file), text.as_bytes(), &|_, _| Ok(()));
        read.unwrap_or_else(|problems| panic!("{problems}"));
        count += 1;
    }
    assert!(count >= least, "{count}");
}

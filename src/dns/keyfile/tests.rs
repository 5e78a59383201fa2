//! Every form of key file that nsupdate 9.18 was tried with, and what becomes of each here.

use super::*;
use crate::dns::tsig::Algorithm;
use proptest::prelude::*;
use std::slice::from_ref;

/// 32 octets; with a '/' and a '+', so that a bare one is not mistaken for anything else.
const SECRET: &str = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83v/+NFZ4k=";

fn parse(text: &str) -> Result<String, String> {
    named::parse(text)
        .map(|key| key.to_string())
        .map_err(|fault| fault.at(Path::new("f"), text).to_string())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let text = text.replace("SECRET", SECRET);
    assert_eq!(parse(&text).as_deref(), Ok(expected), "for {text:?}");
}

/// `place` is line and column; `what` stands in the message.
#[track_caller]
fn check_refused(text: &str, place: &str, what: &str) {
    let text = text.replace("SECRET", SECRET);
    let error = parse(&text).unwrap_err();
    assert!(
        error.starts_with(&format!("key file f:{place}: ")),
        "{error:?} for {text:?}"
    );
    assert!(error.contains(what), "{error:?} for {text:?}");
    let remedy = error.rsplit("; ").next().unwrap();
    assert!(!remedy.is_empty() && remedy != error, "{error:?} has no remedy");
    assert!(!error.contains(&SECRET[..8]), "{error:?} shows the secret");
}

#[test]
fn p11_every_spelling_that_nsupdate_takes_is_taken() {
    let plain = "k-sha256. (hmac-sha256)";
    check(
        "key \"k-sha256.\" {\n\talgorithm hmac-sha256;\n\tsecret \"SECRET\";\n};\n",
        plain,
    );
    check("key k-sha256 { algorithm hmac-sha256; secret SECRET; };", plain);
    check(
        "key\nk-sha256\n{\nalgorithm\nhmac-sha256\n;\nsecret\nSECRET\n;\n}\n;",
        plain,
    );
    check(
        "key \"k-sha256.\" {\r\n\talgorithm hmac-sha256;\r\n\tsecret \"SECRET\";\r\n};\r\n",
        plain,
    );
    check(
        "key k-sha256 { algorithm \"hmac-sha256\"; secret SECRET; };",
        plain,
    );
    check(
        "key k-sha256 { secret \"SECRET\"; algorithm hmac-sha256; };",
        plain,
    );
    check(
        "KEY K-SHA256. { Algorithm HMAC-SHA256; SECRET2 \"SECRET\"; };"
            .replace("SECRET2", "Secret")
            .as_str(),
        plain,
    );
    check("key\"k-sha256\"{algorithm hmac-sha256;secret\"SECRET\";};", plain);
    check(
        "# one\n// two\n/* three\nlines */ key /**/ k-sha256 { # four\nalgorithm /* x */ hmac-sha256; // five\n secret SECRET;}; # end",
        plain,
    );
    check(
        "key k-sha256 { algorithm hmac-sha256#c\n; secret SECRET; };",
        plain,
    );
    let (start, end) = SECRET.split_at(10);
    check(
        &format!("key k-sha256 {{ algorithm hmac-sha256; secret \"{start} \n\t{end}\"; }};"),
        plain,
    );
    check("key k-sha256 { algorithm hmac-sha256; secret YWJj; };", plain);
}

#[test]
fn p11_all_algorithms_and_their_truncated_forms_are_known() {
    for algorithm in Algorithm::ALL {
        let name = algorithm.as_str();
        check(
            &format!("key k {{ algorithm {name}; secret SECRET; }};"),
            &format!("k. ({name})"),
        );
        check(
            &format!("key k {{ algorithm {name}-80; secret SECRET; }};"),
            &format!("k. ({name}-80)"),
        );
        let all = algorithm.size() * 8;
        check(
            &format!("key k {{ algorithm {name}-{all}; secret SECRET; }};"),
            &format!("k. ({name})"),
        );
    }
    check(
        "key k { algorithm hmac-sha256-128; secret SECRET; };",
        "k. (hmac-sha256-128)",
    );
    check(
        "key k { algorithm hmac-sha256-127; secret SECRET; };",
        "k. (hmac-sha256-128)",
    );
    check(
        "key k { algorithm hmac-sha256-0; secret SECRET; };",
        "k. (hmac-sha256)",
    );
}

#[test]
fn p11_what_nsupdate_refuses_is_refused_with_place_and_remedy() {
    check_refused("key k { secret SECRET; };", "1:7", "no `algorithm`");
    check_refused("key k { algorithm hmac-sha256; };", "1:7", "no `secret`");
    for name in [
        "sha256",
        "hmac-sha256.",
        "HMAC-MD5.SIG-ALG.REG.INT",
        "hmac-sha256-x",
        "hmac-sha256-",
        "hmac-sha3",
    ] {
        check_refused(
            &format!("key k {{\n algorithm {name};\n secret SECRET;\n}};"),
            "2:12",
            name,
        );
    }
    check_refused(
        "key k { algorithm hmac-sha256-264; secret SECRET; };",
        "1:19",
        "truncated to 264",
    );
    check_refused(
        "key k {\n algorithm hmac-sha256\n secret SECRET; };",
        "3:2",
        "a ';' is missing",
    );
    check_refused(
        "key k { algorithm hmac-sha256; secret SECRET };",
        "1:84",
        "a ';' is missing",
    );
    check_refused(
        "key k { algorithm hmac-sha256; secret SECRET; }\n",
        "2:1",
        "a ';' is missing",
    );
    check_refused(
        "key k { algorithm hmac-sha256; secret SECRET; secret SECRET; };",
        "1:85",
        "twice",
    );
    check_refused(
        "key k { algorithm hmac-sha256; algorithm hmac-sha1; };",
        "1:32",
        "twice",
    );
    check_refused(
        "key k { algorithm hmac-sha256; comment x; };",
        "1:32",
        "must stand here",
    );
    check_refused(
        "key k { algorithm hmac-sha256; secret YWJj; };\nkey l { };",
        "2:1",
        "second key",
    );
    check_refused("options { };", "1:1", "`options`");
    check_refused(
        "key k { algorithm hmac-sha256; secret YWJj; };\nserver ::1 { };",
        "2:1",
        "follows",
    );
    check_refused("", "1:1", "empty");
    check_refused("# nothing\n", "2:1", "comments");
    check_refused("hmac-sha256:k:SECRET\n", "1:1", "nsupdate -y");
    check_refused(
        "key 'k' { algorithm hmac-sha256; secret 'SECRET'; };",
        "1:41",
        "not base64",
    );
    check_refused(
        "\u{feff}key k { algorithm hmac-sha256; secret SECRET; };",
        "1:1",
        "byte order mark",
    );
    check_refused(
        "key k { algorithm hmac-sha256; secret \"YWJjZA\"; };",
        "1:39",
        "not base64",
    );
    check_refused(
        "key k { algorithm hmac-sha256; secret \"SECRET!\"; };",
        "1:39",
        "not base64",
    );
    check_refused(
        "key k { algorithm hmac-sha256; secret \"\"; };",
        "1:39",
        "secret is empty",
    );
    check_refused(
        "key \"\" { algorithm hmac-sha256; secret SECRET; };",
        "1:5",
        "no name",
    );
    check_refused(
        "key a..b { algorithm hmac-sha256; secret SECRET; };",
        "1:5",
        "no domain name",
    );
    check_refused(
        "key k { algorithm hmac-sha256; secret \"SECRET; };",
        "1:39",
        "does not end",
    );
    check_refused(
        "key k { algorithm hmac-sha256; /* secret SECRET; };",
        "1:32",
        "does not end",
    );
    check_refused(
        "key k { algorithm hmac-sha256; secret SECRET;",
        "1:84",
        "ends within",
    );
    check_refused("key k algorithm hmac-sha256; secret SECRET;", "1:7", "'{'");
    check_refused(
        "key k { algorithm hmac-sha256; secret SECRET; };;",
        "1:87",
        "follows",
    );
    check_refused("key k { algorithm; secret SECRET; };", "1:18", "no value");
    check_refused(
        "\u{c}key k { algorithm hmac-sha256; secret SECRET; };",
        "1:1",
        "`key` must stand here",
    );
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    check_refused("SECRET", "1:1", "`key` must stand here");
    check_refused(
        "key k { algorithm \"SECRET\"; secret hmac-sha256; };",
        "1:19",
        "no algorithm",
    );
    check_refused(
        "key k { algorithm hmac-sha256; \"SECRET\"; };",
        "1:32",
        "must stand here",
    );
    check_refused(
        "key k { algorithm hmac-sha256; secret x SECRET; };",
        "1:39",
        "not base64",
    );
}

/// The two files of a pair.
fn pair(number: u16, bits: &str) -> [(&'static str, String); 2] {
    let private = format!(
        "Private-key-format: v1.3\nAlgorithm: {number} (HMAC)\nKey: {SECRET}\nBits: {bits}\nCreated: 20260101000000\n"
    );
    [
        ("k.key", format!("K-Sha256. IN KEY 512 3 {number} {SECRET}\n")),
        ("k.private", private),
    ]
}

/// Writes `files` and reads the key at `name` among them; the folder's name is cut out of errors.
fn read_among(files: &[(&str, String)], name: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let prefix = format!("{}/", folder.path().display());
    read(&folder.path().join(name))
        .map(|key| key.to_string())
        .map_err(|error| error.to_string().replace(&prefix, ""))
}

#[test]
fn p11_pairs_of_files_with_any_hmac_are_read_by_any_of_their_names() {
    let numbers = [157, 161, 162, 163, 164, 165];
    for (number, algorithm) in numbers.into_iter().zip(Algorithm::ALL) {
        let expected = Ok(format!("k-sha256. ({})", algorithm.as_str()));
        for name in ["k.key", "k.private", "k", "k."] {
            assert_eq!(
                read_among(&pair(number, "AAA="), name),
                expected,
                "{number} by {name}"
            );
        }
    }
    assert_eq!(
        read_among(&pair(163, "AIA="), "k"),
        Ok("k-sha256. (hmac-sha256-128)".to_owned())
    );
}

#[test]
fn p11_pairs_may_be_of_the_older_version_with_ttl_comments_and_without_label() {
    let public = format!(
        "; made long ago\nk. 300 IN KEY (512 3 163 {} {} ) ; end\n",
        &SECRET[..20],
        &SECRET[20..]
    );
    let private = format!("Private-key-format: v1.2\nAlgorithm: 163\nKey: {SECRET}\nBits: AAA=\n");
    let files = [("k.key", public), ("k.private", private)];
    assert_eq!(read_among(&files, "k.key"), Ok("k. (hmac-sha256)".to_owned()));
}

#[test]
fn p11_what_is_wrong_with_a_pair_is_said() {
    let check = |files: &[(&str, String)], name: &str, expected: &str| {
        let error = read_among(files, name).unwrap_err();
        assert!(error.starts_with(expected), "{error:?} for {expected:?}");
        assert!(error.contains("; ") && !error.contains(&SECRET[..8]), "{error:?}");
    };
    let [public, private] = pair(163, "AAA=");
    check(
        from_ref(&public),
        "k.key",
        "key file k.key: this is one of a pair",
    );
    check(
        from_ref(&public),
        "k.private",
        "key file k.key: this is one of a pair",
    );
    check(
        from_ref(&private),
        "k",
        "key file k.private: this is one of a pair",
    );
    check(
        &[("other", private.1.clone())],
        "other",
        "key file other: this is one of a pair",
    );

    let with = |from: &str, to: &str| [public.clone(), ("k.private", private.1.replace(from, to))];
    check(
        &with("163", "165"),
        "k",
        "key file k.key: its algorithm or secret is not the one in k.private",
    );
    check(
        &with("q83v", "Q83v"),
        "k",
        "key file k.key: its algorithm or secret",
    );
    check(
        &with("Bits: AAA=\n", ""),
        "k",
        "key file k.private:5:1: there is no line `Bits:`",
    );
    check(
        &with("AAA=", "AA=="),
        "k",
        "key file k.private:4:1: `Bits:` must be two octets",
    );
    check(&with("v1.3", "v2.0"), "k", "key file k.private:1:1: this version");
    check(
        &with(SECRET, "!"),
        "k",
        "key file k.private:3:1: the secret is not base64",
    );
    check(
        &with("163", "13"),
        "k",
        "key file k.private:2:1: this is no HMAC key",
    );
    let broken = [("k.key", public.1.replace("163", "13")), private.clone()];
    check(&broken, "k", "key file k.key:1:24: this is no HMAC key");
    let short = [("k.key", "k. IN KEY 512 3 163\n".to_owned()), private];
    check(&short, "k", "key file k.key:2:1: the KEY record has no secret");
}

#[test]
fn a_file_of_either_form_may_have_either_ending() {
    let text = format!("key k {{ algorithm hmac-sha256; secret {SECRET}; }};");
    for name in ["tsig.key", "tsig.private", "tsig", "tsig.conf"] {
        assert_eq!(
            read_among(&[(name, text.clone())], name),
            Ok("k. (hmac-sha256)".to_owned())
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let missing = read_among(&[], "none.key").unwrap_err();
    assert!(
        missing.contains("none.key: it cannot be read") && missing.contains("mend the path"),
        "{missing}"
    );
    let long = read_among(&[("long", "#".repeat(70_000))], "long").unwrap_err();
    assert!(long.contains("longer than 64 KiB"), "{long}");
    let folder = tempfile::tempdir().unwrap();
    assert!(
        read(folder.path())
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
    let binary = folder.path().join("binary");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    assert!(read(&binary).unwrap_err().to_string().contains("it is not text"));
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "(key|[a-z]{0,6}|[{};\"#/*\\\\ \n\u{e9}]|secret|algorithm|hmac-sha256){0,24}") {
        if let Err(fault) = named::parse(&text) {
            prop_assert!(fault.offset <= text.len());
        }
        drop(pair::parse_public(&text));
        drop(pair::parse_private(&text));
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(text in any::<String>()) {
        drop(named::parse(&text));
        drop(pair::parse_public(&text));
        drop(pair::parse_private(&text));
        prop_assert!(!pair::is_private(&text) || text.contains("Private-key-format:"));
    }
}

/// What [`load`] makes of `text` in a file of its own, with a hint.
fn load_with(text: &str, hint: &Hint) -> Result<(String, bool), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    std::fs::write(&path, text).unwrap();
    let prefix = format!("{}/", folder.path().display());
    load(&path, hint)
        .map(|loaded| (loaded.key.to_string(), loaded.warning.is_some()))
        .map_err(|error| error.to_string().replace(&prefix, ""))
}

#[test]
fn p11_a_line_as_dig_takes_it_is_a_key() {
    let line = |text: &str| load_with(&text.replace("SECRET", SECRET), &Hint::default());
    for text in [
        "hmac-sha256:k:SECRET",
        "hmac-sha256:k:SECRET\n",
        " HMAC-SHA256:K.:SECRET\r\n",
    ] {
        assert_eq!(line(text), Ok(("k. (hmac-sha256)".to_owned(), false)), "{text:?}");
    }
    assert_eq!(
        line("hmac-sha512-256:k:SECRET"),
        Ok(("k. (hmac-sha512-256)".to_owned(), false))
    );
    for (text, place, what) in [
        ("k:SECRET", "1:1", "none is assumed"),
        ("sha256:k:SECRET", "1:1", "\"sha256\" is not known"),
        ("hmac-sha256::SECRET", "1:13", "no name"),
        ("hmac-sha256:a..b:SECRET", "1:13", "no domain name"),
        ("hmac-sha256:k:SECRET:", "1:59", "third ':'"),
        ("\nhmac-sha256:k:!", "2:15", "not base64"),
        ("hmac-sha256:k:", "1:15", "secret is empty"),
    ] {
        let error = line(text).unwrap_err();
        assert!(
            error.starts_with(&format!("key file f:{place}: ")) && error.contains(what),
            "{error:?} for {text:?}"
        );
        assert!(!error.contains(&SECRET[..8]), "{error:?} shows the secret");
    }
}

#[test]
fn p11_a_secret_alone_needs_name_and_algorithm_from_elsewhere() {
    let hint = Hint {
        name: Some("k".to_owned()),
        algorithm: Some((Algorithm::HmacSha384, 0)),
    };
    for text in [SECRET.to_owned(), format!("{SECRET}\n"), format!("{SECRET}\r\n")] {
        assert_eq!(
            load_with(&text, &hint),
            Ok(("k. (hmac-sha384)".to_owned(), false))
        );
        let error = load_with(&text, &Hint::default()).unwrap_err();
        assert!(
            error.contains("a secret alone") && error.contains("hmac-sha256:NAME:BASE64"),
            "{error}"
        );
        assert!(!error.contains(&SECRET[..8]), "{error:?} shows the secret");
    }
    let half = Hint {
        algorithm: None,
        ..hint
    };
    assert!(load_with(SECRET, &half).is_err());
}

#[test]
fn p11_a_key_file_in_base64_is_read_with_a_warning() {
    let statement = format!("key k {{ algorithm hmac-sha256; secret {SECRET}; }};\n");
    let line = format!("hmac-sha256:k:{SECRET}");
    for text in [statement.clone(), line] {
        let mut encoded = STANDARD.encode(&text);
        // `base64` breaks its lines.
        encoded.insert(20, '\n');
        encoded.push('\n');
        assert_eq!(
            load_with(&encoded, &Hint::default()),
            Ok(("k. (hmac-sha256)".to_owned(), true))
        );
    }
    let broken = STANDARD.encode(statement.replace("algorithm", "algorism"));
    let error = load_with(&broken, &Hint::default()).unwrap_err();
    assert!(error.contains("base64 of a key file in which"), "{error}");
    assert!(!error.contains(&SECRET[..8]), "{error:?} shows the secret");
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_of_all_forms_panic(text in "([a-z0-9+/]{0,12}|[:={}; \n\"\u{e9}]|hmac-sha256|key){0,12}") {
        match super::parse(&text, &Hint::default(), Path::new("f")) {
            Ok(loaded) => prop_assert!(!loaded.key.to_string().is_empty()),
            Err(fault) => prop_assert!(fault.offset <= text.len()),
        }
    }
}

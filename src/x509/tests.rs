//! Facts, keys and chains, with certificates made here and keys made by openssl.

use std::process::{Command, Stdio};

use faythe_core::Timestamp;
use faythe_core::cert::Unreadable;
use faythe_core::name::Hostname;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    SerialNumber,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::*;

/// A certificate for `names` from a CA of its own, and that CA's certificate; valid from 2026-01-01 to 2026-04-01.
struct Issued {
    leaf: String,
    above: String,
}

fn issue(names: &[&str], key: &KeyPair) -> Issued {
    let mut above = CertificateParams::default();
    above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    above
        .distinguished_name
        .push(DnType::CommonName, "Test Issuer Y1");
    let above_key = KeyPair::generate().unwrap();
    let above_pem = above.self_signed(&above_key).unwrap().pem();

    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 4, 1);
    params.serial_number = Some(SerialNumber::from_slice(&[0xfa, 0x03, 0x0b]));
    let leaf = params
        .signed_by(key, &Issuer::new(above, above_key))
        .unwrap()
        .pem();
    Issued {
        leaf,
        above: above_pem,
    }
}

fn host(name: &str) -> Hostname {
    name.parse().unwrap()
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// Runs openssl, which makes and reads keys in the forms that other tools leave in Secrets.
fn openssl(arguments: &[&str], input: &str) -> String {
    use std::io::Write;

    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is needed for this test");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn s05_a_certificate_with_its_key_becomes_facts() {
    let key = KeyPair::generate().unwrap();
    let issued = issue(
        &[
            "a.example.com",
            "*.Example.com",
            "under_score.example.com",
            "192.0.2.1",
        ],
        &key,
    );
    let chain = format!("{}{}", issued.leaf, issued.above);
    let facts = facts(Some(chain.as_bytes()), Some(key.serialize_pem().as_bytes())).unwrap();
    assert_eq!(facts.names, [host("a.example.com"), host("*.example.com")]);
    assert_eq!(facts.not_before, at("2026-01-01T00:00:00Z"));
    assert_eq!(facts.not_after, at("2026-04-01T00:00:00Z"));
    assert_eq!(facts.serial, "fa030b");
    assert_eq!(facts.issuer, "Test Issuer Y1");
}

/// The example of RFC 9773 §4.1.
#[test]
fn p21_a_certificate_has_the_name_that_its_ca_knows() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    };
    let mut above = CertificateParams::default();
    above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    above.key_identifier_method = KeyIdMethod::PreSpecified(hex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4"));
    let issuer = Issuer::new(above, KeyPair::generate().unwrap());
    let mut leaf = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
    leaf.serial_number = Some(hex("87654321").into());
    let key = KeyPair::generate().unwrap();
    let id_of = |leaf: &CertificateParams| {
        let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
        let facts = facts(Some(leaf.as_bytes()), Some(key.serialize_pem().as_bytes()));
        facts.unwrap().id
    };
    assert_eq!(id_of(&leaf), None);
    leaf.use_authority_key_identifier_extension = true;
    let id = id_of(&leaf).unwrap();
    assert_eq!(id.as_str(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
}

#[test]
fn s05_a_broken_secret_says_what_is_wrong() {
    let key = KeyPair::generate().unwrap();
    let cert = issue(&["a.example.com"], &key).leaf;
    let pem = key.serialize_pem();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let truncated = &cert[..cert.len() / 2];
    let check = |cert: Option<&str>, key: Option<&str>| {
        facts(cert.map(str::as_bytes), key.map(str::as_bytes))
            .expect_err("this is no certificate with its key")
    };

    assert_eq!(check(None, Some(&pem)), Unreadable::NoCert);
    assert_eq!(check(Some(&cert), None), Unreadable::NoKey);
    assert_eq!(check(None, None), Unreadable::NoCert);
    assert_eq!(check(Some(&cert), Some(&other)), Unreadable::KeyMismatch);
    assert_eq!(check(Some(&cert), Some("garbage")), Unreadable::BadKey);
    assert_eq!(check(Some(&cert), Some("")), Unreadable::BadKey);
    assert_eq!(check(Some(&cert), Some(&cert)), Unreadable::BadKey);
    for bad in [
        "",
        "garbage",
        truncated,
        &pem,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(
            matches!(check(Some(bad), Some(&pem)), Unreadable::BadCert(_)),
            "for {bad:?}"
        );
    }
}

#[test]
fn the_leaf_is_the_first_certificate() {
    let key = KeyPair::generate().unwrap();
    let issued = issue(&["a.example.com"], &key);
    let upside_down = format!("{}{}", issued.above, issued.leaf);
    let found = facts(Some(upside_down.as_bytes()), Some(key.serialize_pem().as_bytes()));
    assert_eq!(found, Err(Unreadable::KeyMismatch));
}

#[test]
fn keys_of_every_form_and_type_are_recognised() {
    let rsa = openssl(
        &[
            "genpkey",
            "-quiet",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ],
        "",
    );
    let p256 = openssl(
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ],
        "",
    );
    let p384 = openssl(
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-384",
        ],
        "",
    );
    let p521 = openssl(
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-521",
        ],
        "",
    );
    let ed25519 = openssl(&["genpkey", "-algorithm", "ED25519"], "");
    let pkcs1 = openssl(&["rsa", "-traditional"], &rsa);
    let sec1 = openssl(&["ec"], &p384);
    let with_parameters = openssl(&["ecparam", "-name", "prime256v1", "-genkey"], "");
    assert!(pkcs1.contains("BEGIN RSA PRIVATE KEY"));
    assert!(sec1.contains("BEGIN EC PRIVATE KEY"));
    assert!(with_parameters.starts_with("-----BEGIN EC PARAMETERS"));

    for key in [
        &rsa,
        &p256,
        &p384,
        &p521,
        &ed25519,
        &pkcs1,
        &sec1,
        &with_parameters,
    ] {
        let signer = KeyPair::try_from(&PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
        let cert = issue(&["a.example.com"], &signer).leaf;
        assert!(
            facts(Some(cert.as_bytes()), Some(key.as_bytes())).is_ok(),
            "for {}",
            key.lines().next().unwrap()
        );
    }
    let locked = openssl(&["pkcs8", "-topk8", "-passout", "pass:x"], &p256);
    let signer = KeyPair::try_from(&PrivateKeyDer::from_pem_slice(p256.as_bytes()).unwrap()).unwrap();
    let cert = issue(&["a.example.com"], &signer).leaf;
    assert_eq!(
        facts(Some(cert.as_bytes()), Some(locked.as_bytes())),
        Err(Unreadable::BadKey)
    );
}

#[test]
fn a_certificate_without_end_can_be_said() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
    // RFC 5280 §4.1.2.5: no well-defined end.
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let cert = params.self_signed(&key).unwrap().pem();
    let facts = facts(Some(cert.as_bytes()), Some(key.serialize_pem().as_bytes())).unwrap();
    assert!(facts.not_after > at("9999-12-29T00:00:00Z"));
}

#[test]
fn p26_a_request_names_the_host_in_its_alternative_names_alone() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "b".repeat(45));
    for name in ["a.example.com", "*.example.com", &longest] {
        let host = host(name);
        let key = new_key(KeyType::default()).unwrap();
        let csr = csr(&host, &key).unwrap();
        let (rest, request) = X509CertificationRequest::from_der(&csr).unwrap();
        assert!(rest.is_empty());
        assert_eq!(request.certification_request_info.subject.iter().count(), 0);
        let names: Vec<_> = request
            .requested_extensions()
            .unwrap()
            .filter_map(|extension| {
                let ParsedExtension::SubjectAlternativeName(names) = extension else {
                    return None;
                };
                Some(&names.general_names)
            })
            .flatten()
            .collect();
        assert!(
            matches!(names[..], [GeneralName::DNSName(found)] if *found == name),
            "{names:?}"
        );
        assert_eq!(
            super::csr(&host, &key).unwrap().len() / 10,
            csr.len() / 10,
            "the kept key makes the same request"
        );
    }
}

#[test]
fn openssl_takes_the_requests_of_every_key_type() {
    for key_type in KeyType::ALL {
        let key = new_key(key_type).unwrap();
        let csr = csr(&host("a.example.com"), &key).unwrap();
        assert!(key.open().starts_with(b"-----BEGIN PRIVATE KEY-----"));
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            {
                use base64::prelude::{BASE64_STANDARD, Engine};
                BASE64_STANDARD.encode(&csr)
            }
        );
        let text = openssl(&["req", "-verify", "-noout", "-text"], &pem);
        let expected = match key_type {
            KeyType::EcdsaP256 => "Public-Key: (256 bit)",
            KeyType::EcdsaP384 => "Public-Key: (384 bit)",
            KeyType::Rsa2048 => "Public-Key: (2048 bit)",
            KeyType::Rsa3072 => "Public-Key: (3072 bit)",
            KeyType::Rsa4096 => "Public-Key: (4096 bit)",
        };
        assert!(
            text.contains(expected) && text.contains("DNS:a.example.com"),
            "{key_type}: {text}"
        );
        assert!(super::csr(&host("b.example.com"), &key).is_ok());
    }
}

#[test]
fn key_types_are_read_as_they_are_written() {
    for key_type in KeyType::ALL {
        assert_eq!(key_type.to_string().parse(), Ok(key_type));
    }
    let unknown = "RSA".parse::<KeyType>().unwrap_err();
    assert!(unknown.to_string().contains("rsa-2048"), "{unknown}");
}

#[test]
fn a_good_chain_passes() {
    let key = KeyPair::generate().unwrap();
    let issued = issue(&["*.example.com"], &key);
    let chain = format!("{}\n{}", issued.leaf, issued.above);
    let sealed = Sealed::from(key.serialize_pem());
    let facts = check_issued(
        &chain,
        &sealed,
        &host("a.example.com"),
        at("2026-02-01T00:00:00Z"),
    )
    .unwrap();
    assert_eq!(facts.names, [host("*.example.com")]);
}

#[test]
fn a_chain_that_does_not_fit_is_refused_in_words() {
    let key = KeyPair::generate().unwrap();
    let issued = issue(&["a.example.com"], &key);
    let unrelated = issue(&["x.example.com"], &KeyPair::generate().unwrap());
    let sealed = Sealed::from(key.serialize_pem());
    let check = |chain: &str, key: &Sealed, name: &str, now: &str, words: &str| {
        let unfit = check_issued(chain, key, &host(name), at(now)).expect_err(words);
        assert!(unfit.to_string().contains(words), "{unfit}");
    };
    let good = format!("{}{}", issued.leaf, issued.above);
    let now = "2026-02-01T00:00:00Z";

    check(
        &good,
        &sealed,
        "b.example.com",
        now,
        "not for b.example.com but for [a.example.com]",
    );
    check(
        &good,
        &sealed,
        "a.example.com",
        "2025-12-31T23:59:59Z",
        "begins at 2026-01-01T00:00:00Z",
    );
    check(
        &good,
        &sealed,
        "a.example.com",
        "2026-04-01T00:00:00Z",
        "ended at 2026-04-01T00:00:00Z",
    );
    check(
        &good,
        &KeyPair::generate().unwrap().serialize_pem().into(),
        "a.example.com",
        now,
        "does not belong",
    );
    check(
        &format!("{}{}", issued.leaf, unrelated.leaf),
        &sealed,
        "a.example.com",
        now,
        "certificate 2 of the chain",
    );
    check("", &sealed, "a.example.com", now, "the chain is empty");
    check("garbage", &sealed, "a.example.com", now, "the chain is empty");
    // RFC 8555 §11.4: a key smuggled into the chain.
    let smuggled = format!("{good}{}", KeyPair::generate().unwrap().serialize_pem());
    check(
        &smuggled,
        &sealed,
        "a.example.com",
        now,
        "something else than certificates",
    );
}

proptest! {
    #[test]
    fn no_bytes_break_the_readers(cert: Vec<u8>, key: Vec<u8>, der: Vec<u8>) {
        use base64::prelude::{BASE64_STANDARD, Engine};

        let _ = facts(Some(&cert), Some(&key));
        let wrapped = |label: &str| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(&der))
        };
        let sealed = Sealed::from(wrapped("PRIVATE KEY"));
        let _ = facts(Some(wrapped("CERTIFICATE").as_bytes()), Some(sealed.open()));
        let _ = check_issued(&String::from_utf8_lossy(&cert), &sealed, &host("a.example.com"), Timestamp::UNIX_EPOCH);
        let _ = csr(&host("a.example.com"), &sealed);
    }

    #[test]
    fn no_damaged_certificate_breaks_the_readers(place in 0_usize..4096, octet: u8) {
        let key = KeyPair::generate().unwrap();
        let issued = issue(&["a.example.com"], &key);
        let mut der = CertificateDer::from_pem_slice(issued.leaf.as_bytes()).unwrap().to_vec();
        let place = place % der.len();
        der[place] = octet;
        let der = CertificateDer::from(der);
        if let Ok(certificate) = parse(&der) {
            let _ = read(&certificate);
        }
    }
}

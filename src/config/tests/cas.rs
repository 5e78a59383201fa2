//! A file with `cas`.

use faythe_core::budget::{Endpoint, Kind, Limit, Preset};

use super::*;
use crate::ca::acme::MacAlgorithm;

/// A file whose CA has these entries.
fn ca_with(entries: &str) -> String {
    let rest: Vec<_> = LEAST
        .lines()
        .filter(|line| !line.contains("lets_encrypt"))
        .collect();
    rest.join("\n")
        .replacen('{', &format!("{{\"cas\": [{{{entries}}}],"), 1)
}

fn ca(entries: &str) -> CaConfig {
    let (config, warnings) =
        read_text(&ca_with(entries)).unwrap_or_else(|problems| panic!("{entries}: {problems}"));
    assert_eq!(warnings, []);
    config.cas.into_iter().next().unwrap()
}

/// Expects an entry beside the URL to be refused with some words.
fn check(entry: &str, words: &str) {
    let told = refused_text(&ca_with(&format!(
        "\"url\": \"https://acme.example/dir\", {entry}"
    )));
    assert!(told.starts_with("c.json:1: cas[0]"), "{told}");
    assert!(told.contains(words), "{told}");
}

#[test]
fn a_ca_needs_no_more_than_its_url() {
    let ca = ca(r#""url": "https://acme.example:14000/dir""#);
    assert_eq!(ca.name, "acme.example:14000");
    assert_eq!(ca.url, "https://acme.example:14000/dir");
    assert_eq!((ca.email, ca.profile, ca.preferred_chain), (None, None, None));
    assert_eq!((ca.proxy, ca.root_certificates, ca.binding), (None, None, None));
    assert_eq!(ca.account_key_type, KeyType::EcdsaP256);
}

#[test]
fn everything_about_a_ca_can_be_said() {
    let ca = ca(
        r#""name": "ours", "url": "https://acme.example/dir", "email": "a@example.com",
        "profile": "tlsserver", "profile_fallback": "classic",
        "preferred_chain": "ISRG Root X1", "proxy": "http://user:pass@proxy:3128",
        "root_certificates": "roots.pem", "account_key_type": "rsa-2048",
        "eab": {"kid": "kid-1", "hmac_key_file": "hmac.key", "algorithm": "HS512"}"#,
    );
    assert_eq!(ca.name, "ours");
    assert_eq!(ca.email.as_deref(), Some("a@example.com"));
    assert_eq!(ca.profile.as_deref(), Some("tlsserver"));
    assert_eq!(ca.profile_fallback.as_deref(), Some("classic"));
    assert_eq!(ca.preferred_chain.as_deref(), Some("ISRG Root X1"));
    assert_eq!(ca.proxy, Some("http://user:pass@proxy:3128".parse().unwrap()));
    assert_eq!(ca.root_certificates.as_deref(), Some(Path::new("roots.pem")));
    assert_eq!(ca.account_key_type, KeyType::Rsa2048);
    let binding = ca.binding.unwrap();
    assert_eq!(binding.kid, "kid-1");
    assert_eq!(binding.key_file, Path::new("hmac.key"));
    assert_eq!(binding.algorithm, MacAlgorithm::Hs512);
}

#[test]
fn p17_limits_follow_the_url_and_every_one_can_be_set() {
    let limits = |entries: &str| ca(entries).limits;
    let ours = |limits: &str| {
        let entry = format!(r#""url": "https://acme.example/dir", "limits": {{{limits}}}"#);
        ca(&entry).limits
    };
    let known = Preset::LetsEncrypt.limits();
    let nothing = Preset::None.limits();
    assert_eq!(limits(r#""url": "https://acme.example/dir""#), nothing);
    let production = r#""url": "https://acme-v02.api.letsencrypt.org/directory""#;
    assert_eq!(limits(production), known);
    assert_eq!(
        limits(&format!(r#"{production}, "limits": {{"share": 80}}"#)),
        known.share(80)
    );
    assert_eq!(
        limits(&format!(r#"{production}, "limits": {{"preset": "none"}}"#)),
        nothing
    );
    assert_eq!(ours(r#""preset": "letsencrypt""#), known);
    assert!(ours(r#""preset": "letsencrypt", "counts_renewals": true"#).counts_renewals);
    assert!(!ours(r#""counts_renewals": false"#).counts_renewals);
    for kind in Kind::ALL {
        let set = ours(&format!(r#""{}": {{"count": 7, "period": 60}}"#, kind.code()));
        assert_eq!(set.of(kind), Some(Limit::new(7, Duration::from_secs(60))));
        let unset = ours(&format!(
            r#""preset": "letsencrypt", "{}": {{"count": 0, "period": 1}}"#,
            kind.code()
        ));
        assert_eq!(unset.of(kind), None);
    }
    check(r#""limits": {"preset": "lets"}"#, "`letsencrypt-staging`");
    check(r#""limits": {"share": 0}"#, "1 to 100");
    check(
        r#""limits": {"new_orders": {"count": 1}}"#,
        "cas[0].limits.new_orders.period: it is missing",
    );
    check(
        r#""limits": {"new_order": {"count": 1}}"#,
        "did you mean `new_orders`?",
    );
}

#[test]
fn p17_the_pace_of_each_kind_of_address_can_be_set() {
    let requests = |requests: &str| {
        let entry = format!(
            r#""url": "https://acme.example/dir", "limits": {{"preset": "letsencrypt", "share": 50, "requests": {{{requests}}}}}"#
        );
        ca(&entry).limits.requests
    };
    let known = Preset::LetsEncrypt.limits().requests;
    let limit = |burst| Some(Limit::with_burst(7, Duration::from_secs(60), burst));
    for (name, endpoint) in [
        ("directory", Endpoint::Directory),
        ("accounts", Endpoint::NewAccount),
        ("nonces", Endpoint::NewNonce),
        ("orders", Endpoint::NewOrder),
        ("other", Endpoint::Other),
        ("renewal_info", Endpoint::RenewalInfo),
        ("revocations", Endpoint::Revoke),
    ] {
        for (given, expected) in [
            (r#""count": 7, "period": 60"#, limit(7)),
            (r#""count": 7, "period": 60, "burst": 3"#, limit(3)),
            (r#""count": 7"#, Some(Limit::new(7, Duration::from_secs(1)))),
            (r#""count": 0"#, None),
        ] {
            let mut others = known;
            others.set(endpoint, expected);
            assert_eq!(
                requests(&format!(r#""{name}": {{{given}}}"#)),
                others,
                "{name}: {given}"
            );
        }
    }
    check(
        r#""limits": {"requests": {"orders": {"count": 1, "period": 61}}}"#,
        "1 to 60",
    );
    check(
        r#""limits": {"requests": {"orders": {"burst": 1}}}"#,
        "cas[0].limits.requests.orders.count: it is missing",
    );
    check(
        r#""limits": {"requests": {"order": {"count": 1}}}"#,
        "did you mean `orders`?",
    );
}

#[test]
fn mistakes_in_an_entry_have_their_path() {
    check(r#""name": "Our CA""#, "is no name for a CA");
    check(r#""profile": """#, "it is empty");
    check(r#""proxy": "socks5://proxy""#, "it is not the URL of a proxy");
    check(r#""account_key_type": "ed25519""#, "is no type of key");
    check(
        r#""eab": {"kid": "a"}"#,
        "cas[0].eab.hmac_key_file: it is missing",
    );
    check(r#""eab": "a""#, "give an object");
    check(
        r#""eab": {"kid": "a", "hmac_key_file": "b", "algorithm": "RS256"}"#,
        "`HS256`",
    );
    check(r#""mail": "a@example.com""#, "did you mean `email`?");
    assert!(refused_text(&ca_with("")).contains("cas[0].url: it is missing"));
}

#[test]
fn p24_there_may_be_several_in_order_and_a_zone_may_name_its_own() {
    let first = r#""url": "https://a.example/d""#;
    let several = |second: &str| ca_with(&format!("{first}}}, {{{second}"));
    let (config, _) = read_text(&several(
        r#""name": "b", "url": "https://b.example/d", "use_after": 5000"#,
    ))
    .unwrap();
    let cas: Vec<_> = config
        .cas
        .iter()
        .map(|ca| (ca.name.as_str(), ca.use_after.as_secs()))
        .collect();
    assert_eq!(cas, [("a.example", 600), ("b", 5)]);
    let told = refused_text(&several(first));
    assert!(
        told.starts_with("c.json:1: cas[1]: another entry has the same `url`"),
        "{told}"
    );
    let told = refused_text(&several(
        r#""name": "x", "url": "https://b.example/d"}, {"name": "x", "url": "https://c.example/d""#,
    ));
    assert!(
        told.starts_with("c.json:1: cas[2]: another entry is called \"x\" too"),
        "{told}"
    );

    let zones = |cas: &str| {
        let text = r#"{"secret_namespace": "n", "secret_hostlabel": "l",
            "cas": [{"name": "a", "url": "https://a.example/d"}, {"name": "b", "url": "https://b.example/d"}],
            "zones": {"example.com": {"auth_dns_server": "ns", "auth_dns_key": "k", "cas": CAS}}}"#;
        text.replace("CAS", cas)
    };
    let (config, _) = read_text(&zones(r#"["b", "a"]"#)).unwrap();
    let cas = config.cas();
    let apex = "example.com".parse().unwrap();
    let order: Vec<_> = cas
        .of_zone(Some(&apex))
        .iter()
        .map(|ca| &cas.get(*ca).unwrap().name)
        .collect();
    assert_eq!(order, ["b", "a"]);
    let told = refused_text(&zones(r#"["c"]"#));
    assert!(
        told.contains("there is no CA called \"c\"; give the `name` of an entry of `cas`: `a`, `b`"),
        "{told}"
    );
    assert!(refused_text(&zones("[]")).contains("it names no CA"));
}

#[test]
fn the_flat_keys_of_a_ca_do_not_stand_beside_cas() {
    let text = with("cas", r#"[{"url": "https://acme.example/dir"}]"#);
    let problems = read_text(&text).unwrap_err();
    let keys: Vec<_> = problems
        .iter()
        .filter_map(|problem| problem.key.as_deref())
        .collect();
    assert_eq!(keys, ["lets_encrypt_url", "lets_encrypt_email"]);
}

#[test]
fn a_proxy_may_lack_its_scheme_and_never_shows_its_password() {
    for proxy in [
        "proxy.example.com:3128",
        "http://proxy.example.com:3128",
        "https://user:c2V@proxy",
    ] {
        let config = accepted("lets_encrypt_proxy", &format!("{proxy:?}"));
        assert!(config.cas[0].proxy.is_some());
        assert!(!format!("{config:?}").contains("c2V"));
    }
    let told = refused("lets_encrypt_proxy", r#""http://user:c2V@pro xy/""#);
    assert!(!told.contains("c2V"), "{told}");
}

#[test]
fn a_binding_key_is_read_in_the_forms_that_portals_show() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hmac.key");
    let key = |content: &str| {
        std::fs::write(&path, content).unwrap();
        read_binding_key(&path)
    };
    for good in ["__79_A", "__79_A==\n", "//79/A==", " __79_A \n"] {
        assert_eq!(key(good).unwrap().open(), [0xff, 0xfe, 0xfd, 0xfc], "{good}");
    }
    for bad in [
        "",
        "==",
        "c2V jcmV0",
        "c2VjcmV0\nc2VjcmV0",
        "{\"hmac\": \"c2VjcmV0\"}",
    ] {
        let fault = key(bad).expect_err(bad);
        assert!(!format!("{fault:?}").contains("c2V"), "{fault:?}");
        assert!(fault.remedy.contains("base64url"), "{fault:?}");
    }
    let absent = read_binding_key(&directory.path().join("c2VjcmV0")).unwrap_err();
    assert!(!format!("{absent:?}").contains("c2V"), "{absent:?}");
}

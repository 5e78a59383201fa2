//! The CAs: one by the flat keys, or `cas`, which can say more.

use std::collections::BTreeSet;
use std::time::Duration;

use faythe_core::budget::Preset;

use super::super::keys::{Absent, Key, Kind, Section};
use super::super::reader::Reader;
use super::super::{BindingConfig, CaConfig, Fault, Referenced, syntax};
use super::limits;
use crate::x509::KeyType;

pub(super) const ACME_ROOT_CERTIFICATES: Key = Key {
    name: "acme_root_certificates",
    kind: Kind::Path,
    absent: Absent::Means("none besides the system's"),
    purpose: "a PEM file with roots to trust for the CA's HTTPS besides the system's",
};
pub(super) const CAS: Key = Key {
    name: "cas",
    kind: Kind::Objects,
    absent: Absent::Means("one CA, from the keys above"),
    purpose: "the list of CAs, in order, each with all that it needs",
};
pub(super) const LETS_ENCRYPT_EMAIL: Key = Key {
    name: "lets_encrypt_email",
    kind: Kind::String,
    absent: Absent::RefusedWithout("cas"),
    purpose: "the contact address given to the CA",
};
pub(super) const LETS_ENCRYPT_PROXY: Key = Key {
    name: "lets_encrypt_proxy",
    kind: Kind::String,
    absent: Absent::Means("none"),
    purpose: "the HTTP proxy that leads to the CA",
};
pub(super) const LETS_ENCRYPT_URL: Key = Key {
    name: "lets_encrypt_url",
    kind: Kind::String,
    absent: Absent::RefusedWithout("cas"),
    purpose: "the URL of the CA's ACME directory",
};

const ACCOUNT_KEY_TYPE: Key = Key {
    name: "account_key_type",
    kind: Kind::String,
    absent: Absent::As(r#""ecdsa-p256""#),
    purpose: "the type of the account's key",
};
const EAB: Key = Key {
    name: "eab",
    kind: Kind::Object,
    absent: Absent::Means("none"),
    purpose: "what binds our account to one that the CA knows otherwise",
};
const EMAIL: Key = Key {
    name: "email",
    absent: Absent::Means("none"),
    ..LETS_ENCRYPT_EMAIL
};
const NAME: Key = Key {
    name: "name",
    kind: Kind::String,
    absent: Absent::Means("host and port of its URL"),
    purpose: "what the CA is called in reports",
};
const PREFERRED_CHAIN: Key = Key {
    name: "preferred_chain",
    kind: Kind::String,
    absent: Absent::Means("the chain that the CA offers first"),
    purpose: "the issuer that the chain should lead to",
};
const PROFILE: Key = Key {
    name: "profile",
    kind: Kind::String,
    absent: Absent::Means("the CA's own choice"),
    purpose: "the profile that certificates are ordered with",
};
const PROFILE_FALLBACK: Key = Key {
    name: "profile_fallback",
    kind: Kind::String,
    absent: Absent::Means("none: nothing is ordered"),
    purpose: "the profile that is ordered with where the CA does not offer the one that is set",
};
const PROXY: Key = Key {
    name: "proxy",
    ..LETS_ENCRYPT_PROXY
};
const ROOT_CERTIFICATES: Key = Key {
    name: "root_certificates",
    ..ACME_ROOT_CERTIFICATES
};
const URL: Key = Key {
    name: "url",
    absent: Absent::Refused,
    ..LETS_ENCRYPT_URL
};

const USE_AFTER: Key = Key {
    name: "use_after",
    kind: Kind::Integer {
        unit: "milliseconds",
        range: 0..=30 * 86_400_000,
    },
    absent: Absent::As("600000"),
    purpose: "how long the CAs before it must have been of no use before it stands in",
};

/// One CA.
pub(super) const CA: Section = Section {
    prefix: "cas[].",
    keys: &[
        NAME,
        URL,
        EMAIL,
        PROFILE,
        PROFILE_FALLBACK,
        PREFERRED_CHAIN,
        PROXY,
        ROOT_CERTIFICATES,
        ACCOUNT_KEY_TYPE,
        EAB,
        limits::LIMITS,
        USE_AFTER,
    ],
};

const EAB_ALGORITHM: Key = Key {
    name: "algorithm",
    kind: Kind::String,
    absent: Absent::As(r#""HS256""#),
    purpose: "the algorithm that the key is for",
};
const EAB_HMAC_KEY_FILE: Key = Key {
    name: "hmac_key_file",
    kind: Kind::Path,
    absent: Absent::Refused,
    purpose: "the path of a file with the HMAC key in base64url, as the CA's portal hands it out",
};
const EAB_KID: Key = Key {
    name: "kid",
    kind: Kind::String,
    absent: Absent::Refused,
    purpose: "the name of the key at the CA",
};

/// An external account binding (RFC 8555 §7.3.4).
pub(super) const BINDING: Section = Section {
    prefix: "cas[].eab.",
    keys: &[EAB_KID, EAB_HMAC_KEY_FILE, EAB_ALGORITHM],
};

/// There is none before the only one.
const USE_AFTER_USUALLY: Duration = Duration::ZERO;

/// All CAs.
pub(super) fn cas(reader: &mut Reader<'_, '_>) -> Option<Vec<CaConfig>> {
    if !reader.has(&CAS) {
        return flat(reader).map(|ca| vec![ca]);
    }
    for key in [
        LETS_ENCRYPT_URL,
        LETS_ENCRYPT_EMAIL,
        LETS_ENCRYPT_PROXY,
        ACME_ROOT_CERTIFICATES,
    ] {
        let fault = Fault::new("it stands beside `cas`", "move it into the entry of `cas`");
        reader.refuse_if_given(&key, fault);
    }
    let (mut names, mut urls) = (BTreeSet::new(), BTreeSet::new());
    let cas = reader.objects(&CAS, &CA, |reader| {
        let ca = entry(reader)?;
        let twice = |what: String| Fault::new(what, "keep one of the two, or give one another `name`");
        if !urls.insert(ca.url.to_string()) {
            reader.refuse(Fault::new(
                "another entry has the same `url`",
                "keep one of the two",
            ));
        } else if !names.insert(ca.name.clone()) {
            reader.refuse(twice(format!("another entry is called {:?} too", ca.name)));
        }
        Some(ca)
    })?;
    if cas.is_empty() {
        let fault = Fault::new("it names no CA", "add one, such as `{\"url\": …}`");
        reader.refuse_if_given(&CAS, fault);
        return None;
    }
    Some(cas)
}

/// The one CA of a flat file.
fn flat(reader: &mut Reader<'_, '_>) -> Option<CaConfig> {
    let url = reader.string(&LETS_ENCRYPT_URL, syntax::directory);
    let email = reader.string(&LETS_ENCRYPT_EMAIL, syntax::email);
    let proxy = optional(reader, &LETS_ENCRYPT_PROXY, |reader, key| {
        reader.string(key, syntax::proxy)
    });
    let root_certificates = reader.path(&ACME_ROOT_CERTIFICATES, Referenced::Roots);
    let url = url?;
    Some(CaConfig {
        name: place(&url),
        limits: Preset::of_directory(&url.to_string()).limits(),
        url,
        email: Some(email?),
        root_certificates,
        proxy: proxy?,
        profile: None,
        profile_fallback: None,
        preferred_chain: None,
        account_key_type: KeyType::default(),
        binding: None,
        use_after: USE_AFTER_USUALLY,
    })
}

/// One entry of `cas`.
fn entry(reader: &mut Reader<'_, '_>) -> Option<CaConfig> {
    let name = optional(reader, &NAME, |reader, key| reader.string(key, syntax::ca_name));
    let url = reader.string(&URL, syntax::directory);
    let email = optional(reader, &EMAIL, |reader, key| reader.string(key, syntax::email));
    let profile = optional(reader, &PROFILE, |reader, key| {
        reader.string(key, syntax::some_text)
    });
    let profile_fallback = optional(reader, &PROFILE_FALLBACK, |reader, key| {
        reader.string(key, syntax::some_text)
    });
    let preferred_chain = optional(reader, &PREFERRED_CHAIN, |reader, key| {
        reader.string(key, syntax::some_text)
    });
    let proxy = optional(reader, &PROXY, |reader, key| reader.string(key, syntax::proxy));
    let root_certificates = reader.path(&ROOT_CERTIFICATES, Referenced::Roots);
    let account_key_type = reader.string(&ACCOUNT_KEY_TYPE, syntax::key_type);
    let binding = optional(reader, &EAB, |reader, key| {
        reader.object(key, &BINDING, |reader| {
            let kid = reader.string(&EAB_KID, syntax::some_text);
            let key_file = reader.path(&EAB_HMAC_KEY_FILE, Referenced::BindingKey);
            let algorithm = reader.string(&EAB_ALGORITHM, syntax::mac_algorithm);
            Some(BindingConfig {
                kid: kid?,
                key_file: key_file?,
                algorithm: algorithm?,
            })
        })
    });
    let limits = limits::limits(reader, url.as_ref());
    let use_after = reader.integer(&USE_AFTER);
    let url = url?;
    Some(CaConfig {
        name: name?.unwrap_or_else(|| place(&url)),
        url,
        email: email?,
        root_certificates,
        proxy: proxy?,
        profile: profile?,
        profile_fallback: profile_fallback?,
        preferred_chain: preferred_chain?,
        account_key_type: account_key_type?,
        binding: binding?,
        limits: limits?,
        use_after: Duration::from_millis(use_after?),
    })
}

/// A key that may be left out: `None` if its value is wrong, `Some(None)` if there is none.
fn optional<'a, T>(
    reader: &mut Reader<'_, 'a>,
    key: &Key,
    read: impl FnOnce(&mut Reader<'_, 'a>, &Key) -> Option<T>,
) -> Option<Option<T>> {
    if reader.has(key) {
        read(reader, key).map(Some)
    } else {
        Some(None)
    }
}

/// Host and port of a URL.
fn place(url: &http::Uri) -> String {
    url.authority().map_or_else(String::new, ToString::to_string)
}

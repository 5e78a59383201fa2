//! Where a certificate stands in Kubernetes (S12): the Secret's name, its label, and the way back to the hostname.

use std::collections::BTreeMap;

use faythe_core::name::Hostname;
use kube::core::ObjectMeta;

use crate::cluster::short_hash;

/// The annotation that holds the hostname in full.
pub const HOST: &str = "faythe/host";
/// The annotation that says when Faythe stored the certificate (RFC 3339).
pub const ISSUED_AT: &str = "faythe/issued-at";
/// Annotation by which somebody asks for another certificate: of a Secret with a certificate, and of a note, where it is a
/// label too; see `wish` for what it says.
pub const RENEW: &str = "faythe/renew";
/// Annotation with a certificate, DER in base64, that is to be revoked once another has taken its place.
pub const REVOKE: &str = "faythe/revoke";
/// The directory of the CA that made that one.
pub const REVOKE_AT: &str = "faythe/revoke-ca";
/// The annotation that says which CA made the certificate: the URL of its directory.
pub const MADE_BY: &str = "faythe/ca";
/// The annotation that says how many certificates before this one in a row were replaced long before their time, since the
/// CA said so; without it, none.
pub const EARLY: &str = "faythe/early-renewals";
/// The annotation that says which profile of the CA the certificate was ordered with, if any.
pub const PROFILE: &str = "faythe/profile";

/// The longest value of a label.
const LABEL_MAX: usize = 63;
/// The longest name of a Secret (RFC 1123 subdomain).
const NAME_MAX: usize = 253;
/// Begins a label value that is a hash. No hostname has that shape, since each has a dot.
const HASHED: &str = "h-";

/// How the operator wants certificates kept (S02).
#[derive(Clone, Debug)]
pub struct Layout {
    /// The namespace of the Secrets.
    pub namespace: Box<str>,
    /// The label key whose value is the hostname.
    pub hostlabel: Box<str>,
    /// What stands for `*` in names and labels.
    pub wildcard_prefix: Box<str>,
}

/// The place of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) label: String,
}

impl Layout {
    /// Where the certificate of `host` goes.
    ///
    /// # Errors
    /// In words, why it cannot have a place: its name there would mean another host.
    pub(super) fn place(&self, host: &Hostname) -> Result<Place, String> {
        let written = self.write(host);
        let label = if written.len() > LABEL_MAX {
            hashed(host)
        } else {
            written.clone()
        };
        let name = if written.len() > NAME_MAX {
            label.clone()
        } else {
            written
        };
        // `wild--card.example.com` is a hostname too, if an unlikely one.
        match self.read(&name) {
            Some(other) if other != *host => Err(format!(
                "the name {name} stands for {other}, since it begins with `wildcard_cert_k8s_prefix`"
            )),
            _ => Ok(Place { name, label }),
        }
    }

    /// The host whose certificate an object claims to hold; `None` where it says nothing that can be understood.
    pub(super) fn host_of(&self, metadata: &ObjectMeta) -> Option<Hostname> {
        let label = value(metadata.labels.as_ref(), &self.hostlabel)?;
        if label.starts_with(HASHED) && !label.contains('.') {
            let host = Hostname::parse(value(metadata.annotations.as_ref(), HOST)?).ok()?;
            return (hashed(&host) == label).then_some(host);
        }
        self.read(label)
    }

    fn write(&self, host: &Hostname) -> String {
        if host.is_wildcard() {
            format!("{}.{}", self.wildcard_prefix, host.base())
        } else {
            host.to_string()
        }
    }

    fn read(&self, written: &str) -> Option<Hostname> {
        match written
            .strip_prefix(&*self.wildcard_prefix)
            .and_then(|rest| rest.strip_prefix('.'))
        {
            Some(base) => Hostname::parse(&format!("*.{base}")).ok(),
            None => Hostname::parse(written).ok(),
        }
    }
}

fn hashed(host: &Hostname) -> String {
    format!("{HASHED}{}", short_hash(&[&host.to_string()]))
}

/// The value of a label or annotation.
pub(super) fn value<'a>(map: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    map?.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout {
            namespace: "certs".into(),
            hostlabel: "host".into(),
            wildcard_prefix: "wild--card".into(),
        }
    }

    fn host(text: &str) -> Hostname {
        text.parse().unwrap()
    }

    fn labelled(label: &str, annotation: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            labels: Some([("host".to_owned(), label.to_owned())].into()),
            annotations: annotation.map(|host| [(HOST.to_owned(), host.to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    #[track_caller]
    fn check(text: &str, name: &str, label: &str) {
        let place = layout().place(&host(text)).unwrap();
        assert_eq!((place.name.as_str(), place.label.as_str()), (name, label));
        let found = layout().host_of(&labelled(&place.label, Some(text)));
        assert_eq!(found, Some(host(text)), "the way back");
    }

    #[test]
    fn s12_name_and_label_are_the_hostname() {
        check("a.example.com", "a.example.com", "a.example.com");
        check(
            "*.example.com",
            "wild--card.example.com",
            "wild--card.example.com",
        );
    }

    #[test]
    fn s12_a_label_of_64_characters_is_hashed_and_63_are_not() {
        let short = format!("{}.example.com", "a".repeat(51));
        check(&short, &short, &short);
        let long = format!("{}.example.com", "a".repeat(52));
        check(&long, &long, &hashed(&host(&long)));
        assert_eq!(hashed(&host(&long)).len(), 34);
    }

    #[test]
    fn a_name_that_the_prefix_makes_too_long_is_hashed_too() {
        let label = "a".repeat(63);
        let base = format!("{label}.{label}.{label}.{}", "b".repeat(45));
        let wildcard = host(&format!("*.{base}"));
        let long = Layout {
            wildcard_prefix: "wildcard--of--this--cluster".into(),
            ..layout()
        };
        let place = long.place(&wildcard).unwrap();
        assert_eq!(
            (&place.name, &place.label),
            (&hashed(&wildcard), &hashed(&wildcard))
        );
        check(&base, &base, &hashed(&host(&base)));
    }

    #[test]
    fn a_host_that_reads_like_a_wildcard_has_no_place() {
        let why = layout().place(&host("wild--card.example.com")).unwrap_err();
        assert!(why.contains("*.example.com"), "{why}");
    }

    #[test]
    fn a_label_that_says_nothing_names_no_host() {
        let none = |label: &str, annotation| {
            assert_eq!(layout().host_of(&labelled(label, annotation)), None, "{label}")
        };
        none("", None);
        none("localhost", None);
        none("h-00", None);
        none("h-00112233445566778899aabbccddeeff", Some("a.example.com"));
        none("wild--card.", None);
    }
}

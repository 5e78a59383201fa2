//! Where certificates are kept and metrics are served, by our own keys or by those of the old tool's nested files:
//! `kube_monitor_configs` and `metrics_port`. What such a file asks for and we cannot do is refused here.

use std::net::{Ipv4Addr, SocketAddr};

use super::super::keys::{Absent, Key, Kind, Section};
use super::super::reader::Reader;
use super::super::{Fault, syntax};

pub(super) const FILE_MONITOR_CONFIGS: Key = Key {
    name: "file_monitor_configs",
    kind: Kind::Objects,
    absent: Absent::Means("nothing"),
    purpose: "known from the old tool and refused unless it is empty",
};
pub(super) const KUBE_MONITOR_CONFIGS: Key = Key {
    name: "kube_monitor_configs",
    kind: Kind::Objects,
    absent: Absent::Means("the keys `secret_namespace`, `secret_hostlabel` and `wildcard_cert_k8s_prefix`"),
    purpose: "where certificates are kept, as the old tool's nested files say it",
};
pub(super) const LISTEN: Key = Key {
    name: "listen",
    kind: Kind::String,
    absent: Absent::As(r#""0.0.0.0:9105""#),
    purpose: "the address of the HTTP server for metrics and health",
};
pub(super) const METRICS_PORT: Key = Key {
    name: "metrics_port",
    kind: Kind::Integer {
        unit: "",
        range: 1..=65_535,
    },
    absent: Absent::Means("what `listen` says"),
    purpose: "the port of the HTTP server for metrics and health",
};
pub(super) const SECRET_HOSTLABEL: Key = Key {
    name: "secret_hostlabel",
    kind: Kind::String,
    absent: Absent::RefusedWithout("kube_monitor_configs"),
    purpose: "the key of the label on a Secret that holds the hostname its certificate covers",
};
pub(super) const SECRET_NAMESPACE: Key = Key {
    name: "secret_namespace",
    kind: Kind::String,
    absent: Absent::RefusedWithout("kube_monitor_configs"),
    purpose: "the namespace in which certificates are searched and kept",
};
pub(super) const VAULT_MONITOR_CONFIGS: Key = Key {
    name: "vault_monitor_configs",
    ..FILE_MONITOR_CONFIGS
};
pub(super) const WILDCARD_CERT_K8S_PREFIX: Key = Key {
    name: "wildcard_cert_k8s_prefix",
    kind: Kind::String,
    absent: Absent::As(r#""wild--card""#),
    purpose: "what stands for '*' in names and labels of Kubernetes",
};

const MONITOR_HOSTLABEL: Key = Key {
    absent: Absent::Refused,
    ..SECRET_HOSTLABEL
};
const MONITOR_NAMESPACE: Key = Key {
    absent: Absent::Refused,
    ..SECRET_NAMESPACE
};
const MONITOR_TOUCH: Key = Key {
    name: "touch_annotation",
    kind: Kind::Anything,
    absent: Absent::Means("nothing"),
    purpose: "accepted for old files and not used",
};
const MONITOR_WILDCARD_PREFIX: Key = Key {
    name: "wildcard_cert_prefix",
    ..WILDCARD_CERT_K8S_PREFIX
};

/// A namespace with certificates.
pub(super) const KUBE_MONITOR: Section = Section {
    prefix: "kube_monitor_configs[].",
    keys: &[
        MONITOR_NAMESPACE,
        MONITOR_HOSTLABEL,
        MONITOR_WILDCARD_PREFIX,
        MONITOR_TOUCH,
    ],
};

/// Where certificates are kept, and how they are found.
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) hostlabel: String,
    pub(super) wildcard_prefix: String,
}

/// Where certificates are kept.
pub(super) fn place(reader: &mut Reader<'_, '_>) -> Option<Place> {
    for (key, store) in [(FILE_MONITOR_CONFIGS, "files"), (VAULT_MONITOR_CONFIGS, "Vault")] {
        if reader.has_items(&key) {
            let what = format!("certificates are not kept in {store}, but in Secrets of Kubernetes alone");
            let remedy = "remove it, and let the old tool go on with this part";
            reader.refuse_if_given(&key, Fault::new(what, remedy));
        }
    }
    if reader.has(&KUBE_MONITOR_CONFIGS) {
        return monitor(reader);
    }
    let namespace = reader.string(&SECRET_NAMESPACE, syntax::namespace);
    let hostlabel = reader.string(&SECRET_HOSTLABEL, syntax::label_key);
    let wildcard_prefix = reader.string(&WILDCARD_CERT_K8S_PREFIX, syntax::wildcard_prefix);
    Some(Place {
        namespace: namespace?,
        hostlabel: hostlabel?,
        wildcard_prefix: wildcard_prefix?,
    })
}

/// The one entry of `kube_monitor_configs`.
fn monitor(reader: &mut Reader<'_, '_>) -> Option<Place> {
    for key in [SECRET_NAMESPACE, SECRET_HOSTLABEL, WILDCARD_CERT_K8S_PREFIX] {
        let fault = Fault::new("it stands beside `kube_monitor_configs`", "keep one of the two");
        reader.refuse_if_given(&key, fault);
    }
    let places = reader.objects(&KUBE_MONITOR_CONFIGS, &KUBE_MONITOR, |reader| {
        // It may be null, which was how to have none.
        if reader.text(&MONITOR_TOUCH).is_some() {
            let remedy =
                "remove it: when an order was made last is in Faythe's own notes, and Ingresses are only read";
            reader.warn_if_given(&MONITOR_TOUCH, Fault::new("it is not used", remedy));
        }
        let namespace = reader.string(&MONITOR_NAMESPACE, syntax::namespace);
        let hostlabel = reader.string(&MONITOR_HOSTLABEL, syntax::label_key);
        let wildcard_prefix = reader.string(&MONITOR_WILDCARD_PREFIX, syntax::wildcard_prefix);
        Some(Place {
            namespace: namespace?,
            hostlabel: hostlabel?,
            wildcard_prefix: wildcard_prefix?,
        })
    })?;
    let count = places.len();
    let [place]: [Place; 1] = places
        .try_into()
        .map_err(|_| {
            let what = format!("it has {count} entries, and certificates are kept in one namespace");
            let remedy = "keep one entry, and run one faythe for each further namespace";
            reader.refuse_if_given(&KUBE_MONITOR_CONFIGS, Fault::new(what, remedy));
        })
        .ok()?;
    Some(place)
}

/// Where metrics and health are served; `Some(None)` for nowhere.
pub(super) fn listen(reader: &mut Reader<'_, '_>) -> Option<Option<SocketAddr>> {
    if !reader.has(&METRICS_PORT) {
        return reader.string(&LISTEN, syntax::listen);
    }
    reader.refuse_if_given(
        &LISTEN,
        Fault::new("it stands beside `metrics_port`", "keep one of the two"),
    );
    let port = u16::try_from(reader.integer(&METRICS_PORT)?).ok()?;
    Some(Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))
}

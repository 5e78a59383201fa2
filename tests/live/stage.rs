//! Where a test takes place: a bed with a Faythe on it, and what tests ask of the two.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use faythe_bed::certificate::Certificate;
use faythe_bed::faythe::Faythe;
use faythe_bed::kube::Request;
use faythe_bed::{Bed, Setup, until};
use jiff::{SignedDuration, Timestamp, tz};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{Api, ListParams, PostParams};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

/// The program under test.
pub(crate) const FAYTHE: &str = env!("CARGO_BIN_EXE_faythe");
/// Every wait for something that should come about ends after this time. Alone on a machine nothing here takes more
/// than a few seconds.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A bed with a running Faythe.
pub(crate) struct Stage {
    // Declared first, so that it ends before its servers.
    pub(crate) faythe: Faythe,
    pub(crate) bed: Bed,
}

impl Stage {
    /// The default bed and configuration; returns when Faythe is ready.
    pub(crate) async fn start() -> Self {
        Self::start_as(Setup::default(), json!({})).await
    }

    /// A bed with a second name server, which is the configuration's one entry of `val_dns_servers`.
    ///
    /// While that is frozen, an order waits with its record in place, and the CA is not told.
    pub(crate) async fn with_secondary() -> Self {
        let setup = Setup {
            secondary: true,
            ..Setup::default()
        };
        Self::start_as(setup, json!({})).await
    }

    /// A bed of this kind, and its configuration with these keys in place of what it has.
    pub(crate) async fn start_as(setup: Setup, keys: Value) -> Self {
        Self::on(Bed::start_as(setup).await.unwrap(), keys).await
    }

    /// A Faythe on a bed, with these keys in its configuration; returns when it is ready.
    pub(crate) async fn on(bed: Bed, keys: Value) -> Self {
        let config = with(bed.config(), keys);
        Self::of(bed, config).await
    }

    /// A Faythe on a bed with this whole configuration; returns when it is ready.
    pub(crate) async fn of(bed: Bed, config: Value) -> Self {
        let faythe = bed.faythe(FAYTHE, config).await.unwrap();
        faythe.ready(SOON).await.unwrap();
        Self { faythe, bed }
    }

    /// Ends Faythe as Kubernetes does, and starts one with these keys in the configuration instead.
    pub(crate) async fn restart(&mut self, keys: Value) {
        self.restart_with(with(self.bed.config(), keys)).await;
    }

    /// The same with this whole configuration.
    pub(crate) async fn restart_with(&mut self, config: Value) {
        self.faythe.terminate();
        assert!(self.faythe.wait(SOON).await.unwrap().success());
        self.faythe = self.bed.faythe(FAYTHE, config).await.unwrap();
        self.faythe.ready(SOON).await.unwrap();
    }

    /// A hostname in the zone; see [`Bed::host`].
    pub(crate) fn host(&self, label: &str) -> String {
        self.bed.host(label)
    }

    /// Makes an Ingress ask for hosts.
    pub(crate) async fn ask(&self, name: &str, hosts: &[&str]) {
        self.bed.ingress(name, hosts).await.unwrap();
    }

    /// The good certificate of a host that is there soon.
    pub(crate) async fn certificate(&self, host: &str) -> Certificate {
        self.bed.certificate_for(host, SOON).await.unwrap()
    }

    /// Waits until nothing of an order is left in the zone.
    pub(crate) async fn clean(&self) {
        let what = "no TXT record is left in the zone";
        soon(what, async || {
            Ok(self.bed.bind.all_txt(&self.bed.zone).await?.is_empty())
        })
        .await;
    }

    /// Waits until so many certificates are in a state (`valid`, `stalled`, and so on).
    pub(crate) async fn reach(&self, state: &str, count: u32) {
        self.count("faythe_certificates", &[("state", state)], count)
            .await;
    }

    /// Waits until a metric has this value.
    pub(crate) async fn count(&self, name: &str, labels: &[(&str, &str)], count: u32) {
        let what = format!("{name}{labels:?} is {count}");
        soon(&what, async || {
            Ok(self.faythe.metric(name, labels).await? == Some(count.into()))
        })
        .await;
    }

    /// Waits until a name server did not show a record, and is said to have given this answer.
    pub(crate) async fn unseen(&self, code: &str) {
        soon(&format!("a look at a name server ends in {code}"), async || {
            let count = self
                .faythe
                .metric("faythe_dns_errors_total", &[("code", code)])
                .await?;
            Ok(count.is_some_and(|count| count > 0.0))
        })
        .await;
    }

    /// The lines of Faythe's log that have all of these words.
    pub(crate) fn lines(&self, words: &[&str]) -> Vec<String> {
        let log = self.faythe.log();
        let fits = |line: &&str| words.iter().all(|word| line.contains(word));
        log.lines().filter(fits).map(str::to_owned).collect()
    }

    /// How often the CA was told to look.
    pub(crate) fn validations(&self) -> usize {
        self.bed
            .pebble
            .log()
            .matches("Pulled a task from the Tasks queue")
            .count()
    }

    /// The Events about an Ingress of the bed's namespace, as (reason, message).
    pub(crate) async fn events(&self, ingress: &str) -> Vec<(String, String)> {
        let events: Api<Event> = Api::namespaced(self.bed.client.clone(), &self.bed.namespace);
        let all = events.list(&ListParams::default()).await.unwrap();
        let about = |event: &Event| event.involved_object.name.as_deref() == Some(ingress);
        all.items
            .into_iter()
            .filter(about)
            .map(|event| {
                (
                    event.reason.unwrap_or_default(),
                    event.message.unwrap_or_default(),
                )
            })
            .collect()
    }

    /// Waits for an Event about an Ingress with this reason and these words, and returns its message.
    pub(crate) async fn event(&self, ingress: &str, reason: &str, words: &[&str]) -> String {
        let what = format!("an Event {reason} on {ingress} with {words:?}");
        until(SOON, &what, async || {
            let events = self.events(ingress).await;
            let found = events
                .iter()
                .find(|(found, message)| found == reason && words.iter().all(|word| message.contains(word)));
            found
                .map(|(_, message)| Some(message.clone()))
                .with_context(|| format!("{events:?}"))
        })
        .await
        .unwrap()
    }

    /// The changes that Faythe has made in the cluster so far, without those for its ACME account.
    pub(crate) fn writes(&self) -> Vec<Request> {
        let mut writes = self.bed.writes().unwrap();
        writes.retain(|write| !write.name.starts_with("faythe-account-"));
        writes
    }

    /// The Secrets that hold certificates, by name.
    pub(crate) async fn held(&self) -> BTreeMap<String, Secret> {
        held(&self.bed).await
    }

    /// The label key of hosts.
    pub(crate) fn label(&self) -> String {
        label_of(&self.bed)
    }
}

/// The Secrets that hold certificates, by name.
pub(crate) async fn held(bed: &Bed) -> BTreeMap<String, Secret> {
    let params = ListParams::default().labels(&label_of(bed));
    let secrets = bed.secrets().list(&params).await.unwrap();
    secrets
        .items
        .into_iter()
        .map(|secret| (secret.metadata.name.clone().unwrap(), secret))
        .collect()
}

/// The label key of hosts in the configuration of a bed.
pub(crate) fn label_of(bed: &Bed) -> String {
    bed.config()["secret_hostlabel"].as_str().unwrap().to_owned()
}

/// A configuration with these keys in place of what it has.
pub(crate) fn with(mut config: Value, keys: Value) -> Value {
    let Value::Object(keys) = keys else {
        panic!("{keys} is no object")
    };
    config.as_object_mut().unwrap().extend(keys);
    config
}

/// A configuration with `cas` in place of the flat keys for one CA: that one with these keys, and others after it.
pub(crate) fn with_cas(mut config: Value, keys: Value, others: impl IntoIterator<Item = Value>) -> Value {
    let flat = config.as_object_mut().unwrap();
    let [url, email, roots] = ["lets_encrypt_url", "lets_encrypt_email", "acme_root_certificates"]
        .map(|key| flat.remove(key).unwrap());
    let first = with(
        json!({ "url": url, "email": email, "root_certificates": roots }),
        keys,
    );
    let cas = std::iter::once(first).chain(others).collect();
    flat.insert("cas".to_owned(), cas);
    config
}

/// Waits for a condition, at most [`SOON`].
pub(crate) async fn soon(what: &str, mut condition: impl AsyncFnMut() -> anyhow::Result<bool>) {
    until(SOON, what, async || Ok(condition().await?.then_some(())))
        .await
        .unwrap();
}

/// A certificate of a CA that nobody knows with its key, both in PEM, valid between these days from now.
pub(crate) fn foreign_certificate(names: &[&str], from: i64, to: i64) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let day = |days: i64| {
        let at = Timestamp::now() + SignedDuration::from_hours(24 * days);
        let date = at.to_zoned(tz::TimeZone::UTC).date();
        let [month, day] = [date.month(), date.day()].map(|part| u8::try_from(part).unwrap());
        rcgen::date_time_ymd(date.year().into(), month, day)
    };
    (params.not_before, params.not_after) = (day(from), day(to));
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Puts a Secret with the host label and these entries into the namespace of the certificates.
pub(crate) async fn put_labeled(bed: &Bed, name: &str, label: &str, entries: &[(&str, &str)]) -> Secret {
    let entries: BTreeMap<_, _> = entries.iter().copied().collect();
    let labels = BTreeMap::from([(label_of(bed), label)]);
    let secret = json!({ "metadata": { "name": name, "labels": labels }, "stringData": entries });
    put(bed, secret).await
}

/// Creates a Secret in the namespace of the certificates.
pub(crate) async fn put(bed: &Bed, secret: Value) -> Secret {
    let secret = serde_json::from_value(secret).unwrap();
    bed.secrets()
        .create(&PostParams::default(), &secret)
        .await
        .unwrap()
}

/// An entry of a Secret's data, as text.
pub(crate) fn entry(secret: &Secret, name: &str) -> String {
    let data = secret.data.as_ref().unwrap();
    String::from_utf8(data[name].0.clone()).unwrap()
}

//! `faythe check`: could the daemon do its work? Every part is tried for real, and leaves nothing behind.

use std::fmt;
use std::time::Duration;

use faythe_core::name::{DnsName, Hostname, RecordName};
use faythe_core::schedule;
use faythe_core::visibility;
use faythe_core::zone::{Check, Servers, Zone};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::act::chain;
use crate::ca::Ca;
use crate::cluster;
use crate::config::{CaConfig, Config};
use crate::daemon::{self, Adapters};
use crate::dns::{Dns, Foreign};

/// How long a server may take to show the throw-away record.
const PATIENCE: Duration = Duration::from_secs(10);

/// One line of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    what: String,
    /// What is wrong, with the remedy; `None` if nothing is.
    fault: Option<String>,
}

/// The check as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every line passed.
    AllWell,
    /// Some line failed.
    Attention,
}

impl Finding {
    /// Something that works.
    #[must_use]
    pub(crate) fn pass(what: String) -> Self {
        Self { what, fault: None }
    }

    fn of(what: String, result: Result<(), String>) -> Self {
        Self {
            what,
            fault: result.err(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            None => write!(f, "pass  {}", self.what),
            Some(fault) => write!(f, "FAIL  {}: {fault}", self.what),
        }
    }
}

/// Tries everything; `tell` is given each line as soon as it is known.
pub(crate) async fn run(config: &Config, tell: &mut dyn FnMut(Finding)) -> Verdict {
    let mut verdict = Verdict::AllWell;
    let mut tell = |finding: Finding| {
        if finding.fault.is_some() {
            verdict = Verdict::Attention;
        }
        tell(finding);
    };
    match daemon::adapters(config).await {
        Ok(adapters) => {
            let Adapters { client, ca, dns, .. } = adapters;
            permissions(&client, config, &mut tell).await;
            let zones = config.zones();
            for configured in &config.zones {
                if let Some(zone) = zones.at(&configured.apex) {
                    records(&*dns, zone, &configured.servers.join(", "), &mut tell).await;
                }
            }
            for CaConfig { url, .. } in &config.cas {
                let directory = ca.probe().await.map_err(|error| chain(&error));
                tell(Finding::of(format!("CA directory {url}"), directory));
            }
        }
        Err(error) => tell(Finding::of("set-up".to_owned(), Err(format!("{error:#}")))),
    }
    verdict
}

/// Asks the API server for each right that the daemon uses, in the words of the shipped RBAC.
async fn permissions(client: &Client, config: &Config, tell: &mut dyn FnMut(Finding)) {
    let everywhere = |group: &'static str, resource: &'static str, verbs: &'static [&'static str]| Right {
        group,
        resource,
        verbs,
        namespace: None,
        name: None,
    };
    let rights = [
        everywhere("networking.k8s.io", "ingresses", &["list", "watch"]),
        Right {
            group: "",
            resource: "secrets",
            verbs: &["get", "list", "watch", "create", "patch", "update", "delete"],
            namespace: Some(&config.secret_namespace),
            name: None,
        },
        everywhere("", "events", &["create"]),
    ];
    let lease = |verbs, name| Right {
        group: "coordination.k8s.io",
        resource: "leases",
        verbs,
        namespace: Some(&config.secret_namespace),
        name,
    };
    let elections = [
        lease(&["create"], None),
        lease(&["get", "update"], Some(config.lease_name.as_str())),
    ];
    let elections = elections.into_iter().filter(|_| config.leader_election);
    for right in rights.into_iter().chain(elections) {
        let mut denied = Vec::new();
        for verb in right.verbs {
            match right.allowed(client, verb).await {
                Ok(true) => {}
                Ok(false) => denied.push(*verb),
                Err(error) => {
                    let fault = format!("the API server cannot be asked: {}", cluster::words(&error));
                    tell(Finding::of(right.to_string(), Err(fault)));
                    return;
                }
            }
        }
        let result = if denied.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "not permitted to {}; apply deploy/rbac.yaml or grant it",
                denied.join(", ")
            ))
        };
        tell(Finding::of(right.to_string(), result));
    }
}

struct Right<'a> {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    namespace: Option<&'a str>,
    /// The one object that it is about.
    name: Option<&'a str>,
}

impl Right<'_> {
    async fn allowed(&self, client: &Client, verb: &str) -> kube::Result<bool> {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(self.group.to_owned()),
                    resource: Some(self.resource.to_owned()),
                    verb: Some(verb.to_owned()),
                    namespace: self.namespace.map(ToOwned::to_owned),
                    name: self.name.map(ToOwned::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = Api::all(client.clone())
            .create(&PostParams::default(), &review)
            .await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

impl fmt::Display for Right<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "permission to {} {}", self.verbs.join(", "), self.resource)?;
        match self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" in all namespaces"),
        }
    }
}

/// Asks for the zone's name servers where they matter; adds, looks for and removes a throw-away record, named as a challenge
/// is, so that the same policy applies.
async fn records(dns: &dyn Dns, zone: &Zone, servers: &str, tell: &mut dyn FnMut(Finding)) {
    // Two checks at once must not meet.
    let label = format!("faythe-check-{}", std::process::id());
    let Ok(host) = Hostname::parse(&format!("{label}.{}", zone.apex)) else {
        let fault = "its name leaves no room for a challenge record".to_owned();
        tell(Finding::of(format!("zone {}", zone.apex), Err(fault)));
        return;
    };
    let (apex, record) = match place(zone, &host) {
        Ok(place) => place,
        Err(fault) => {
            tell(Finding::of(format!("zone {}", zone.apex), Err(fault)));
            return;
        }
    };
    let authoritative = match zone.rule.servers {
        Servers::Authoritative => {
            let found = dns.survey(apex).await.map_err(|error| chain(&error));
            let what = match &found {
                Ok(found) => {
                    let names: Vec<_> = found.iter().map(ToString::to_string).collect();
                    format!("{servers} serves zone {apex} and names {}", names.join(", "))
                }
                Err(_) => format!("{servers} serves zone {apex} and names its name servers"),
            };
            let checks = found.clone().unwrap_or_default();
            tell(Finding::of(what, found.map(drop)));
            checks
        }
        Servers::Listed(_) | Servers::Primary => Vec::new(),
    };
    let value = "faythe-check";
    let what = |verb: &str| format!("{servers} {verb} TXT {record}");
    let added = dns
        .publish(apex, &record, value, Foreign::Removed)
        .await
        .map_err(|error| chain(&error));
    let published = added.is_ok();
    tell(Finding::of(what("adds"), added));
    // Side by side, so that several dead servers cost the patience for one.
    // As they are configured, and then the others.
    let mut checks = zone.rule.required.clone();
    for check in visibility::servers(&zone.rule, authoritative, &[]) {
        if !checks.contains(&check) {
            checks.push(check);
        }
    }
    let asked = checks.iter().map(|check| async {
        if published {
            shows(dns, apex, check, &record, value).await
        } else {
            answers(dns, apex, check, &record).await
        }
    });
    let results = futures::future::join_all(asked).await;
    for (check, result) in checks.iter().zip(results) {
        tell(Finding::of(format!("{check} shows TXT {record}"), result));
    }
    let removed = dns
        .withdraw(apex, &record, value)
        .await
        .map_err(|error| chain(&error));
    tell(Finding::of(what("removes"), removed));
}

/// Where the challenges of a zone's hosts go by the configuration.
fn place<'a>(zone: &'a Zone, host: &Hostname) -> Result<(&'a DnsName, RecordName), String> {
    let record = host.challenge_record();
    let Some(fixed) = &zone.challenges else {
        return Ok((&zone.apex, record));
    };
    let under = record.under(&fixed.suffix);
    under
        .map(|record| (&fixed.zone, record))
        .map_err(|error| format!("`challenge_suffix` makes its challenge records too long: {error}"))
}

async fn shows(
    dns: &dyn Dns,
    zone: &DnsName,
    check: &Check,
    record: &RecordName,
    value: &str,
) -> Result<(), String> {
    let began = tokio::time::Instant::now();
    for round in 0.. {
        tokio::time::sleep(schedule::poll(Duration::from_millis(20), round)).await;
        let found = dns.look(zone, check, record).await;
        let fault = match found {
            Ok(answer) if answer.values.iter().any(|found| found == value) => return Ok(()),
            Ok(_) => "it answers without the record; is it a server of this zone, and does it get notified?"
                .to_owned(),
            Err(error) => format!("it {error}"),
        };
        if began.elapsed() >= PATIENCE {
            return Err(fault);
        }
    }
    Ok(())
}

/// Where nothing could be published, a server can at least answer.
async fn answers(dns: &dyn Dns, zone: &DnsName, check: &Check, record: &RecordName) -> Result<(), String> {
    match dns.look(zone, check, record).await {
        Ok(_) => Err("not tried, because the record could not be added; the server does answer".to_owned()),
        Err(error) => Err(format!("it {error}")),
    }
}

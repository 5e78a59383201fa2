//! `faythe check`: could the daemon do its work? Every part is tried for real, and leaves nothing behind.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use faythe_core::name::{DnsName, Hostname, RecordName};
use faythe_core::schedule;
use faythe_core::visibility;
use faythe_core::zone::{Check, Role, Servers, Zone};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use crate::act::chain;
use crate::ca::Ca;
use crate::ca::acme::Acme;
use crate::cluster;
use crate::config::{CaConfig, Config, ZoneConfig};
use crate::daemon::{self, Adapters};
use crate::dns::{Dns, Foreign, tsig};

/// How long a server may take to show the throw-away record.
const PATIENCE: Duration = Duration::from_secs(10);
/// The throw-away record's value.
const VALUE: &str = "faythe-check";

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
            let Adapters {
                client,
                cas,
                dns,
                metrics,
                ..
            } = adapters;
            permissions(&client, config, &mut tell).await;
            let zones = config.zones();
            for configured in &config.zones {
                if let Some(zone) = zones.at(&configured.apex) {
                    records(&*dns, zone, &configured.servers.join(", "), &mut tell).await;
                }
            }
            // Each answer to an update has told them.
            let servers: BTreeSet<&String> = config.zones.iter().flat_map(|zone| &zone.servers).collect();
            for server in servers {
                if let Some(offset) = metrics.updates.clock_offset("tsig", server) {
                    tell(clock(server, offset));
                }
            }
            for (configured, ca) in config.cas.iter().zip(&cas) {
                authority(configured, ca, config, &mut tell).await;
            }
        }
        Err(error) => tell(Finding::of("set-up".to_owned(), Err(format!("{error:#}")))),
    }
    verdict
}

/// Whether the CA answers, and offers the profiles that certificates of its zones are ordered with.
async fn authority(ca: &CaConfig, acme: &Acme, config: &Config, tell: &mut dyn FnMut(Finding)) {
    let url = &ca.url;
    let directory = acme.probe().await.map_err(|error| chain(&error));
    let answers = directory.is_ok();
    tell(Finding::of(format!("CA directory {url}"), directory));
    let serves = |zone: &&ZoneConfig| zone.cas.as_ref().is_none_or(|cas| cas.contains(&ca.name));
    for zone in config.zones.iter().filter(serves).filter(|_| answers) {
        if let Some(profile) = &zone.profile {
            let offered = acme.offers(profile).await.map_err(|error| chain(&error));
            let what = format!(
                "CA directory {url} offers profile {profile:?} of zone {}",
                zone.apex
            );
            tell(Finding::of(what, offered));
        }
    }
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

/// What is said of the clock of a server; `offset_secs` is ours minus that.
fn clock(server: &str, offset_secs: i64) -> Finding {
    let apart = offset_secs.unsigned_abs();
    let result = if apart <= u64::from(tsig::FUDGE) {
        Ok(())
    } else {
        Err("mend the time synchronization".to_owned())
    };
    let side = if offset_secs < 0 { "behind" } else { "ahead of" };
    let what = match apart {
        0 => format!("our clock agrees with that of {server}"),
        _ => format!("our clock is {apart} s {side} that of {server}"),
    };
    Finding::of(what, result)
}

/// Looks who serves the zone; adds, looks for and removes a throw-away record, named as a challenge is, so that the same
/// policy applies.
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
    for (server, serial) in dns.authority(apex).await {
        tell(match serial {
            Ok(serial) => Finding::pass(format!("{server} holds zone {apex}, with serial {serial}")),
            Err(error) => Finding::of(format!("{server} holds zone {apex}"), Err(format!("it {error}"))),
        });
    }
    let authoritative = authoritative(dns, zone, apex, servers, tell).await;
    let what = |verb: &str| format!("{servers} {verb} TXT {record}");
    let added = dns
        .publish(apex, &record, VALUE, Foreign::Removed)
        .await
        .map_err(|error| chain(&error));
    let published = added.is_ok();
    tell(Finding::of(what("adds"), added));
    look_around(dns, zone, apex, &record, authoritative, published, tell).await;
    let removed = match dns.withdraw(apex, &record, VALUE).await {
        Ok(()) => is_gone(dns, zone, apex, &record).await,
        Err(error) => Err(chain(&error)),
    };
    tell(Finding::of(what("removes"), removed));
}

/// The zone's name servers, where they matter.
async fn authoritative(
    dns: &dyn Dns,
    zone: &Zone,
    apex: &DnsName,
    servers: &str,
    tell: &mut dyn FnMut(Finding),
) -> Vec<Check> {
    match zone.rule.servers {
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
    }
}

/// Tells of each server that has to show challenges whether it shows the throw-away record.
async fn look_around(
    dns: &dyn Dns,
    zone: &Zone,
    apex: &DnsName,
    record: &RecordName,
    authoritative: Vec<Check>,
    published: bool,
    tell: &mut dyn FnMut(Finding),
) {
    // As they are configured, and then the others.
    let mut checks = zone.rule.required.clone();
    for check in visibility::servers(&zone.rule, authoritative, &[]) {
        if !checks.contains(&check) {
            checks.push(check);
        }
    }
    // Those that may be resolvers come last: they would remember that there is nothing (P09).
    checks.sort_by_key(|check| check.role);
    let mut hidden = !published;
    for checks in checks.chunk_by(|a, b| (a.role == Role::Listed) == (b.role == Role::Listed)) {
        let too_early = hidden && checks.iter().any(|check| check.role == Role::Listed);
        // Side by side, so that several dead servers cost the patience for one.
        let asked = checks.iter().map(|check| async {
            if too_early {
                Look::Early
            } else if published {
                shows(dns, apex, check, record).await
            } else {
                answers(dns, apex, check, record).await
            }
        });
        let looks = futures::future::join_all(asked).await;
        for (check, look) in checks.iter().zip(looks) {
            let is_first = check.role == Role::Update;
            hidden |= matches!(look, Look::Hidden) || is_first && !matches!(look, Look::Shown(_));
            tell(look.finding(format!("{check} shows TXT {record}")));
        }
    }
}

/// What came of looking at one server.
enum Look {
    /// It was not asked: the record does not stand everywhere else.
    Early,
    /// It gave no answer that says anything.
    Failed(String),
    /// It answers without the record.
    Hidden,
    /// The record could not be added, and it does answer.
    InVain,
    /// It shows the record after this time.
    Shown(Duration),
}

impl Look {
    fn finding(self, what: String) -> Finding {
        let fault = match self {
            Self::Shown(took) => return Finding::pass(format!("{what}, after {} ms", took.as_millis())),
            Self::Early => {
                "not tried, because the zone's own servers do not show it; a resolver would remember that \
                            there is none"
                    .to_owned()
            }
            Self::Failed(fault) => fault,
            Self::Hidden => {
                "it answers without the record; is it a server of this zone, and does it get notified?"
                    .to_owned()
            }
            Self::InVain => {
                "not tried, because the record could not be added; the server does answer".to_owned()
            }
        };
        Finding::of(what, Err(fault))
    }
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

/// Looks until the server shows the record or patience ends.
async fn shows(dns: &dyn Dns, zone: &DnsName, check: &Check, record: &RecordName) -> Look {
    let began = tokio::time::Instant::now();
    let mut round = 0;
    loop {
        tokio::time::sleep(schedule::poll(Duration::from_millis(20), round)).await;
        let look = match dns.look(zone, check, record).await {
            Ok(answer) if answer.values.iter().any(|found| found == VALUE) => {
                return Look::Shown(began.elapsed());
            }
            Ok(_) => Look::Hidden,
            Err(error) => Look::Failed(format!("it {error}")),
        };
        if began.elapsed() >= PATIENCE {
            return look;
        }
        round += 1;
    }
}

/// Where nothing could be published, a server can at least answer.
async fn answers(dns: &dyn Dns, zone: &DnsName, check: &Check, record: &RecordName) -> Look {
    match dns.look(zone, check, record).await {
        Ok(_) => Look::InVain,
        Err(error) => Look::Failed(format!("it {error}")),
    }
}

/// Whether the configured update server shows the record no more. It may have passed the removal on to the primary, and
/// hear of it like any secondary; of several it is not known which has taken it.
async fn is_gone(dns: &dyn Dns, zone: &Zone, apex: &DnsName, record: &RecordName) -> Result<(), String> {
    for check in zone
        .rule
        .required
        .iter()
        .filter(|check| check.role == Role::Update)
    {
        let began = tokio::time::Instant::now();
        let mut round = 0;
        loop {
            tokio::time::sleep(schedule::poll(Duration::ZERO, round)).await;
            let answer = dns
                .look(apex, check, record)
                .await
                .map_err(|error| format!("it {error}"))?;
            if !answer.values.iter().any(|found| found == VALUE) {
                break;
            }
            if began.elapsed() >= PATIENCE {
                return Err("it says that it did, and shows the record still".to_owned());
            }
            round += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_clocks_are_told_and_more_than_five_minutes_apart_is_a_fault() {
        let said = |offset: i64| clock("ns1.test", offset).to_string();
        assert_eq!(said(0), "pass  our clock agrees with that of ns1.test");
        assert_eq!(said(-300), "pass  our clock is 300 s behind that of ns1.test");
        assert_eq!(
            said(301),
            "FAIL  our clock is 301 s ahead of that of ns1.test: mend the time synchronization"
        );
    }
}

//! Resolvers, which remember what they were told too early (P01, P09).

use std::time::{Duration, Instant};

use faythe_bed::Bed;
use faythe_bed::bind::{self, Bind};
use faythe_bed::dns_proxy::{DnsProxy, Fault, Opcode, Rule};
use serde_json::{Value, json};

use super::stage::{Stage, soon};
use super::zones::one_zone;

/// What an issuance may take when a resolver that nobody listed has a stale answer.
const QUICK: Duration = Duration::from_secs(5);
/// As octets of a message: the first label of a challenge's name.
const CHALLENGE: &[u8] = b"\x0f_acme-challenge";

/// A resolver that asks the bed's name server, and remembers for an hour that there is nothing.
async fn resolver(bed: &Bed) -> Bind {
    let setup = bind::Setup {
        resolves_at: Some(bed.bind.address()),
        ..bind::Setup::default()
    };
    Bind::start(setup).await.unwrap()
}

/// Has a resolver ask for the challenge of a host before there is any.
async fn plant_stale_answer(resolver: &Bind, host: &str) {
    let name = format!("_acme-challenge.{host}");
    let answer = resolver.dig(&[&name, "TXT"]).await.unwrap();
    assert!(
        answer.contains("NXDOMAIN") && answer.contains("\t3600\t"),
        "{answer}"
    );
}

/// The bed's configuration as an entry of `zones` with these servers listed.
fn listing(bed: &Bed, update: &str, listed: &[String]) -> Value {
    one_zone(
        bed,
        json!({ "auth_dns_server": update, "val_dns_servers": listed }),
    )
}

/// Whether a challenge's name is in a message.
fn is_of_challenge(message: &[u8]) -> bool {
    message.windows(CHALLENGE.len()).any(|part| part == CHALLENGE)
}

#[tokio::test]
async fn p01_a_stale_resolver_matters_only_where_it_is_listed() {
    let bed = Bed::start().await.unwrap();
    let resolver = resolver(&bed).await;
    let update = bed.bind.address().to_string();
    let config = listing(&bed, &update, &[]);
    let mut stage = Stage::of(bed, config).await;
    // The best of three: a busy machine says nothing about the rule.
    let mut took = Vec::new();
    for n in 0..3 {
        let host = stage.host(&format!("h{n}"));
        plant_stale_answer(&resolver, &host).await;
        let asked = Instant::now();
        stage.ask(&format!("web{n}"), &[&host]).await;
        stage.certificate(&host).await;
        took.push(asked.elapsed());
    }
    assert!(took.iter().min() < Some(&QUICK), "{took:?}");
    stage.clean().await;

    let listed = resolver.address().to_string();
    let config = listing(&stage.bed, &update, std::slice::from_ref(&listed));
    stage.restart_with(config).await;
    let told = stage.validations();
    let host = stage.host("late");
    plant_stale_answer(&resolver, &host).await;
    stage.ask("late", &[&host]).await;
    stage
        .event(
            "late",
            "IssuanceStalled",
            &[&listed, "shows no TXT record", &host],
        )
        .await;
    assert_eq!(stage.validations(), told, "the CA was told");
}

#[tokio::test]
async fn p09_no_resolver_is_asked_before_the_zones_own_server_shows_the_value() {
    let bed = Bed::start().await.unwrap();
    let resolver = resolver(&bed).await;
    let (update, seen) = (
        DnsProxy::start(bed.bind.address()).await.unwrap(),
        DnsProxy::start(resolver.address()).await.unwrap(),
    );
    let asked = || {
        let passed = seen.passed();
        let about = passed.iter().filter(|passed| is_of_challenge(&passed.request));
        about.count()
    };
    // First the update is not answered NOERROR.
    update.set(Rule::always(Fault::Rcode(2)).only(Opcode::Update));
    let config = listing(&bed, &update.address().to_string(), &[seen.address().to_string()]);
    let stage = Stage::of(bed, config).await;
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    stage.event("web", "IssuanceStalled", &["SERVFAIL"]).await;
    assert_eq!(asked(), 0, "asked before the update was made");

    // Then it is, and the server does not show the value.
    let hide = |_, request: &[u8]| {
        if is_of_challenge(request) {
            Fault::Rcode(5)
        } else {
            Fault::None
        }
    };
    update.set(Rule::of(hide).only(Opcode::Query));
    soon("the value stands", async || {
        let name = format!("_acme-challenge.{host}");
        Ok(stage.bed.bind.txt(&name).await?.len() == 1)
    })
    .await;
    stage.unseen("no-answer").await;
    assert_eq!(asked(), 0, "asked before the update server showed the value");
    assert_eq!(stage.validations(), 0);

    // A resolver that had been asked too soon would remember it for an hour.
    update.set(Rule::always(Fault::None));
    stage.certificate(&host).await;
    assert!(asked() > 0, "never asked");
    stage.clean().await;
}

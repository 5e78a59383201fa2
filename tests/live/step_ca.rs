//! The whole program against step-ca: another CA than the one it was made with, and in the same troubles (P22, P23).
//!
//! Deliberately absent: a binding of its account. The open step-ca has no way to make the key of one: its administration
//! answers that only the vendor's hosted product can (`authority/admin/api/acme.go`, v0.30.2). Accounts are bound at
//! Pebble, which wants it then, in `tests/ca/services.rs`; a proxy and the preferred chain are tried there too.

use std::time::{Duration, Instant};

use faythe_bed::certificate::Certificate;
use faythe_bed::faythe::Faythe;
use faythe_bed::proxy::{Exchange, Fault, Proxy};
use faythe_bed::step_ca::StepCa;
use faythe_bed::{Bed, until};
use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::front::refusal;
use super::look::{FAYTHE, SOON, clean, said};
use super::recall::recall_with;
use super::stage::{entry, soon, with};

const NEW_ORDER: &str = "POST /acme/faythe/new-order";
const AUTHORIZATION: &str = "POST /acme/faythe/authz/";
const FINALIZE: &str = "/finalize";
const REVOKE: &str = "POST /acme/faythe/revoke-cert";

/// A Faythe that reaches a step-ca through a proxy.
struct Step {
    faythe: Faythe,
    proxy: Proxy,
    ca: StepCa,
    bed: Bed,
    config: Value,
    hosts: usize,
}

impl Step {
    async fn start() -> Self {
        let bed = Bed::start().await.unwrap();
        let ca = StepCa::start(bed.bind.address()).await.unwrap();
        let proxy = Proxy::start(&ca.directory_url(), &ca.roots()).await.unwrap();
        let keys = json!({
            "lets_encrypt_url": proxy.url_of(&ca.directory_url()).unwrap(),
            "acme_root_certificates": proxy.https_roots_file(),
            "issue_grace": 1000,
        });
        let config = with(bed.config(), keys);
        let faythe = bed.faythe(FAYTHE, config.clone()).await.unwrap();
        faythe.ready(SOON).await.unwrap();
        Self {
            faythe,
            proxy,
            ca,
            bed,
            config,
            hosts: 0,
        }
    }

    /// Ends Faythe in good order, with nothing left of any order, and starts one with this CA.
    async fn restart(&mut self, directory: &str) {
        clean(&self.bed, &self.faythe).await;
        self.faythe.terminate();
        assert!(self.faythe.wait(SOON).await.unwrap().success());
        self.config["lets_encrypt_url"] = self.proxy.url_of(directory).unwrap().into();
        self.faythe = self.bed.faythe(FAYTHE, self.config.clone()).await.unwrap();
        self.faythe.ready(SOON).await.unwrap();
    }

    /// Asks for a new host; returns its name.
    async fn ask(&mut self) -> String {
        let host = self.bed.host(&format!("s{}", self.hosts));
        self.hosts += 1;
        self.bed.ingress(&host, &[&host]).await.unwrap();
        host
    }

    /// The good certificate of a host that is there soon.
    async fn certificate(&self, host: &str) -> Certificate {
        let there = until(SOON, host, async || self.bed.secret_for(host).await).await;
        let secret = there.unwrap_or_else(|error| panic!("{error:#}; {}", self.faythe.process().log_tail()));
        let certificate = Certificate::read(entry(&secret, "cert").as_bytes()).unwrap();
        certificate
            .verify(&self.ca.roots(), host, Timestamp::now())
            .unwrap();
        certificate.verify_key(entry(&secret, "key").as_bytes()).unwrap();
        certificate
    }

    /// The certificate that has taken the place of this one.
    async fn next(&self, host: &str, before: &Certificate) -> Certificate {
        soon("another certificate is there", async || {
            Ok(self.certificate(host).await.serial != before.serial)
        })
        .await;
        self.certificate(host).await
    }

    /// Has it look as if the certificate of a host were an hour old: the CA's resolvers cannot remember what they saw then,
    /// and nobody waits for them.
    async fn age(&self, host: &str) {
        let hour_ago = Timestamp::now() - SignedDuration::from_hours(1);
        let patch = json!({ "metadata": { "annotations": { "faythe/issued-at": hour_ago.to_string() } } });
        let secrets = self.bed.secrets();
        secrets
            .patch(host, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// Asks for a new host, and returns when its certificate is there.
    async fn serves(&mut self) -> Certificate {
        let host = self.ask().await;
        self.certificate(&host).await
    }

    /// Waits for the log's line about a host in this state; it says this code.
    async fn reaches(&self, host: &str, state: &str, code: &str) -> String {
        let words = [
            format!("host={host}"),
            format!("state=\"{state}\""),
            format!("code=\"{code}\""),
        ];
        said(&self.faythe, &words.each_ref().map(String::as_str)).await
    }

    /// The requests that contain this, as they came.
    fn asked(&self, request: &str) -> Vec<Exchange> {
        let mut all = self.proxy.exchanges();
        all.retain(|exchange| exchange.request.contains(request));
        all.sort_by_key(|exchange| exchange.at);
        all
    }
}

#[tokio::test]
async fn p22_another_ca_issues_renews_and_revokes_and_its_troubles_are_survived() {
    let mut step = Step::start().await;
    issues_names_and_wildcards(&mut step).await;
    is_left_alone_for_as_long_as_it_says(&mut step).await;
    has_trouble(&mut step).await;
    revokes(&mut step).await;
    keeps_the_account_key(&mut step).await;
    renews_by_the_plain_rule(&mut step).await;
    loses_an_order(&mut step).await;
}

async fn issues_names_and_wildcards(step: &mut Step) {
    let (one, two) = (step.bed.host("one"), step.bed.host("two"));
    let wildcard = format!("*.{one}");
    step.bed.ingress("web", &[&one, &wildcard, &two]).await.unwrap();
    for host in [&one, &wildcard, &two] {
        step.certificate(host).await;
    }
    clean(&step.bed, &step.faythe).await;
    assert!(!step.faythe.log().contains("WARN"), "{}", step.faythe.log());
}

async fn is_left_alone_for_as_long_as_it_says(step: &mut Step) {
    // A date has no fractions.
    let date = || {
        let date = Timestamp::now() + SignedDuration::from_secs(3);
        date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    };
    let rows: [(u16, &str, &dyn Fn() -> String, u64); 3] = [
        (429, "rateLimited", &|| "2".to_owned(), 2),
        (429, "rateLimited", &date, 2),
        (503, "serverInternal", &|| "1".to_owned(), 1),
    ];
    for (status, kind, retry_after, least) in rows {
        let words = format!("come back later, says {status}");
        let begun = Instant::now();
        let refusal = Fault::problem(status, kind, &words, Some(&retry_after()));
        step.proxy.fault(1, NEW_ORDER, refusal);
        let host = step.ask().await;
        let line = step.reaches(&host, "held", kind).await;
        assert!(line.contains(&words), "{line}");
        step.certificate(&host).await;
        let asked = step.asked(NEW_ORDER);
        let [.., refused, again] = asked.as_slice() else {
            panic!("{asked:?}");
        };
        assert_eq!(refused.status, Some(status));
        let pause = again.at - begun;
        assert!(pause >= Duration::from_secs(least), "asked again after {pause:?}");
    }
}

/// Each costs so many orders, and requests to finalize.
async fn has_trouble(step: &mut Step) {
    let page = "<!DOCTYPE html><title>Please log in</title>";
    let rows = [
        (
            FINALIZE,
            refusal(500, "serverInternal"),
            1,
            "serverInternal",
            (1, 2),
        ),
        (NEW_ORDER, Fault::LoseAnswer, 1, "ca-unreachable", (2, 1)),
        // The order is read again, and is valid.
        (FINALIZE, Fault::LoseAnswer, 1, "ca-unreachable", (1, 1)),
        (NEW_ORDER, Fault::answer(502, page), 1, "ca-garbled", (2, 1)),
        (AUTHORIZATION, Fault::answer(200, "[]"), 1, "ca-garbled", (1, 1)),
        (NEW_ORDER, refusal(400, "badNonce"), 3, "", (4, 1)),
    ];
    for (request, fault, times, code, costs) in rows {
        let before = (step.asked(NEW_ORDER).len(), step.asked(FINALIZE).len());
        step.proxy.fault(times, request, fault);
        let host = step.ask().await;
        if !code.is_empty() {
            step.reaches(&host, "held", code).await;
        }
        step.certificate(&host).await;
        let after = (step.asked(NEW_ORDER).len(), step.asked(FINALIZE).len());
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            costs,
            "{request}: {code}"
        );
    }
}

async fn revokes(step: &mut Step) {
    let host = step.bed.host("two");
    step.age(&host).await;
    let directory = step.ca.directory_url();
    step.restart(&directory).await;
    let first = step.certificate(&host).await;
    let revoke = async |arguments: &[&str]| {
        let all = [&[host.as_str()], arguments].concat();
        let done = recall_with(&step.bed, &step.config, "revoke", &all).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    revoke(&["--reason", "keyCompromise"]).await;
    step.next(&host, &first).await;
    // The CA knows that it is done.
    for _ in 0..2 {
        revoke(&["--without-replacement"]).await;
    }
    let asked: Vec<_> = step.asked(REVOKE);
    let [replaced, last, again] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!((replaced.status, last.status), (Some(200), Some(200)));
    assert!(String::from_utf8_lossy(&again.body).contains("alreadyRevoked"));
}

/// step-ca names a place for a change of keys, and has nothing there.
async fn keeps_the_account_key(step: &mut Step) {
    for _ in 0..2 {
        let kept = recall_with(&step.bed, &step.config, "account", &["rollover"]).await;
        assert_eq!(kept.code, Some(1), "{kept:?}");
        assert!(kept.stderr.contains("not implemented"), "{kept:?}");
        step.serves().await;
    }
    let mut made = step.asked("POST /acme/faythe/new-account");
    made.retain(|exchange| exchange.status == Some(201));
    assert_eq!(made.len(), 1, "no other account");
}

/// It has no ARI.
async fn renews_by_the_plain_rule(step: &mut Step) {
    let directory = step.ca.brief_directory_url();
    step.restart(&directory).await;
    let host = step.ask().await;
    let first = step.certificate(&host).await;
    step.age(&host).await;
    step.restart(&directory).await;
    let orders = step.asked("POST /acme/brief/new-order").len();
    let second = step.next(&host, &first).await;
    assert_ne!(first.serial, second.serial);
    assert_eq!(step.asked("POST /acme/brief/new-order").len(), orders + 1);
    clean(&step.bed, &step.faythe).await;
}

/// That another order follows after a minute is seen at Pebble.
async fn loses_an_order(step: &mut Step) {
    step.proxy.fault(1, FINALIZE, refusal(404, "malformed"));
    let host = step.ask().await;
    step.reaches(&host, "stalled", "order-gone").await;
    let values = step.bed.bind.all_txt(&step.bed.zone).await.unwrap();
    assert_eq!(values, [], "it is let go of with all that it had");
}

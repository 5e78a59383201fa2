//! More than one CA (P24).

use faythe_bed::certificate::Certificate;
use faythe_bed::faythe::Faythe;
use faythe_bed::pebble::{self, Pebble};
use faythe_bed::proxy::{Fault, Proxy};
use faythe_bed::{Bed, Setup, bind, until};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::look::{FAYTHE, NEW_ORDER, SOON, before_ca, clean, issued, said};
use super::recall::{is_revoked_at, recall_with};
use super::stage::{entry, foreign_certificate, put_labeled, with_cas};

/// A bed with a proxy before its CA, and another CA that stands in after two seconds.
struct Two {
    bed: Bed,
    proxy: Proxy,
    other: Pebble,
    config: Value,
}

impl Two {
    async fn start() -> Self {
        let bed = Bed::start().await.unwrap();
        let other = Pebble::start(pebble::Setup::default(), bed.bind.address())
            .await
            .unwrap();
        let (proxy, config) = before_ca(&bed).await;
        let next = json!({
            "name": "other",
            "url": other.directory_url(),
            "root_certificates": other.https_roots_file(),
            "use_after": 2_000,
        });
        let config = with_cas(config, json!({ "name": "first" }), [next]);
        Self {
            bed,
            proxy,
            other,
            config,
        }
    }

    async fn faythe(&self) -> Faythe {
        let faythe = self.bed.faythe(FAYTHE, self.config.clone()).await.unwrap();
        faythe.ready(SOON).await.unwrap();
        faythe
    }

    /// Waits until a host's Secret says that a CA has made what it holds.
    async fn made_by(&self, host: &str, url: &Value) -> Secret {
        let what = format!("a certificate of {url} for {host}");
        let made = async || {
            let secret = self.bed.secret_for(host).await?;
            Ok(secret.filter(|secret| made_by(secret) == url.as_str()))
        };
        until(SOON, &what, made).await.unwrap()
    }
}

fn made_by(secret: &Secret) -> Option<&str> {
    let annotations = secret.metadata.annotations.as_ref()?;
    annotations.get("faythe/ca").map(String::as_str)
}

#[tokio::test]
async fn p24_another_ca_stands_in_for_what_is_urgent_and_nothing_is_issued_anew() {
    let two = Two::start().await;
    let Two {
        bed,
        proxy,
        other,
        config,
    } = &two;
    let (first_url, other_url) = (&config["cas"][0]["url"], &config["cas"][1]["url"]);
    let (due, new, unwelcome) = (bed.host("due"), bed.host("new"), bed.host("unwelcome"));
    // Due, with more than a quarter of its life left.
    let (chain, key) = foreign_certificate(&[&due], -65, 25);
    put_labeled(bed, &due, &due, &[("cert", &chain), ("key", &key)]).await;
    proxy.fault_always("", Fault::problem(503, "serverInternal", "closed", None));
    let faythe = two.faythe().await;
    bed.ingress("web", &[&due, &new]).await.unwrap();

    let stood_in = two.made_by(&new, other_url).await;
    let certificate = Certificate::read(entry(&stood_in, "cert").as_bytes()).unwrap();
    let roots = other.issuer_roots().await.unwrap();
    certificate.verify(&roots, &new, Timestamp::now()).unwrap();
    said(&faythe, &["state=\"held\"", &due, "first: ", "closed"]).await;
    let waiting = bed.secret_for(&due).await.unwrap().unwrap();
    assert_eq!(entry(&waiting, "cert"), chain);

    proxy.heal();
    two.made_by(&due, first_url).await;
    let unchanged = bed.secret_for(&new).await.unwrap().unwrap();
    assert_eq!(
        unchanged.metadata.resource_version,
        stood_in.metadata.resource_version
    );
    assert_eq!(
        (bed.pebble.certificates_issued(), other.certificates_issued()),
        (1, 1)
    );

    // Who is refused goes to the next one at once.
    proxy.fault(
        1,
        NEW_ORDER,
        Fault::problem(400, "rejectedIdentifier", "not here", None),
    );
    bed.ingress("more", &[&unwelcome]).await.unwrap();
    two.made_by(&unwelcome, other_url).await;
    // For now, too: what this CA limits or has paused, another may make meanwhile.
    let limit =
        "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s";
    let pause = "Your account is temporarily prevented from requesting certificates for it";
    for (host, detail, wait) in [("used-up", limit, Some("122400")), ("paused", pause, None)] {
        proxy.fault(1, NEW_ORDER, Fault::problem(429, "rateLimited", detail, wait));
        bed.ingress(host, &[&bed.host(host)]).await.unwrap();
        two.made_by(&bed.host(host), other_url).await;
    }
    clean(bed, &faythe).await;
    assert_eq!(
        (bed.pebble.certificates_issued(), other.certificates_issued()),
        (1, 4)
    );

    // A certificate is revoked where it was made, though that of another CA has taken its place when it comes to that; and
    // one that waits to be revoked is not forgotten over another.
    let revoke = async |arguments: &[&str]| {
        let all = [&[new.as_str()], arguments].concat();
        recall_with(bed, config, "revoke", &all).await
    };
    let stopped = revoke(&["--wait", "0"]).await;
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    let replaced = two.made_by(&new, first_url).await;
    let replaced = Certificate::read(entry(&replaced, "cert").as_bytes()).unwrap();
    let gone = revoke(&["--without-replacement"]).await;
    assert_eq!(gone.code, Some(0), "{gone:?}");
    assert!(is_revoked_at(&bed.pebble, &replaced.serial).await);
    assert!(!is_revoked_at(other, &certificate.serial).await);
    let done = revoke(&[]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(is_revoked_at(other, &certificate.serial).await);
    assert_eq!(other.accounts_created(), 1);
}

#[tokio::test]
async fn p24_what_caa_records_exclude_is_not_ordered_and_is_told() {
    let zone = "caa.test";
    let records = [
        "@ IN CAA 0 issue \"pebble.letsencrypt.org; validationmethods=dns-01\"",
        "closed IN CAA 0 issue \"other.test\"",
    ];
    let bed = Bed::start_as(Setup {
        name: "caa".to_owned(),
        names: bind::Setup {
            records: records.map(|record| (zone.to_owned(), record.to_owned())).into(),
            ..bind::Setup::default()
        },
        ..Setup::default()
    })
    .await
    .unwrap();
    let (open, closed) = (bed.host("www"), bed.host("www.closed"));
    let faythe = bed.faythe(FAYTHE, bed.config()).await.unwrap();
    faythe.ready(SOON).await.unwrap();
    bed.ingress("web", &[&closed, &open]).await.unwrap();

    issued(&bed, &faythe, &[open]).await;
    let line = said(&faythe, &["state=\"stalled\"", "caa-excludes", &closed]).await;
    for words in [
        "CAA records at closed.caa.test let only",
        "pebble.letsencrypt.org",
    ] {
        assert!(line.contains(words), "{line}");
    }
    clean(&bed, &faythe).await;
    assert_eq!(bed.pebble.orders_created(), 1);
}

#[tokio::test]
async fn p22_a_profile_that_the_ca_does_not_take_is_stood_in_for() {
    let setup = Setup {
        pebble: pebble::Setup::default().with_shortlived(),
        ..Setup::default()
    };
    let bed = Bed::start_as(setup).await.unwrap();
    let (proxy, config) = before_ca(&bed).await;
    let keys = |profile: &str| json!({ "profile": profile, "profile_fallback": "shortlived" });
    let start = async |profile: &str| {
        let config = with_cas(config.clone(), keys(profile), []);
        let faythe = bed.faythe(FAYTHE, config).await.unwrap();
        faythe.ready(SOON).await.unwrap();
        faythe
    };
    let serves = async |faythe: &Faythe, host: &str| {
        bed.ingress(host, &[host]).await.unwrap();
        issued(&bed, faythe, &[host.to_owned()]).await;
        let secret = bed.secret_for(host).await.unwrap().unwrap();
        let profile = secret.metadata.annotations.unwrap()["faythe/profile"].clone();
        said(
            faythe,
            &["state=\"valid\"", host, &format!("; of profile {profile}")],
        )
        .await;
        profile
    };
    // It is not on offer.
    let faythe = start("eternal").await;
    assert_eq!(serves(&faythe, &bed.host("a")).await, "shortlived");
    assert_eq!(serves(&faythe, &bed.host("b")).await, "shortlived");
    let told = |faythe: &Faythe| {
        let log = faythe.log();
        log.lines()
            .filter(|line| line.contains("WARN") && line.contains("profile_fallback"))
            .count()
    };
    assert_eq!(told(&faythe), 1);
    faythe.terminate();
    faythe.wait(SOON).await.unwrap();
    // It is, but not to our account.
    let faythe = start("default").await;
    assert_eq!(serves(&faythe, &bed.host("c")).await, "default");
    let words = "account ID 7 is not permitted to use certificate profile \"default\"";
    proxy.fault(1, NEW_ORDER, Fault::problem(403, "unauthorized", words, None));
    assert_eq!(serves(&faythe, &bed.host("d")).await, "shortlived");
    assert_eq!(told(&faythe), 1);
    assert_eq!(bed.pebble.certificates_issued(), 4);
}

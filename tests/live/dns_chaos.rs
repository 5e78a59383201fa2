//! A thousand issuances over a way to the name server that loses, mangles and forges messages.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use faythe_bed::dice::Dice;
use faythe_bed::dns_proxy::{DnsProxy, Fault, Rule};
use faythe_bed::{Bed, Setup, until};

use super::look::{FAYTHE, SOON, clean, notes};

const HOSTS: usize = 1_000;
/// Hosts of one Ingress.
const EACH: usize = 20;
/// Of a hundred messages so many suffer something. Some of it costs a time-out, during which other hosts wait too.
const PERCENT: u64 = 12;
/// After so many certificates the way is mended: what has been resting until then has to end well too.
const UNTIL: usize = 950;
/// Alone on a machine it takes about a minute.
const IN_ALL: Duration = Duration::from_secs(400);
const FAULTS: [Fault; 16] = [
    Fault::BadlySigned,
    Fault::Close,
    Fault::Cut,
    Fault::Delay(Duration::from_millis(20)),
    Fault::Delay(Duration::from_millis(200)),
    Fault::Drop,
    Fault::DropAnswer,
    Fault::Duplicate,
    Fault::Rcode(2),
    Fault::Rcode(5),
    Fault::Rcode(9),
    Fault::Reorder,
    Fault::Trickle,
    Fault::Truncate,
    Fault::Unsigned,
    Fault::WrongId,
];
/// What may truly be said of a host that such a message was about.
const TRUE_CODES: [&str; 9] = [
    "forged",
    "formerr",
    "no-answer",
    "not-visible",
    "notauth",
    "rcode",
    "refused",
    "servfail",
    "unreachable",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p08_a_thousand_issuances_with_random_faults_all_end_well() {
    let bed = Bed::start_as(Setup {
        own_kube: true,
        ..Setup::default()
    })
    .await
    .unwrap();
    let proxy = DnsProxy::start(bed.bind.address()).await.unwrap();
    let seed = Dice::seed("faults on the way to the name server");
    proxy.set(Rule::random(seed, PERCENT, &FAULTS));
    let mut config = bed.config();
    config["auth_dns_server"] = proxy.address().to_string().into();
    let faythe = bed.faythe(FAYTHE, config).await.unwrap();
    faythe.ready(SOON).await.unwrap();

    let begun = Instant::now();
    let hosts: Vec<String> = (0..HOSTS).map(|n| bed.host(&format!("h{n}"))).collect();
    for (n, some) in hosts.chunks(EACH).enumerate() {
        let names: Vec<&str> = some.iter().map(String::as_str).collect();
        bed.ingress(&format!("web{n}"), &names).await.unwrap();
    }
    let reach = async |count: usize| {
        let what = format!("{count} certificates are there");
        until(IN_ALL, &what, async || {
            faythe.process().check_running()?;
            let valid = faythe
                .metric("faythe_certificates", &[("state", "valid")])
                .await?;
            Ok(valid.filter(|valid| *valid >= count as f64).map(drop))
        })
        .await
        .unwrap();
    };
    reach(UNTIL).await;
    let faulty = begun.elapsed();
    proxy.set(Rule::always(Fault::None));
    reach(HOSTS).await;
    until(IN_ALL, "no note is left", async || {
        Ok(notes(&bed).await?.is_empty().then_some(()))
    })
    .await
    .unwrap();
    clean(&bed, &faythe).await;
    eprintln!(
        "{HOSTS} issuances in {:?}, faults until {faulty:?}: {:?}",
        begun.elapsed(),
        proxy.counts()
    );

    // One order a host: nobody told the CA of a value that did not stand, or lost an order.
    assert_eq!(bed.pebble.orders_created(), HOSTS);
    assert_eq!(bed.pebble.certificates_issued(), HOSTS);
    let log = faythe.log();
    let codes: BTreeSet<&str> = log
        .lines()
        .filter(|line| line.contains("state=\"stalled\""))
        .filter_map(|line| line.split_once("code=\"")?.1.split('"').next())
        .collect();
    let untrue: Vec<_> = codes.iter().filter(|code| !TRUE_CODES.contains(code)).collect();
    assert!(untrue.is_empty(), "said of hosts: {untrue:?}");
    assert!(!log.contains("state=\"failed\""), "the CA has seen a failure");
    let done = proxy.counts();
    for fault in FAULTS {
        assert!(done.contains_key(fault.name()), "no message was {}", fault.name());
    }
}

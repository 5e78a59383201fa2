//! The writer against a primary server made for the occasion, which keeps every message and what the zone then held.

use super::*;
use crate::dns::courier::tests::courier;
use crate::dns::server::ServerAddr;
use crate::dns::tsig::Algorithm;
use crate::dns::tsig::tests::{Said, answer, key};
use domain::base::Message;
use domain::base::iana::{Class, Rcode};
use domain::rdata::rfc1035::Txt;
use futures::future::join_all;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const TIME: i64 = 1_700_000_000;

type Values = BTreeMap<String, BTreeSet<String>>;

/// A zone on a server that refuses every message with a name that begins with `bad`.
#[derive(Default)]
struct Primary {
    values: Values,
    /// For each message the names in it, and what the zone held afterwards.
    messages: Vec<(BTreeSet<String>, Values)>,
}

impl Primary {
    /// Carries out an update (RFC 2136 §3.4.2), as far as ours need it.
    fn update(&mut self, request: &[u8]) -> Rcode {
        let message = Message::from_slice(request).unwrap();
        let records: Vec<_> = message.update().unwrap().map(|record| record.unwrap()).collect();
        let names = records
            .iter()
            .map(|record| record.owner().to_string())
            .collect::<BTreeSet<_>>();
        let refused = names.iter().any(|name| name.starts_with("bad"));
        for record in records.iter().filter(|_| !refused) {
            let values = self.values.entry(record.owner().to_string()).or_default();
            let value = || {
                record
                    .to_record::<Txt<_>>()
                    .unwrap()
                    .unwrap()
                    .data()
                    .text::<Vec<u8>>()
            };
            match record.class() {
                Class::ANY => values.clear(),
                Class::NONE => drop(values.remove(&String::from_utf8(value()).unwrap())),
                _ => drop(values.insert(String::from_utf8(value()).unwrap())),
            }
        }
        self.values.retain(|_, values| !values.is_empty());
        self.messages.push((names, self.values.clone()));
        if refused { Rcode::REFUSED } else { Rcode::NOERROR }
    }
}

/// A zone with its writer, and the server it writes to.
struct Bed {
    zone: Arc<Zone>,
    primary: Arc<Mutex<Primary>>,
    _tasks: JoinSet<()>,
}

async fn bed() -> Bed {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server: ServerAddr = tcp.local_addr().unwrap().to_string().parse().unwrap();
    let primary: Arc<Mutex<Primary>> = Arc::default();
    let theirs = Arc::clone(&primary);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = tcp.accept().await.unwrap();
        while let Ok(length) = stream.read_u16().await {
            let mut request = vec![0; usize::from(length)];
            stream.read_exact(&mut request).await.unwrap();
            let rcode = theirs.lock().unwrap().update(&request);
            let answer = answer(
                &request,
                &key(Algorithm::HmacSha256, 0),
                Said::plain(rcode, TIME),
                32,
            );
            let frame = [&u16::try_from(answer.len()).unwrap().to_be_bytes(), &answer[..]].concat();
            stream.write_all(&frame).await.unwrap();
        }
    });
    let zone = zone_at(server);
    tasks.spawn(Arc::clone(&zone).write());
    Bed {
        zone,
        primary,
        _tasks: tasks,
    }
}

fn zone_at(server: ServerAddr) -> Arc<Zone> {
    let courier = courier(&[server], key(Algorithm::HmacSha256, 0).into(), TIME);
    Arc::new(Zone::new(courier, Duration::from_secs(120), Foreign::Removed))
}

fn record(host: &str) -> RecordName {
    RecordName::parse(&format!("{host}.test")).unwrap()
}

impl Bed {
    async fn publish(&self, host: &str, value: &str) -> Outcome {
        self.zone.publish(&record(host), value, Foreign::Removed).await
    }

    async fn withdraw(&self, host: &str, value: &str) -> Outcome {
        self.zone.withdraw(&record(host), value).await
    }

    fn messages(&self) -> usize {
        self.primary.lock().unwrap().messages.len()
    }

    /// What the server holds at a name.
    fn held(&self, host: &str) -> Vec<String> {
        let primary = self.primary.lock().unwrap();
        primary
            .values
            .get(&format!("{host}.test"))
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

#[tokio::test]
async fn p15_everything_that_waits_goes_out_in_one_message() {
    let bed = bed().await;
    let hosts: Vec<String> = (0..10).map(|n| format!("h{n}")).collect();
    for outcome in join_all(hosts.iter().map(|host| bed.publish(host, "v"))).await {
        outcome.unwrap();
    }
    assert_eq!(bed.messages(), 1);
    assert_eq!(bed.primary.lock().unwrap().values.len(), 10);
}

#[tokio::test]
async fn p15_a_bad_name_ends_alone_after_a_few_messages() {
    let bed = bed().await;
    let hosts: Vec<String> = (0..32)
        .map(|n| {
            if n == 21 {
                "bad".to_owned()
            } else {
                format!("h{n}")
            }
        })
        .collect();
    let outcomes = join_all(hosts.iter().map(|host| bed.publish(host, "v"))).await;
    for (host, outcome) in hosts.iter().zip(outcomes) {
        assert_eq!(outcome.is_err(), host == "bad", "{host}: {outcome:?}");
        assert_eq!(bed.held(host), if host == "bad" { vec![] } else { vec!["v"] });
    }
    assert!(bed.messages() <= 11, "{} messages", bed.messages());
}

#[tokio::test]
async fn p15_when_all_names_are_bad_each_is_told_so() {
    let bed = bed().await;
    let hosts: Vec<String> = (0..5).map(|n| format!("bad{n}")).collect();
    for outcome in join_all(hosts.iter().map(|host| bed.publish(host, "v"))).await {
        assert!(matches!(outcome.unwrap_err().cause, UpdateFault::Refused(_)));
    }
}

#[tokio::test]
async fn s09_a_withdrawal_that_meets_a_publication_of_its_name_shares_its_message() {
    let bed = bed().await;
    bed.publish("h", "old").await.unwrap();
    let (withdrawn, published) = tokio::join!(bed.withdraw("h", "old"), bed.publish("h", "new"));
    withdrawn.unwrap();
    published.unwrap();
    assert_eq!((bed.messages(), bed.held("h")), (2, vec!["new".to_owned()]));
}

#[tokio::test]
async fn a_withdrawn_value_that_is_live_again_is_not_removed() {
    let bed = bed().await;
    bed.publish("h", "v").await.unwrap();
    let withdrawal = bed.withdraw("h", "v");
    let adoption = async { bed.zone.adopt(&record("h"), "v") };
    tokio::join!(withdrawal, adoption).0.unwrap();
    assert_eq!(bed.held("h"), ["v"]);
}

#[tokio::test]
async fn a_value_that_failed_stays_live_until_it_is_withdrawn() {
    let bed = bed().await;
    bed.publish("bad", "one").await.unwrap_err();
    let live = |bed: &Bed| bed.zone.state().live.get(&record("bad")).cloned();
    assert_eq!(live(&bed), Some(["one".to_owned()].into()));
    bed.withdraw("bad", "one").await.unwrap_err();
    assert_eq!(live(&bed), None);
}

#[tokio::test]
async fn one_who_does_not_wait_any_more_disturbs_nobody() {
    let bed = bed().await;
    {
        let gone = bed.publish("gone", "v");
        tokio::select! {
            biased;
            _ = gone => panic!("too quick"),
            () = std::future::ready(()) => {}
        }
    }
    bed.publish("h", "v").await.unwrap();
    assert_eq!(
        (bed.held("gone"), bed.held("h")),
        (vec!["v".to_owned()], vec!["v".to_owned()])
    );
}

#[tokio::test]
async fn when_nobody_answers_all_who_wait_are_told_at_once() {
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let zone = zone_at(address.to_string().parse().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&zone).write());
    let hosts: Vec<RecordName> = (0..900)
        .map(|n| record(&format!("{}{n}", "h".repeat(55))))
        .collect();
    let value = "v".repeat(43);
    for outcome in join_all(
        hosts
            .iter()
            .map(|host| zone.publish(host, &value, Foreign::Removed)),
    )
    .await
    {
        let error = outcome.unwrap_err();
        assert_eq!(
            (error.cause.code(), error.server),
            ("unreachable", address.to_string())
        );
    }
}

#[tokio::test]
async fn p13_by_udp_alone_a_long_batch_goes_in_short_messages() {
    let (udp, address) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        if let Ok(udp) = tokio::net::UdpSocket::bind(address).await {
            break (udp, address);
        }
    };
    let lengths: Arc<Mutex<Vec<usize>>> = Arc::default();
    let theirs = Arc::clone(&lengths);
    let zone = zone_at(address.to_string().parse().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&zone).write());
    tasks.spawn(async move {
        let mut buffer = vec![0; 65_535];
        loop {
            let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
            theirs.lock().unwrap().push(length);
            let said = Said::plain(Rcode::NOERROR, TIME);
            let answer = answer(&buffer[..length], &key(Algorithm::HmacSha256, 0), said, 32);
            udp.send_to(&answer, peer).await.unwrap();
        }
    });
    let hosts: Vec<RecordName> = (0..60).map(|n| record(&format!("host-{n}"))).collect();
    for outcome in join_all(hosts.iter().map(|host| zone.publish(host, "v", Foreign::Removed))).await {
        outcome.unwrap();
    }
    let lengths = mem::take(&mut *lengths.lock().unwrap());
    assert!(
        lengths.len() > 1 && lengths.iter().all(|length| *length <= 1_232),
        "{lengths:?}"
    );
    // One more than fits at its own is given up, and says why.
    let error = zone
        .publish(&hosts[0], &"v".repeat(2_000), Foreign::Removed)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("too long for UDP"), "{error}");
}

#[tokio::test]
async fn the_address_that_answered_is_named() {
    let bed = bed().await;
    let error = bed.publish("bad", "v").await.unwrap_err();
    let address = bed.zone.courier.fleet.name();
    assert_eq!(error.server, format!("{address} ({address})"));
    assert_eq!(error.key, "faythe-key.example. (hmac-sha256)");
}

#[test]
fn only_faults_that_may_lie_in_a_name_are_sought_name_by_name() {
    assert!(!is_about_some(&Fault::Judged(UpdateFault::BadSig)));
    assert!(!is_about_some(&Fault::Judged(UpdateFault::Forged("not signed"))));
    assert!(is_about_some(&Fault::Judged(UpdateFault::ServFail)));
}

/// What one caller does in a round; `true` publishes.
type Act = (bool, u8, u8);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However publications and withdrawals come together: at the end of each round the zone holds just the live values,
    /// and no message in between shows less of those that were live before and are live after.
    #[test]
    fn p15_no_moment_shows_less_than_it_must(
        rounds in proptest::collection::vec(proptest::collection::vec((any::<bool>(), 0u8..3, 0u8..4), 1..12), 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bed = bed().await;
            for acts in rounds {
                let before = bed.zone.state().live.clone();
                let first = bed.messages();
                let act = |(publish, host, value): Act| {
                    let (bed, host, value) = (&bed, format!("h{host}"), format!("v{value}"));
                    async move {
                        if publish { bed.publish(&host, &value).await } else { bed.withdraw(&host, &value).await }
                    }
                };
                for outcome in join_all(acts.into_iter().map(act)).await {
                    outcome.unwrap();
                }
                let after = bed.zone.state().live.clone();
                let primary = bed.primary.lock().unwrap();
                let live: Values = after.iter().map(|(record, values)| (record.to_string(), values.clone())).collect();
                assert_eq!(primary.values, live);
                for (_, held) in &primary.messages[first..] {
                    for (record, values) in &before {
                        let lasting = values.iter().filter(|value| after.get(record).is_some_and(|all| all.contains(*value)));
                        for value in lasting {
                            let there = held.get(record.as_str()).is_some_and(|held| held.contains(value));
                            assert!(there, "{value} at {record} was gone for a moment");
                        }
                    }
                }
            }
        });
    }
}

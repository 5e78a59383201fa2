//! The courier against servers made for the occasion: each answers as its script says, and keeps what it was sent.

use std::sync::Mutex;

use domain::base::Message;
use domain::base::iana::{Rcode, TsigRcode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::dns::fleet::Pool;
use crate::dns::server::ServerAddr;
use crate::dns::signer::KeySource;
use crate::dns::tsig::Algorithm;
use crate::dns::tsig::tests::{Said, answer, at, key, unsigned};
use crate::sealed::Sealed;

const TIME: i64 = 1_700_000_000;

/// A courier of the zone `test` whose clock stands at `time`.
pub(crate) fn courier(servers: &[ServerAddr], key: KeySource, time: i64) -> Courier {
    let observe: Observe = Arc::new(|_| {});
    let apex: DnsName = "test".parse().unwrap();
    Courier {
        fleet: Fleet::new(servers, None, &Pool::default()),
        signer: Arc::new(Signer::new(
            apex.clone(),
            key,
            Arc::default(),
            Arc::clone(&observe),
        )),
        apex,
        now: Arc::new(move || at(time)),
        skew_limit: Duration::from_secs(600),
        observe,
        leave: Arc::new(|| true),
    }
}

/// What a server makes of a request; `None` for silence.
type Script = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

/// A server and what it was sent.
struct Fake {
    addr: ServerAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    _task: JoinSet<()>,
}

impl Fake {
    async fn start(mut script: Script) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = tcp.local_addr().unwrap().to_string().parse().unwrap();
        let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let theirs = Arc::clone(&seen);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                while let Ok(length) = stream.read_u16().await {
                    let mut request = vec![0; usize::from(length)];
                    if stream.read_exact(&mut request).await.is_err() {
                        break;
                    }
                    theirs.lock().unwrap().push(request.clone());
                    if let Some(answer) = script(&request) {
                        let frame =
                            [&u16::try_from(answer.len()).unwrap().to_be_bytes(), &answer[..]].concat();
                        stream.write_all(&frame).await.unwrap();
                    }
                }
            }
        });
        Self {
            addr,
            seen,
            _task: task,
        }
    }

    /// One that always answers with `rcode`, signed.
    async fn saying(rcode: Rcode) -> Self {
        Self::start(Box::new(move |request| {
            Some(answer(request, &sha256(), Said::plain(rcode, TIME), 32))
        }))
        .await
    }

    async fn silent() -> Self {
        Self::start(Box::new(|_| None)).await
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// An address where nobody listens.
async fn nobody() -> ServerAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    tcp.local_addr().unwrap().to_string().parse().unwrap()
}

fn sha256() -> Key {
    key(Algorithm::HmacSha256, 0)
}

/// A courier with the right key and clock.
fn sound(servers: &[&ServerAddr]) -> Courier {
    let servers: Vec<ServerAddr> = servers.iter().map(|addr| (*addr).clone()).collect();
    courier(&servers, sha256().into(), TIME)
}

/// Has an update without changes delivered.
async fn deliver(courier: &Courier) -> Result<(), Failure> {
    let compose = |_: usize| {
        crate::dns::update::compose(
            &"test".parse().unwrap(),
            domain::base::Ttl::from_secs(120),
            std::iter::empty(),
        )
    };
    courier.deliver(&mut { compose }).await
}

async fn cause(courier: &Courier) -> UpdateFault {
    deliver(courier).await.unwrap_err().fault.into_update()
}

/// Says that the clock is wrong, as a server does whose own says `clock`; `length` octets of signature.
fn badtime(request: &[u8], clock: i64, length: usize) -> Vec<u8> {
    let signed_at = Message::from_slice(request)
        .unwrap()
        .additional()
        .unwrap()
        .map(Result::unwrap)
        .find_map(|record| {
            record
                .into_record::<domain::rdata::tsig::Tsig<_, _>>()
                .ok()
                .flatten()
        })
        .map(|record| u64::from(record.data().time_signed()))
        .unwrap();
    let said = Said {
        rcode: Rcode::NOTAUTH,
        error: TsigRcode::BADTIME,
        time: i64::try_from(signed_at).unwrap(),
        clock: Some(clock),
    };
    answer(request, &sha256(), said, length)
}

/// A server whose clock says `clock`, and which wants signatures within five minutes of it.
async fn strict_about_time(clock: i64) -> Fake {
    Fake::start(Box::new(move |request| {
        let offered = badtime(request, clock, 32);
        let theirs = i64::try_from(time_of(&offered)).unwrap();
        Some(if theirs.abs_diff(clock) <= 300 {
            answer(request, &sha256(), Said::plain(Rcode::NOERROR, clock), 32)
        } else {
            offered
        })
    }))
    .await
}

/// The time in a message's signature.
fn time_of(message: &[u8]) -> u64 {
    let record = Message::from_slice(message)
        .unwrap()
        .additional()
        .unwrap()
        .last()
        .unwrap();
    let record = record
        .unwrap()
        .into_record::<domain::rdata::tsig::Tsig<_, _>>()
        .unwrap();
    record.unwrap().data().time_signed().into()
}

#[tokio::test]
async fn p14_a_dead_server_is_passed_over_and_the_next_gets_a_message_signed_for_it() {
    let (dead, second) = (nobody().await, Fake::saying(Rcode::NOERROR).await);
    let courier = sound(&[&dead, &second.addr]);
    deliver(&courier).await.unwrap();
    deliver(&courier).await.unwrap();
    let seen = second.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0], seen[1], "sent twice as it was");
}

#[tokio::test]
async fn p14_a_server_that_hangs_costs_less_than_two_seconds_and_only_once() {
    let (hung, second) = (Fake::silent().await, Fake::saying(Rcode::NOERROR).await);
    let courier = sound(&[&hung.addr, &second.addr]);
    let begun = std::time::Instant::now();
    deliver(&courier).await.unwrap();
    assert!(begun.elapsed() >= PATIENCE, "{:?}", begun.elapsed());
    let after = std::time::Instant::now();
    deliver(&courier).await.unwrap();
    assert!(after.elapsed() < PATIENCE, "the good one is not remembered");
    assert_eq!((hung.count(), second.count()), (1, 2));
    assert_ne!(
        hung.seen.lock().unwrap()[0],
        second.seen.lock().unwrap()[0],
        "the second got the first one's message"
    );
}

#[tokio::test]
async fn p14_a_slow_primary_behind_a_server_that_is_none_gets_its_time() {
    let slow = Fake::start(Box::new({
        let mut first = true;
        // The first message gets no answer in time; the connection is closed then, and the second one is answered.
        move |request| {
            let said = Said::plain(Rcode::NOERROR, TIME);
            (!std::mem::take(&mut first)).then(|| answer(request, &sha256(), said, 32))
        }
    }))
    .await;
    let secondary = Fake::saying(Rcode::NOTAUTH).await;
    deliver(&sound(&[&slow.addr, &secondary.addr])).await.unwrap();
    assert_eq!((slow.count(), secondary.count()), (2, 1));
}

#[tokio::test]
async fn p14_a_server_that_refuses_is_passed_over_unless_the_message_is_at_fault() {
    for rcode in [Rcode::NOTAUTH, Rcode::NOTIMP, Rcode::REFUSED, Rcode::SERVFAIL] {
        let (first, second) = (Fake::saying(rcode).await, Fake::saying(Rcode::NOERROR).await);
        deliver(&sound(&[&first.addr, &second.addr])).await.unwrap();
        assert_eq!((first.count(), second.count()), (1, 1), "{rcode}");
    }
    for rcode in [Rcode::NOTZONE, Rcode::FORMERR] {
        let (first, second) = (Fake::saying(rcode).await, Fake::saying(Rcode::NOERROR).await);
        deliver(&sound(&[&first.addr, &second.addr])).await.unwrap_err();
        assert_eq!(second.count(), 0, "{rcode}");
    }
}

#[tokio::test]
async fn p14_a_secondary_without_the_key_or_with_a_bad_clock_is_passed_over() {
    for (error, clock) in [
        (TsigRcode::BADKEY, None),
        (TsigRcode::BADTIME, Some(TIME + 9_000)),
    ] {
        let complaint = Said {
            rcode: Rcode::NOTAUTH,
            error,
            time: TIME,
            clock,
        };
        let first = Fake::start(Box::new(move |request| {
            Some(answer(request, &sha256(), complaint, 32))
        }))
        .await;
        let second = Fake::saying(Rcode::NOERROR).await;
        deliver(&sound(&[&first.addr, &second.addr])).await.unwrap();
        assert_eq!((first.count(), second.count()), (1, 1), "{error}");
    }
}

#[tokio::test]
async fn p15_what_the_server_that_took_the_last_update_refuses_costs_no_time_at_dead_ones() {
    let mut sayings = [Rcode::NOERROR, Rcode::REFUSED].into_iter();
    let first = Fake::start(Box::new(move |request| {
        let rcode = sayings.next()?;
        Some(answer(request, &sha256(), Said::plain(rcode, TIME), 32))
    }))
    .await;
    let second = Fake::silent().await;
    let courier = sound(&[&first.addr, &second.addr]);
    deliver(&courier).await.unwrap();
    assert!(matches!(cause(&courier).await, UpdateFault::Refused(_)));
    assert_eq!(second.count(), 0);
}

#[tokio::test]
async fn p14_the_refusal_of_the_primary_is_named_before_that_of_a_secondary() {
    for (first, second) in [(Rcode::NOTAUTH, Rcode::REFUSED), (Rcode::REFUSED, Rcode::NOTAUTH)] {
        let (first, second) = (Fake::saying(first).await, Fake::saying(second).await);
        let failure = deliver(&sound(&[&first.addr, &second.addr])).await.unwrap_err();
        assert!(
            failure.more[0].contains("NOTAUTH: the server is not primary"),
            "{:?}",
            failure.more
        );
        assert!(matches!(failure.fault.into_update(), UpdateFault::Refused(_)));
    }
}

#[tokio::test]
async fn p14_when_all_fail_the_most_telling_is_named_and_the_others_too() {
    let (dead, secondary) = (nobody().await, Fake::saying(Rcode::NOTAUTH).await);
    let failure = deliver(&sound(&[&dead, &secondary.addr])).await.unwrap_err();
    assert!(failure.server.starts_with(&secondary.addr.to_string()));
    assert_eq!(failure.fault.into_update(), UpdateFault::NotAuth);
    assert!(
        failure.more[0].starts_with(&format!("{dead}: no answer")),
        "{:?}",
        failure.more
    );
}

#[tokio::test]
async fn p12_a_proven_clock_within_the_limit_is_used_for_one_more_try_and_kept() {
    for skew in [480, -480] {
        let server = strict_about_time(TIME + skew).await;
        let courier = sound(&[&server.addr]);
        deliver(&courier).await.unwrap();
        deliver(&courier).await.unwrap();
        assert_eq!(server.count(), 3, "refused, mended, and right from the start");
    }
}

#[tokio::test]
async fn p12_a_clock_beyond_the_limit_is_not_followed_and_the_offset_is_named() {
    let server = strict_about_time(TIME + 1_200).await;
    let mut courier = sound(&[&server.addr]);
    let fault = cause(&courier).await;
    assert!(
        matches!(
            fault,
            UpdateFault::BadTime {
                offset_secs: -1_200,
                ..
            }
        ),
        "{fault}"
    );
    assert_eq!(server.count(), 1);
    courier.skew_limit = Duration::from_secs(1_800);
    deliver(&courier).await.unwrap();

    let near = strict_about_time(TIME + 480).await;
    let mut courier = sound(&[&near.addr]);
    courier.skew_limit = Duration::ZERO;
    assert!(matches!(cause(&courier).await, UpdateFault::BadTime { .. }));
    assert_eq!(near.count(), 1, "zero is for not at all");
}

#[tokio::test]
async fn p12_a_clock_that_nothing_proves_is_not_followed() {
    let server = Fake::start(Box::new(|request| Some(badtime(request, TIME + 480, 0)))).await;
    assert!(matches!(
        cause(&sound(&[&server.addr])).await,
        UpdateFault::BadTime { .. }
    ));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn p12_the_offset_is_told_with_every_proven_answer() {
    let server = strict_about_time(TIME - 100).await;
    let mut courier = sound(&[&server.addr]);
    let told = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&told);
    courier.observe = Arc::new(move |observed: &Observed<'_>| {
        theirs.lock().unwrap().push(match observed {
            Observed::Clock { offset_secs, .. } => offset_secs.to_string(),
            Observed::Update { result, .. } => (*result).to_owned(),
            Observed::KeyRead { .. } => "key".to_owned(),
        });
    });
    deliver(&courier).await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["100", "ok"]);
}

#[tokio::test]
async fn p11_a_secret_encoded_twice_works_decoded_twice_and_is_remembered() {
    let inner = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83v/+NFZ4k=";
    let encoded = Key::new(
        "faythe-key.example",
        Algorithm::HmacSha256,
        0,
        Sealed::new(format!("{inner}\n").into_bytes()),
    )
    .unwrap();
    let right = encoded.decoded_again().unwrap();
    let server = |right: Key| {
        Fake::start(Box::new(move |request| {
            Some(if verifies(request, &right) {
                answer(request, &right, Said::plain(Rcode::NOERROR, TIME), 32)
            } else {
                let said = Said {
                    error: TsigRcode::BADSIG,
                    ..Said::plain(Rcode::NOTAUTH, TIME)
                };
                answer(request, &right, said, 0)
            })
        }))
    };
    let fake = server(right).await;
    let good = courier(std::slice::from_ref(&fake.addr), encoded.clone().into(), TIME);
    deliver(&good).await.unwrap();
    deliver(&good).await.unwrap();
    assert_eq!(
        fake.count(),
        3,
        "refused, decoded again, and right from the start"
    );

    let other = server(sha256()).await;
    let bad = courier(std::slice::from_ref(&other.addr), encoded.into(), TIME);
    assert_eq!(cause(&bad).await, UpdateFault::BadSigTwice);
    assert_eq!(other.count(), 2);
}

/// Whether `key` made the signature on a request.
fn verifies(request: &[u8], key: &Key) -> bool {
    let message = Message::from_slice(request).unwrap();
    let id = message.header().id();
    // The request without its signature: everything before the key's name, one additional record less.
    let length = request.len() - tsig::overhead(key);
    let mut bare = request[..length].to_vec();
    bare[11] -= 1;
    sign(bare, id, key, at(TIME)).wire == request
}

#[tokio::test]
async fn p11_a_server_without_edns_gets_the_update_without() {
    let has_opt = |request: &[u8]| Message::from_slice(request).unwrap().opt().is_some();
    let server = Fake::start(Box::new(move |request| {
        let rcode = if has_opt(request) {
            Rcode::FORMERR
        } else {
            Rcode::NOERROR
        };
        Some(answer(request, &sha256(), Said::plain(rcode, TIME), 32))
    }))
    .await;
    let courier = sound(&[&server.addr]);
    deliver(&courier).await.unwrap();
    deliver(&courier).await.unwrap();
    let seen = server.seen.lock().unwrap();
    let with: Vec<bool> = seen.iter().map(|request| has_opt(request)).collect();
    assert_eq!(with, [true, false, false]);
}

#[tokio::test]
async fn an_unsigned_zone_takes_an_unsigned_answer_at_its_word() {
    let server = Fake::start(Box::new(|request| Some(unsigned(request, Rcode::NOERROR)))).await;
    let servers = std::slice::from_ref(&server.addr);
    deliver(&courier(servers, KeySource::Unsigned, TIME))
        .await
        .unwrap();
    let request = server.seen.lock().unwrap()[0].clone();
    assert_eq!(request[11], 1, "nothing but the OPT record is added");
    // The same answer to a signed request is no success.
    assert_eq!(
        cause(&courier(servers, sha256().into(), TIME)).await,
        UpdateFault::Forged("not signed")
    );

    let closed = Fake::start(Box::new(|request| Some(unsigned(request, Rcode::REFUSED)))).await;
    let fault = cause(&courier(
        std::slice::from_ref(&closed.addr),
        KeySource::Unsigned,
        TIME,
    ))
    .await;
    assert!(fault.to_string().contains("without a signature"), "{fault}");
}

#[tokio::test]
async fn p38_no_update_is_sent_without_leave_not_even_after_one_that_failed() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let leads = Arc::new(AtomicBool::new(true));
    // The lease is lost while the first server makes up its mind.
    let theirs = Arc::clone(&leads);
    let first = Fake::start(Box::new(move |_| {
        theirs.store(false, Ordering::Release);
        None
    }))
    .await;
    let second = Fake::saying(Rcode::NOERROR).await;
    let mut courier = sound(&[&first.addr, &second.addr]);
    courier.leave = Arc::new(move || leads.load(Ordering::Acquire));
    for _ in 0..2 {
        let failure = deliver(&courier).await.unwrap_err();
        assert_eq!(failure.fault.into_update(), UpdateFault::NoLeave);
    }
    assert_eq!((first.count(), second.count()), (1, 0));
}

//! What the CA refuses, by the rows of `docs/problems.md`: what follows for the name, and that nothing follows for others
//! (P17, P22). `ca_proofs` says which tests prove which row.

use faythe_bed::proxy::Fault;
use serde_json::json;

use super::front::{AUTHORIZATION, FINALIZE, Front, ORDER, REVOKE, authorization, error, invalid, refusal};
use super::look::{NEW_ORDER, SOON, TELL, clean, issued, said};
use super::recall::{is_revoked_at, recall_with};

/// Has a host be refused, and sees that it waits for a person.
async fn stops(front: &mut Front, request: &str, fault: Fault, code: &str) {
    front.proxy.fault(1, request, fault);
    let host = front.ask().await;
    let line = front.reaches(&host, "failed", code).await;
    assert!(line.contains("until something is changed"), "{line}");
    let words = if code == "unknown" { "brandNew" } else { code };
    assert!(line.contains(&format!("because of {words}")), "{line}");
}

#[tokio::test]
async fn p17_what_will_not_succeed_stops_one_name_and_no_other() {
    let mut front = Front::start().await;
    for (status, kind) in [
        (403, "caa"),
        (400, "rejectedIdentifier"),
        (400, "unsupportedIdentifier"),
        (400, "malformed"),
        (405, "malformed"),
        (400, "compound"),
        (400, "alreadyRevoked"),
        (400, "badRevocationReason"),
        (400, "brandNew"),
    ] {
        let code = if kind == "brandNew" { "unknown" } else { kind };
        stops(&mut front, NEW_ORDER, refusal(status, kind), code).await;
    }
    // Of several problems, the gravest that is known.
    for (kind, known) in [("compound", "caa"), ("malformed", "rejectedIdentifier")] {
        let mut several = error(kind);
        several["subproblems"] = json!([error("brandNew"), error("dns"), error(known)]);
        let fault = Fault::answer(400, &several.to_string());
        stops(&mut front, NEW_ORDER, fault, known).await;
    }
    // CAA records are looked at when a name is proven, and when the certificate is made; and one that is refused then
    // may be so at once or by and by.
    let proven = authorization(&front, "invalid", Some(error("caa")));
    stops(&mut front, AUTHORIZATION, proven, "caa").await;
    stops(&mut front, FINALIZE, refusal(403, "caa"), "caa").await;
    stops(&mut front, FINALIZE, invalid(Some(error("caa"))), "caa").await;
    let stopped = front.orders();
    front.serves().await;
    // `issue_grace` is over for all of them.
    assert_eq!(front.orders(), stopped + 1);
}

#[tokio::test]
async fn p22_what_the_ca_has_seen_fail_comes_later() {
    let mut front = Front::start().await;
    let mut hosts = Vec::new();
    for kind in ["dns", "unauthorized", "connection", "tls", "incorrectResponse"] {
        let invalid = authorization(&front, "invalid", Some(error(kind)));
        front.proxy.fault(1, AUTHORIZATION, invalid);
        let host = front.ask().await;
        let line = front.reaches(&host, "failed", kind).await;
        assert!(line.contains(&format!("because of {kind}")), "{line}");
        hosts.push(host);
    }
    for (fault, code) in [
        // CAA records that could not be looked up.
        (refusal(400, "dns"), "dns"),
        (invalid(None), "order-invalid"),
        // A type that we do not know, in an order that failed after it was finalized.
        (invalid(Some(error("brandNew"))), "unknown"),
    ] {
        front.proxy.fault(1, FINALIZE, fault);
        let host = front.ask().await;
        front.reaches(&host, "failed", code).await;
        hosts.push(host);
    }
    // After `issue_grace`, and when the CA's resolvers have forgotten what they may have seen.
    front.all_served(&hosts).await;
    assert_eq!(front.orders(), 2 * hosts.len());
}

#[tokio::test]
async fn p22_what_concerns_the_account_holds_everything_until_somebody_acts() {
    let mut front = Front::start().await;
    for (status, kind) in [
        (403, "unauthorized"),
        (401, "unauthorized"),
        (400, "badSignatureAlgorithm"),
        (403, "externalAccountRequired"),
        (403, "userActionRequired"),
        (400, "invalidProfile"),
        (400, "invalidContact"),
        (400, "unsupportedContact"),
    ] {
        let orders = front.orders();
        let mut document = error(kind);
        if status == 401 {
            document["detail"] = "because of unauthorized: not permitted to use certificate profile".into();
        }
        document["instance"] = "https://ca.test/terms".into();
        front
            .proxy
            .fault(1, NEW_ORDER, Fault::answer(status, &document.to_string()));
        let host = front.ask().await;
        let line = front.reaches(&host, "held", kind).await;
        // Who has to act hears where.
        let visit = line.contains("(visit https://ca.test/terms)");
        assert_eq!(visit, kind == "userActionRequired", "{line}");
        let other = front.ask().await;
        front.reaches(&other, "held", kind).await;
        assert_eq!(front.orders(), orders + 1, "for {kind}");
        // Somebody has mended the configuration.
        front.faythe.restart().unwrap();
        front.faythe.ready(SOON).await.unwrap();
        issued(&front.bed, &front.faythe, &[host, other]).await;
    }
}

#[tokio::test]
async fn p22_an_order_that_has_moved_on_is_read_again() {
    let mut front = Front::start().await;
    let before = front.orders();
    // Whatever is said of it, the CA has done what it was asked for, or has it done still.
    let refusals = [
        (TELL, Fault::LoseAnswer),
        (TELL, refusal(409, "conflict").belied()),
        (ORDER, refusal(409, "conflict")),
        (FINALIZE, refusal(403, "orderNotReady")),
        (FINALIZE, refusal(403, "orderNotReady").belied()),
        (FINALIZE, refusal(409, "conflict").belied()),
        (FINALIZE, refusal(500, "serverInternal").belied()),
    ];
    for (i, (request, fault)) in refusals.into_iter().enumerate() {
        front.proxy.fault(1, request, fault);
        front.serves().await;
        assert_eq!(front.orders(), before + i + 1, "for {request}, the {i}th");
    }
    // Once each, and once more where the first was not carried out.
    assert_eq!(front.proxy.count(FINALIZE), 7 + 1);
    clean(&front.bed, &front.faythe).await;
}

#[tokio::test]
async fn p22_nonces_that_are_wrong_are_no_trouble_and_without_good_ones_it_waits() {
    let mut front = Front::start().await;
    let headers = vec![("replay-nonce", "bm90LW9uZS1vZi1vdXJz".to_owned())];
    let wrong = Fault::Answer {
        status: 200,
        headers,
        body: String::new(),
    };
    front.proxy.fault(3, "HEAD /nonce-plz", wrong);
    front.serves().await;
    assert!(!front.faythe.log().contains("WARN"), "{}", front.faythe.log());

    front.proxy.fault_always(NEW_ORDER, refusal(400, "badNonce"));
    let host = front.ask().await;
    front.reaches(&host, "stalled", "badNonce").await;
    front.proxy.heal();
    issued(&front.bed, &front.faythe, &[host]).await;
    front.serves().await;
    assert_eq!(front.bed.pebble.orders_created(), 3);
    clean(&front.bed, &front.faythe).await;
}

#[tokio::test]
async fn p22_a_type_that_is_not_known_is_told_by_its_status() {
    let mut front = Front::start().await;
    for status in [429, 500] {
        front.proxy.fault(1, NEW_ORDER, refusal(status, "brandNew"));
        let host = front.ask().await;
        front.reaches(&host, "held", "unknown").await;
        issued(&front.bed, &front.faythe, &[host]).await;
    }
    clean(&front.bed, &front.faythe).await;
}

#[tokio::test]
async fn p22_a_contact_that_the_ca_does_not_want_is_left_out() {
    for kind in ["invalidContact", "unsupportedContact"] {
        let mut front = Front::start().await;
        front.proxy.fault(1, "POST /sign-me-up", refusal(400, kind));
        front.serves().await;
        said(&front.faythe, &["WARN", kind]).await;
        assert_eq!(front.proxy.count("POST /sign-me-up"), 2);
        assert_eq!(front.orders(), 1);
    }
}

#[tokio::test]
async fn p22_a_revocation_is_done_once_and_without_a_reason_that_is_refused() {
    let mut front = Front::start().await;
    let host = front.ask().await;
    let certificate = front.bed.certificate_for(&host, SOON).await.unwrap();
    let revoke = async || {
        let arguments = [&host, "--without-replacement", "--reason", "keyCompromise"];
        recall_with(&front.bed, &front.config, "revoke", &arguments).await
    };
    front.proxy.fault(1, REVOKE, refusal(400, "badRevocationReason"));
    let done = revoke().await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("because of badRevocationReason"), "{done:?}");
    assert!(is_revoked_at(&front.bed.pebble, &certificate.serial).await);
    assert_eq!(front.proxy.count(REVOKE), 2);

    // Pebble says itself that it is revoked already.
    let again = revoke().await;
    assert_eq!(again.code, Some(0), "{again:?}");
    let said = front.proxy.exchanges().pop().unwrap();
    assert!(String::from_utf8_lossy(&said.body).contains("alreadyRevoked"));
}

#[tokio::test]
async fn p22_a_key_that_is_refused_is_changed_once() {
    let mut front = Front::start().await;
    for kind in ["badCSR", "badPublicKey"] {
        let (orders, finalized) = (front.orders(), front.proxy.count(FINALIZE));
        front.proxy.fault(1, FINALIZE, refusal(400, kind));
        front.serves().await;
        assert_eq!(
            (front.orders(), front.proxy.count(FINALIZE)),
            (orders + 1, finalized + 2)
        );
    }
    let (orders, finalized) = (front.orders(), front.proxy.count(FINALIZE));
    front.proxy.fault(2, FINALIZE, refusal(400, "badCSR"));
    let host = front.ask().await;
    let line = front.reaches(&host, "failed", "badCSR").await;
    assert!(line.contains("until something is changed"), "{line}");
    front.serves().await;
    assert_eq!(
        (front.orders(), front.proxy.count(FINALIZE)),
        (orders + 2, finalized + 3)
    );
}

//! Being asked to end.

use std::time::{Duration, Instant};

use faythe_bed::process::{Signal, killed_by};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::live::stage::{SOON, Stage, soon};

/// What Kubernetes gives a process between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn sigterm_and_sigint_end_it_well() {
    let mut stage = Stage::start().await;
    for signal in [Signal::TERM, Signal::INT] {
        let began = Instant::now();
        stage.faythe.process().signal(signal);
        let status = stage.faythe.wait(SOON).await.unwrap();
        assert_eq!(status.code(), Some(0));
        assert!(began.elapsed() < GRACE / 2, "took {:?}", began.elapsed());
        stage.faythe.restart().unwrap();
        stage.faythe.ready(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn sigterm_in_the_middle_of_an_order_ends_in_time_and_the_next_start_goes_on() {
    let mut stage = Stage::with_secondary().await;
    let secondary = stage.bed.secondary.as_ref().unwrap();
    secondary.freeze();
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    soon("the record stands", async || {
        Ok(!stage.bed.bind.all_txt(&stage.bed.zone).await?.is_empty())
    })
    .await;
    // Somebody asks for metrics, and never comes to the end of the question.
    let url = stage.faythe.url("").unwrap();
    let mut asking = TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .unwrap();
    asking.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
    let began = Instant::now();
    stage.faythe.terminate();
    let status = stage.faythe.wait(SOON).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(began.elapsed() < GRACE, "took {:?}", began.elapsed());
    assert_eq!(stage.validations(), 0);

    secondary.thaw();
    stage.faythe.restart().unwrap();
    stage.certificate(&host).await;
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), 1, "the same order goes on");
}

#[tokio::test]
async fn nothing_begins_after_sigterm_and_a_second_signal_ends_it_at_once() {
    let stage = Stage::start().await;
    // The order's next request gets no answer, so the first signal has something to wait for.
    stage.bed.pebble.freeze();
    let (host, late) = (stage.host("www"), stage.host("late"));
    stage.ask("web", &[&host]).await;
    // It has looked at the place of the Secret, and now asks the CA.
    let labels = [("stage", "ordering")];
    stage
        .count("faythe_step_duration_seconds_count", &labels, 1)
        .await;
    stage.faythe.terminate();
    soon("it has understood", async || {
        Ok(!stage.lines(&["stopping"]).is_empty())
    })
    .await;
    stage.faythe.process().check_running().unwrap();
    stage.ask("late", &[&late]).await;

    let began = Instant::now();
    stage.faythe.terminate();
    let status = stage.faythe.wait(SOON).await.unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(!killed_by(status, Signal::TERM));
    // Well below what the first signal alone would take.
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "took {:?}",
        began.elapsed()
    );
    stage.bed.pebble.thaw();
    assert!(stage.lines(&["host=late"]).is_empty());
}

#[tokio::test]
async fn a_kill_at_any_time_costs_no_second_order() {
    let mut stage = Stage::with_secondary().await;
    let secondary = stage.bed.secondary.as_ref().unwrap();
    secondary.freeze();
    let host = stage.host("www");
    stage.ask("web", &[&host]).await;
    soon("the record stands", async || {
        Ok(!stage.bed.bind.all_txt(&stage.bed.zone).await?.is_empty())
    })
    .await;
    for _ in 0..3 {
        stage.faythe.kill();
        stage.faythe.restart().unwrap();
        stage.faythe.ready(SOON).await.unwrap();
    }
    secondary.thaw();
    stage.certificate(&host).await;
    stage.clean().await;
    assert_eq!(stage.bed.pebble.orders_created(), 1);
}

//! `spec.md` part 1, number by number.

use std::time::Duration;

use anyhow::Result;
use faythe_bed::Bed;

const FAYTHE: &str = env!("CARGO_BIN_EXE_faythe");
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn s07_a_host_gets_its_certificate() -> Result<()> {
    let bed = Bed::start().await?;
    let faythe = bed.faythe(FAYTHE, bed.config()).await?;
    faythe.ready(SOON).await?;
    let host = bed.host("www");
    bed.ingress("web", &[&host]).await?;
    let certificate = bed.certificate_for(&host, SOON).await;
    println!("{}", faythe.log());
    println!("{}", faythe.metrics().await?);
    certificate?;
    Ok(())
}

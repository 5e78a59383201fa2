//! A cluster in which all is well: Ingresses, and Secrets with the certificates that they ask for.

use std::collections::BTreeMap;

use anyhow::Result;
use faythe_bed::secret_name;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};

use crate::scene::{AT_ONCE, Scene};

/// How many days the certificates live, as those of Let's Encrypt do.
const LIFETIME_DAYS: i32 = 90;

/// Makes an Ingress and a Secret for each host.
pub(crate) async fn with_healthy(scene: &Scene, hosts: &[String]) -> Result<()> {
    let issuer = issuer()?;
    let label = scene.host_label()?;
    stream::iter(hosts)
        .map(async |host| {
            let secret = secret(host, &label, &issuer)?;
            scene
                .bed
                .secrets()
                .create(&PostParams::default(), &secret)
                .await?;
            scene.ingress(host, &[host]).await.map(drop)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// A CA that Faythe has never heard of: a certificate of any CA is fine.
fn issuer() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named("faythe-bench");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn secret(host: &str, label: &str, issuer: &CertifiedIssuer<'static, KeyPair>) -> Result<Secret> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let day = |date: Date| -> Result<_> {
        Ok(rcgen::date_time_ymd(
            date.year().into(),
            date.month().try_into()?,
            date.day().try_into()?,
        ))
    };
    params.not_before = day(today)?;
    params.not_after = day(today.checked_add(LIFETIME_DAYS.days())?)?;
    let certificate = params.signed_by(&key, issuer)?;
    let entry = |name: &str, text: String| (name.to_owned(), ByteString(text.into_bytes()));
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(host)),
            labels: Some([(label.to_owned(), secret_name(host))].into()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([
            entry("cert", certificate.pem() + &issuer.pem()),
            entry("key", key.serialize_pem()),
        ])),
        ..Secret::default()
    })
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

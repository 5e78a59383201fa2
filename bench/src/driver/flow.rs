//! One certificate, from Ingress to Event, in a straight line.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use faythe::dns::client::{Client as Names, ZoneSetup};
use faythe::dns::{Dns, Foreign, keyfile};
use faythe_bed::{kube::client_of, secret_name, tls};
use faythe_core::name::{DnsName, Hostname};
use http::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{
    Account, BodyWrapper, BytesResponse, ChallengeType, HttpClient, Identifier, NewAccount, NewOrder, Order,
    OrderStatus,
};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Event, ObjectReference, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::sync::Barrier;

use crate::scene::Scene;

/// The first pause between two looks at an order; it doubles.
const POLL: Duration = Duration::from_millis(1);

/// Ways to all servers.
pub(super) struct Flow {
    account: Account,
    dns: Names,
    zone: DnsName,
    client: kube::Client,
    secret_namespace: String,
    host_label: String,
}

impl Flow {
    /// Connects, as the user that Faythe is too, and registers an account.
    pub(super) async fn new(scene: &Scene) -> Result<Self> {
        let bed = &scene.bed;
        let kubeconfig = bed.kube.kubeconfig_for(&bed.identity).await?;
        let contact = NewAccount {
            contact: &[],
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, _) = Account::builder_with_http(Box::new(Http::new(&bed.pebble.https_roots())?))
            .create(&contact, bed.pebble.directory_url(), None)
            .await?;
        let zone = DnsName::parse(&bed.zone)?;
        let server = bed.bind.address().to_string().parse()?;
        let setup = ZoneSetup::new(zone.clone(), server, keyfile::read(&bed.bind.key_file())?);
        Ok(Self {
            account,
            dns: Names::new(vec![setup], Arc::new(Timestamp::now)),
            zone,
            client: client_of(&kubeconfig).await?,
            secret_namespace: bed.secret_namespace.clone(),
            host_label: scene.host_label()?,
        })
    }

    /// Asks for one certificate, gets it and stores it.
    pub(super) async fn certificate(&self, scene: &Scene, host: &str) -> Result<()> {
        let ingress = scene.ingress(host, &[host]).await?;
        self.issue(&ingress, host, &Barrier::new(1)).await
    }

    /// The same for a name and its wildcard, which one Ingress asks for.
    pub(super) async fn pair(&self, scene: &Scene, host: &str) -> Result<()> {
        let wildcard = format!("*.{host}");
        let ingress = scene.ingress(host, &[host, &wildcard]).await?;
        let both = Barrier::new(2);
        tokio::try_join!(
            self.issue(&ingress, host, &both),
            self.issue(&ingress, &wildcard, &both)
        )?;
        Ok(())
    }

    /// `published` is waited at when the value stands in the DNS.
    async fn issue(&self, ingress: &Ingress, host: &str, published: &Barrier) -> Result<()> {
        let identifiers = [Identifier::Dns(host.to_owned())];
        let mut order = self.account.new_order(&NewOrder::new(&identifiers)).await?;
        let value = challenge(&mut order).await?;
        let key = KeyPair::generate()?;
        let note = self.note(host, order.url(), &value, &key).await?;

        let record = Hostname::parse(host)?.challenge_record();
        self.dns
            .publish(&self.zone, &record, &value, Foreign::Removed)
            .await?;
        published.wait().await;
        tell(&mut order).await?;
        let mut pause = POLL;
        while order.refresh().await?.status == OrderStatus::Pending {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let mut request = CertificateParams::new(vec![host.to_owned()])?;
        request.distinguished_name = DistinguishedName::new();
        order.finalize_csr(request.serialize_request(&key)?.der()).await?;
        let mut pause = POLL;
        let chain = loop {
            if let Some(chain) = order.certificate().await? {
                break chain;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        };
        self.store(host, chain, &key).await?;

        tokio::try_join!(
            async { Ok(self.dns.withdraw(&self.zone, &record, &value).await?) },
            self.forget(&note),
            self.tell_of(ingress, host),
        )?;
        Ok(())
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.secret_namespace)
    }

    /// As long as the note that Faythe writes.
    async fn note(&self, host: &str, order: &str, value: &str, key: &KeyPair) -> Result<Secret> {
        let note = serde_json::json!({
            "version": 1,
            "host": host,
            "order": {
                "url": order,
                "values": [{ "record": format!("_acme-challenge.{host}"), "value": value }],
                "created": Timestamp::now().to_string(),
                "expires": Timestamp::now().to_string(),
            },
        });
        let name = format!("note-{}", secret_name(host));
        let label = ("faythe-bench/note".to_owned(), String::new());
        let entries = [("note", note.to_string()), ("key", key.serialize_pem())];
        self.create(name, label, entries).await
    }

    async fn store(&self, host: &str, chain: String, key: &KeyPair) -> Result<()> {
        let label = (self.host_label.clone(), secret_name(host));
        let entries = [("cert", chain), ("key", key.serialize_pem())];
        self.create(secret_name(host), label, entries).await.map(drop)
    }

    async fn create(
        &self,
        name: String,
        label: (String, String),
        entries: [(&str, String); 2],
    ) -> Result<Secret> {
        let data = entries.map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name),
                labels: Some([label].into()),
                annotations: Some([("faythe/issued-at".to_owned(), Timestamp::now().to_string())].into()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(BTreeMap::from(data)),
            ..Secret::default()
        };
        Ok(self.secrets().create(&PostParams::default(), &secret).await?)
    }

    async fn forget(&self, note: &Secret) -> Result<()> {
        let unchanged = Preconditions {
            resource_version: note.resource_version(),
            uid: None,
        };
        let params = DeleteParams::default().preconditions(unchanged);
        self.secrets().delete(&note.name_any(), &params).await?;
        Ok(())
    }

    async fn tell_of(&self, ingress: &Ingress, host: &str) -> Result<()> {
        let namespace = ingress.namespace().context("an Ingress has a namespace")?;
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("issued-{}", secret_name(host))),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("networking.k8s.io/v1".to_owned()),
                kind: Some("Ingress".to_owned()),
                namespace: Some(namespace.clone()),
                name: ingress.metadata.name.clone(),
                uid: ingress.uid(),
                ..ObjectReference::default()
            },
            type_: Some("Normal".to_owned()),
            reason: Some("CertificateIssued".to_owned()),
            message: Some(format!(
                "{host}: certificate issued, valid for a while, in a Secret of its name"
            )),
            ..Event::default()
        };
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        events.create(&PostParams::default(), &event).await?;
        Ok(())
    }
}

/// Reads the one authorization of an order; the value to publish.
async fn challenge(order: &mut Order) -> Result<String> {
    let mut all = order.authorizations();
    let mut authorization = all.next().await.context("an order without authorization")??;
    let challenge = authorization.challenge(ChallengeType::Dns01);
    let challenge = challenge.context("no DNS-01 challenge")?;
    Ok(challenge.key_authorization().dns_value())
}

/// Tells the CA to look.
async fn tell(order: &mut Order) -> Result<()> {
    let mut all = order.authorizations();
    let mut authorization = all.next().await.context("an order without authorization")??;
    match authorization.challenge(ChallengeType::Dns01) {
        Some(mut challenge) => Ok(challenge.set_ready().await?),
        None => bail!("no DNS-01 challenge"),
    }
}

/// The fastest client that was found for Pebble: HTTP/1.1, kept connections, nothing held back.
struct Http(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Http {
    fn new(roots: &str) -> Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client(roots)?)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self(Client::builder(TokioExecutor::new()).build(https)))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let answer = self.0.request(request);
        Box::pin(async move {
            let answer = answer
                .await
                .map_err(|error| instant_acme::Error::Other(Box::new(error)))?;
            Ok(BytesResponse::from(answer))
        })
    }
}

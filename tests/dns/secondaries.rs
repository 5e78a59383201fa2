//! A primary with three secondaries, of which one is late, one refuses and one is dead; and two views of one zone.

use std::net::SocketAddr;
use std::time::Duration;

use faythe_bed::names::{Cluster, NameServer, Setup};
use faythe_bed::until;

use super::*;

const HOST: &str = "www.example.test";
/// For what takes milliseconds on a machine with nothing else to do.
const SOON: Duration = Duration::from_secs(20);

/// A client whose zone has its servers on the port of `server`.
fn client_at(address: SocketAddr, server: &NameServer) -> Client {
    let key = faythe::dns::keyfile::read(&server.key_file()).unwrap();
    let mut setup = ZoneSetup::new(apex(ZONE), address.to_string().parse().unwrap(), key);
    setup.name_server_port = address.port();
    Client::new(vec![setup], clock())
}

#[tokio::test]
async fn p03_each_secondary_is_found_and_shows_what_it_has() {
    let mut cluster = Cluster::start(Setup::one_zone(ZONE), 3).await.unwrap();
    let client = client_at(cluster.primary.address(), &cluster.primary);
    let found = client.survey(&apex(ZONE)).await.unwrap();
    let addresses: Vec<SocketAddr> = found.iter().filter_map(|check| check.address).collect();
    let expected: Vec<SocketAddr> = cluster
        .secondaries
        .iter()
        .map(|secondary| secondary.address())
        .collect();
    assert_eq!(
        addresses, expected,
        "the update server need not be looked at twice"
    );
    let names: Vec<&str> = found.iter().map(|check| check.server.as_str()).collect();
    assert_eq!(
        names,
        ["ns2.example.test", "ns3.example.test", "ns4.example.test"]
    );

    let look = async |n: usize| client.look(&apex(ZONE), &found[n], &record(HOST)).await;
    cluster.secondaries[1].hold();
    publish(&client, HOST, "v").await.unwrap();
    until(SOON, "the prompt one shows the value", async || {
        Ok((look(0).await?.values == ["v"]).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(
        look(1).await.unwrap().values,
        [""; 0],
        "the late one has not heard of it"
    );
    cluster.secondaries[1].delay(Duration::ZERO);
    until(SOON, "the late one shows it too", async || {
        Ok((look(1).await?.values == ["v"]).then_some(()))
    })
    .await
    .unwrap();

    cluster.secondaries[2].refuse().await.unwrap();
    let refused = look(2).await.unwrap_err();
    assert!(refused.to_string().contains("REFUSED"), "{refused}");
    cluster.secondaries[2].die();
    let dead = look(2).await.unwrap_err().to_string();
    assert!(
        dead.contains("did not answer") && dead.contains("127.0.0.4"),
        "{dead}"
    );
}

#[tokio::test]
async fn p08_a_silent_secondary_costs_no_more_than_its_time_out() {
    let cluster = Cluster::start(Setup::one_zone(ZONE), 1).await.unwrap();
    let client = client_at(cluster.primary.address(), &cluster.primary);
    let found = client.survey(&apex(ZONE)).await.unwrap();
    cluster.secondaries[0].fall_silent();
    let (zone, record) = (apex(ZONE), record(HOST));
    let look = client.look(&zone, &found[0], &record);
    let error = tokio::time::timeout(SOON, look).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
}

#[tokio::test]
async fn p02_split_horizon_needs_no_setting() {
    let setup = Setup {
        views: vec!["inside".to_owned(), "outside".to_owned()],
        ..Setup::one_zone(ZONE)
    };
    let server = NameServer::start(setup).await.unwrap();
    let outside = server.view("outside").await.unwrap();
    let client = client_at(outside.address(), &server);
    publish(&client, HOST, "v").await.unwrap();
    let seen = look_at(&client, &outside.address().to_string(), HOST).await;
    assert_eq!(seen.unwrap(), values(["v"]));
    let inside = look_at(&client, &server.address().to_string(), HOST).await;
    assert_eq!(inside.unwrap(), values([]));
}

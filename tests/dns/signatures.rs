//! Keys, signatures and refusals, as BIND sees them.

use super::*;

#[tokio::test]
async fn p11_a_key_file_that_tsig_keygen_wrote_updates() {
    let named = Named::start();
    let file = named.folder().join("update.key");
    std::fs::write(&file, named.tsig_keygen("key-hmac-sha512", "hmac-sha512")).unwrap();
    // Another secret than the server's: the file is read, and the server notices.
    let key = faythe::dns::keyfile::read(&file).unwrap();
    let client = client_with(&named, ZONE, key, clock());
    assert_eq!(
        cause(publish(&client, "www.example.test", "v").await),
        UpdateFault::BadSig
    );

    std::fs::write(&file, named.key_file("key-hmac-sha512")).unwrap();
    let key = faythe::dns::keyfile::read(&file).unwrap();
    publish(&client_with(&named, ZONE, key, clock()), "www.example.test", "v")
        .await
        .unwrap();
}

#[tokio::test]
async fn p11_a_truncated_signature_that_the_server_does_not_take_is_badtrunc() {
    let named = Named::start();
    let key = Key::new(
        "key-hmac-sha256",
        Algorithm::HmacSha256,
        128,
        Sealed::new(SECRET.to_vec()),
    )
    .unwrap();
    let client = client_with(&named, ZONE, key, clock());
    assert_eq!(
        cause(publish(&client, "www.example.test", "v").await),
        UpdateFault::BadTrunc
    );
}

#[tokio::test]
async fn p11_a_truncated_signature_that_the_server_takes_updates() {
    let named = Named::start();
    let key = Key::new(
        "key-truncated",
        Algorithm::HmacSha256,
        128,
        Sealed::new(SECRET.to_vec()),
    )
    .unwrap();
    publish(&client_with(&named, ZONE, key, clock()), "www.example.test", "v")
        .await
        .unwrap();
}

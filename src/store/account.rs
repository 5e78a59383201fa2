//! The ACME account as a Secret: made once, its key replaced only where that is what is asked for.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;

use super::fault::Named;
use super::notes::KIND;
use super::{SavedAccount, StoreError};
use crate::cluster::{Fault, MANAGER, short_hash};
use crate::sealed::Sealed;

/// The value of the label [`KIND`].
const ACCOUNT: &str = "account";
/// The data entries: PKCS#8 DER, and two texts.
const KEY: &str = "key";
const NEXT: &str = "next-key";
const URL: &str = "url";
const DIRECTORY: &str = "directory";

/// Reads the account at `directory`.
pub(super) async fn read(
    api: &Api<Secret>,
    namespace: &str,
    directory: &str,
) -> Result<Option<SavedAccount>, StoreError> {
    Ok(find(api, namespace, directory).await?.map(|(account, _)| account))
}

/// Writes an account where there is none, or completes the one that is there by its URL.
pub(super) async fn save(
    api: &Api<Secret>,
    namespace: &str,
    account: &SavedAccount,
) -> Result<(), StoreError> {
    let name = name(&account.directory);
    let named = Named {
        namespace,
        name: Some(&name),
    };
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    let there = match find(api, namespace, &account.directory).await? {
        Some(there) => there,
        None => match api.create(&params, &secret(&name, account)).await {
            Ok(_) => return Ok(()),
            // Another instance was faster, or an earlier try of ours has arrived after all: the key will tell.
            Err(error) if Fault::of(&error) == Fault::Exists => find(api, namespace, &account.directory)
                .await?
                .ok_or_else(|| named.conflict())?,
            Err(error) => return Err(named.failed("create", error)),
        },
    };
    let (there, mut secret) = there;
    if there.key != account.key {
        return Err(named.conflict());
    }
    let Some(url) = account.url.as_ref().filter(|url| there.url.as_ref() != Some(url)) else {
        return Ok(());
    };
    // The object goes back as it came but for the URL, `resourceVersion` included, which guards it.
    secret
        .data
        .get_or_insert_default()
        .insert(URL.to_owned(), text(url));
    api.replace(&name, &params, &secret)
        .await
        .map_err(|error| named.failed("update", error))?;
    Ok(())
}

/// Writes an account in place of one that must still be there as `before` says.
pub(super) async fn replace(
    api: &Api<Secret>,
    namespace: &str,
    before: &SavedAccount,
    after: &SavedAccount,
) -> Result<(), StoreError> {
    let name = name(&before.directory);
    let named = Named {
        namespace,
        name: Some(&name),
    };
    let (there, mut found) = find(api, namespace, &before.directory)
        .await?
        .ok_or_else(|| named.conflict())?;
    if there != *before {
        // An earlier try of ours may have arrived after all.
        return if there == *after {
            Ok(())
        } else {
            Err(named.conflict())
        };
    }
    let data = found.data.get_or_insert_default();
    for entry in [KEY, NEXT, URL, DIRECTORY] {
        data.remove(entry);
    }
    data.extend(entries(after));
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    // `resourceVersion` is in it, which guards it.
    let replaced = api.replace(&name, &params, &found).await;
    replaced.map(drop).map_err(|error| named.failed("update", error))
}

async fn find(
    api: &Api<Secret>,
    namespace: &str,
    directory: &str,
) -> Result<Option<(SavedAccount, Secret)>, StoreError> {
    let name = name(directory);
    let named = Named {
        namespace,
        name: Some(&name),
    };
    let Some(secret) = api
        .get_opt(&name)
        .await
        .map_err(|error| named.failed("get", error))?
    else {
        return Ok(None);
    };
    let account = parse(&secret, directory).map_err(|what| named.unreadable(what))?;
    Ok(Some((account, secret)))
}

fn parse(secret: &Secret, directory: &str) -> Result<SavedAccount, String> {
    let entry = |key: &str| secret.data.as_ref()?.get(key).map(|bytes| bytes.0.clone());
    let written = |key: &str| {
        let bytes = entry(key).filter(|bytes| !bytes.is_empty());
        bytes
            .map(String::from_utf8)
            .transpose()
            .map_err(|_| format!("its entry `{key}` is not UTF-8"))
    };
    match written(DIRECTORY)? {
        Some(found) if found == directory => {}
        Some(found) => return Err(format!("it is an account at {found}, not at {directory}")),
        None => return Err(format!("it has no entry `{DIRECTORY}`")),
    }
    let key = entry(KEY)
        .filter(|key| !key.is_empty())
        .ok_or_else(|| format!("it has no entry `{KEY}`"))?;
    Ok(SavedAccount {
        directory: directory.to_owned(),
        key: Sealed::new(key),
        url: written(URL)?,
        next: entry(NEXT).filter(|key| !key.is_empty()).map(Sealed::new),
    })
}

fn entries(account: &SavedAccount) -> BTreeMap<String, ByteString> {
    let mut data = BTreeMap::from([
        (KEY.to_owned(), ByteString(account.key.open().to_vec())),
        (DIRECTORY.to_owned(), text(&account.directory)),
    ]);
    if let Some(url) = &account.url {
        data.insert(URL.to_owned(), text(url));
    }
    if let Some(next) = &account.next {
        data.insert(NEXT.to_owned(), ByteString(next.open().to_vec()));
    }
    data
}

fn secret(name: &str, account: &SavedAccount) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(KIND.to_owned(), ACCOUNT.to_owned())].into()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(entries(account)),
        ..Secret::default()
    }
}

fn name(directory: &str) -> String {
    format!("faythe-account-{}", short_hash(&[directory]))
}

fn text(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(url: Option<&str>) -> SavedAccount {
        SavedAccount {
            directory: "https://ca.example/dir".into(),
            key: Sealed::new(vec![0, 1, 255]),
            url: url.map(str::to_owned),
            next: url.map(|_| Sealed::new(vec![7])),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for account in [account(None), account(Some("https://ca.example/acct/1"))] {
            assert_eq!(parse(&secret("n", &account), &account.directory), Ok(account));
        }
    }

    #[test]
    fn another_directory_has_another_name_and_is_not_mistaken() {
        assert_ne!(name("https://a.example/dir"), name("https://b.example/dir"));
        let why = parse(&secret("n", &account(None)), "https://b.example/dir").unwrap_err();
        assert!(why.contains("https://ca.example/dir"), "{why}");
    }
}

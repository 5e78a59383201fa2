//! Whose signature the updates of a zone bear, kept up to date with the file that the key came from.
//!
//! A Kubernetes Secret that is mounted changes by a swapped symlink, so the files are looked at by path each time. A file
//! that cannot be read keeps the key that was read before, and is reported. Must not send anything.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use faythe_core::name::DnsName;
use tokio::sync::Notify;

use crate::dns::keyfile::{self, Hint, KeyFileError, Loaded};
use crate::dns::tsig::Key;
use crate::dns::{Observe, Observed};

/// Where a zone's key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file that may change.
    File(Box<KeyFile>),
    /// A key that does not change.
    Fixed(Key),
    /// The zone takes updates without signatures.
    Unsigned,
}

/// A key with the file that it was read from.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    hint: Hint,
    key: Key,
    state: FileState,
}

impl KeySource {
    /// Reads the key at `path`, to be read again whenever the file changes.
    ///
    /// # Errors
    /// Why there is no key to be had, with file, place and remedy.
    pub fn file(path: &Path, hint: Hint) -> Result<Self, KeyFileError> {
        // Looked at before it is read: a change in between is then seen as one.
        let state = FileState::of(path);
        let Loaded { key, warning } = keyfile::load(path, &hint)?;
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        Ok(Self::File(Box::new(KeyFile {
            path: path.to_owned(),
            hint,
            key,
            state,
        })))
    }
}

impl From<Key> for KeySource {
    fn from(key: Key) -> Self {
        Self::Fixed(key)
    }
}

/// What tells a file from its successor: device, inode, length and times of each file that may hold the key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState([Option<[i64; 6]>; 3]);

impl FileState {
    fn of(path: &Path) -> Self {
        // The bits are compared, never the numbers.
        Self(keyfile::candidates(path).map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some([
                found.dev().cast_signed(),
                found.ino().cast_signed(),
                found.size().cast_signed(),
                found.ctime(),
                found.ctime_nsec(),
                found.mtime_nsec(),
            ])
        }))
    }
}

/// Signs for one zone.
pub(crate) struct Signer {
    zone: DnsName,
    observe: Observe,
    /// Told of each change of a key.
    changed: Arc<Notify>,
    state: Mutex<State>,
}

struct State {
    source: KeySource,
    /// The key with its secret decoded twice, once that has turned out to be the right one.
    again: Option<Key>,
}

impl Signer {
    pub(crate) fn new(zone: DnsName, source: KeySource, changed: Arc<Notify>, observe: Observe) -> Self {
        Self {
            zone,
            observe,
            changed,
            state: Mutex::new(State { source, again: None }),
        }
    }

    /// The key to sign with now; none for a zone without.
    pub(crate) fn key(&self) -> Option<Key> {
        self.refresh();
        let state = self.state();
        match &state.source {
            KeySource::File(file) => Some(state.again.as_ref().unwrap_or(&file.key).clone()),
            KeySource::Fixed(key) => Some(state.again.as_ref().unwrap_or(key).clone()),
            KeySource::Unsigned => None,
        }
    }

    /// Whether the key may change.
    pub(crate) fn follows_a_file(&self) -> bool {
        matches!(self.state().source, KeySource::File(_))
    }

    /// What people call it.
    pub(crate) fn name(&self) -> String {
        match &self.state().source {
            KeySource::File(file) => file.key.to_string(),
            KeySource::Fixed(key) => key.to_string(),
            KeySource::Unsigned => "none".to_owned(),
        }
    }

    /// Reads the key again if its file has changed; says whether it is another key now.
    pub(crate) fn refresh(&self) -> bool {
        let mut state = self.state();
        let KeySource::File(file) = &mut state.source else {
            return false;
        };
        let seen = FileState::of(&file.path);
        if seen == file.state {
            return false;
        }
        file.state = seen;
        // A file of a few hundred octets, read when it has changed: not worth a thread of its own.
        match keyfile::load(&file.path, &file.hint) {
            Ok(Loaded { key, warning }) => {
                if let Some(warning) = warning {
                    tracing::warn!("{warning}");
                }
                let changed = key != file.key;
                file.key = key;
                if changed {
                    tracing::info!(zone = %self.zone, key = %file.key, "the key file has changed: updates are signed with the new key");
                    state.again = None;
                    self.changed.notify_one();
                    (self.observe)(&Observed::KeyRead {
                        zone: &self.zone,
                        result: "loaded",
                    });
                }
                changed
            }
            Err(error) => {
                tracing::error!(zone = %self.zone, "the key file has changed and cannot be used, so the key read before stays in use: {error}");
                (self.observe)(&Observed::KeyRead {
                    zone: &self.zone,
                    result: "failed",
                });
                false
            }
        }
    }

    /// Takes in that `key`, whose secret was decoded twice, is the right one.
    pub(crate) fn decoded_twice(&self, key: Key) {
        tracing::warn!(
            zone = %self.zone,
            %key,
            "the secret in the key file is base64-encoded twice; the server accepts it decoded twice: encode it once"
        );
        self.state().again = Some(key);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const SECRET: &str = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83v/+NFZ4k=";

    type Seen = Arc<Mutex<Vec<&'static str>>>;

    fn signer(path: &Path) -> (Signer, Seen) {
        let seen = Seen::default();
        let told = Arc::clone(&seen);
        let observe: Observe = Arc::new(move |observed: &Observed<'_>| {
            if let Observed::KeyRead { result, .. } = observed {
                told.lock().unwrap().push(result);
            }
        });
        let source = KeySource::file(path, Hint::default()).unwrap();
        (
            Signer::new("example.com".parse().unwrap(), source, Arc::default(), observe),
            seen,
        )
    }

    /// The key's name now.
    fn named(signer: &Signer) -> String {
        signer.key().unwrap().to_string()
    }

    #[test]
    fn p11_a_mount_that_swaps_its_symlink_changes_the_key() {
        // As kubelet does it: key -> ..data/key, ..data -> a folder with the time in its name.
        let mount = tempfile::tempdir().unwrap();
        let put = |folder: &str, name: &str| {
            fs::create_dir(mount.path().join(folder)).unwrap();
            let text = format!("hmac-sha256:{name}:{SECRET}");
            fs::write(mount.path().join(folder).join("key"), text).unwrap();
            symlink(folder, mount.path().join("..data_tmp")).unwrap();
            fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data")).unwrap();
        };
        put("..2026_01", "one");
        symlink("..data/key", mount.path().join("key")).unwrap();
        let (signer, seen) = signer(&mount.path().join("key"));
        assert_eq!(named(&signer), "one. (hmac-sha256)");
        assert!(!signer.refresh());
        put("..2026_02", "two");
        assert!(signer.refresh());
        assert_eq!(named(&signer), "two. (hmac-sha256)");
        put("..2026_03", "two");
        assert!(!signer.refresh(), "another file with the same key");
        assert_eq!(*seen.lock().unwrap(), ["loaded"]);
    }

    #[test]
    fn p11_a_broken_file_keeps_the_key_and_is_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, format!("hmac-sha256:one:{SECRET}")).unwrap();
        let (signer, seen) = signer(&path);
        fs::write(&path, "key one { algorithm").unwrap();
        assert_eq!(named(&signer), "one. (hmac-sha256)");
        fs::remove_file(&path).unwrap();
        for _ in 0..3 {
            assert_eq!(named(&signer), "one. (hmac-sha256)");
        }
        assert_eq!(
            *seen.lock().unwrap(),
            ["failed", "failed"],
            "broken, then gone; each told once"
        );
        fs::write(&path, format!("hmac-sha512:three:{SECRET}")).unwrap();
        assert_eq!(named(&signer), "three. (hmac-sha512)");
    }

    #[test]
    fn p11_a_secret_that_was_decoded_twice_is_forgotten_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "hmac-sha256:one:WVdKag==").unwrap();
        let (signer, _) = signer(&path);
        let once = signer.key().unwrap();
        let twice = once.decoded_again().unwrap();
        assert_ne!(once, twice);
        signer.decoded_twice(twice.clone());
        assert_eq!(signer.key(), Some(twice));
        fs::write(&path, "hmac-sha256:one:YWJj").unwrap();
        let fresh = signer.key().unwrap();
        assert_eq!(
            fresh,
            keyfile::read(&path).unwrap(),
            "the new file is taken as it is"
        );
    }
}

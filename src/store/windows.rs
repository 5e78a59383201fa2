//! What CAs have said about renewals, as Secrets: 20 bytes for a certificate, so that one Secret is enough for all but the
//! largest clusters.
//!
//! What cannot be read is left out: it is asked again.

use std::collections::BTreeMap;

use faythe_core::Timestamp;
use faythe_core::ari::Window;
use faythe_core::world::SavedWindow;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use super::StoreError;
use super::shelf::{self, Shelf};

/// Its kind among the Secrets of ours, and the beginning of their names.
const WINDOWS: &str = "windows";
/// The data entries.
const VERSION: &str = "version";
const SECRETS: &str = "secrets";
const PACKED: &str = "windows";
/// The form of what is packed.
const FORM: &str = "1";
/// Windows in one Secret: 800 kB of the 1 MiB that it may have.
const WINDOWS_MAX: usize = 40_000;
/// Bytes of one: whose it is; and in seconds its start, its end, and when the CA is asked again.
const WINDOW: usize = 20;

/// The windows in a namespace.
pub(super) struct SavedWindows {
    shelf: Shelf,
}

impl SavedWindows {
    pub(super) fn new(api: Api<Secret>, namespace: Box<str>) -> Self {
        Self {
            shelf: Shelf::new(api, namespace, WINDOWS),
        }
    }

    /// Reads them all.
    pub(super) async fn read(&self) -> Result<Vec<SavedWindow>, StoreError> {
        let mut all = Vec::new();
        let (mut number, mut secrets) = (0, 1);
        while number < secrets.min(shelf::MOST) {
            let name = name(number);
            if let Some(secret) = self.shelf.get(&name).await? {
                if text(&secret, VERSION) != Some(FORM) {
                    let named = self.shelf.named(&name);
                    tracing::warn!(
                        "{named} is of another version; the CA is asked anew when each certificate is to be renewed"
                    );
                } else {
                    all.extend(entries(&secret));
                    let count = text(&secret, SECRETS).and_then(|count| count.parse().ok());
                    secrets = secrets.max(count.unwrap_or(1));
                }
            }
            number += 1;
        }
        Ok(all)
    }

    /// Saves them all, the first Secret last: it says how many there are.
    pub(super) async fn save(&self, windows: &[SavedWindow]) -> Result<(), StoreError> {
        let chunks: Vec<_> = windows.chunks(WINDOWS_MAX).collect();
        let secrets = chunks.len().max(1);
        for number in (0..secrets).rev() {
            let packed = pack(chunks.get(number).copied().unwrap_or_default());
            let data = [
                (VERSION, FORM.as_bytes().to_vec()),
                (SECRETS, secrets.to_string().into_bytes()),
                (PACKED, packed),
            ];
            let data = BTreeMap::from(data.map(|(key, bytes)| (key.to_owned(), ByteString(bytes))));
            match number {
                0 => self.shelf.put(&name(0), data).await?,
                _ => self.shelf.put_further(&name(number), data).await?,
            }
        }
        Ok(())
    }
}

fn name(number: usize) -> String {
    if number == 0 {
        format!("faythe-{WINDOWS}")
    } else {
        format!("faythe-{WINDOWS}-{number}")
    }
}

fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()
}

fn entries(secret: &Secret) -> Vec<SavedWindow> {
    let packed = secret.data.as_ref().and_then(|data| data.get(PACKED));
    let packed = packed.map_or(&[][..], |bytes| bytes.0.as_slice());
    packed.chunks_exact(WINDOW).filter_map(unpack).collect()
}

fn pack(windows: &[SavedWindow]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(windows.len() * WINDOW);
    for SavedWindow { of, window, next } in windows {
        let (start, end) = window.in_seconds();
        bytes.extend(of.to_be_bytes());
        for second in [start, end, next.as_second()] {
            bytes.extend(u32::try_from(second.max(0)).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    bytes
}

fn unpack(bytes: &[u8]) -> Option<SavedWindow> {
    let (of, rest) = bytes.split_first_chunk()?;
    let (start, rest) = rest.split_first_chunk()?;
    let (end, rest) = rest.split_first_chunk()?;
    let time = |bytes: [u8; 4]| Timestamp::from_second(u32::from_be_bytes(bytes).into()).ok();
    Some(SavedWindow {
        of: u64::from_be_bytes(*of),
        window: Window::new(time(*start)?, time(*end)?)?,
        next: time(rest.try_into().ok()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p21_a_window_is_saved_no_later_and_no_shorter() {
        let at = |second: i64, nanosecond| Timestamp::new(1_800_000_000 + second, nanosecond).unwrap();
        let saved = SavedWindow {
            of: u64::MAX - 1,
            window: Window::new(at(0, 5), at(0, 7)).unwrap(),
            next: at(60, 9),
        };
        let packed = pack(&[saved]);
        assert_eq!(packed.len(), WINDOW);
        let read = unpack(&packed).unwrap();
        assert_eq!((read.of, read.next), (saved.of, at(60, 0)));
        assert_eq!(read.window, Window::new(at(0, 0), at(1, 0)).unwrap());
        // And what is read is packed as it was.
        assert_eq!(pack(&[read]), packed);
    }

    #[test]
    fn a_full_secret_keeps_within_what_the_api_server_takes() {
        const { assert!(WINDOWS_MAX * WINDOW < 1_000_000) };
    }
}

//! What CAs have said about renewals, as Secrets: 20 bytes for a certificate, and 8 more for one that is recalled, so that
//! one Secret is enough for all but the largest clusters.
//!
//! What cannot be read is left out: it is asked again.

use std::collections::{BTreeMap, BTreeSet};

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
/// Where it is missing, as earlier versions left it, none is recalled.
const MOVED: &str = "moved";
/// The form of what is packed.
const FORM: &str = "1";
/// Windows in one Secret: 700 kB of the 1 MiB that it may have, or 980 if all are recalled.
const WINDOWS_MAX: usize = 35_000;
/// Bytes of one: whose it is; and in seconds its start, its end, and when the CA is asked again.
const WINDOW: usize = 20;
/// Bytes of one that the CA has moved into the past: whose it is.
const OF: usize = 8;

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
            let chunk = chunks.get(number).copied().unwrap_or_default();
            let data = [
                (VERSION, FORM.as_bytes().to_vec()),
                (SECRETS, secrets.to_string().into_bytes()),
                (PACKED, pack(chunk)),
                (MOVED, pack_moved(chunk)),
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
    let packed = |key| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes.map_or(&[][..], |bytes: &ByteString| bytes.0.as_slice())
    };
    unpack(packed(PACKED), packed(MOVED))
}

fn pack(windows: &[SavedWindow]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(windows.len() * WINDOW);
    for saved in windows {
        let (start, end) = saved.window.in_seconds();
        bytes.extend(saved.of.to_be_bytes());
        for second in [start, end, saved.next.as_second()] {
            bytes.extend(u32::try_from(second.max(0)).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    bytes
}

/// Which of them are recalled.
fn pack_moved(windows: &[SavedWindow]) -> Vec<u8> {
    let moved = windows.iter().filter(|saved| saved.moved);
    moved.flat_map(|saved| saved.of.to_be_bytes()).collect()
}

fn unpack(windows: &[u8], moved: &[u8]) -> Vec<SavedWindow> {
    let moved: BTreeSet<&[u8]> = moved.chunks_exact(OF).collect();
    let windows = windows.chunks_exact(WINDOW);
    let windows = windows.filter_map(|bytes| unpack_one(bytes, moved.contains(&bytes[..OF])));
    windows.collect()
}

fn unpack_one(bytes: &[u8], moved: bool) -> Option<SavedWindow> {
    let (of, rest) = bytes.split_first_chunk()?;
    let (start, rest) = rest.split_first_chunk()?;
    let (end, rest) = rest.split_first_chunk()?;
    let time = |bytes: [u8; 4]| Timestamp::from_second(u32::from_be_bytes(bytes).into()).ok();
    Some(SavedWindow {
        of: u64::from_be_bytes(*of),
        window: Window::new(time(*start)?, time(*end)?)?,
        moved,
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
            moved: true,
            next: at(60, 9),
        };
        let packed = pack(&[saved]);
        assert_eq!(packed.len(), WINDOW);
        let read = unpack(&packed, &pack_moved(&[saved]));
        let [read] = read[..] else { panic!("{read:?}") };
        assert!(read.moved);
        assert_eq!((read.of, read.next), (saved.of, at(60, 0)));
        assert_eq!(read.window, Window::new(at(0, 0), at(1, 0)).unwrap());
        // And what is read is packed as it was.
        assert_eq!(pack(&[read]), packed);
        // An earlier version did not say which are recalled.
        let earlier = SavedWindow { moved: false, ..read };
        assert_eq!(unpack(&packed, &[]), [earlier]);
        assert!(pack_moved(&[earlier]).is_empty());
    }

    #[test]
    fn a_full_secret_keeps_within_what_the_api_server_takes() {
        const { assert!(WINDOWS_MAX * (WINDOW + OF) < 1_000_000) };
    }
}

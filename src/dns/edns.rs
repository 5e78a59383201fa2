//! EDNS: an OPT record in the request, so that a server may explain a refusal, and the explanation (RFC 8914).
//!
//! Must not judge: what a server adds in words is for people.

use domain::base::Message;
use domain::base::opt::ExtendedError;

/// The OPT record of a request: no options, answers of 1,232 octets by UDP (RFC 6891 §6.1.2, DNS flag day of 2020).
const OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];
/// Octets that the record takes.
pub(crate) const OVERHEAD: usize = OPT.len();
/// The count of additional records in a message's header (RFC 1035 §4.1.1).
const ARCOUNT: std::ops::Range<usize> = 10..12;
/// The most errors of one answer that are shown; a server has one as a rule.
const ERRORS_MAX: usize = 3;
/// Characters of an explanation that are shown.
const SHOWN: usize = 120;

/// Adds the record to a message that has no additional records yet.
pub(crate) fn with_opt(message: &[u8]) -> Vec<u8> {
    let mut message = [message, &OPT].concat();
    if let Some(field) = message.get_mut(ARCOUNT) {
        field.copy_from_slice(&1_u16.to_be_bytes());
    }
    message
}

/// What the server explains, for people; `None` if it says nothing.
pub(crate) fn explanation(answer: &Message<[u8]>) -> Option<String> {
    words(answer).map(|words| format!("the server adds: {words}"))
}

/// The same without an introduction: `EDE 18 Prohibited: not from here`.
pub(crate) fn words(answer: &Message<[u8]>) -> Option<String> {
    let opt = answer.opt()?;
    let errors = opt.opt().iter::<ExtendedError<&[u8]>>();
    let words = errors.filter_map(Result::ok).map(|error| {
        let mut text = format!("EDE {}", error.code().to_int());
        if let Some(mnemonic) = error.code().to_mnemonic_str() {
            text.push(' ');
            text.push_str(mnemonic);
        }
        let added = error
            .text_slice()
            .map(|octets| plain(&String::from_utf8_lossy(octets)));
        if let Some(added) = added.filter(|added| !added.is_empty()) {
            text.push_str(": ");
            text.push_str(&added);
        }
        text
    });
    let words: Vec<String> = words.take(ERRORS_MAX).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// The beginning of a text from outside, without anything that a terminal or a log would obey.
fn plain(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An answer without sections whose OPT record has these options.
    fn answer(options: &[u8]) -> Vec<u8> {
        let mut message = vec![
            0, 1, 0xa8, 0x05, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 0xd0, 0, 0, 0, 0,
        ];
        message.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
        message.extend(options);
        message
    }

    fn explained(options: &[u8]) -> Option<String> {
        let answer = answer(options);
        explanation(Message::from_slice(&answer).unwrap())
    }

    #[test]
    fn p11_an_extended_error_is_shown_with_its_text() {
        // Option 15; code 18 (prohibited) and a text with a line end.
        let text = explained(b"\x00\x0f\x00\x0a\x00\x12not\nhere").unwrap();
        assert!(text.contains("not here") && !text.contains('\n'), "{text:?}");
        let bare = explained(b"\x00\x0f\x00\x02\x00\x12").unwrap();
        assert!(!bare.ends_with(')') || !bare.contains("()"), "{bare:?}");
        assert_eq!(explained(b""), None);
        assert_eq!(explained(b"\x00\x0a\x00\x02ab"), None, "another option");
        let long = [b"\x00\x0f\x01\x02\x00\x12".as_slice(), &[b'x'; 256]].concat();
        assert!(explained(&long).unwrap().len() < 200);
    }

    #[test]
    fn the_record_is_counted() {
        let message = with_opt(&[0; 12]);
        assert_eq!((message.len(), message[11]), (12 + OVERHEAD, 1));
        assert!(Message::from_slice(&message).unwrap().opt().is_some());
    }

    proptest! {
        #[test]
        fn no_options_make_the_reader_panic(options in proptest::collection::vec(any::<u8>(), 0..60)) {
            drop(explained(&options));
        }
    }
}

//! The contract with the DNS: publish, withdraw and look up TXT values of challenges, and find where they go and who must
//! show them.
//!
//! Updates are ours (RFC 2136, signed by RFC 8945); the wire format is a crate's. Implementations choose no zone and
//! remove no value but those that S09 names: at the name of a publication whatever is not a live value of ours, if the
//! publication says so, and in a withdrawal exactly the value given.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::name::{DnsName, RecordName};
use faythe_core::route::Found;
use faythe_core::zone::Check;
use futures::future::BoxFuture;
use thiserror::Error;

use crate::dns::server::ServerAddr;

mod authority;
mod batch;
mod caa;
pub mod client;
mod courier;
mod edns;
mod fleet;
#[doc(hidden)]
pub mod fuzzing;
pub mod keyfile;
mod lookup;
mod primary;
mod query;
mod route;
mod send;
pub mod server;
pub mod signer;
mod survey;
pub mod tsig;
mod update;

/// What becomes of values that are not ours at a name where one of ours is published (S09, P15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// They stay: the name is reached through a delegation, and others may use it too.
    Kept,
    /// They go, in the message that brings ours: the name is a challenge's own.
    Removed,
}

/// What happens to updates; for metrics.
#[derive(Clone, Copy, Debug)]
pub enum Observed<'a> {
    /// A server has told its clock, and its signature proves it.
    Clock {
        /// The server.
        server: &'a ServerAddr,
        /// Our clock minus its, in seconds.
        offset_secs: i64,
    },
    /// A key file that had changed was read.
    KeyRead {
        /// The zone.
        zone: &'a DnsName,
        /// `loaded` or `failed`.
        result: &'static str,
    },
    /// A server was sent an update.
    Update {
        /// The zone.
        zone: &'a DnsName,
        /// The server.
        server: &'a ServerAddr,
        /// `ok`, or the code of the fault.
        result: &'static str,
        /// How long it took, all tries at this server together.
        took: Duration,
    },
}

/// Told of what happens to updates.
pub type Observe = Arc<dyn Fn(&Observed<'_>) + Send + Sync>;

/// Whether an update may be sent; asked right before each is. One that has waited here while somebody else came to change
/// the zone would remove values of theirs, or bring back one that they have withdrawn (P38).
pub type Leave = Arc<dyn Fn() -> bool + Send + Sync>;

/// Name servers that take our updates, and those that must show them.
pub trait Dns: Send + Sync {
    /// Counts `value` among the live ones at `record` without sending anything; for values that were published before
    /// this process began.
    fn adopt(&self, zone: &DnsName, record: &RecordName, value: &str);

    /// Makes `value` stand at `record` beside our other live values there (S08, S09); what else stands there goes if
    /// `foreign` and the zone's own rule both say so.
    ///
    /// Returns when the server has acknowledged it with a verified signature. May be repeated. The value stays among
    /// the live ones, also after an error, until it is withdrawn.
    fn publish<'a>(
        &'a self,
        zone: &'a DnsName,
        record: &'a RecordName,
        value: &'a str,
        foreign: Foreign,
    ) -> BoxFuture<'a, Result<(), DnsError>>;

    /// Removes exactly `value` from `record`. May be repeated; a value that is not there is no error.
    fn withdraw<'a>(
        &'a self,
        zone: &'a DnsName,
        record: &'a RecordName,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), DnsError>>;

    /// Resolves when a fault of updates may have been mended on our side, as by another key in its file.
    fn repaired(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Asks each update server of `zone`, as configured, for the zone's serial number: one that holds the zone answers with
    /// authority (P10).
    fn authority<'a>(&'a self, zone: &'a DnsName) -> BoxFuture<'a, Vec<(String, Result<u32, LookError>)>>;

    /// Asks one server once which TXT values stand at `record`, a record of `zone`.
    ///
    /// A name that does not exist, or has no TXT, is an empty answer and no error.
    fn look<'a>(
        &'a self,
        zone: &'a DnsName,
        check: &'a Check,
        record: &'a RecordName,
    ) -> BoxFuture<'a, Result<Answer, LookError>>;

    /// Asks the update server of `zone` what stands at `record`: an alias that somebody has made for it, the beginning of
    /// another zone, or nothing that matters to a challenge (P06, P07).
    fn find<'a>(
        &'a self,
        zone: &'a DnsName,
        record: &'a RecordName,
    ) -> BoxFuture<'a, Result<Found, AskError>>;

    /// Asks the update server of `zone` which CAA records count for the first of `names`: those at the first that has any. All
    /// of them are in the zone.
    fn caa<'a>(
        &'a self,
        zone: &'a DnsName,
        names: &'a [DnsName],
    ) -> BoxFuture<'a, Result<Option<faythe_core::caa::Found>, AskError>>;

    /// Finds every address of every name server of `zone`, by its own NS records at its update server (P03).
    ///
    /// May be known from a moment ago.
    fn survey<'a>(&'a self, zone: &'a DnsName) -> BoxFuture<'a, Result<Vec<Check>, AskError>>;
}

/// Why an update was not made.
#[derive(Clone, Debug, Error)]
#[error("update of zone {zone} at {server} with key {key}: {cause}{}", Tail(more))]
pub struct DnsError {
    /// The zone.
    pub zone: DnsName,
    /// The server, as configured.
    pub server: String,
    /// The TSIG key's name and algorithm.
    pub key: String,
    /// What came back, and the remedy.
    pub cause: UpdateFault,
    /// What else helps to understand it: the server's own words, and how other servers of the zone fared.
    pub more: Vec<String>,
}

/// Prints what is added to a message.
struct Tail<'a>(&'a [String]);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|more| write!(f, "; {more}"))
    }
}

/// What can be wrong with an update (RFC 2136 §2.2, RFC 8945 §5.2 and §5.3), told apart for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UpdateFault {
    /// The server does not know the key's name, or not with this algorithm.
    #[error(
        "BADKEY: the server does not know this key name, or not with this algorithm, or (Knot) has no `acl` that lets it \
         update this zone; compare all three with its configuration"
    )]
    BadKey,
    /// The server has the key with another secret.
    #[error("BADSIG: the server has this key with another secret; copy the key file again")]
    BadSig,
    /// The same, and decoding the secret once more has not helped either.
    #[error(
        "BADSIG: the server has this key with another secret; ours looks base64-encoded twice, but decoded once more it is \
         not the server's either; copy the key file again"
    )]
    BadSigTwice,
    /// The clocks differ by more than the fudge.
    #[error(
        "BADTIME: the server's clock says {server_time}, and ours is {} s {} it; mend the time synchronization",
        offset_secs.unsigned_abs(),
        if *offset_secs < 0 { "behind" } else { "ahead of" }
    )]
    BadTime {
        /// Our clock minus the server's, in seconds.
        offset_secs: i64,
        /// What the server's clock says.
        server_time: Timestamp,
    },
    /// The server does not accept truncated signatures of this length.
    #[error(
        "BADTRUNC: the server does not accept a signature truncated to this length; use the key's full length"
    )]
    BadTrunc,
    /// The server's answer was not signed, or its signature is wrong, though it says success.
    #[error("the server's answer is {0}; it is not taken as success")]
    Forged(&'static str),
    /// The message could not be understood, by either side.
    #[error("FORMERR: {0}")]
    Format(String),
    /// This instance may not change the zone any more.
    #[error("not sent: another instance may lead by now")]
    NoLeave,
    /// The server is not primary for the zone.
    #[error("NOTAUTH: the server is not primary for this zone; check `auth_dns_server` and `auth_dns_zone`")]
    NotAuth,
    /// The server takes no updates, as a secondary may not.
    #[error("NOTIMP: the server takes no updates of this zone; name its primary in `auth_dns_server`")]
    NotImp,
    /// The record's name is outside the zone.
    #[error("NOTZONE: the record is outside the zone; check `auth_dns_zone`")]
    NotZone,
    /// Policy of the server forbids it.
    #[error("REFUSED: {0}")]
    Refused(&'static str),
    /// Any other response code.
    #[error("the server answered {0}")]
    Rcode(String),
    /// The server has trouble of its own.
    #[error("SERVFAIL: the server could not carry out the update; its log says why")]
    ServFail,
    /// The server's name has no address, or nobody answers there.
    #[error("no answer: {0}")]
    Unreachable(String),
}

impl UpdateFault {
    /// Stable code for metrics and verdicts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadKey => "badkey",
            Self::BadSig | Self::BadSigTwice => "badsig",
            Self::BadTime { .. } => "badtime",
            Self::BadTrunc => "badtrunc",
            Self::Forged(_) => "forged",
            Self::Format(_) => "formerr",
            Self::NoLeave => "not-leading",
            Self::NotAuth => "notauth",
            Self::NotImp => "notimp",
            Self::NotZone => "notzone",
            Self::Refused(_) => "refused",
            Self::Rcode(_) => "rcode",
            Self::ServFail => "servfail",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

/// What one server shows at a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The TXT values there.
    pub values: Vec<String>,
    /// What the server says about its answer (RFC 8914).
    pub remark: Option<String>,
}

/// Why an update server did not say what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{server} {cause} (asked for {question})")]
pub struct AskError {
    /// The server, as configured.
    pub server: String,
    /// What it was asked.
    pub question: String,
    /// What came back.
    pub cause: LookError,
}

/// Why a look at one server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LookError {
    /// The answer could not be read.
    #[error("gave an answer that cannot be read: {0}")]
    Format(String),
    /// A name server of the zone does not hold the zone.
    #[error(
        "is lame: it answers without authority; let it serve the zone, or remove it from the zone's NS records"
    )]
    Lame,
    /// An update server does not hold the zone.
    #[error(
        "answers without authority: it does not hold this zone; check the zone's name and its update server"
    )]
    NotServed,
    /// The server answered with a response code that is neither success nor absence.
    #[error("answered {0}")]
    Rcode(String),
    /// Nobody answered.
    #[error("did not answer: {0}")]
    Unreachable(String),
}

impl LookError {
    /// Stable code for metrics and verdicts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Lame | Self::NotServed => "dns-lame",
            Self::Format(_) | Self::Rcode(_) | Self::Unreachable(_) => "no-answer",
        }
    }

    /// Takes an I/O error apart for a person.
    #[must_use]
    pub fn io(error: &io::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// Prints a server as configured with the address that was used.
pub(crate) struct At<'a>(pub(crate) &'a str, pub(crate) std::net::SocketAddr);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.1)
    }
}

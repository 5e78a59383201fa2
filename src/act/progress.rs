//! What the work on an order tells: while it goes on, and in the end.

use std::time::Duration;

use faythe_core::budget::Spending;
use faythe_core::cas::CaId;
use faythe_core::cert::Held;
use faythe_core::name::Hostname;
use faythe_core::order::Stage;
use faythe_core::schedule::{Failures, GivenUp};

use super::Fault;

/// What is told while an order goes on.
#[derive(Debug)]
pub enum Progress {
    /// A CA has done what it was asked, and an order has come further.
    CaAnswered(CaId),
    /// CAA records say whether a CA may issue for a name, and why not.
    Caa(Hostname, CaId, Option<String>),
    /// The CA does not take a host's certificate for one that another may take the place of.
    Irreplaceable(Hostname),
    /// Something has become of an order that the ledger has to know.
    Spent(Hostname, Spending),
    /// It has come to another stage.
    Stage(Hostname, Stage),
    /// A certificate is held: just stored, or found where it belongs.
    Held {
        /// For which host.
        host: Hostname,
        /// The facts.
        held: Held,
        /// Whether this order brought it; then how that went.
        issued: Option<Box<Issued>>,
    },
}

/// How an issuance went.
#[derive(Debug)]
pub struct Issued {
    /// How long it took.
    pub took: Duration,
    /// Name servers that did not have to show its challenge in the end, with what they answered.
    pub without: Vec<String>,
}

/// How the work on an order ended.
#[derive(Debug)]
pub enum Outcome {
    /// The place is somebody else's.
    Blocked {
        /// Whose, and what to do.
        reason: String,
        /// Whether a note is kept.
        noted: bool,
    },
    /// The CA has seen it fail; this has been saved.
    Failed(Failures),
    /// The order was of no use and nothing is left of it; another keeps its distance, and this has been saved.
    GivenUp(GivenUp),
    /// A step failed in a way that the CA did not see; the order is kept.
    Rested {
        /// Whether there is a note.
        noted: bool,
        /// Which step.
        stage: Stage,
        /// What was wrong.
        fault: Fault,
        /// How often in a row.
        tries: u32,
    },
    /// Nothing is left to do.
    Settled,
    /// The process is about to end, or another instance leads.
    Stopped,
}

//! What is at rest leaves nothing behind, and what is somebody else's is left alone.

use faythe_core::Timestamp;
use faythe_core::name::Hostname;
use faythe_core::schedule::ahead;

use jiff::SignedDuration;

use super::Laws;
use crate::outside::{Outside, secret_name};
use crate::shell::Shell;

/// What nobody knows of any more is found within this: two looks for notes of others, ten minutes apart.
const FOUND: SignedDuration = SignedDuration::from_mins(30);

impl Laws {
    /// Nobody works on `host` any more, so that neither a note nor a value is left. `shells` are all that live; where one
    /// has died or has not looked yet, the next one has something to clean up.
    pub(crate) fn check_left<'a>(
        &mut self,
        host: &Hostname,
        shells: impl Iterator<Item = Option<&'a Shell>>,
        outside: &Outside,
    ) {
        let mut shells = shells;
        let idle = shells.all(|shell| {
            shell.is_some_and(|shell| {
                shell.acts() && shell.world.is_known() && shell.world.activity(host).is_none()
            })
        });
        let noted = outside.cluster.noted(host).is_some();
        let record = host.challenge_record();
        let stands = outside.dns.values().any(|(at, value)| {
            *at == record
                && outside
                    .ca
                    .order_of(value)
                    .is_some_and(|order| order.host == *host)
        });
        if !idle || !(noted || stands) || outside.cluster.down > 0 {
            self.left.remove(host);
            return;
        }
        let since = *self.left.entry(host.clone()).or_insert(outside.now);
        let words = format!("{host} is at rest since {since}: noted {noted}, value in the DNS {stands}");
        self.law(ahead(since, FOUND) > outside.now, outside.now, &words);
    }

    /// Somebody else's Secrets and TXT values are as they left them.
    pub(crate) fn check_foreign(&mut self, outside: &Outside) {
        let same = self.foreign == outside.cluster.foreign;
        self.law(same, outside.now, "somebody else's Secret is not as it was");
        let same = outside.dns.has_foreign();
        self.law(same, outside.now, "somebody else's TXT value is gone");
    }

    /// Somebody puts a Secret of his own at the place of `host`, or takes it away.
    pub(crate) fn squats(&mut self, host: &Hostname, held: Option<String>, now: Timestamp) {
        self.meddled.insert(host.clone(), now);
        let name = secret_name(host);
        match held {
            Some(held) => self.foreign.insert(name, held),
            None => self.foreign.remove(&name),
        };
    }
}

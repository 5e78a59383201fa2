//! The part of the world that concerns the CA's own words: what it has asked us to leave alone, and for how long.

use jiff::Timestamp;

use super::World;
use crate::activity::Hold;
use crate::budget::Exemption;
use crate::name::Hostname;
use crate::problem::Scope;

impl World {
    /// The CA has to be left alone, as far as `scope` says. A time that the CA has named is never made shorter: of two
    /// answers to two requests the more patient one holds.
    pub fn set_hold(&mut self, scope: Scope, hold: Hold) {
        let known = self.holds.get(&scope);
        if known.is_none_or(|known| !known.told || known.until <= hold.until) {
            self.holds.insert(scope, hold);
            self.holds_changed = true;
        }
    }

    /// The CA has answered: what was held because it could not is held no longer.
    pub fn clear_trouble(&mut self) {
        if self.ca_is_in_trouble() {
            self.holds.remove(&Scope::Account);
            self.holds_changed = true;
        }
    }

    /// Whether the CA could not be used when it was last asked, and has done nothing that it was asked since.
    #[must_use]
    pub fn ca_is_in_trouble(&self) -> bool {
        self.holds.get(&Scope::Account).is_some_and(|hold| !hold.told)
    }

    /// Forgets the holds that are over. One that the CA did not name stays, for it counts how often in a row there was
    /// trouble, until [`Self::clear_trouble`].
    pub(crate) fn expire_holds(&mut self, now: Timestamp) {
        self.holds.retain(|_, hold| !hold.told || hold.until > now);
    }

    /// The hold that keeps an order for `host` from the CA longest, if one does at `now`.
    #[must_use]
    pub fn hold_on(&self, host: &Hostname, exemption: Exemption, now: Timestamp) -> Option<&Hold> {
        self.holds
            .iter()
            .filter(|(scope, hold)| hold.until > now && scope.covers(host.base(), exemption))
            .map(|(_, hold)| hold)
            .max_by_key(|hold| hold.until)
    }

    /// The hold of one scope, in force or past.
    #[must_use]
    pub fn hold_of(&self, scope: &Scope) -> Option<&Hold> {
        self.holds.get(scope)
    }
}

//! The name servers of the zones: a primary that takes updates, and secondaries that lag behind it.

use std::collections::{BTreeMap, BTreeSet};

use faythe_core::Timestamp;
use faythe_core::name::RecordName;
use faythe_core::order::ChallengeValue;
use faythe_core::schedule::ahead;
use jiff::SignedDuration;

use crate::dice::Dice;

/// How many servers have to show a value, the primary first.
const SERVERS: usize = 3;

/// Values of others, at records that are no challenge of ours.
const FOREIGN: [(&str, &str); 3] = [
    ("_acme-challenge.elsewhere.example.com", "another tool's"),
    ("_acme-challenge.test", "another tool's"),
    ("h0.example.com", "v=spf1 -all"),
];

/// All servers of all zones.
pub(crate) struct Dns {
    /// From when on each server shows a value.
    records: BTreeMap<RecordName, BTreeMap<String, [Timestamp; SERVERS]>>,
    foreign: Vec<(RecordName, &'static str)>,
    /// How many faults it has at once; updates are refused while there is one.
    pub(crate) refusing: usize,
    /// How long secondaries lag at most, in seconds.
    pub(crate) lag_secs: i64,
    /// Values that the last secondary never gets.
    pub(crate) hidden: BTreeSet<RecordName>,
    /// The last secondary gets nothing new before this.
    pub(crate) cut_off_until: Timestamp,
}

/// The update was refused.
pub(crate) struct Refused;

impl Dns {
    pub(crate) fn new(lag_secs: i64) -> Self {
        let foreign = FOREIGN.map(|(record, value)| (RecordName::parse(record).unwrap(), value));
        let stand = |value: &str| [(value.to_owned(), [Timestamp::MIN; SERVERS])].into();
        let records = foreign
            .iter()
            .map(|(record, value)| (record.clone(), stand(value)));
        Self {
            records: records.collect(),
            foreign: foreign.into(),
            refusing: 0,
            lag_secs,
            hidden: BTreeSet::new(),
            cut_off_until: Timestamp::MIN,
        }
    }

    /// A signed update that puts `live` in the place of whatever stands at a record (S09).
    pub(crate) fn publish(
        &mut self,
        record: &RecordName,
        live: &BTreeSet<String>,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Result<(), Refused> {
        if self.refusing > 0 {
            return Err(Refused);
        }
        let values = self.records.entry(record.clone()).or_default();
        values.retain(|value, _| live.contains(value));
        for value in live {
            if values.contains_key(value) {
                continue;
            }
            let mut visible = [now; SERVERS];
            for at in &mut visible[1..] {
                *at = ahead(
                    now,
                    SignedDuration::from_millis(dice.between(0, self.lag_secs * 1000)),
                );
            }
            visible[SERVERS - 1] = visible[SERVERS - 1].max(self.cut_off_until);
            if self.hidden.contains(record) {
                visible[SERVERS - 1] = Timestamp::MAX;
            }
            values.insert(value.clone(), visible);
        }
        Ok(())
    }

    /// A signed update that removes one value.
    pub(crate) fn withdraw(&mut self, value: &ChallengeValue) -> Result<(), Refused> {
        if self.refusing > 0 {
            return Err(Refused);
        }
        if let Some(record) = self.records.get_mut(&value.record) {
            record.remove(&value.value);
            if record.is_empty() {
                self.records.remove(&value.record);
            }
        }
        Ok(())
    }

    /// Whether every server shows the value.
    pub(crate) fn shows(&self, value: &ChallengeValue, now: Timestamp) -> bool {
        let record = self.records.get(&value.record);
        record
            .and_then(|record| record.get(&value.value))
            .is_some_and(|visible| visible.iter().all(|at| *at <= now))
    }

    /// What one of the servers answers.
    pub(super) fn seen(&self, record: &RecordName, now: Timestamp, dice: &mut Dice) -> BTreeSet<String> {
        let last = i64::try_from(SERVERS - 1).unwrap();
        let server = usize::try_from(dice.between(0, last)).unwrap();
        let values = self.records.get(record).into_iter().flatten();
        values
            .filter(|(_, visible)| visible[server] <= now)
            .map(|(value, _)| value.clone())
            .collect()
    }

    /// Whether the values of others stand.
    pub(crate) fn has_foreign(&self) -> bool {
        self.foreign.iter().all(|(record, value)| {
            let record = self.records.get(record);
            record.is_some_and(|values| values.contains_key(*value))
        })
    }

    /// Everything of ours that stands, with its record.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&RecordName, &str)> {
        let records = self.records.iter();
        let all =
            records.flat_map(|(record, values)| values.keys().map(move |value| (record, value.as_str())));
        all.filter(|(_, value)| !FOREIGN.iter().any(|(_, foreign)| foreign == value))
    }
}

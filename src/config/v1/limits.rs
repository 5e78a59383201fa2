//! What the CA allows, and how much of it we use: `cas[].limits`.

use std::time::Duration;

use faythe_core::budget::{
    COUNT_MAX, Endpoint, Kind as Counted, Limit, Limits, PERIOD_MAX, Preset, Requests,
};

use super::super::keys::{Absent, Key, Kind, Section};
use super::super::reader::Reader;
use super::super::syntax;

pub(super) const LIMITS: Key = Key {
    name: "limits",
    kind: Kind::Object,
    absent: Absent::Means("the preset that belongs to the URL"),
    purpose: "what the CA allows, and how much of it is used",
};

const PRESET: Key = Key {
    name: "preset",
    kind: Kind::String,
    absent: Absent::Means("the one that belongs to the URL"),
    purpose: "the name of a known set of limits",
};
const SHARE: Key = Key {
    name: "share",
    kind: Kind::Integer {
        unit: "percent",
        range: 1..=100,
    },
    absent: Absent::As("100"),
    purpose: "how much of each limit is used",
};

const COUNTS_RENEWALS: Key = Key {
    name: "counts_renewals",
    kind: Kind::Switch,
    absent: Absent::Means("as the preset has it; without one `true`"),
    purpose: "whether the CA counts renewals as it counts new names",
};

const fn counted(name: &'static str, purpose: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Object,
        absent: Absent::Means("as the preset has it"),
        purpose,
    }
}

const CERTIFICATES_PER_DOMAIN: Key = counted(
    "certificates_per_domain",
    "how many certificates one registered domain may have",
);
const CERTIFICATES_PER_SET: Key = counted(
    "certificates_per_set",
    "how many certificates exactly the same names may have",
);
const FAILURES_IN_A_ROW: Key = counted("failures_in_a_row", "how often in a row a name may fail");
const FAILURES_PER_NAME: Key = counted("failures_per_name", "how often a name may fail");
const NEW_ACCOUNTS: Key = counted("new_accounts", "how many accounts may be made");
const NEW_ORDERS: Key = counted("new_orders", "how many orders the account may make");

const REQUESTS: Key = counted("requests", "how many requests each kind of address may get");

/// The limits of one CA.
pub(super) const SECTION: Section = Section {
    prefix: "cas[].limits.",
    keys: &[
        PRESET,
        SHARE,
        NEW_ORDERS,
        CERTIFICATES_PER_DOMAIN,
        CERTIFICATES_PER_SET,
        FAILURES_PER_NAME,
        FAILURES_IN_A_ROW,
        NEW_ACCOUNTS,
        COUNTS_RENEWALS,
        REQUESTS,
    ],
};

const COUNT: Key = Key {
    name: "count",
    kind: Kind::Integer {
        unit: "",
        range: 0..=COUNT_MAX as u64,
    },
    absent: Absent::Refused,
    purpose: "how many are allowed in each period, 0 for as many as one likes",
};
const PERIOD: Key = Key {
    name: "period",
    kind: Kind::Integer {
        unit: "seconds",
        range: 1..=PERIOD_MAX.as_secs(),
    },
    absent: Absent::Refused,
    purpose: "the time in which so many are allowed",
};

/// One limit.
pub(super) const LIMIT: Section = Section {
    prefix: "cas[].limits.<limit>.",
    keys: &[COUNT, PERIOD],
};

const DIRECTORY: Key = counted("directory", "how often the directory may be asked for");
const ACCOUNTS: Key = counted("accounts", "how many requests for an account may be made");
const NONCES: Key = counted("nonces", "how often a nonce may be asked for");
const ORDERS: Key = counted("orders", "how many requests for a new order may be made");
const OTHER: Key = counted(
    "other",
    "how many requests about accounts, orders and what belongs to them may be made",
);
const RENEWAL_INFO: Key = counted("renewal_info", "how often renewal information may be asked for");
const REVOCATIONS: Key = counted("revocations", "how many revocations may be asked for");

/// The requests to one CA.
pub(super) const RATES: Section = Section {
    prefix: "cas[].limits.requests.",
    keys: &[
        DIRECTORY,
        NONCES,
        ACCOUNTS,
        ORDERS,
        RENEWAL_INFO,
        REVOCATIONS,
        OTHER,
    ],
};

const RATE_COUNT: Key = Key {
    purpose: "how many requests are allowed in each period, 0 for as many as one likes",
    ..COUNT
};
const RATE_PERIOD: Key = Key {
    name: "period",
    kind: Kind::Integer {
        unit: "seconds",
        // A request waits for its turn; what is due in an hour would only hold up what it belongs to.
        range: 1..=60,
    },
    absent: Absent::As("1"),
    purpose: "the time in which so many requests are allowed",
};
const BURST: Key = Key {
    name: "burst",
    kind: Kind::Integer {
        unit: "",
        range: 1..=COUNT_MAX as u64,
    },
    absent: Absent::Means("as many as `count`"),
    purpose: "how many requests may follow one another at once",
};

/// The requests to one kind of address.
pub(super) const RATE: Section = Section {
    prefix: "cas[].limits.requests.<kind>.",
    keys: &[RATE_COUNT, RATE_PERIOD, BURST],
};

/// The limits of the CA whose directory is at `url`.
pub(super) fn limits(reader: &mut Reader<'_, '_>, url: Option<&http::Uri>) -> Option<Limits> {
    let known = url.map_or(Preset::None, |url| Preset::of_directory(&url.to_string()));
    if !reader.has(&LIMITS) {
        return Some(known.limits());
    }
    reader.object(&LIMITS, &SECTION, |reader| {
        let preset = if reader.has(&PRESET) {
            reader.string(&PRESET, syntax::preset)
        } else {
            Some(known)
        };
        let share = reader.integer(&SHARE);
        let mut limits = preset.unwrap_or(known).limits();
        let mut well = preset.is_some();
        for (kind, key) in [
            (Counted::CertificatesPerDomain, CERTIFICATES_PER_DOMAIN),
            (Counted::CertificatesPerSet, CERTIFICATES_PER_SET),
            (Counted::FailuresInARow, FAILURES_IN_A_ROW),
            (Counted::FailuresPerName, FAILURES_PER_NAME),
            (Counted::NewAccounts, NEW_ACCOUNTS),
            (Counted::NewOrders, NEW_ORDERS),
        ] {
            if reader.has(&key) {
                match reader.object(&key, &LIMIT, limit) {
                    Some(limit) => limits.set(kind, limit),
                    None => well = false,
                }
            }
        }
        if reader.has(&COUNTS_RENEWALS) {
            match reader.switch(&COUNTS_RENEWALS) {
                Some(counts) => limits.counts_renewals = counts,
                None => well = false,
            }
        }
        if reader.has(&REQUESTS) {
            match reader.object(&REQUESTS, &RATES, |reader| rates(reader, limits.requests)) {
                Some(requests) => limits.requests = requests,
                None => well = false,
            }
        }
        let share = u32::try_from(share?).unwrap_or(100);
        well.then(|| limits.share(share))
    })
}

/// One limit; none where the count is zero.
fn limit(reader: &mut Reader<'_, '_>) -> Option<Option<Limit>> {
    let count = reader.integer(&COUNT);
    let period = reader.integer(&PERIOD);
    let count = u32::try_from(count?).unwrap_or(COUNT_MAX);
    let period = Duration::from_secs(period?);
    Some((count > 0).then(|| Limit::new(count, period)))
}

/// The pace of requests: `known`, save where it is given.
fn rates(reader: &mut Reader<'_, '_>, known: Requests) -> Option<Requests> {
    let mut requests = known;
    let mut well = true;
    for (endpoint, key) in [
        (Endpoint::Directory, DIRECTORY),
        (Endpoint::NewAccount, ACCOUNTS),
        (Endpoint::NewNonce, NONCES),
        (Endpoint::NewOrder, ORDERS),
        (Endpoint::Other, OTHER),
        (Endpoint::RenewalInfo, RENEWAL_INFO),
        (Endpoint::Revoke, REVOCATIONS),
    ] {
        if reader.has(&key) {
            match reader.object(&key, &RATE, rate) {
                Some(limit) => requests.set(endpoint, limit),
                None => well = false,
            }
        }
    }
    well.then_some(requests)
}

/// The pace of one kind of address; none where the count is zero.
fn rate(reader: &mut Reader<'_, '_>) -> Option<Option<Limit>> {
    let whole = |number: u64| u32::try_from(number).unwrap_or(COUNT_MAX);
    let count = reader.integer(&RATE_COUNT);
    let period = reader.integer(&RATE_PERIOD);
    let given = reader.has(&BURST);
    let burst = if given { reader.integer(&BURST) } else { count };
    let (count, period, burst) = (whole(count?), Duration::from_secs(period?), whole(burst?));
    Some((count > 0).then(|| Limit::with_burst(count, period, burst)))
}

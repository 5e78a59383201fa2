//! What CAs allow, and how much of it is ours: limits, their presets with source and date, and the names of things.

use std::time::Duration;

use jiff::SignedDuration;

/// So many at once, and then one after the other at an even pace (a token bucket).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    burst: u32,
    interval: SignedDuration,
}

/// Something that a CA counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Certificates for one registered domain that are no renewal, over all accounts.
    CertificatesPerDomain,
    /// Certificates for exactly one set of names, over all accounts.
    CertificatesPerSet,
    /// Failed authorizations in a row for one name by one account; past it the CA pauses the name.
    FailuresInARow,
    /// Failed authorizations for one name by one account.
    FailuresPerName,
    /// New accounts from one address.
    NewAccounts,
    /// New orders by one account that are no renewal.
    NewOrders,
}

/// A kind of address at a CA, each with its own limit of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// The directory.
    Directory,
    /// New accounts.
    NewAccount,
    /// Nonces.
    NewNonce,
    /// New orders.
    NewOrder,
    /// Orders, authorizations, challenges, certificates, accounts.
    Other,
    /// Renewal information (RFC 9773).
    RenewalInfo,
    /// Revocations.
    Revoke,
}

/// Everything that a CA limits; what is `None` has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// [`Kind::CertificatesPerDomain`].
    pub certificates_per_domain: Option<Limit>,
    /// [`Kind::CertificatesPerSet`].
    pub certificates_per_set: Option<Limit>,
    /// [`Kind::FailuresInARow`].
    pub failures_in_a_row: Option<Limit>,
    /// [`Kind::FailuresPerName`].
    pub failures_per_name: Option<Limit>,
    /// [`Kind::NewAccounts`].
    pub new_accounts: Option<Limit>,
    /// [`Kind::NewOrders`].
    pub new_orders: Option<Limit>,
    /// Whether it counts renewals as it counts new names.
    pub counts_renewals: bool,
    /// Requests to each [`Endpoint`].
    pub requests: Requests,
}

/// Requests to each [`Endpoint`]; what is `None` has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// [`Endpoint::Directory`].
    pub directory: Option<Limit>,
    /// [`Endpoint::NewAccount`].
    pub new_account: Option<Limit>,
    /// [`Endpoint::NewNonce`].
    pub new_nonce: Option<Limit>,
    /// [`Endpoint::NewOrder`].
    pub new_order: Option<Limit>,
    /// [`Endpoint::Other`].
    pub other: Option<Limit>,
    /// [`Endpoint::RenewalInfo`].
    pub renewal_info: Option<Limit>,
    /// [`Endpoint::Revoke`].
    pub revoke: Option<Limit>,
}

/// Limits that are known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preset {
    /// Let's Encrypt in production.
    LetsEncrypt,
    /// Let's Encrypt's staging environment.
    LetsEncryptStaging,
    /// No limits.
    None,
}

/// More than this is no limit to speak of.
pub const COUNT_MAX: u32 = 1_000_000;
/// No CA counts over a longer time.
pub const PERIOD_MAX: Duration = Duration::from_secs(366 * 86_400);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

impl Limit {
    /// `count` in each `period`, all of them at once if need be. At least one, and at most one a nanosecond.
    #[must_use]
    pub fn new(count: u32, period: Duration) -> Self {
        Self::with_burst(count, period, count)
    }

    /// `count` in each `period`, `burst` of them at once. What is beyond [`COUNT_MAX`] or [`PERIOD_MAX`] is taken as
    /// that.
    #[must_use]
    pub fn with_burst(count: u32, period: Duration, burst: u32) -> Self {
        let count = i128::from(count.clamp(1, COUNT_MAX));
        let nanos = i128::try_from(period.min(PERIOD_MAX).as_nanos()).unwrap_or(i128::MAX);
        // Rounded up, so that we are never the faster one.
        let interval = ((nanos + count - 1) / count).max(1);
        Self {
            burst: burst.clamp(1, COUNT_MAX),
            interval: SignedDuration::from_nanos(i64::try_from(interval).unwrap_or(i64::MAX)),
        }
    }

    /// How many fit at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// After how long one more fits.
    #[must_use]
    pub fn interval(self) -> SignedDuration {
        self.interval
    }

    /// `percent` of it, and one at least.
    fn share(self, percent: u32) -> Self {
        let percent = percent.clamp(1, 100);
        let nanos = self.interval.as_nanos() * 100 / i128::from(percent);
        let interval = SignedDuration::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX));
        Self {
            burst: (self.burst / 100 * percent + self.burst % 100 * percent / 100).max(1),
            interval,
        }
    }
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::CertificatesPerDomain,
        Self::CertificatesPerSet,
        Self::FailuresInARow,
        Self::FailuresPerName,
        Self::NewAccounts,
        Self::NewOrders,
    ];

    /// Stable code for configuration and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::CertificatesPerDomain => "certificates_per_domain",
            Self::CertificatesPerSet => "certificates_per_set",
            Self::FailuresInARow => "failures_in_a_row",
            Self::FailuresPerName => "failures_per_name",
            Self::NewAccounts => "new_accounts",
            Self::NewOrders => "new_orders",
        }
    }

    /// What it limits, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::CertificatesPerDomain => "certificates for one registered domain",
            Self::CertificatesPerSet => "certificates for exactly these names",
            Self::FailuresInARow => "failed authorizations in a row for the name",
            Self::FailuresPerName => "failed authorizations for the name",
            Self::NewAccounts => "new accounts",
            Self::NewOrders => "new orders of our account",
        }
    }
}

impl Endpoint {
    /// Every kind of address.
    pub const ALL: [Self; 7] = [
        Self::Directory,
        Self::NewAccount,
        Self::NewNonce,
        Self::NewOrder,
        Self::Other,
        Self::RenewalInfo,
        Self::Revoke,
    ];
}

impl Limits {
    /// The limit of one kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Option<Limit> {
        match kind {
            Kind::CertificatesPerDomain => self.certificates_per_domain,
            Kind::CertificatesPerSet => self.certificates_per_set,
            Kind::FailuresInARow => self.failures_in_a_row,
            Kind::FailuresPerName => self.failures_per_name,
            Kind::NewAccounts => self.new_accounts,
            Kind::NewOrders => self.new_orders,
        }
    }

    /// Changes the limit of one kind; `None` takes it away.
    pub fn set(&mut self, kind: Kind, limit: Option<Limit>) {
        *match kind {
            Kind::CertificatesPerDomain => &mut self.certificates_per_domain,
            Kind::CertificatesPerSet => &mut self.certificates_per_set,
            Kind::FailuresInARow => &mut self.failures_in_a_row,
            Kind::FailuresPerName => &mut self.failures_per_name,
            Kind::NewAccounts => &mut self.new_accounts,
            Kind::NewOrders => &mut self.new_orders,
        } = limit;
    }

    /// `percent` of everything that is counted, one at least; the pace of requests stays as it is, for it is counted by
    /// address and second.
    #[must_use]
    pub fn share(mut self, percent: u32) -> Self {
        for kind in Kind::ALL {
            self.set(kind, self.of(kind).map(|limit| limit.share(percent)));
        }
        self
    }

    /// Whether anything is counted that has to be saved.
    #[must_use]
    pub fn count_anything(&self) -> bool {
        let saved = Kind::ALL.iter().filter(|kind| **kind != Kind::NewAccounts);
        saved.into_iter().any(|kind| self.of(*kind).is_some())
    }
}

impl Requests {
    /// The limit of one kind of address.
    #[must_use]
    pub fn of(&self, endpoint: Endpoint) -> Option<Limit> {
        match endpoint {
            Endpoint::Directory => self.directory,
            Endpoint::NewAccount => self.new_account,
            Endpoint::NewNonce => self.new_nonce,
            Endpoint::NewOrder => self.new_order,
            Endpoint::Other => self.other,
            Endpoint::RenewalInfo => self.renewal_info,
            Endpoint::Revoke => self.revoke,
        }
    }

    /// Changes the limit of one kind of address; `None` takes it away.
    pub fn set(&mut self, endpoint: Endpoint, limit: Option<Limit>) {
        *match endpoint {
            Endpoint::Directory => &mut self.directory,
            Endpoint::NewAccount => &mut self.new_account,
            Endpoint::NewNonce => &mut self.new_nonce,
            Endpoint::NewOrder => &mut self.new_order,
            Endpoint::Other => &mut self.other,
            Endpoint::RenewalInfo => &mut self.renewal_info,
            Endpoint::Revoke => &mut self.revoke,
        } = limit;
    }
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 3] = [Self::LetsEncrypt, Self::LetsEncryptStaging, Self::None];

    /// The name it has in the configuration.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::LetsEncrypt => "letsencrypt",
            Self::LetsEncryptStaging => "letsencrypt-staging",
            Self::None => "none",
        }
    }

    /// The one that belongs to a directory URL.
    #[must_use]
    pub fn of_directory(url: &str) -> Self {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        match host.split(['/', ':', '?']).next().unwrap_or_default() {
            "acme-v02.api.letsencrypt.org" => Self::LetsEncrypt,
            "acme-staging-v02.api.letsencrypt.org" => Self::LetsEncryptStaging,
            _ => Self::None,
        }
    }

    /// Its limits.
    ///
    /// Let's Encrypt's are those of <https://letsencrypt.org/docs/rate-limits/> (changed last on 2026-08-05) and
    /// <https://letsencrypt.org/docs/staging-environment/>; the pace of requests is that of its load balancer.
    #[must_use]
    pub fn limits(self) -> Limits {
        let per_second = |count, burst| Some(Limit::with_burst(count, SECOND, burst));
        match self {
            Self::LetsEncrypt => Limits {
                certificates_per_domain: Some(Limit::new(50, WEEK)),
                certificates_per_set: Some(Limit::new(5, WEEK)),
                failures_in_a_row: Some(Limit::with_burst(1, 24 * HOUR, 1_152)),
                failures_per_name: Some(Limit::new(5, HOUR)),
                new_accounts: Some(Limit::new(10, 3 * HOUR)),
                new_orders: Some(Limit::new(300, 3 * HOUR)),
                counts_renewals: false,
                requests: Requests {
                    directory: per_second(40, 40),
                    new_account: per_second(5, 15),
                    new_nonce: per_second(20, 10),
                    new_order: per_second(300, 200),
                    other: per_second(250, 125),
                    renewal_info: per_second(1_000, 100),
                    revoke: per_second(10, 100),
                },
            },
            Self::LetsEncryptStaging => Limits {
                certificates_per_domain: Some(Limit::new(30_000, SECOND)),
                certificates_per_set: Some(Limit::new(30_000, WEEK)),
                failures_in_a_row: Some(Limit::new(3_600, 6 * HOUR)),
                failures_per_name: Some(Limit::new(200, HOUR)),
                new_accounts: Some(Limit::new(50, 3 * HOUR)),
                new_orders: Some(Limit::new(1_500, 3 * HOUR)),
                counts_renewals: false,
                requests: Requests {
                    new_order: per_second(20, 40),
                    other: per_second(20, 20),
                    ..Self::LetsEncrypt.limits().requests
                },
            },
            // Of whom nothing is known no exemption is.
            Self::None => Limits {
                counts_renewals: true,
                ..Limits::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../../docs/problems.md");

    #[test]
    fn p17_the_guide_has_every_limit_with_its_figures() {
        let limits = Preset::LetsEncrypt.limits();
        let has = |row: &str| assert!(GUIDE.contains(row), "docs/problems.md should have a row {row}");
        for kind in Kind::ALL {
            let limit = limits.of(kind).unwrap();
            let hours = (limit.interval() * i32::try_from(limit.burst()).unwrap()).as_hours();
            let figures = match (kind, hours) {
                (Kind::FailuresInARow, _) => format!("{}, one forgiven a day", limit.burst()),
                (_, 1) => format!("{} in 1 hour", limit.burst()),
                (_, 2..48) => format!("{} in {hours} hours", limit.burst()),
                _ => format!("{} in {} days", limit.burst(), hours / 24),
            };
            has(&format!("\n| `{}` | {figures} | ", kind.code()));
        }
        for (endpoint, name) in [
            (Endpoint::Directory, "directory"),
            (Endpoint::NewAccount, "accounts"),
            (Endpoint::NewNonce, "nonces"),
            (Endpoint::NewOrder, "orders"),
            (Endpoint::Other, "other"),
            (Endpoint::RenewalInfo, "renewal_info"),
            (Endpoint::Revoke, "revocations"),
        ] {
            let limit = limits.requests.of(endpoint).unwrap();
            let in_a_second = 1.0 / limit.interval().as_secs_f64();
            has(&format!(
                "\n| `{name}` | {in_a_second:.0} | {} |\n",
                limit.burst()
            ));
        }
    }

    #[test]
    fn p17_presets_are_known_by_the_directory() {
        for (url, preset) in [
            (
                "https://acme-v02.api.letsencrypt.org/directory",
                Preset::LetsEncrypt,
            ),
            (
                "https://acme-staging-v02.api.letsencrypt.org/directory",
                Preset::LetsEncryptStaging,
            ),
            ("https://localhost:14000/dir", Preset::None),
            ("https://acme-v02.api.letsencrypt.org.example/", Preset::None),
        ] {
            assert_eq!(Preset::of_directory(url), preset, "{url}");
        }
        assert!(!Preset::None.limits().count_anything());
        assert!(Preset::LetsEncrypt.limits().count_anything());
    }

    #[test]
    fn p17_a_share_takes_less_of_everything_and_never_nothing() {
        let limits = Preset::LetsEncrypt.limits().share(80);
        let orders = limits.new_orders.unwrap();
        assert_eq!(
            (orders.burst(), orders.interval()),
            (240, SignedDuration::from_secs(45))
        );
        let set = limits.share(1).certificates_per_set.unwrap();
        assert_eq!(set.burst(), 1);
        assert_eq!(
            Preset::LetsEncrypt.limits().share(100),
            Preset::LetsEncrypt.limits()
        );
    }

    #[test]
    fn absurd_limits_are_bounded() {
        let slow = Limit::new(0, Duration::MAX);
        assert_eq!(
            (slow.burst(), slow.interval()),
            (1, SignedDuration::try_from(PERIOD_MAX).unwrap())
        );
        let fast = Limit::new(u32::MAX, Duration::ZERO);
        assert_eq!((fast.burst(), fast.interval().as_nanos()), (COUNT_MAX, 1));
    }
}

//! Runs the transcripts in `scenarios/`: "in this world, this plan, for these reasons".
//!
//! A transcript is a list of statements, one a line. `plan` and the questions (`explain`, `overdue`, `refused`, `turn`) print something; what
//! they should print stands below them, indented. Every plan is audited, and made a second time, which must change
//! nothing. `SCENARIOS_WRITE=1 cargo test` writes what is printed into the transcripts. Times are counted from the start of 2026: `90m`, `1d`, `-30d`, `1d12h`.
//!
//! ```text
//! at TIME                                         the time; never backward
//! policy cap N | grace TIME | threshold TIME      before the first statement about the world
//! zone NAME [wildcards]
//! ca NAME after TIME [orders N each TIME]         one of several, in order: N new orders, and one more each TIME
//! ingress NS/NAME asks HOST...                    or: ingress NS/NAME gone
//! secret NAME [for HOST] holds NAME,.. from TIME to TIME [version N] [issued TIME] [renew [TIME]] [by CA]
//! secret NAME [for HOST] broken no-key            or: no-cert, bad-key, bad-cert, mismatch; secret NAME gone
//! noted HOST                                      an order of an earlier process
//! demand HOST [force]                             somebody asks for it by hand
//! changed HOST                                    what failed for it did so by another configuration
//! clock set TIME                                  by so much, ahead or back
//! failures HOST COUNT CODE TIME [parked] [until TIME]
//! listed [requests | secrets | notes]             a first look is complete, or a list is made anew
//! unseen secret NAME | ingress NS/NAME            gone without a word; the next list tells
//! stage HOST STAGE                                an order goes on
//! ended HOST settled | stored from TIME to TIME | failed CODE [parked] [by CA] | stalled STAGE CODE TRIES TIME [unnoted]
//!            | blocked [noted]
//! hold account|below NAME until TIME CODE [told] [of CA]   the CA wants to be left alone
//! ordered HOST                                    the CA has made an order, and counted it
//! saved                                           what the CAs have counted is, and orders may be made by it
//! budget HOST empty until TIME                    the CA counts certificates of these names, and has no room before
//! answered [CA]                                   the CA has no trouble any more
//! caa HOST excludes CA until TIME                 or: caa HOST permits CA; what a look before an order has shown
//! ```
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![expect(clippy::disallowed_methods, reason = "transcripts are files")]

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use faythe_core::Timestamp;
use faythe_core::activity::{Activity, Hold, Rest};
use faythe_core::audit::audit;
use faythe_core::budget::{Ledger, Limit, Limits, Spending};
use faythe_core::cas::{Authority, CaId, CaKey, Cas};
use faythe_core::cert::{CertFacts, Held, Unreadable};
use faythe_core::name::Hostname;
use faythe_core::order::{Goal, Stage};
use faythe_core::plan::{Action, Plan, Planner};
use faythe_core::policy::Policy;
use faythe_core::problem::Scope;
use faythe_core::schedule::{Demand, Failures, Threshold, Why, ahead};
use faythe_core::want::{Asker, Refusal};
use faythe_core::world::World;
use faythe_core::zone::{Rule, Zone, Zones};
use jiff::SignedDuration;

#[test]
fn every_scenario_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenarios in {}", folder.display());
    let mut wrong = String::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(
            text.lines().count() <= 40,
            "{name} is too long to be read at a glance"
        );
        match play(&text) {
            Ok(played) if played == text => {}
            // To be read in the diff, as everything that is committed.
            Ok(played) if env::var_os("SCENARIOS_WRITE").is_some() => fs::write(&path, played).unwrap(),
            Ok(played) => wrong.push_str(&difference(&name, &text, &played)),
            Err(fault) => writeln!(wrong, "{name}: {fault}").unwrap(),
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Plays a transcript; answers it with what was really printed.
fn play(text: &str) -> Result<String, String> {
    let mut stage = Theater::default();
    let mut played = String::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with(' ') {
            continue;
        }
        writeln!(played, "{line}").unwrap();
        let words: Vec<&str> = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        if !words.is_empty() {
            let said = stage
                .perform(&words)
                .map_err(|fault| format!("line {}: {fault}", number + 1))?;
            for line in said.lines() {
                writeln!(played, "  {line}").unwrap();
            }
        }
    }
    Ok(played)
}

/// Both texts from the first line that differs.
fn difference(name: &str, expected: &str, found: &str) -> String {
    let both = expected.lines().zip(found.lines());
    let same = both.take_while(|(a, b)| a == b).count();
    let mut text = format!("{name} differs from line {}:\n", same + 1);
    for (sign, side) in [('-', expected), ('+', found)] {
        for line in side.lines().skip(same).take(12) {
            writeln!(text, "  {sign} {line}").unwrap();
        }
    }
    text
}

/// A world, its planner and what was listed.
struct Theater {
    now: Timestamp,
    zones: Vec<Zone>,
    cap: usize,
    grace: Duration,
    threshold: Threshold,
    cas: Vec<(Authority, Limits)>,
    world: Option<World>,
    planner: Planner,
    ingresses: BTreeMap<String, Vec<String>>,
    secrets: BTreeMap<String, (Hostname, Held)>,
    notes: (Vec<Hostname>, Vec<(Hostname, Failures)>),
    live: bool,
    version: u64,
}

impl Default for Theater {
    fn default() -> Self {
        Self {
            now: start(),
            zones: Vec::new(),
            cap: 10,
            grace: Duration::from_secs(8 * 3600),
            threshold: Threshold::Default,
            cas: Vec::new(),
            world: None,
            planner: Planner::new(),
            ingresses: BTreeMap::new(),
            secrets: BTreeMap::new(),
            notes: (Vec::new(), Vec::new()),
            live: false,
            version: 0,
        }
    }
}

impl Theater {
    fn perform(&mut self, words: &[&str]) -> Result<String, String> {
        match words {
            ["at", time] => {
                let time = at(time)?;
                if time < self.now {
                    return Err("the clock never goes back".into());
                }
                self.now = time;
            }
            ["policy", "cap", cap] => self.cap = cap.parse().map_err(|_| "no number")?,
            ["policy", "grace", grace] => self.grace = span(grace)?.unsigned_abs(),
            ["policy", "threshold", time] => self.threshold = Threshold::Set(span(time)?.unsigned_abs()),
            ["zone", apex, rest @ ..] => self.zones.push(Zone {
                apex: apex.parse().map_err(|why| format!("{why}"))?,
                wildcards: *rest == ["wildcards"],
                rule: Rule::flat("ns.test", &[]),
                challenges: None,
            }),
            ["ca", name, "after", time, rest @ ..] => {
                let new_orders = match (option(rest, "orders"), option(rest, "each")) {
                    (Some(count), Some(each)) => {
                        let count = count.parse().map_err(|_| "no number")?;
                        Some(Limit::new(count, span(each)?.unsigned_abs() * count))
                    }
                    _ => None,
                };
                let ca = Authority {
                    name: (*name).to_owned(),
                    directory: directory(name),
                    use_after: span(time)?.unsigned_abs(),
                };
                let limits = Limits {
                    new_orders,
                    ..Limits::default()
                };
                self.cas.push((ca, limits));
            }
            ["ingress", name, "asks", hosts @ ..] => {
                let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
                self.ingresses.insert((*name).to_owned(), hosts.clone());
                if self.live {
                    self.world().ask(asker(name)?, &hosts);
                }
            }
            ["ingress", name, "gone"] => {
                self.ingresses.remove(*name);
                let asker = asker(name)?;
                self.world().stop_asking(&asker.namespace, &asker.name);
            }
            ["secret", name, "gone"] => {
                self.secrets.remove(*name);
                self.world().release(name);
            }
            ["secret", name, "for", label, rest @ ..] => self.secret(name, host(label)?, rest)?,
            ["secret", name, rest @ ..] => {
                self.secret(name, host(&name.replace("wild--card", "*"))?, rest)?;
            }
            ["noted", name] => self.notes.0.push(host(name)?),
            ["failures", name, count, code, last, rest @ ..] => {
                let failures = Failures {
                    count: count.parse().map_err(|_| "no number")?,
                    last: at(last)?,
                    clock_ahead: SignedDuration::ZERO,
                    code: (*code).to_owned(),
                    text: format!("the CA says {code}"),
                    not_before: option(rest, "until").map(at).transpose()?,
                    parked: rest.contains(&"parked"),
                    refused_by: Vec::new(),
                };
                self.notes.1.push((host(name)?, failures));
            }
            ["demand", name, rest @ ..] => {
                let (at, force, why) = (self.now, *rest == ["force"], Why::Hand);
                self.world().set_demand(&host(name)?, Demand { at, force, why });
            }
            ["changed", name] => {
                let host = host(name)?;
                self.world().set_changed(&host);
            }
            ["clock", "set", by] => {
                let by = span(by)?;
                self.now = ahead(self.now, by);
                let now = self.now;
                self.world().clock_set(by, now);
            }
            ["budget", name, "empty", "until", until] => {
                let mut ledger = Ledger::new(Limits {
                    certificates_per_set: Some(Limit::new(5, Duration::from_secs(7 * 86_400))),
                    ..Limits::default()
                });
                ledger.learn(&host(name)?, &Scope::Name, at(until)?, self.now);
                self.world().set_ledger(CaId::FIRST, ledger);
            }
            ["listed", what @ ..] => self.list(what),
            ["unseen", "secret", name] => drop(self.secrets.remove(*name)),
            ["unseen", "ingress", name] => drop(self.ingresses.remove(*name)),
            ["stage", name, stage] => {
                let activity = Activity::Running(self::stage(stage)?);
                self.world().set_activity(&host(name)?, Some(activity));
            }
            ["ended", name, how @ ..] => self.ended(name, how)?,
            ["hold", "account", "until", until, code, rest @ ..] => {
                self.hold(Scope::Account, until, code, rest)?;
            }
            ["hold", "below", name, "until", until, code, rest @ ..] => {
                let name = name.parse().map_err(|why| format!("{why}"))?;
                self.hold(Scope::Below(name), until, code, rest)?;
            }
            ["issued", name, "by", "hand"] => {
                let host = host(name)?;
                self.world().mended(&host);
            }
            ["answered", name @ ..] => {
                let ca = self.ca(name.first())?;
                self.world().clear_trouble(ca);
            }
            ["caa", name, "excludes", ca, "until", until] => {
                let (host, ca) = (host(name)?, self.ca(Some(ca))?);
                let hold = hold(at(until)?, "caa-excludes", 1, false);
                self.world().exclude(&host, ca, hold);
            }
            ["caa", name, "permits", ca] => {
                let (host, ca) = (host(name)?, self.ca(Some(ca))?);
                self.world().permit(&host, ca);
            }
            ["ordered", name] => {
                let (host, now) = (host(name)?, self.now);
                self.world().tell(&host, Spending::Ordered, now);
            }
            ["saved"] => self.save(),
            ["turn", name] => {
                let (host, now) = (host(name)?, self.now);
                self.world();
                let world = self.world.as_ref().ok_or("there is no world")?;
                let turn = self.planner.turn_of(&host, world, now);
                return Ok(turn.ok_or("it waits for no turn")?.to_string());
            }
            ["plan"] => return self.plan(),
            ["overdue"] => return Ok(self.overdue()),
            ["explain", name] => {
                let verdict = self.planner.verdict(&host(name)?).ok_or("there is no verdict")?;
                return Ok(format!("{}, since {}", verdict.reason, since(verdict.since)));
            }
            ["refused"] => {
                let elsewhere = self.world().elsewhere();
                let fresh = self.world().take_refusals();
                let said =
                    |refusal: &Refusal| format!("{}: {}\n", refusal.asker, refusal.announcement().text);
                let refused = fresh.iter().map(said);
                let refused: String = refused.collect();
                return Ok(format!("{refused}{elsewhere} outside every zone"));
            }
            _ => return Err(format!("unknown statement {words:?}")),
        }
        Ok(String::new())
    }

    fn world(&mut self) -> &mut World {
        self.world.get_or_insert_with(|| {
            let cas = Cas::new(self.cas.iter().map(|(ca, _)| ca.clone()).collect());
            let ids: Vec<_> = cas.all().map(|(ca, _)| ca).collect();
            let mut world = World::with_cas(Zones::new(self.zones.clone()), cas);
            for (ca, (_, limits)) in ids.into_iter().zip(&self.cas) {
                world.set_ledger(ca, Ledger::new(*limits));
            }
            world
        })
    }

    /// The CA of this name; the first one where none is named.
    fn ca(&mut self, name: Option<&&str>) -> Result<CaId, String> {
        let Some(name) = name else {
            return Ok(CaId::FIRST);
        };
        let found = self.world().cas().find(CaKey::of(&directory(name)));
        found.ok_or_else(|| format!("there is no CA {name}"))
    }

    fn secret(&mut self, name: &str, label: Hostname, how: &[&str]) -> Result<(), String> {
        let content = match how {
            ["holds", names, rest @ ..] => Ok(CertFacts {
                names: names.split(',').map(host).collect::<Result<_, _>>()?,
                not_before: at(option(rest, "from").ok_or("from when?")?)?,
                not_after: at(option(rest, "to").ok_or("to when?")?)?,
                serial: "01".into(),
                issuer: "Test".into(),
                id: None,
            }),
            ["broken", "no-key", ..] => Err(Unreadable::NoKey),
            ["broken", "no-cert", ..] => Err(Unreadable::NoCert),
            ["broken", "bad-key", ..] => Err(Unreadable::BadKey),
            ["broken", "bad-cert", ..] => Err(Unreadable::BadCert("no PEM block".into())),
            ["broken", "mismatch", ..] => Err(Unreadable::KeyMismatch),
            _ => return Err("what of the secret?".into()),
        };
        self.version += 1;
        let version = option(how, "version").map_or_else(|| self.version.to_string(), str::to_owned);
        let held = Held {
            secret: name.into(),
            version: version.into(),
            content,
            issued_at: option(how, "issued").map(at).transpose()?,
            renew: how.contains(&"renew").then(|| {
                let time = option(how, "renew").and_then(|time| at(time).ok());
                Box::new(Demand {
                    at: time.unwrap_or(Timestamp::MIN),
                    force: false,
                    why: Why::Hand,
                })
            }),
            made_by: option(how, "by").map(|ca| CaKey::of(&directory(ca))),
            origin: None,
        };
        self.secrets
            .insert(name.to_owned(), (label.clone(), held.clone()));
        if self.live {
            self.world().hold(Some(label), held);
        }
        Ok(())
    }

    fn list(&mut self, what: &[&str]) {
        let wants = |part| what.is_empty() || what == [part];
        if wants("requests") {
            let said = |(name, hosts): (&String, &Vec<String>)| (asker(name).unwrap(), hosts.clone());
            let all = self.ingresses.iter().map(said).collect();
            self.world().ask_all(all);
        }
        if wants("secrets") {
            let said = |(label, held): &(Hostname, Held)| (Some(label.clone()), held.clone());
            let all = self.secrets.values().map(said).collect();
            self.world().hold_all(all);
        }
        if wants("notes") {
            let (orders, failures) = std::mem::take(&mut self.notes);
            self.world().note_all(orders, failures);
        }
        self.live = self.world().is_known();
    }

    fn ended(&mut self, name: &str, how: &[&str]) -> Result<(), String> {
        let host = host(name)?;
        let now = self.now;
        let mut activity = None;
        match how {
            ["settled"] => {}
            ["stored", rest @ ..] => {
                let holds = [&["holds", name], rest].concat();
                self.secret(&name.replace('*', "wild--card"), host.clone(), &holds)?;
                self.world().set_failures(&host, None);
            }
            ["failed", code, rest @ ..] => {
                let before = self.world().failures(&host).cloned();
                let count = before.as_ref().map_or(1, |before| before.count + 1);
                let mut refused_by = before.map_or_else(Vec::new, |before| before.refused_by);
                refused_by.extend(option(rest, "by").map(directory));
                let failures = Failures {
                    count,
                    last: now,
                    clock_ahead: SignedDuration::ZERO,
                    code: (*code).to_owned(),
                    text: format!("the CA says {code}"),
                    not_before: None,
                    parked: rest.contains(&"parked"),
                    refused_by,
                };
                self.world().set_failures(&host, Some(failures));
            }
            ["stalled", stage, code, tries, rest, more @ ..] => {
                if more.contains(&"unnoted") {
                    self.world().tell(&host, Spending::Ended, now);
                }
                activity = Some(Activity::Resting(Rest {
                    noted: !more.contains(&"unnoted"),
                    stage: self::stage(stage)?,
                    code: (*code).to_owned(),
                    text: format!("the name server says {code}"),
                    tries: tries.parse().map_err(|_| "no number")?,
                    until: ahead(now, span(rest)?),
                }));
            }
            ["blocked", rest @ ..] => {
                let reason = format!("Secret {name} is somebody else's");
                self.world().take(&host, reason, now);
                activity = rest.contains(&"noted").then_some(Activity::Noted);
            }
            _ => return Err("how did it end?".into()),
        }
        self.world().set_activity(&host, activity);
        Ok(())
    }

    fn hold(&mut self, scope: Scope, until: &str, code: &str, rest: &[&str]) -> Result<(), String> {
        let ca = self.ca(option(rest, "of").as_ref())?;
        let before = self.world().hold_of(ca, &scope);
        let tries = before.map_or(1, |before| before.tries + 1);
        let hold = self::hold(at(until)?, code, tries, rest.contains(&"told"));
        let now = self.now;
        self.world().set_hold(ca, scope, hold, now);
        Ok(())
    }

    fn save(&mut self) {
        let now = self.now;
        let ids: Vec<_> = self.world().cas().all().map(|(ca, _)| ca).collect();
        for ca in ids {
            let ledger = self.world().ledger_mut(ca);
            drop(ledger.record(now));
            ledger.saved(true, now);
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            zones: Zones::new(self.zones.clone()),
            threshold: self.threshold,
            spread: 0,
            renewals_per_minute: None,
            issue_grace: self.grace,
            orders_at_once: self.cap,
        }
    }

    fn overdue(&mut self) -> String {
        let (policy, now) = (self.policy(), self.now);
        self.world();
        let world = self.world.as_ref().unwrap();
        let overdue = self.planner.overdue(world, &policy, now);
        let late = overdue.late.keys().map(|host| format!("{host} is late\n"));
        let stuck = overdue.stuck.iter();
        let stuck = stuck.map(|(state, host)| format!("{host} is {} for too long\n", state.code()));
        let said: String = late.chain(stuck).collect();
        if said.is_empty() {
            "nothing".to_owned()
        } else {
            said
        }
    }

    fn plan(&mut self) -> Result<String, String> {
        let policy = self.policy();
        let now = self.now;
        self.world();
        let (Some(world), planner) = (&mut self.world, &mut self.planner) else {
            return Err("there is no world".into());
        };
        let plan = planner.turn(world, &policy, now);
        if world.is_known() {
            audit(&plan, planner, world, &policy, now).map_err(|laws| laws.join("; "))?;
        }
        let said = transcript(&plan, planner, world);
        let again = planner.turn(world, &policy, now);
        if !again.actions.is_empty() || !again.changed.is_empty() || again.wake_at != plan.wake_at {
            return Err(format!("a second plan differs: {again:?}"));
        }
        Ok(said)
    }
}

fn transcript(plan: &Plan, planner: &Planner, world: &World) -> String {
    let mut text = String::new();
    let goal = |goal: &Goal| match goal {
        Goal::Carried => "carried",
        Goal::Unwanted => "unwanted",
        Goal::Wanted => "wanted",
    };
    for action in &plan.actions {
        match action {
            Action::AskHint { certificate, .. } => writeln!(text, "ask for a hint for {certificate}"),
            Action::Drive { host, goal: to } => {
                let ca = world.name_of(world.ca_of(host));
                let at = ca.map(|ca| format!(" at {ca}")).unwrap_or_default();
                writeln!(text, "drive {host} {}{at}", goal(to))
            }
            Action::Forget(host) => writeln!(text, "forget {host}"),
            Action::Steer { host, goal: to } => writeln!(text, "steer {host} {}", goal(to)),
        }
        .unwrap();
    }
    for host in &plan.changed {
        match planner.verdict(host).map(|verdict| &verdict.reason) {
            None => writeln!(text, "{host} is gone"),
            Some(reason) => {
                let next = reason
                    .next()
                    .map(|at| format!(", next {}", since(at)))
                    .unwrap_or_default();
                writeln!(
                    text,
                    "{host} is {}: {}{next}",
                    reason.state().code(),
                    reason.code()
                )
            }
        }
        .unwrap();
    }
    match plan.wake_at {
        Some(at) => writeln!(text, "wake {}", since(at)).unwrap(),
        None => text.push_str("sleep\n"),
    }
    text
}

// ---- words ----

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn host(text: &str) -> Result<Hostname, String> {
    text.parse().map_err(|why| format!("{text}: {why}"))
}

fn asker(text: &str) -> Result<Asker, String> {
    let (namespace, name) = text.split_once('/').ok_or("an Ingress is NAMESPACE/NAME")?;
    Ok(Asker {
        namespace: namespace.into(),
        name: name.into(),
        uid: "1".into(),
    })
}

fn directory(ca: &str) -> String {
    format!("https://{ca}.test/directory")
}

fn hold(until: Timestamp, code: &str, tries: u32, told: bool) -> Hold {
    Hold {
        until,
        code: code.to_owned(),
        text: format!("the CA says {code}"),
        tries,
        told,
    }
}

fn stage(code: &str) -> Result<Stage, String> {
    [
        Stage::Ordering,
        Stage::Publishing,
        Stage::Checking,
        Stage::Validating,
        Stage::Finalizing,
        Stage::Storing,
        Stage::CleaningUp,
    ]
    .into_iter()
    .find(|stage| stage.code() == code)
    .ok_or_else(|| format!("no stage {code}"))
}

/// The word after `key`.
fn option<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words
        .iter()
        .position(|word| *word == key)
        .and_then(|i| words.get(i + 1))
        .copied()
}

fn at(text: &str) -> Result<Timestamp, String> {
    Ok(ahead(start(), span(text)?))
}

/// Reads `1d12h`, `90m`, `-5s`, `0`.
fn span(text: &str) -> Result<SignedDuration, String> {
    let (sign, mut rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let mut secs = 0;
    while !rest.is_empty() && rest != "0" {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(|| format!("{text} has no unit"))?;
        let number: i64 = rest[..end].parse().map_err(|_| format!("{text} is no time"))?;
        let unit = match rest.as_bytes()[end] {
            b'd' => 86_400,
            b'h' => 3_600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(format!("{text} has an unknown unit")),
        };
        secs += number * unit;
        rest = &rest[end + 1..];
    }
    Ok(SignedDuration::from_secs(sign * secs))
}

/// Writes a time the way it is read.
fn since(time: Timestamp) -> String {
    let mut secs = start().duration_until(time).as_secs();
    let mut text = String::new();
    if secs < 0 {
        text.push('-');
        secs = -secs;
    }
    for (unit, size) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        if secs / size > 0 {
            write!(text, "{}{unit}", secs / size).unwrap();
        }
        secs %= size;
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

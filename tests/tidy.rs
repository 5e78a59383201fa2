//! Architecture rules that no compiler checks: who may use whom, where heavy crates live, and what stays in shape.
//!
//! Works on the text of the sources without comments, so it needs no other crate. Each test prints every violation, as
//! `path:line: what`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of a source file, and of a file of tests.
const LINES_MAX: usize = 500;
const TEST_LINES_MAX: usize = 700;

/// Crates that may be named only below these places. `src/store/` is not `src/store.rs`: contracts know no Kubernetes.
const HOMES: [(&str, &[&str]); 4] = [
    ("aws_lc_rs::", &["src/ca/jws"]),
    ("domain::", &["src/dns/"]),
    ("k8s_openapi::", KUBERNETES),
    ("kube::", KUBERNETES),
];
const KUBERNETES: &[&str] = &[
    "src/check",
    "src/cluster",
    "src/lease",
    "src/report/events",
    "src/source/",
    "src/store/",
    "src/watch",
];

/// Adapters touch one part of the outside world each; they meet in the modules of [`ABOVE`] alone.
const ADAPTERS: [&str; 6] = ["ca", "dns", "lease", "report", "source", "store"];
/// Modules above the adapters, which none of them may use: nothing flows upwards but what is observed.
const ABOVE: [&str; 11] = [
    "account",
    "act",
    "check",
    "cli",
    "config",
    "daemon",
    "fuzzing",
    "neighbors",
    "recall",
    "run",
    "sweep",
];
/// The exception: the CA's account is kept in a store, of which its adapter knows the contract.
const ALLOWED: (&str, &str) = ("ca", "store");

/// Where orders are carried out: nothing here waits for a fixed time (P04).
const ISSUANCE: [&str; 4] = ["core/src/order", "src/act", "src/ca", "src/dns"];
/// Calls that pass time.
const WAITS: [&str; 4] = ["sleep(", "sleep_until(", "interval(", "pause("];
/// The longest constant wait between two looks, in milliseconds (S10).
const WAIT_MAX: u64 = 2_000;

#[test]
fn every_file_is_reached_from_a_crate_root() {
    let sources = sources();
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<_> = sources.iter().filter(|source| source.is_root()).collect();
    while let Some(source) = waiting.pop() {
        if reached.insert(&source.path) {
            let modules = source.modules();
            waiting.extend(sources.iter().filter(|other| modules.contains(&other.path)));
        }
    }
    check(&sources, |source| {
        let library = format!("/{}", source.path).contains("/src/");
        let lost = library && !reached.contains(&source.path);
        lost.then(|| (1, "no crate root declares it as a module".to_owned()))
            .into_iter()
            .collect()
    });
}

#[test]
fn every_file_opens_with_what_it_owns() {
    check(&sources(), |source| {
        let silent = !source.text.starts_with("//!");
        silent
            .then(|| (1, "does not open with `//!`".to_owned()))
            .into_iter()
            .collect()
    });
}

#[test]
fn every_file_is_short_enough_to_hold_in_the_head() {
    check(&sources(), |source| {
        let max = if source.is_test() {
            TEST_LINES_MAX
        } else {
            LINES_MAX
        };
        let lines = source.text.lines().count();
        (lines > max)
            .then(|| (lines, format!("longer than {max} lines")))
            .into_iter()
            .collect()
    });
}

#[test]
fn adapters_do_not_use_one_another() {
    check(&sources(), |source| {
        let module = source.path.strip_prefix("src/").unwrap_or_default();
        let module = module.split(['/', '.']).next().unwrap_or_default();
        let mut uses = if ADAPTERS.contains(&module) {
            source.uses()
        } else {
            Vec::new()
        };
        uses.retain(|(_, used)| ADAPTERS.contains(used) || ABOVE.contains(used));
        uses.retain(|(_, used)| *used != module && (module, *used) != ALLOWED);
        uses.into_iter()
            .map(|(line, used)| (line, format!("`{module}` must not use `{used}`")))
            .collect()
    });
}

#[test]
fn heavy_crates_appear_only_at_home() {
    check(&sources(), |source| {
        let mut found = Vec::new();
        for (name, homes) in HOMES {
            if source.path.starts_with("src/") && !source.is_below(homes) {
                let away = format!("`{name}` belongs to {}", homes.join(", "));
                found.extend(source.words(name).into_iter().map(|line| (line, away.clone())));
            }
        }
        found
    });
}

/// Time arithmetic, error texts, and two bodies of data: how names are normalized, and which suffixes are public.
#[test]
fn the_core_depends_on_four_crates() {
    let manifest = fs::read_to_string(root().join("core/Cargo.toml")).unwrap();
    let table = manifest
        .split("\n[")
        .find_map(|table| table.strip_prefix("dependencies]\n"))
        .unwrap();
    let entries = table
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains('='));
    let names: Vec<_> = entries
        .map(|line| line.split(['.', ' ', '=']).next().unwrap())
        .collect();
    assert_eq!(names, ["jiff", "thiserror", "idna", "psl"]);
    assert!(
        !manifest.contains("dependencies."),
        "all dependencies of the core belong into one table"
    );
}

#[test]
fn only_the_clock_reads_the_clock() {
    check(&sources(), |source| {
        let exempt = source.path == "src/clock.rs"
            || source.path.starts_with("bed/")
            || source.path.starts_with("bench/")
            || source.is_test();
        let reads = if exempt {
            [].as_slice()
        } else {
            &["Timestamp::now", "SystemTime::now", "Zoned::now"]
        };
        let lines = reads.iter().flat_map(|read| source.words(read));
        lines
            .map(|line| (line, "reads the clock; take `now` as a parameter".to_owned()))
            .collect()
    });
}

/// Where an order comes into being: the ledger makes the grant, one step hands it in, and one method asks the CA by it.
#[test]
fn p17_there_is_one_way_to_a_new_order() {
    let ways = [
        ("Grant {", "core/src/budget.rs"),
        (".open(grant", "src/act/opening.rs"),
        ("&directory.new_order", "src/ca/"),
    ];
    let sources = sources();
    for (way, home) in ways {
        let taken = sources
            .iter()
            .filter(|source| !source.path.starts_with("bed/") && !source.is_test())
            .filter(|source| source.code.contains(way));
        let taken: Vec<_> = taken.map(|source| source.path.as_str()).collect();
        assert!(!taken.is_empty(), "{way} is gone, and the rule looks at nothing");
        assert!(
            taken.iter().all(|path| path.starts_with(home)),
            "{way} in {taken:?}"
        );
    }
}

#[test]
fn every_task_has_an_owner() {
    check(&sources(), |source| {
        let mut found = Vec::new();
        let spawns = ["tokio::spawn", "task::spawn("]
            .into_iter()
            .flat_map(|spawn| source.code.match_indices(spawn));
        for (at, _) in spawns.filter(|_| source.path.starts_with("src/")) {
            let statement = source.code[..at]
                .rsplit([';', '{', '}'])
                .next()
                .unwrap_or_default();
            // An exception gives its reason, and clippy sees to that.
            if !statement.contains("#[expect(") {
                found.push((
                    source.line(at),
                    "a task without an owner; spawn it on a JoinSet".to_owned(),
                ));
            }
        }
        found
    });
}

#[test]
fn p04_nothing_on_the_way_to_a_certificate_waits_for_a_fixed_time() {
    check(&sources(), |source| {
        let mut found = Vec::new();
        let mut constants = BTreeMap::new();
        let mut statement = String::new();
        let judged = if source.is_test() || !source.is_below(&ISSUANCE) {
            ""
        } else {
            &source.code
        };
        for (line, text) in (1..).zip(judged.lines()) {
            statement.push_str(text);
            if !text.ends_with([';', '{', '}', ',']) {
                continue;
            }
            let long = longest(&statement) > WAIT_MAX;
            if let Some((_, item)) = statement.split_once("const ").filter(|_| long) {
                constants.insert(word(item).to_owned(), line);
            }
            // A time-out is a constant, or a field such as `connect: Duration::from_secs(10)`.
            if long && !statement.contains("const ") && !statement.contains(": Duration::") {
                found.push((line, "a long time without a name that says what for".to_owned()));
            }
            let waits = WAITS.iter().filter_map(|wait| statement.split_once(wait));
            let names = waits.flat_map(|(_, rest)| rest.split(|c: char| !c.is_alphanumeric() && c != '_'));
            if let Some(name) = names.map(str::to_owned).find(|name| constants.contains_key(name)) {
                found.push((line, format!("waits for {name} whatever happens")));
            }
            statement.clear();
        }
        found
    });
}

#[test]
fn nothing_is_left_undone_or_left_out() {
    let marks = [["TO", "DO"], ["FIX", "ME"], ["#[ign", "ore"], ["todo", "!("]].map(|halves| halves.concat());
    let kinds = ["rs", "md", "toml", "yaml", "yml", "nix"].map(Some);
    let written = |path: &Path| kinds.contains(&path.extension().and_then(|kind| kind.to_str()));
    for path in files(&root()).into_iter().filter(|path| written(path)) {
        let text = fs::read_to_string(&path).unwrap();
        let found = marks.iter().find(|mark| text.contains(*mark));
        assert_eq!(found, None, "{}", path.display());
    }
}

/// Words in backticks that look like a source file or a directory exist, in all guides but the history.
#[test]
fn guides_name_files_that_exist() {
    let paths: Vec<_> = files(&root())
        .iter()
        .map(|path| format!("/{}", relative(path)))
        .collect();
    let exists = |named: &str| {
        let inside = format!("/{named}");
        paths
            .iter()
            .any(|path| path.ends_with(&inside) || named.ends_with('/') && path.contains(&inside))
    };
    let like_a_path = |word: &str| {
        let plain =
            word.starts_with(|c: char| c != '/') && !word.contains([' ', '*', '<', '{', '$', '~', ':']);
        plain && (word.ends_with(".rs") || word.ends_with('/'))
    };
    for guide in paths
        .iter()
        .filter(|path| path.ends_with(".md") && *path != "/CHANGELOG.md")
    {
        let text = fs::read_to_string(root().join(&guide[1..])).unwrap();
        let prose = text.split("```").step_by(2).flat_map(str::lines);
        let mut words = prose.flat_map(|line| line.split('`').skip(1).step_by(2));
        let gone = words.find(|word| like_a_path(word) && !exists(word));
        assert_eq!(gone, None, "{guide} names what does not exist");
    }
}

/// Collects what a rule finds in each file, and fails with all of it.
/// What stands in a verdict, a metric or its label is in the operators' guides.
#[test]
fn guides_have_every_code_and_every_metric() {
    let guide = |name: &str| fs::read_to_string(root().join("docs").join(name)).unwrap();
    let (verdicts, metrics) = (guide("verdicts.md"), guide("metrics.md"));
    let word = |text: &str| text.split('"').nth(1).map(str::to_owned);
    let mut codes = BTreeSet::new();
    let mut names = BTreeSet::new();
    for source in sources() {
        let ours = source.path.starts_with("src/") || source.path.starts_with("core/src/");
        if !ours || source.is_test() {
            continue;
        }
        // Faults name theirs where they are made, everything else by a function of this name.
        codes.extend(
            source
                .code
                .split("code: ")
                .skip(1)
                .filter(|rest| rest.starts_with('"'))
                .filter_map(word),
        );
        if [
            "core/src/cert.rs",
            "core/src/order.rs",
            "core/src/route.rs",
            "core/src/verdict.rs",
            "src/dns.rs",
        ]
        .contains(&source.path.as_str())
        {
            for body in source.code.split("fn code(").skip(1) {
                let body = body.split("\n    }\n").next().unwrap_or_default();
                let arms = body.split("=> ").skip(1);
                codes.extend(arms.filter(|rest| rest.starts_with('"')).filter_map(word));
            }
        }
        if source.path == "src/act/fault.rs" {
            codes.extend(
                source
                    .code
                    .split("=> (")
                    .skip(1)
                    .filter(|rest| rest.starts_with('"'))
                    .filter_map(word),
            );
        }
        if source.path == "src/report/metrics.rs" {
            let literals = source.code.split('"').skip(1).step_by(2);
            names.extend(
                literals
                    .filter(|name| name.starts_with("faythe_"))
                    .map(str::to_owned),
            );
        }
    }
    assert!(codes.len() > 50 && names.len() > 10, "{codes:?} {names:?}");
    codes.retain(|code| !verdicts.contains(&format!("`{code}`")));
    names.retain(|name| !metrics.contains(&format!("`{name}")));
    assert_eq!((codes, names), (BTreeSet::new(), BTreeSet::new()), "undocumented");
}

fn check(sources: &[Source], rule: impl Fn(&Source) -> Vec<(usize, String)>) {
    assert!(
        sources.len() > 10,
        "the sources have moved, and the rules look at nothing"
    );
    let mut told = String::new();
    for source in sources {
        for (line, what) in rule(source) {
            told += &format!("\n{}:{line}: {what}", source.path);
        }
    }
    assert!(told.is_empty(), "{told}");
}

/// One Rust file.
struct Source {
    /// From the root of the repository, with slashes.
    path: String,
    text: String,
    /// The text without comments and without the tests at its end; every line keeps its number.
    code: String,
}

impl Source {
    fn is_root(&self) -> bool {
        let (directory, name) = self.path.rsplit_once('/').unwrap_or_default();
        let inner = directory.trim_end_matches(|c| c != '/');
        directory.ends_with("/bin") || inner.ends_with("/bin/") && name == "main.rs" || {
            ["src", "core/src", "bed/src", "bench/src"].contains(&directory)
                && (name == "lib.rs" || name == "main.rs")
        }
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || format!("/{}", self.path).contains("/tests/")
    }

    fn is_below(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            let rest = self.path.strip_prefix(place);
            rest.is_some_and(|rest| place.ends_with('/') || rest.starts_with(['/', '.']))
        })
    }

    /// The files of the modules it declares, those of tests too.
    fn modules(&self) -> BTreeSet<String> {
        let (directory, _) = self.path.rsplit_once('/').unwrap_or_default();
        let place = if self.is_root() {
            directory
        } else {
            self.path.trim_end_matches(".rs")
        };
        let items = self
            .text
            .lines()
            .filter_map(|line| line.trim().strip_suffix(';')?.split_once("mod "));
        let items = items.filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
        items.map(|(_, name)| format!("{place}/{name}.rs")).collect()
    }

    /// The modules of its own crate that it names. Of a group in braces this may be a few too many.
    fn uses(&self) -> Vec<(usize, &str)> {
        let mut uses = Vec::new();
        for (at, path) in self.code.match_indices("crate::") {
            let rest = &self.code[at + path.len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => group.split(';').next().unwrap_or_default(),
                None => word(rest),
            };
            uses.extend(
                names
                    .split([',', '{', '}'])
                    .map(|name| (self.line(at), word(name.trim()))),
            );
        }
        uses
    }

    /// The lines in which `text` stands, not in the middle of another word or path.
    fn words(&self, text: &str) -> Vec<usize> {
        let inside = |c: char| c.is_alphanumeric() || c == '_' || c == ':' && text.ends_with(':');
        let found = self
            .code
            .match_indices(text)
            .filter(|(at, _)| !self.code[..*at].ends_with(inside));
        found.map(|(at, _)| self.line(at)).collect()
    }

    fn line(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }
}

/// All Rust files.
fn sources() -> Vec<Source> {
    let rust = files(&root())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let bare = |line: &str| match line.split_once("// ") {
            Some((code, _)) if !line.trim_start().starts_with("//") => format!("{}\n", code.trim_end()),
            None if !line.trim_start().starts_with("//") => format!("{line}\n"),
            _ => "\n".to_owned(),
        };
        let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        let code = text[..tests].lines().map(bare).collect();
        Source {
            path: relative(&path),
            text,
            code,
        }
    };
    rust.map(source).collect()
}

/// The files below `directory`, in order; neither hidden ones nor what builds leave behind.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name == ".ci" || !name.starts_with('.') && name != "target"
    });
    paths.sort();
    paths
        .into_iter()
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

/// The word at the beginning of a text.
fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
        .unwrap_or_default()
}

/// The longest time that a statement spells out, in milliseconds.
fn longest(statement: &str) -> u64 {
    let units = [
        ("from_millis(", 1),
        ("from_secs(", 1_000),
        ("from_mins(", 60_000),
        ("from_hours(", 3_600_000),
    ];
    let product = |factors: &str| {
        factors
            .split('*')
            .map(|factor| factor.trim().replace('_', "").parse::<u64>().ok())
            .product()
    };
    let times = units.into_iter().flat_map(|(unit, factor)| {
        let arguments = statement
            .split(unit)
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        arguments
            .filter_map(product)
            .map(move |count: u64| count.saturating_mul(factor))
    });
    times.max().unwrap_or_default()
}

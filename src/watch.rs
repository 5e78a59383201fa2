//! Follows one kind of object in the cluster: list, watch, and whatever it takes to go on doing so.
//!
//! Objects are reduced to facts as they arrive, also while a list comes in, so that a typed object never outlives its
//! page. Nothing here ends: what is known stays known until the API server has said something new. Where lists are
//! permitted and watches are not, it lists at an interval instead.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use kube::api::{Api, ListParams};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::cluster::{Fault, LONGEST_WAIT, words};

/// Where watching was forbidden it is tried again after this time, since permissions change while we run.
const WATCH_AGAIN: Duration = Duration::from_secs(600);

/// What is to be followed, and how.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The objects' kind in the plural, for logs.
    pub what: &'static str,
    /// Label selector; `None` for every object.
    pub selector: Option<String>,
    /// Objects in one answer of a list.
    pub page: u32,
    /// Time between two lists where watching is forbidden.
    pub relist: Duration,
}

/// What has become known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News<T> {
    /// A list begins: it shows at least all that is known by now.
    Listing,
    /// These are all there are; whatever else was known is gone.
    All(Vec<T>),
    /// One is new or has changed.
    Changed(T),
    /// One is gone.
    Gone {
        /// Its namespace; empty for objects that have none.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
    },
}

/// Follows the objects of `api`, each reduced by `reduce`. The stream never ends.
pub fn follow<K, T, F>(api: Api<K>, scope: Scope, reduce: F) -> impl Stream<Item = News<T>> + Send + 'static
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
    T: Send + 'static,
    F: Fn(K) -> T + Send + Sync + 'static,
{
    let mode = Mode::Watching(watch(&api, &scope));
    let follower = Follower {
        api,
        scope,
        reduce,
        mode,
        listed: Vec::new(),
        backoff: DefaultBackoff::default(),
        complaints: Complaints::default(),
    };
    stream::unfold(follower, |mut follower| async move {
        Some((follower.next().await, follower))
    })
}

struct Follower<K, T, F> {
    api: Api<K>,
    scope: Scope,
    reduce: F,
    mode: Mode<K>,
    /// What the list under way has shown so far.
    listed: Vec<T>,
    backoff: DefaultBackoff,
    complaints: Complaints,
}

enum Mode<K> {
    /// List at an interval until it is time to try a watch again.
    Listing {
        next: Instant,
        until: Instant,
        announced: bool,
    },
    /// The ordinary way.
    Watching(BoxStream<'static, watcher::Result<Event<K>>>),
}

impl<K, T, F> Follower<K, T, F>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
    F: Fn(K) -> T,
{
    async fn next(&mut self) -> News<T> {
        loop {
            let news = match &mut self.mode {
                Mode::Listing {
                    next,
                    until,
                    announced,
                } if *next < *until => {
                    tokio::time::sleep_until(*next).await;
                    *announced = !*announced;
                    if *announced {
                        return News::Listing;
                    }
                    *next = Instant::now() + self.scope.relist;
                    self.list().await
                }
                Mode::Listing { .. } => {
                    self.mode = Mode::Watching(watch(&self.api, &self.scope));
                    None
                }
                Mode::Watching(events) => {
                    let event = events.next().await;
                    self.take(event).await
                }
            };
            if let Some(news) = news {
                return news;
            }
        }
    }

    /// Takes in one event of a watch.
    async fn take(&mut self, event: Option<watcher::Result<Event<K>>>) -> Option<News<T>> {
        let news = match event {
            Some(Ok(Event::Init)) => {
                self.listed = Vec::new();
                return Some(News::Listing);
            }
            Some(Ok(Event::InitApply(object))) => {
                self.listed.push((self.reduce)(object));
                return None;
            }
            Some(Ok(Event::InitDone)) => News::All(std::mem::take(&mut self.listed)),
            Some(Ok(Event::Apply(object))) => News::Changed((self.reduce)(object)),
            Some(Ok(Event::Delete(object))) => News::Gone {
                namespace: object.namespace().unwrap_or_default().into(),
                name: object.name_any().into(),
            },
            Some(Err(error)) => {
                self.recover(error).await;
                return None;
            }
            // It never ends, as it says; should it do so, another takes its place.
            None => {
                self.mode = Mode::Watching(watch(&self.api, &self.scope));
                return None;
            }
        };
        self.well();
        Some(news)
    }

    /// Finds the way to go on after a watch has failed, and waits as long as that needs.
    async fn recover(&mut self, error: watcher::Error) {
        let (fault, words) = judge(&error);
        match (&error, &fault) {
            (watcher::Error::WatchStartFailed(_), Fault::Forbidden) => {
                if self.complaints.is_new("watch-forbidden") {
                    tracing::warn!(
                        what = self.scope.what,
                        every_ms = self.scope.relist.as_millis(),
                        error = words,
                        "not permitted to watch; listing at an interval instead"
                    );
                }
                let now = Instant::now();
                self.mode = Mode::Listing {
                    next: now + self.scope.relist,
                    until: now + WATCH_AGAIN,
                    announced: false,
                };
                return;
            }
            // The watcher would try the same version for ever.
            (watcher::Error::WatchStartFailed(_), Fault::Gone) => {
                self.mode = Mode::Watching(watch(&self.api, &self.scope));
            }
            _ => {}
        }
        self.wait(&fault, &words).await;
    }

    /// Lists everything, page by page.
    async fn list(&mut self) -> Option<News<T>> {
        let mut params = ListParams {
            label_selector: self.scope.selector.clone(),
            ..ListParams::default()
        };
        params.limit = Some(self.scope.page);
        let mut all = Vec::new();
        loop {
            match self.api.list(&params).await {
                Ok(page) => {
                    all.extend(page.items.into_iter().map(&self.reduce));
                    params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
                    if params.continue_token.is_none() {
                        self.well();
                        return Some(News::All(all));
                    }
                }
                Err(error) => {
                    self.wait(&Fault::of(&error), &words(&error)).await;
                    return None;
                }
            }
        }
    }

    async fn wait(&mut self, fault: &Fault, words: &str) {
        let asked = fault.retry_after().unwrap_or_default();
        let wait = self.backoff.next().unwrap_or(LONGEST_WAIT).max(asked);
        // To be told that what we know is too old is an ordinary part of watching.
        if *fault != Fault::Gone && self.complaints.is_new(fault.code()) {
            tracing::warn!(
                what = self.scope.what,
                class = fault.code(),
                error = words,
                "cannot follow the cluster; keeping what is known and trying again"
            );
        } else {
            tracing::debug!(
                what = self.scope.what,
                class = fault.code(),
                error = words,
                ?wait,
                "cannot follow the cluster"
            );
        }
        tokio::time::sleep(wait).await;
    }

    /// Notes that the API server has answered.
    fn well(&mut self) {
        self.backoff.reset();
        if self.complaints.settle() {
            tracing::info!(what = self.scope.what, "following the cluster again");
        }
    }
}

/// What has been complained of, so that each is said once until things are well again.
#[derive(Default)]
struct Complaints(BTreeSet<&'static str>);

impl Complaints {
    fn is_new(&mut self, code: &'static str) -> bool {
        self.0.insert(code)
    }

    /// Forgets all but the complaint that lasting permissions gave rise to; says whether there was another.
    fn settle(&mut self) -> bool {
        let before = self.0.len();
        self.0.retain(|code| *code == "watch-forbidden");
        self.0.len() < before
    }
}

fn watch<K>(api: &Api<K>, scope: &Scope) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let config = watcher::Config {
        label_selector: scope.selector.clone(),
        page_size: Some(scope.page),
        ..watcher::Config::default()
    };
    watcher(api.clone(), config).boxed()
}

fn judge(error: &watcher::Error) -> (Fault, String) {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => (Fault::of(error), words(error)),
        watcher::Error::WatchError(status) => (Fault::of_status(status), status.message.clone()),
        watcher::Error::NoResourceVersion => (Fault::Unavailable(None), error.to_string()),
    }
}

#[cfg(test)]
mod tests;

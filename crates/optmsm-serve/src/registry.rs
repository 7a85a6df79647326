//! The models that answer, and their change while requests go on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::answer::Failure;
use crate::config::{Config, Source};
use crate::error::ServeError;
use crate::metrics::{Meters, Metrics};
use crate::model::{Loader, Model, Stamp};
use crate::share;
use crate::warm::{guarded, warm_up};

/// Hears of what the server does, a line at a time.
pub(crate) type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// A model that answers.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) model: Arc<dyn Model>,
    /// The state of the path before it was read.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) meters: Meters,
    /// Numbers of the model's inputs by their names.
    pub(crate) numbers: HashMap<String, usize>,
}

/// A version: where it comes from, and the model, if there is one.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) source: Source,
    /// Share of requests; the first version of a name has none.
    share: f64,
    pub(crate) loaded: Option<Arc<Loaded>>,
    /// The reason why none is loaded.
    pub(crate) reason: String,
}

/// All versions, in the order of the command line. A request looks at one such list.
pub(crate) type Slots = Vec<Slot>;

/// The models that answer.
pub(crate) struct Registry {
    slots: ArcSwap<Slots>,
    loader: Arc<dyn Loader>,
    metrics: Arc<Metrics>,
    notice: Notice,
    warm_up: bool,
    /// One load at a time.
    turn: Arc<Mutex<()>>,
}

impl Registry {
    pub(crate) fn new(
        config: &Config,
        loader: Arc<dyn Loader>,
        metrics: Arc<Metrics>,
        notice: Notice,
    ) -> Self {
        let share = |source: &Source| {
            let of = config
                .shares
                .iter()
                .find(|(name, version, _)| *name == source.name && *version == source.version);
            of.map_or(0.0, |(_, _, share)| *share)
        };
        let slot = |source: &Source| Slot {
            source: source.clone(),
            share: share(source),
            loaded: None,
            reason: "it is being loaded".into(),
        };
        let slots = ArcSwap::from_pointee(config.sources.iter().map(slot).collect());
        Self { slots, loader, metrics, notice, warm_up: config.warm_up, turn: Arc::default() }
    }

    /// All versions, as they are now.
    pub(crate) fn slots(&self) -> Arc<Slots> {
        self.slots.load_full()
    }

    /// The only name there is, for requests that name none.
    pub(crate) fn only(&self) -> Result<String, Failure> {
        let slots = self.slots.load();
        match slots.split_first() {
            Some((first, others)) if others.iter().all(|slot| slot.source.name == first.source.name) => {
                Ok(first.source.name.clone())
            }
            _ => {
                let problem = format!("there are several models: {}", listed(&slots));
                Err(Failure::request(format!("{problem}; name one: POST /v2/models/NAME/predict")))
            }
        }
    }

    /// The model that answers a request; `key` chooses between versions where the request names none.
    ///
    /// # Errors
    /// 404 where there is no such name or version; 503 where it is not loaded.
    pub(crate) fn choose(
        &self,
        name: &str,
        version: Option<&str>,
        key: Option<&[u8]>,
    ) -> Result<Arc<Loaded>, Failure> {
        let slots = self.slots.load();
        let named: Vec<_> = slots.iter().filter(|slot| slot.source.name == name).collect();
        if named.is_empty() {
            return Err(Failure::unknown(format!("there is no model {name:?}; there is {}", listed(&slots))));
        }
        let slot = match version {
            Some(version) => {
                let slot = named.iter().find(|slot| slot.source.version == version);
                slot.copied().ok_or_else(|| {
                    let all: Vec<_> = named.iter().map(|slot| &*slot.source.version).collect();
                    let there = all.join(", ");
                    Failure::unknown(format!("model {name} has no version {version:?}; there is {there}"))
                })?
            }
            None => {
                let split = named.iter().any(|slot| slot.share > 0.0);
                let place = split.then(|| share::point(name, key));
                // Of all versions: keys of the others stay where they are when one is unloaded.
                let place = place.and_then(|point| share::place(point, named.iter().map(|slot| slot.share)));
                // Requests that no share takes go to the first one, and so does the share of one that does not answer.
                let chosen = named[place.unwrap_or(0)];
                let answers = [&chosen].into_iter().chain(&named).find(|slot| slot.loaded.is_some());
                answers.copied().unwrap_or(chosen)
            }
        };
        slot.loaded.clone().ok_or_else(|| {
            let Slot { source, reason, .. } = slot;
            let what = format!("model {}, version {}, does not answer", source.name, source.version);
            Failure::unavailable(format!("{what}: {reason}; see POST /v2/repository/index"), 1)
        })
    }

    /// The first version of a name that answers, or the one that is named.
    ///
    /// # Errors
    /// Those of [`choose`](Self::choose).
    pub(crate) fn first(&self, name: &str, version: Option<&str>) -> Result<Arc<Loaded>, Failure> {
        let slots = self.slots.load();
        let first = slots.iter().find(|slot| slot.source.name == name && slot.loaded.is_some());
        let first = first.map(|slot| slot.source.version.clone());
        self.choose(name, version.or(first.as_deref()), None)
    }

    /// Loads all versions, when the server starts.
    ///
    /// # Errors
    /// One cannot be loaded.
    pub(crate) async fn load_all(self: &Arc<Self>) -> Result<(), ServeError> {
        let _turn = self.turn.lock().await;
        for slot in self.slots().iter() {
            let Source { name, version, .. } = slot.source.clone();
            let loaded = self.replace(&slot.source).await;
            loaded.map_err(|problem| ServeError::Model { name, version, problem })?;
        }
        Ok(())
    }

    /// Loads one or all versions of a model anew. Requests go to the old model until the new one is ready, and for good where the
    /// new one is refused.
    ///
    /// # Errors
    /// There is no such model, another load goes on, or a model is refused.
    pub(crate) async fn load(self: &Arc<Self>, name: &str, version: Option<&str>) -> Result<(), Failure> {
        let Ok(turn) = self.turn.clone().try_lock_owned() else {
            return Err(Failure::unavailable("another model is being loaded; try again".into(), 1));
        };
        let (registry, sources) = (self.clone(), self.sources(name, version)?);
        // On its own: who asked for it may leave, and the load goes on with its turn until the model answers.
        let load = tokio::spawn(async move {
            let _turn = turn;
            let mut refused = Vec::new();
            for source in sources {
                let problem = registry.replace(&source).await.err();
                refused.extend(problem.map(|problem| said(&source, &problem)));
            }
            refused
        });
        let refused =
            load.await.map_err(|e| Failure::internal(format!("the load ended: {e}; load it again")))?;
        if refused.is_empty() { Ok(()) } else { Err(Failure::request(refused.join("\n"))) }
    }

    /// Takes one or all versions of a model away; requests that have it still get their answer.
    ///
    /// # Errors
    /// There is no such model, or a load goes on.
    pub(crate) async fn unload(&self, name: &str, version: Option<&str>) -> Result<(), Failure> {
        let Ok(_turn) = self.turn.try_lock() else {
            return Err(Failure::unavailable("a model is being loaded; try again".into(), 1));
        };
        for source in self.sources(name, version)? {
            if let Some(old) = self.put(&source, None) {
                self.metrics.leave(&old.name, &old.version, &*old.model);
                (self.notice)(&format!("model {}, version {}: unloaded", old.name, old.version));
            }
        }
        Ok(())
    }

    /// Loads a version anew whose path came to the state `now`, unless another load took that before or the version was unloaded.
    pub(crate) async fn renew(self: &Arc<Self>, source: &Source, now: Stamp) {
        let _turn = self.turn.lock().await;
        if self.taken(source).is_some_and(|taken| taken != Some(now)) {
            // A refusal is told by `replace`.
            let _ = self.replace(source).await;
        }
    }

    /// The state of a version's path when it was loaded; none where it is not loaded.
    pub(crate) fn taken(&self, source: &Source) -> Option<Option<Stamp>> {
        let slots = self.slots.load();
        let slot = slots.iter().find(|slot| slot.source == *source)?;
        slot.loaded.as_ref().map(|loaded| loaded.stamp)
    }

    /// The state of a path now.
    pub(crate) async fn stamp(&self, source: &Source) -> Option<Stamp> {
        let (loader, path) = (self.loader.clone(), source.path.clone());
        let stamp = move || guarded("the loader", || Ok(loader.stamp(&path))).ok().flatten();
        tokio::task::spawn_blocking(stamp).await.ok().flatten()
    }

    fn sources(&self, name: &str, version: Option<&str>) -> Result<Vec<Source>, Failure> {
        let slots = self.slots();
        let sources = slots.iter().map(|slot| &slot.source).filter(|source| source.name == name);
        let sources: Vec<_> = sources
            .filter(|source| version.is_none_or(|version| version == source.version))
            .cloned()
            .collect();
        match (sources.is_empty(), version) {
            (false, _) => Ok(sources),
            (true, None) => {
                let fix = "models are named when the server starts";
                Err(Failure::unknown(format!(
                    "there is no model {name:?}; there is {}; {fix}",
                    listed(&slots)
                )))
            }
            (true, Some(version)) => Err(Failure::unknown(format!(
                "there is no version {version:?} of a model {name:?}; see /v2/models/{name}"
            ))),
        }
    }

    /// Loads a version and lets it answer.
    async fn replace(self: &Arc<Self>, source: &Source) -> Result<(), String> {
        let (registry, of) = (self.clone(), source.clone());
        let made = tokio::task::spawn_blocking(move || registry.make(&of)).await;
        let made = made.unwrap_or_else(|e| Err(format!("the load ended: {e}; load it again")));
        self.metrics.loaded(&source.name, &source.version, made.is_ok());
        match made {
            Ok((model, stamp)) => {
                let old = self
                    .slots()
                    .iter()
                    .find(|slot| slot.source == *source)
                    .and_then(|slot| slot.loaded.clone());
                let old = old.as_ref().map(|old| &*old.model);
                let (name, version) = (source.name.clone(), source.version.clone());
                let meters = self.metrics.enter(&name, &version, &*model, old);
                let fingerprint = model.fingerprint().to_owned();
                let names = model.inputs().iter().map(|input| input.name.clone());
                let numbers = names.zip(0..).collect();
                self.put(source, Some(Arc::new(Loaded { name, version, model, stamp, meters, numbers })));
                (self.notice)(&said(source, &format!("{} answers, {fingerprint}", source.path.display())));
                Ok(())
            }
            Err(problem) => {
                let goes_on = self.slots().iter().any(|slot| slot.source == *source && slot.loaded.is_some());
                let old = if goes_on { "; the one before goes on" } else { "" };
                (self.notice)(&said(source, &format!("{problem}{old}")));
                Err(problem)
            }
        }
    }

    /// Reads and warms up a model, on a thread that may wait.
    fn make(&self, source: &Source) -> Result<(Arc<dyn Model>, Option<Stamp>), String> {
        guarded("the model", || {
            // Before it is read: a change from now on is a change.
            let stamp = self.loader.stamp(&source.path);
            let model = self.loader.load(&source.path)?;
            if self.warm_up {
                warm_up(&*model)?;
            }
            Ok((model, stamp))
        })
    }

    /// Changes one version in a copy of the list, and has new requests take the copy; returns the model before.
    fn put(&self, source: &Source, loaded: Option<Arc<Loaded>>) -> Option<Arc<Loaded>> {
        let mut slots = Slots::clone(&self.slots.load());
        let slot = slots.iter_mut().find(|slot| slot.source == *source)?;
        slot.reason = if loaded.is_some() { String::new() } else { "it was unloaded".into() };
        let old = std::mem::replace(&mut slot.loaded, loaded);
        self.slots.store(Arc::new(slots));
        old
    }
}

fn said(source: &Source, what: &str) -> String {
    format!("model {}, version {}: {what}", source.name, source.version)
}

/// The names there are, each once.
pub(crate) fn names(slots: &Slots) -> BTreeSet<&str> {
    slots.iter().map(|slot| &*slot.source.name).collect()
}

/// The names for a message.
fn listed(slots: &Slots) -> String {
    names(slots).into_iter().collect::<Vec<_>>().join(", ")
}

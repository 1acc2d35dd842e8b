//! Base images: the frontend's view of the store and of registries.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use builder_cache::Store;
use builder_frontend::plan::{Images, ResolveError, ResolvedImage};
use builder_frontend::platform::Platform;
use builder_image::Reference;
use builder_image::pull::Error as PullError;

use super::source;
use crate::commands::Global;
use crate::error::CliError;
use crate::progress::Progress;
use crate::pull::{self, PullPolicy};
use crate::{provider, store};

/// How many questions are asked at once.
const AT_ONCE: usize = 8;

/// How long the ids are that listings show.
const SHORT_ID: usize = 12;

/// Resolves references in the store.
pub(crate) struct StoreImages<'a>(pub(crate) &'a Store);

/// What the store knows of a reference.
enum Lookup {
    Found(Box<ResolvedImage>),
    /// An image that runs on the platform; there may be one that is made for it (`linux/arm/v6` and `linux/arm/v7`).
    Close(Box<ResolvedImage>),
    /// Nothing, or an image for another platform; what to say when nobody else knows more.
    Missing(ResolveError),
}

impl StoreImages<'_> {
    fn look_up(&self, reference: &str, platform: Option<&str>) -> Result<Lookup, ResolveError> {
        let fail = |error: &CliError| ResolveError { message: error.text(), help: None, source: None };
        if let Some(layout) = reference.strip_prefix("oci-layout://") {
            let id = source::resolve_layout(self.0, layout, platform).map_err(|error| fail(&error))?;
            let config = store::config(self.0, &id).map_err(|error| fail(&error))?;
            let image = ResolvedImage { id: id.to_string(), reference: reference.to_owned(), config };
            return Ok(Lookup::Found(Box::new(image)));
        }
        let full = store::full_name(reference).map_err(|error| fail(&error))?;
        let name = full.parse().map_or_else(|_| full.clone(), |reference| pull::store_name(&reference));
        let found = self.0.image_by_name(&name).map_err(|error| fail(&error.into()))?;
        let found = match found {
            Some(found) => store::for_platform(self.0, &name, found, platform).map_err(|error| fail(&error))?,
            // As in Docker, an id of the store is a base image, too; what is shorter is a name that is not there.
            None if reference.trim_start_matches("sha256:").len() >= SHORT_ID => {
                match store::try_find(self.0, reference).map_err(|error| fail(&error))? {
                    Some(found) if found.name.is_none() => found.image,
                    _ => return Ok(Lookup::Missing(missing(reference, &full))),
                }
            }
            None => return Ok(Lookup::Missing(missing(reference, &full))),
        };
        let config = store::config(self.0, &found.id).map_err(|error| fail(&error))?;
        let mut is_close = false;
        if let Some(text) = platform {
            let wanted: Platform = text.parse().map_err(|error| fail(&CliError::message(error)))?;
            let is = config.platform();
            let exact = pull::platform(platform).map_err(|error| fail(&error))?;
            let own = pull::platform_of(self.0, &name, &found.id).map_err(|error| fail(&error))?;
            is_close = !exact.is(&own);
            if !exact.accepts(&own) && !is.architecture.is_empty() {
                let named = self.0.name(&name).map_err(|error| fail(&error.into()))?;
                let platforms = named.map(|named| named.platforms).unwrap_or_default();
                let there: Vec<String> = platforms.into_iter().map(|(platform, _)| platform).collect();
                let there = if there.is_empty() { is.to_string() } else { there.join(", ") };
                return Ok(Lookup::Missing(ResolveError {
                    message: format!("the image {full} in the store is for {there} and not for {wanted}"),
                    help: Some(format!(
                        "bring in the one for {wanted} with `builder pull --platform {wanted} {reference}` or `builder \
                         load --platform {wanted} -i FILE`"
                    )),
                    source: None,
                }));
            }
        }
        let image = Box::new(ResolvedImage { id: found.id.to_string(), reference: full, config });
        Ok(if is_close { Lookup::Close(image) } else { Lookup::Found(image) })
    }
}

impl Images for StoreImages<'_> {
    fn resolve(&self, reference: &str, platform: Option<&str>) -> Result<ResolvedImage, ResolveError> {
        match self.look_up(reference, platform)? {
            Lookup::Found(image) | Lookup::Close(image) => Ok(*image),
            Lookup::Missing(error) => Err(error),
        }
    }
}

fn missing(reference: &str, full: &str) -> ResolveError {
    ResolveError {
        message: format!("the base image `{reference}` ({full}) is not in the store"),
        help: Some(format!(
            "bring it in with `builder pull {reference}`, `builder load -i FILE` (what docker, podman or skopeo saved) or \
             `builder import ROOTFS.tar {reference}`; `builder images` lists what is there"
        )),
        source: None,
    }
}

impl fmt::Debug for StoreImages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreImages")
    }
}

/// Resolves references in the store, and in registries as far as the policy says.
pub(super) struct BaseImages<'a> {
    asker: Asker<'a>,
    policy: Cell<PullPolicy>,
    /// What registries have said: nothing is asked twice.
    answers: RefCell<BTreeMap<Question, Answer>>,
}

/// A reference in full, and a platform.
type Question = (String, Option<String>);
type Answer = Result<ResolvedImage, Refusal>;

/// Asks registries.
#[derive(Clone, Copy)]
struct Asker<'a> {
    global: &'a Global,
    store: &'a Store,
    progress: &'a Progress,
}

impl<'a> BaseImages<'a> {
    pub(super) fn new(global: &'a Global, store: &'a Store, progress: &'a Progress) -> Self {
        let asker = Asker { global, store, progress };
        Self { asker, policy: Cell::default(), answers: RefCell::default() }
    }

    /// What counts from now on.
    pub(super) fn set_policy(&self, policy: PullPolicy) {
        self.policy.set(policy);
    }

    pub(super) fn policy(&self) -> PullPolicy {
        self.policy.get()
    }

    /// Asks the registry, once.
    fn ask(&self, reference: &Reference, platform: Option<&str>) -> Answer {
        let question = (reference.to_string(), platform.map(str::to_owned));
        if let Some(answer) = self.answers.borrow().get(&question) {
            return answer.clone();
        }
        // Who does not have it has it for no platform.
        let refused = |((name, _), answer): (&Question, &Answer)| {
            let refusal = answer.as_ref().err().filter(|refusal| *name == question.0 && refusal.for_all)?;
            Some(Err(refusal.clone()))
        };
        if let Some(answer) = self.answers.borrow().iter().find_map(refused) {
            return answer;
        }
        let answer = self.asker.ask(reference, platform);
        self.answers.borrow_mut().insert(question, answer.clone());
        answer
    }

    /// Asks registries for what a plan is going to ask for, all at once.
    pub(super) fn prefetch(&self, wanted: &[(String, String)]) {
        let policy = self.policy.get();
        let missing = |(name, platform): &&(String, String)| {
            let here = || StoreImages(self.asker.store).look_up(name, Some(platform));
            policy.asks_first() || matches!(here(), Ok(Lookup::Missing(_) | Lookup::Close(_)))
        };
        let unknown = |(reference, platform): &(Reference, String)| {
            let question = (reference.to_string(), Some(platform.clone()));
            !self.answers.borrow().contains_key(&question)
        };
        if policy == PullPolicy::Never || wanted.len() < 2 {
            return;
        }
        let named = |(name, platform): &(String, String)| Some((named(name)?, platform.clone()));
        let wanted: Vec<_> = wanted.iter().filter(missing).filter_map(named).filter(unknown).collect();
        if wanted.len() < 2 {
            return;
        }
        let (asker, next, found) = (self.asker, AtomicUsize::new(0), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..wanted.len().min(AT_ONCE) {
                scope.spawn(|| {
                    while let Some((reference, platform)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let answer = asker.ask(reference, Some(platform));
                        let question = (reference.to_string(), Some(platform.clone()));
                        found.lock().unwrap_or_else(PoisonError::into_inner).push((question, answer));
                    }
                });
            }
        });
        self.answers.borrow_mut().extend(found.into_inner().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A name as a registry knows it; layouts are none.
fn named(name: &str) -> Option<Reference> {
    name.parse().ok().filter(|_| !name.starts_with("oci-layout:"))
}

impl Asker<'_> {
    fn ask(&self, reference: &Reference, platform: Option<&str>) -> Answer {
        let step = self.progress.step(&format!("[internal] load metadata for {reference}"));
        let asked = self.pulled(reference, platform);
        match &asked {
            Ok(_) => step.done(),
            Err(refusal) => step.failed(refusal.message.clone()),
        }
        asked
    }

    fn pulled(&self, reference: &Reference, platform: Option<&str>) -> Result<ResolvedImage, Refusal> {
        let own = |error: &CliError| Refusal { message: error.text(), not_found: false, for_all: true };
        let registry = provider::registry(self.global).map_err(|error| own(&error))?;
        let platform = pull::platform(platform).map_err(|error| own(&error))?;
        let pulled = pull::image(self.store, registry, reference, &platform).map_err(Refusal::from)?;
        let config = store::config(self.store, &pulled.id).map_err(|error| own(&error))?;
        Ok(ResolvedImage { id: pulled.id.to_string(), reference: reference.to_string(), config })
    }
}

/// Why a registry did not help.
#[derive(Clone)]
struct Refusal {
    message: String,
    not_found: bool,
    /// It would say the same of another platform.
    for_all: bool,
}

impl From<PullError> for Refusal {
    fn from(error: PullError) -> Self {
        let (not_found, for_all) = (error.is_not_found(), matches!(error, PullError::Registry(_)));
        Self { not_found, for_all, message: format!("{:#}", anyhow::Error::new(error)) }
    }
}

impl Refusal {
    fn help(&self, reference: &Reference) -> String {
        if self.not_found {
            let repository = reference.familiar_name();
            return format!("`builder registry tags {repository}` lists what the registry has");
        }
        format!(
            "builds need no registry when the image is in the store: `builder load -i FILE` and `builder import \
             ROOTFS.tar {}` bring images in",
            reference.familiar()
        )
    }
}

impl Images for BaseImages<'_> {
    fn resolve(&self, name: &str, platform: Option<&str>) -> Result<ResolvedImage, ResolveError> {
        let policy = self.policy.get();
        let here = StoreImages(self.asker.store);
        let reference = named(name);
        let mut refused = None;
        if let Some(reference) = reference.as_ref().filter(|_| policy.asks_first()) {
            match self.ask(reference, platform) {
                Ok(image) => return Ok(image),
                Err(refusal) if policy == PullPolicy::Always => {
                    return Err(ResolveError {
                        message: refusal.message.clone(),
                        help: Some(
                            "`--pull=newer` takes what the store has when the registry has no answer".to_owned(),
                        ),
                        source: None,
                    });
                }
                Err(refusal) => refused = Some(refusal),
            }
        }
        let missing = match here.look_up(name, platform)? {
            Lookup::Found(image) => return Ok(*image),
            Lookup::Close(image) => {
                // What the registry says counts, and when it has no answer, what is here will do.
                let asks = policy != PullPolicy::Never && refused.is_none();
                let better = reference.filter(|_| asks).and_then(|reference| self.ask(&reference, platform).ok());
                return Ok(better.unwrap_or(*image));
            }
            Lookup::Missing(error) => error,
        };
        let Some(reference) = reference.filter(|_| policy != PullPolicy::Never) else { return Err(missing) };
        let refusal = match refused {
            Some(refusal) => refusal,
            None => match self.ask(&reference, platform) {
                Ok(image) => return Ok(image),
                Err(refusal) => refusal,
            },
        };
        Err(ResolveError {
            message: format!("{}, and {}", missing.message, refusal.message),
            help: Some(refusal.help(&reference)),
            source: None,
        })
    }
}

//! Lists: repositories of a registry, tags of a repository, and what a search finds.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::auth::Scopes;
use super::exchange::{Answer, Call};
use super::host::{DOCKER, Endpoint};
use super::repository::Source;
use super::{Error, Hit, Inner, Registry, said};
use crate::http::header::LINK;
use crate::http::{Method, url};
use crate::reference::{Reference, Tag};

/// How many entries are asked for at once; more are refused by some.
const PAGE: usize = 1000;

/// The biggest page, the most pages and the most entries that are taken.
const PAGE_LIMIT: u64 = 8 << 20;
const PAGES: usize = 1_000;
const ENTRIES: usize = 1_000_000;

/// Where Docker's registry is searched.
const HUB: &str = "index.docker.io";

/// The most that a search gives.
const HITS: usize = 100;

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Found {
    results: Option<Vec<FoundOne>>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct FoundOne {
    name: Option<String>,
    description: Option<String>,
    star_count: Option<u64>,
    is_official: Option<bool>,
    is_automated: Option<bool>,
}

impl Registry {
    /// The names of all repositories of a host, sorted.
    pub fn catalog(&self, host: &str) -> Result<Vec<String>, Error> {
        let endpoint = self.0.endpoint(host)?;
        let is_name = |name: &str| format!("{host}/{name}").parse::<Reference>().is_ok_and(|read| read.tag().is_some());
        self.0.pages(&endpoint, "_catalog", &Scopes::catalog(), host, is_name, |page: Catalog| page.repositories)
    }

    /// Repositories that a word finds, at most so many of them. A registry without a search of its own is looked
    /// through.
    pub fn search(&self, host: &str, term: &str, limit: usize) -> Result<Vec<Hit>, Error> {
        let limit = limit.min(HITS);
        let is_hub = matches!(host, DOCKER | "index.docker.io" | "registry-1.docker.io");
        let endpoint = self.0.endpoint(if is_hub { DOCKER } else { host })?;
        let scheme = if is_hub { "https" } else { self.0.scheme(&endpoint)? };
        let base = if is_hub { format!("https://{HUB}") } else { endpoint.base(scheme) };
        let target = url::with_query(&format!("{base}/v1/search"), "q", term);
        let target = url::with_query(&target, "n", &limit.max(1).to_string());
        let scopes = Scopes::none();
        let call = Call {
            method: Method::GET,
            target: &target,
            headers: &[],
            body: &[],
            scopes: &scopes,
            follow: true,
            what: host,
        };
        let mut answer = self.0.call(&endpoint, &call)?;
        match answer.status() {
            200 => {}
            404 | 405 | 400 | 401 | 403 | 501 if !is_hub => return self.look_through(host, term, limit),
            _ => return Err(self.0.refused(&mut answer, host, &endpoint)),
        }
        let bytes = self.0.bytes(&mut answer, PAGE_LIMIT, host)?;
        let Ok(found) = serde_json::from_slice::<Found>(&bytes) else {
            return if is_hub {
                Err(strange(host, "it answers a search with no list"))
            } else {
                self.look_through(host, term, limit)
            };
        };
        let hit = |one: FoundOne| {
            Some(Hit {
                name: said::clean(&one.name?)?,
                description: one.description.as_deref().and_then(said::clean).unwrap_or_default(),
                stars: one.star_count.unwrap_or(0),
                official: one.is_official.unwrap_or(false),
                automated: one.is_automated.unwrap_or(false),
            })
        };
        Ok(found.results.unwrap_or_default().into_iter().filter_map(hit).take(limit).collect())
    }

    fn look_through(&self, host: &str, term: &str, limit: usize) -> Result<Vec<Hit>, Error> {
        let term = term.to_lowercase();
        let names = self.catalog(host)?.into_iter().filter(|name| name.contains(&term));
        Ok(names.take(limit).map(|name| Hit { name, ..Hit::default() }).collect())
    }
}

/// The tags of a repository, sorted.
pub(super) fn tags(client: &Inner, source: &Source, name: &str) -> Result<Vec<String>, Error> {
    let target = format!("{}/tags/list", source.path);
    let is_tag = |tag: &str| tag.parse::<Tag>().is_ok();
    client.pages(&source.endpoint, &target, &Scopes::pull(&source.path), name, is_tag, |page: Tags| page.tags)
}

impl Inner {
    /// The scheme that a server speaks; it is asked if that is not known yet.
    fn scheme(&self, endpoint: &Endpoint) -> Result<&'static str, Error> {
        if endpoint.schemes().len() > 1 {
            let scopes = Scopes::none();
            let what = endpoint.name.as_str();
            self.call(
                endpoint,
                &Call { method: Method::GET, target: "", headers: &[], body: &[], scopes: &scopes, follow: true, what },
            )?;
        }
        Ok(endpoint.schemes().first().copied().unwrap_or("https"))
    }

    /// All entries of a list that comes in pages.
    fn pages<T: DeserializeOwned>(
        &self,
        endpoint: &Endpoint,
        target: &str,
        scopes: &Scopes,
        what: &str,
        is_right: impl Fn(&str) -> bool,
        entries: impl Fn(T) -> Option<Vec<String>>,
    ) -> Result<Vec<String>, Error> {
        let mut all = BTreeSet::new();
        let mut next = format!("{target}?n={PAGE}");
        let mut seen = BTreeSet::new();
        while seen.insert(next.clone()) {
            if seen.len() > PAGES {
                return Err(strange(what, &format!("its list has more than {PAGES} pages")));
            }
            let call = Call { method: Method::GET, target: &next, headers: &[], body: &[], scopes, follow: true, what };
            let mut answer = self.call(endpoint, &call)?;
            if answer.status() == 400 && seen.len() == 1 && next != target {
                // Some know nothing of pages, or have smaller ones.
                target.clone_into(&mut next);
                continue;
            }
            if answer.status() != 200 {
                return Err(self.refused(&mut answer, what, endpoint));
            }
            let following = following(&answer);
            let bytes = self.bytes(&mut answer, PAGE_LIMIT, what)?;
            let page: T = serde_json::from_slice(&bytes).map_err(|_| strange(what, "it answers with no list"))?;
            let before = all.len();
            all.extend(entries(page).unwrap_or_default().into_iter().filter(|entry| is_right(entry)));
            if all.len() > ENTRIES {
                return Err(strange(what, "it lists more than a million entries"));
            }
            match following {
                // A page that brings nothing new is followed by none.
                Some(url) if all.len() > before => next = url,
                _ => return Ok(all.into_iter().collect()),
            }
        }
        Err(strange(what, "its list has no end"))
    }
}

/// The next page, on the same server.
pub(super) fn following(answer: &Answer) -> Option<String> {
    let links = answer.response.header(LINK)?;
    let link = links.split(',').find(|link| {
        let parameters = link.split(';').skip(1).map(|parameter| parameter.trim().to_ascii_lowercase());
        parameters.into_iter().any(|parameter| parameter == "rel=\"next\"" || parameter == "rel=next")
    })?;
    let target = link.split_once('<')?.1.split_once('>')?.0;
    let whole = url::join(&answer.url, target)?;
    (url::origin(&whole) == url::origin(&answer.url)).then_some(whole)
}

fn strange(what: &str, reason: &str) -> Error {
    Error::Answer { what: what.to_owned(), reason: reason.to_owned() }
}

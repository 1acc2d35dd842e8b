//! Records: what finished steps resulted in, by recipe key and by content key.
//!
//! Looking up writes nothing. Uses are collected in memory, and [`Store::flush_uses`] writes them down when the last
//! use on disk is an hour old; so last uses are exact to an hour, and a build that is repeated all day writes them
//! once an hour.

mod components;

use std::time::Duration;

use builder_solver::{
    CacheKey, Change, Component, ContentDigest, Nearest, OpDigest, Part, PathChange, Record, Records,
};
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::error::{Error, Result};
use crate::id::Snapshot;
use crate::layer::{decode_chain, encode_chain, id_of, require_layers};
use crate::store::{Commit, Store, locked, now_ms};
use crate::tree;

pub(crate) use components::decode as decode_components;

/// How exact the times of last use are.
const USE_GRAIN_MS: u64 = 3_600_000;

/// A record as the store keeps it, whether or not its result is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The key it is found by before anything runs.
    pub recipe: CacheKey,
    /// The key it is found by when its inputs came out the same.
    pub content: Option<CacheKey>,
    /// Its definition.
    pub op: OpDigest,
    /// The op in one word.
    pub kind: String,
    /// The step's name for people.
    pub name: String,
    /// Project, stage and position.
    pub lineage: String,
    /// What the recipe key was made of.
    pub components: Vec<Component>,
    /// The result; `None` when it was pruned or lost.
    pub output: Option<Snapshot>,
    /// How long the step took when it ran.
    pub cost: Duration,
    /// When it ran, in milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was last used, in milliseconds since the epoch; exact to an hour.
    pub last_used_ms: i64,
    /// How often it was used.
    pub hits: u64,
    /// The bytes of its layers.
    pub size: u64,
}

impl StoredRecord {
    /// The recipe keys of its inputs.
    pub fn inputs(&self) -> impl Iterator<Item = CacheKey> {
        inputs(&self.components)
    }
}

/// The recipe keys among components.
pub(crate) fn inputs(components: &[Component]) -> impl Iterator<Item = CacheKey> {
    components.iter().filter_map(|component| match component.part {
        Part::Input(_) => Some(CacheKey::from_bytes(*component.digest.as_bytes())),
        _ => None,
    })
}

impl Store {
    /// All records, oldest first, evicted ones too.
    pub fn all_records(&self) -> Result<Vec<StoredRecord>> {
        let mut records = self.read_consistent(|db| {
            let mut select = db.prepare(&format!("SELECT {COLUMNS} FROM records ORDER BY seq"))?;
            let records = select.query_map([], stored_of)?.collect::<rusqlite::Result<Vec<_>>>()?;
            let mut select = db.prepare("SELECT id, size FROM layers")?;
            let sizes = select.query_map([], |row| Ok((id_of(row.get(0)?), row.get::<_, i64>(1)? as u64)))?;
            let sizes = sizes.collect::<rusqlite::Result<std::collections::HashMap<_, _>>>()?;
            Ok((records, sizes))
        });
        if let Ok((records, sizes)) = &mut records {
            for record in records {
                let layers = record.output.iter().flat_map(|output| &output.layers);
                record.size = layers.filter_map(|id| sizes.get(id)).sum();
            }
        }
        records.map(|(records, _)| records)
    }

    /// The record with this recipe key, evicted or not. Does not count as a use.
    pub fn stored_record(&self, recipe: &CacheKey) -> Result<Option<StoredRecord>> {
        self.read_consistent(|db| {
            let mut select = db.prepare_cached(&format!("SELECT {COLUMNS} FROM records WHERE recipe = ?"))?;
            let Some(mut record) = select.query_row([recipe.as_bytes()], stored_of).optional()? else {
                return Ok(None);
            };
            let mut select = db.prepare_cached("SELECT size FROM layers WHERE id = ?")?;
            for id in record.output.iter().flat_map(|output| &output.layers) {
                let size: Option<i64> = select.query_row([id.number() as i64], |row| row.get(0)).optional()?;
                record.size += size.unwrap_or(0) as u64;
            }
            Ok(Some(record))
        })
    }

    /// Writes down the uses that were collected, if the last ones written are an hour old.
    pub fn flush_uses(&self) -> Result<()> {
        let mut uses = locked(&self.inner.uses);
        if !uses.values().any(|entry| entry.due) {
            return Ok(());
        }
        self.write(Commit::Lazy, |db| {
            let mut update =
                db.prepare_cached("UPDATE records SET hits = hits + ?, last_used_ms = ? WHERE recipe = ?")?;
            for (recipe, entry) in &*uses {
                update.execute(params![entry.hits as i64, entry.last_ms, recipe.as_bytes()])?;
            }
            Ok(())
        })?;
        uses.clear();
        Ok(())
    }

    fn note_use(&self, record: &StoredRecord) {
        let now = now_ms();
        let mut uses = locked(&self.inner.uses);
        let entry = uses.entry(record.recipe).or_default();
        entry.hits += 1;
        entry.last_ms = now;
        // In either direction: a clock that was wrong must not pin a time in the future.
        entry.due |= now.abs_diff(record.last_used_ms) >= USE_GRAIN_MS;
    }

    fn find(&self, condition: &str, key: &CacheKey) -> Result<Option<Record<Snapshot>>> {
        let found = self.read(|db| {
            let mut select = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM records WHERE {condition} AND output IS NOT NULL ORDER BY seq DESC LIMIT 1"
            ))?;
            Ok(select.query_row([key.as_bytes()], stored_of).optional()?)
        })?;
        Ok(found.and_then(|stored| {
            self.note_use(&stored);
            record_of(stored)
        }))
    }
}

impl Records for Store {
    type Output = Snapshot;
    type Error = Error;

    fn by_recipe(&self, key: &CacheKey) -> Result<Option<Record<Snapshot>>> {
        self.find("recipe = ?", key)
    }

    fn by_content(&self, key: &CacheKey) -> Result<Option<Record<Snapshot>>> {
        self.find("content = ?", key)
    }

    fn has_op(&self, op: &OpDigest) -> Result<bool> {
        self.read(|db| {
            let mut select = db.prepare_cached("SELECT 1 FROM records WHERE op = ? AND output IS NOT NULL LIMIT 1")?;
            Ok(select.exists([op.as_bytes()])?)
        })
    }

    fn apply(&self, changes: &[Change<Snapshot>]) -> Result<()> {
        // What a record refers to must not be taken away as garbage before the build is over.
        let _lease = self.lease()?;
        self.write(Commit::Lazy, |db| {
            for change in changes {
                match change {
                    Change::Insert(record) => insert(db, record, &self.inner.boot)?,
                    Change::ContentKey { recipe, content } => {
                        db.prepare_cached("UPDATE records SET content = ? WHERE recipe = ?")?
                            .execute(params![content.as_bytes(), recipe.as_bytes()])?;
                    }
                }
            }
            Ok(())
        })
    }

    fn nearest(&self, lineage: &str, name: &str) -> Result<Option<Nearest<Snapshot>>> {
        self.read_consistent(|db| {
            for (column, value) in [("lineage", lineage), ("name", name)] {
                if value.is_empty() {
                    continue;
                }
                let mut select = db.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM records WHERE {column} = ? ORDER BY seq DESC LIMIT 1"
                ))?;
                if let Some(stored) = select.query_row([value], stored_of).optional()? {
                    let StoredRecord { recipe, op, components, output, .. } = stored;
                    return Ok(Some(Nearest { recipe, op, components, output }));
                }
            }
            Ok(None)
        })
    }

    fn tree_changes(&self, old: &ContentDigest, new: &ContentDigest, limit: usize) -> Result<Option<Vec<PathChange>>> {
        tree::changes(self, old, new, limit)
    }
}

fn insert(db: &Transaction<'_>, record: &Record<Snapshot>, boot: &str) -> Result<()> {
    require_layers(db, &record.output.layers)?;
    let mut hits = db.prepare_cached("SELECT hits FROM records WHERE recipe = ?")?;
    let hits: Option<i64> = hits.query_row([record.recipe.as_bytes()], |row| row.get(0)).optional()?;
    // With a new number: one that was written before a sync began must not stand for this one.
    db.prepare_cached(
        "INSERT OR REPLACE INTO records
            (recipe, content, op, kind, name, lineage, components, output, cost_us, created_ms, last_used_ms,
             hits, boot)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        record.recipe.as_bytes(),
        record.content.as_ref().map(CacheKey::as_bytes),
        record.op.as_bytes(),
        record.kind,
        record.name,
        record.lineage,
        components::encode(&record.components),
        encode_chain(&record.output),
        i64::try_from(record.cost.as_micros()).unwrap_or(i64::MAX),
        record.created_ms,
        now_ms(),
        hits.unwrap_or(0),
        boot,
    ])?;
    Ok(())
}

/// What [`stored_of`] reads.
const COLUMNS: &str =
    "recipe, content, op, kind, name, lineage, components, output, cost_us, created_ms, last_used_ms, hits";

fn stored_of(row: &Row<'_>) -> rusqlite::Result<StoredRecord> {
    let components = components::decode(row.get_ref(6)?.as_blob()?)
        .ok_or_else(|| rusqlite::Error::InvalidColumnType(6, "components".to_owned(), Type::Blob))?;
    Ok(StoredRecord {
        recipe: CacheKey::from_bytes(row.get(0)?),
        content: row.get::<_, Option<_>>(1)?.map(CacheKey::from_bytes),
        op: OpDigest::from_bytes(row.get(2)?),
        kind: row.get(3)?,
        name: row.get(4)?,
        lineage: row.get(5)?,
        components,
        output: row.get_ref(7)?.as_blob_or_null()?.map(decode_chain),
        cost: Duration::from_micros(row.get::<_, i64>(8)?.unsigned_abs()),
        created_ms: row.get(9)?,
        last_used_ms: row.get(10)?,
        hits: row.get::<_, i64>(11)?.unsigned_abs(),
        size: 0,
    })
}

/// `None` when its result is gone.
fn record_of(stored: StoredRecord) -> Option<Record<Snapshot>> {
    Some(Record {
        recipe: stored.recipe,
        content: stored.content,
        op: stored.op,
        kind: stored.kind,
        name: stored.name,
        lineage: stored.lineage,
        components: stored.components,
        output: stored.output?,
        cost: stored.cost,
        created_ms: stored.created_ms,
    })
}

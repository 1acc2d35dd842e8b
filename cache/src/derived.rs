//! Tars of a layer other than its own: with clamped times, or with a table of contents in them. What is remembered
//! is their digest, so that they need not be made to be known.

use rusqlite::{OptionalExtension, params};

use crate::error::Result;
use crate::id::{DiffId, LayerId};
use crate::store::{Commit, Store};

impl Store {
    /// Digest and size of the tar that was made of a layer in this form.
    pub fn derived_tar(&self, layer: &LayerId, form: &str) -> Result<Option<(DiffId, u64)>> {
        self.read(|db| {
            let mut select =
                db.prepare_cached("SELECT diff_id, tar_size FROM derived_tars WHERE layer = ? AND form = ?")?;
            let row = select.query_row(params![layer.number() as i64, form], |row| {
                Ok((DiffId::from_bytes(row.get(0)?), row.get::<_, i64>(1)? as u64))
            });
            Ok(row.optional()?)
        })
    }

    /// The form in which this tar was made of a layer.
    pub fn derivation(&self, layer: &LayerId, diff_id: &DiffId) -> Result<Option<String>> {
        self.read(|db| {
            let mut select = db.prepare_cached(
                "SELECT form FROM derived_tars WHERE layer = ? AND diff_id = ? ORDER BY form LIMIT 1",
            )?;
            Ok(select.query_row(params![layer.number() as i64, diff_id.as_bytes()], |row| row.get(0)).optional()?)
        })
    }

    /// Remembers the tar that was made of a layer in this form.
    pub fn set_derived_tar(&self, layer: &LayerId, form: &str, diff_id: &DiffId, tar_size: u64) -> Result<()> {
        self.write(Commit::Lazy, |db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO derived_tars (layer, form, diff_id, tar_size) VALUES (?, ?, ?, ?)",
            )?
            .execute(params![layer.number() as i64, form, diff_id.as_bytes(), tar_size as i64])?;
            Ok(())
        })
    }
}

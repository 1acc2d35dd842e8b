//! The tables, and how older stores become newer ones.
//!
//! * Digests and keys are blobs of 32 bytes; layer ids are integers; a chain of layers is a blob of eight bytes (big
//!   endian) a layer, bottom first.
//! * `seq` numbers rows in the order of their writing and is never used twice, so that a sync knows which rows it
//!   covered and "newest" does not depend on a clock. (Of a container it may be used again when the newest is gone.)
//! * `boot` is the boot in which a row was written, and NULL once the row and the files behind it are on the disk.
//! * A record with `output` NULL is evicted: kept to explain misses.

use std::path::Path;

use rusqlite::Connection;

use crate::error::{Error, Result};

/// Step `n` leads from format `n` to format `n + 1`. Never change one that was released; add another.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

    CREATE TABLE layers (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id INTEGER NOT NULL UNIQUE,
        base INTEGER,
        content BLOB,
        diff_id BLOB,
        tar_size INTEGER,
        chain_id TEXT,
        source_blob BLOB,
        size INTEGER NOT NULL,
        files INTEGER NOT NULL,
        empty INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        boot TEXT
    ) STRICT;
    CREATE INDEX layers_chain_id ON layers (chain_id) WHERE chain_id IS NOT NULL;
    CREATE INDEX layers_unsynced ON layers (boot) WHERE boot IS NOT NULL;

    CREATE TABLE records (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        recipe BLOB NOT NULL UNIQUE,
        content BLOB,
        op BLOB NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        lineage TEXT NOT NULL,
        components BLOB NOT NULL,
        output BLOB,
        cost_us INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        last_used_ms INTEGER NOT NULL,
        hits INTEGER NOT NULL,
        boot TEXT
    ) STRICT;
    CREATE INDEX records_content ON records (content) WHERE content IS NOT NULL AND output IS NOT NULL;
    CREATE INDEX records_op ON records (op) WHERE output IS NOT NULL;
    CREATE INDEX records_lineage ON records (lineage);
    CREATE INDEX records_name ON records (name);
    CREATE INDEX records_unsynced ON records (boot) WHERE boot IS NOT NULL;

    CREATE TABLE trees (digest BLOB PRIMARY KEY, listing BLOB NOT NULL) STRICT;

    CREATE TABLE blobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        digest BLOB NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        boot TEXT
    ) STRICT;
    CREATE INDEX blobs_unsynced ON blobs (boot) WHERE boot IS NOT NULL;

    CREATE TABLE layer_blobs (
        diff_id BLOB NOT NULL,
        compression TEXT NOT NULL,
        blob BLOB NOT NULL,
        PRIMARY KEY (diff_id, compression)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE images (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB NOT NULL UNIQUE,
        layers BLOB NOT NULL,
        diff_ids BLOB NOT NULL,
        manifest BLOB,
        manifest_type TEXT,
        created_ms INTEGER NOT NULL,
        size INTEGER NOT NULL,
        target BLOB,
        boot TEXT
    ) STRICT;
    CREATE INDEX images_unsynced ON images (boot) WHERE boot IS NOT NULL;

    -- `durable` is what the name falls back to when a power cut takes the image away.
    CREATE TABLE names (name TEXT PRIMARY KEY, image BLOB NOT NULL, durable BLOB) STRICT, WITHOUT ROWID;
    CREATE INDEX names_image ON names (image);
",
    "
    -- How the manifest of what a name stands for is made.
    ALTER TABLE names ADD COLUMN form TEXT;

    -- What a name stands for on each platform, when that is more than one image.
    CREATE TABLE platforms (
        name TEXT NOT NULL,
        position INTEGER NOT NULL,
        platform TEXT NOT NULL,
        image BLOB NOT NULL,
        PRIMARY KEY (name, platform)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX platforms_image ON platforms (image);
    CREATE TRIGGER names_deleted AFTER DELETE ON names BEGIN
        DELETE FROM platforms WHERE name = OLD.name;
    END;

    -- Other tars that can be made of a layer: with clamped times, or with a table of contents in it.
    CREATE TABLE derived_tars (
        layer INTEGER NOT NULL,
        form TEXT NOT NULL,
        diff_id BLOB NOT NULL,
        tar_size INTEGER NOT NULL,
        PRIMARY KEY (layer, form)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- Directories that outlive a build: `RUN --mount=type=cache`.
    CREATE TABLE mounts (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id INTEGER NOT NULL UNIQUE,
        key BLOB NOT NULL,
        name TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        last_used_ms INTEGER NOT NULL,
        uses INTEGER NOT NULL,
        boot TEXT
    ) STRICT;
    CREATE INDEX mounts_key ON mounts (key);
    CREATE INDEX mounts_unsynced ON mounts (boot) WHERE boot IS NOT NULL;
",
    "
    -- Layers whose files are elsewhere, the layer below each of them, and where their blobs can be had.
    ALTER TABLE layers ADD COLUMN absent INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE layers ADD COLUMN parent INTEGER;
    CREATE TABLE layer_sources (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        layer INTEGER NOT NULL,
        blob BLOB NOT NULL,
        size INTEGER NOT NULL,
        media_type TEXT NOT NULL,
        location TEXT NOT NULL,
        UNIQUE (layer, blob, location)
    ) STRICT;
    CREATE INDEX layer_sources_blob ON layer_sources (blob);
",
    "
    -- Blobs that a name keeps besides those of its images: what is said of them.
    CREATE TABLE name_blobs (name TEXT NOT NULL, blob BLOB NOT NULL, PRIMARY KEY (name, blob)) STRICT, WITHOUT ROWID;
    CREATE TRIGGER names_deleted_blobs AFTER DELETE ON names BEGIN
        DELETE FROM name_blobs WHERE name = OLD.name;
    END;
",
    "
    -- What `run` leaves: an upper directory on an image, how it was started, and how it ended.
    CREATE TABLE containers (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        image BLOB NOT NULL,
        layers BLOB NOT NULL,
        description TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        started_ms INTEGER,
        finished_ms INTEGER,
        exit_code INTEGER NOT NULL DEFAULT 0,
        pid INTEGER,
        root INTEGER,
        version INTEGER NOT NULL DEFAULT 0,
        boot TEXT
    ) STRICT;
    CREATE INDEX containers_image ON containers (image);
    CREATE INDEX containers_unsynced ON containers (boot) WHERE boot IS NOT NULL;
",
    "
    -- How a blob was made that is elsewhere, when a builder made it.
    ALTER TABLE layer_sources ADD COLUMN recipe TEXT;
",
    "
    -- Containers of `run --rm` come and go: little is to be written for one.
    CREATE TABLE new_containers (
        seq INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL,
        image BLOB NOT NULL,
        layers BLOB NOT NULL,
        created_ms INTEGER NOT NULL,
        started_ms INTEGER,
        finished_ms INTEGER,
        exit_code INTEGER NOT NULL DEFAULT 0,
        pid INTEGER,
        root INTEGER,
        version INTEGER NOT NULL DEFAULT 0,
        remove INTEGER NOT NULL DEFAULT 0,
        boot TEXT,
        description TEXT NOT NULL
    ) STRICT;
    INSERT INTO new_containers (seq, id, name, image, layers, created_ms, started_ms, finished_ms, exit_code, pid, root,
                                version, boot, description)
        SELECT seq, id, name, image, layers, created_ms, started_ms, finished_ms, exit_code, pid, root, version, boot,
               description
        FROM containers;
    DROP TABLE containers;
    ALTER TABLE new_containers RENAME TO containers;
    -- Names are taken once; a row is in one of these.
    CREATE UNIQUE INDEX containers_kept ON containers (name) WHERE remove = 0;
    CREATE UNIQUE INDEX containers_passing ON containers (name) WHERE remove = 1;
    CREATE INDEX containers_unsynced ON containers (boot) WHERE boot IS NOT NULL AND remove = 0;
",
];

/// The format that this builder writes.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The tables whose rows carry the boot they were written in.
pub(crate) const BOOT_TABLES: [&str; 4] = ["layers", "records", "blobs", "images"];

/// The format of an open store; 0 is one without tables.
pub(crate) fn version(connection: &Connection, root: &Path) -> Result<i64> {
    let found: i64 = connection.prepare("PRAGMA user_version")?.query_row([], |row| row.get(0))?;
    if !(0..=VERSION).contains(&found) {
        return Err(Error::NewerStore { path: root.to_owned(), found, known: VERSION });
    }
    Ok(found)
}

/// Brings the tables to the format of this builder. The caller holds the gc lock alone.
pub(crate) fn migrate(connection: &mut Connection, root: &Path) -> Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
    let found = version(&transaction, root)?;
    for step in &MIGRATIONS[found as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_the_first_format_keeps_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let mut db = Connection::open(dir.path().join("old.db")).unwrap();
        db.execute_batch(MIGRATIONS[0]).unwrap();
        db.execute("INSERT INTO names (name, image) VALUES ('n', x'00')", []).unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        migrate(&mut db, dir.path()).unwrap();
        assert_eq!(version(&db, dir.path()).unwrap(), VERSION);
        let form: Option<String> =
            db.query_row("SELECT form FROM names WHERE name = 'n'", [], |row| row.get(0)).unwrap();
        assert_eq!(form, None);
        // What a name stood for goes with it.
        db.execute("INSERT INTO platforms VALUES ('n', 0, 'linux/arm64', x'01'), ('m', 0, 'linux/arm64', x'01')", [])
            .unwrap();
        db.execute("DELETE FROM names WHERE name = 'n'", []).unwrap();
        let left: Vec<String> = db
            .prepare("SELECT name FROM platforms")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(left, ["m"]);
        // One that is newer than this builder is left alone.
        db.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(matches!(migrate(&mut db, dir.path()), Err(Error::NewerStore { .. })));
    }
}

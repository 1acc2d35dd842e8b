//! `rpmdb.sqlite`: a table of headers.
//!
//! The database is the image's, and SQL in it could be, too. So nothing of its schema is run: the table must be an
//! ordinary one with ordinary columns, and reading it ends after a number of steps. It is read from a copy, together
//! with the changes of a process that had no time to write them back.

use std::fs::File;
use std::io::{self, Read, Write};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{HEADER, LIMIT};
use crate::sbom::root::Root;

/// How often SQLite asks whether to go on, in steps of its machine, and how often it may.
const STEPS: i32 = 1_000_000;
const TURNS: u32 = 1000;

pub(super) fn headers(root: &Root<'_>, path: &str, take: &mut dyn FnMut(&[u8])) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let copy = directory.path().join("db");
    let mut whole = 0;
    for suffix in ["", "-wal"] {
        let Some((file, size)) = root.open(&format!("{path}{suffix}")) else { continue };
        let mut place = copy.clone().into_os_string();
        place.push(suffix);
        whole += size;
        write(file, size, &File::create(place).map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
    }
    read(&copy, whole, take).map_err(|error| match error {
        rusqlite::Error::SqliteFailure(failure, _) if failure.code == rusqlite::ErrorCode::OperationInterrupted => {
            "it takes too long".to_owned()
        }
        other => other.to_string(),
    })
}

fn write(file: File, size: u64, mut out: &File) -> io::Result<()> {
    if size > LIMIT {
        return Err(io::Error::other(format!("it has {size} bytes")));
    }
    io::copy(&mut file.take(LIMIT), &mut out)?;
    out.flush()
}

fn read(path: &std::path::Path, size: u64, take: &mut dyn FnMut(&[u8])) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let mut turns = 0;
    db.progress_handler(
        STEPS,
        Some(move || {
            turns += 1;
            turns > TURNS
        }),
    )?;
    db.execute_batch("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;")?;
    let ordinary: bool = db.query_row(
        "SELECT COUNT(*) = 1 FROM sqlite_schema
         WHERE name = 'Packages' AND type = 'table' AND rootpage > 0 AND sql LIKE 'CREATE TABLE%'",
        [],
        |row| row.get(0),
    )?;
    let plain: bool =
        db.query_row("SELECT COUNT(*) = 0 FROM pragma_table_xinfo('Packages') WHERE hidden <> 0", [], |row| {
            row.get(0)
        })?;
    if !(ordinary && plain) {
        return Err(rusqlite::Error::InvalidColumnName("Packages".to_owned()));
    }
    let mut select = db.prepare("SELECT blob FROM Packages WHERE length(blob) <= ? ORDER BY rowid")?;
    let mut left = size;
    let mut rows = select.query([HEADER as i64])?;
    while let Some(row) = rows.next()? {
        if let Ok(header) = row.get_ref(0)?.as_blob() {
            // Pages that rows share could be read for ever.
            let wrong = || rusqlite::Error::ToSqlConversionFailure("its packages are larger than it is".into());
            left = left.checked_sub(header.len() as u64).ok_or_else(wrong)?;
            take(header);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::header;
    use super::*;

    fn found(schema: &str, rows: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, String> {
        let dir = tempfile::tempdir().unwrap();
        let db = Connection::open(dir.path().join("rpmdb.sqlite")).unwrap();
        db.execute_batch(&format!("PRAGMA journal_mode = WAL; {schema}")).unwrap();
        for row in rows {
            db.execute("INSERT INTO Packages (blob) VALUES (?)", [row]).unwrap();
        }
        // Its changes are still beside it.
        let fd = std::os::fd::OwnedFd::from(File::open(dir.path()).unwrap());
        let mut found = Vec::new();
        headers(&Root::new(&fd), "rpmdb.sqlite", &mut |header| found.push(header.to_vec())).map(|()| found)
    }

    #[test]
    fn a_table_of_headers_is_read() {
        let rows = [header(&[(1000, "a"), (1001, "1")], None), header(&[(1000, "b"), (1001, "2")], None)];
        let schema = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)";
        assert_eq!(found(schema, &rows).as_deref(), Ok(&rows[..]));
    }

    #[test]
    fn nothing_of_a_schema_is_run() {
        for schema in [
            "CREATE VIEW Packages AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i AS blob FROM n",
            "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB AS (zeroblob(900000000)) VIRTUAL)",
            "CREATE TABLE Other (x)",
        ] {
            assert!(found(schema, &[]).is_err(), "{schema}");
        }
    }
}

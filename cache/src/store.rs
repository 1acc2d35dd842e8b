//! Opening a store, and its connections to the database.
//!
//! A store has two connections: one that reads, and one that writes and is opened with the first write. So a build
//! that finds everything cached opens one, and a reader never waits behind another process's long transaction.
//!
//! The write-ahead log is not folded back when the last connection closes (that would cost every build two flushes):
//! [`Store::sync`] does it, and whoever leaves a long log behind.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use builder_solver::CacheKey;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::absent::Provider;
use crate::error::{At, Error, Result};
use crate::lock::{self, Lease, Wait};
use crate::session::{self, Session};
use crate::{durability, layout, reserve, schema, trash};

/// How long a writer waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A write-ahead log that is longer is folded back when the store is closed. Shorter ones cost the next process that
/// opens the store less than this one would pay.
const LONG_LOG: u64 = 256 * 1024;

/// How to open a store.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    boot_id: Option<String>,
}

impl OpenOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes this for the id of the machine's boot instead of asking the kernel; for tests of power cuts.
    #[must_use]
    pub fn boot_id(mut self, id: impl Into<String>) -> Self {
        self.boot_id = Some(id.into());
        self
    }

    /// Opens the store at `root`, and creates it when it is not there.
    pub fn open(&self, root: &Path) -> Result<Store> {
        let root = std::path::absolute(root).at("find", root)?;
        let boot = match &self.boot_id {
            Some(id) => id.clone(),
            None => durability::boot_id()?,
        };
        let database = root.join("builder.db");
        refuse_lost(&root, &database)?;
        let reader =
            reserve::or_give_up(&root, || open_database(&root, &database).map_err(|error| error.located(&database)))?;
        let store = Store {
            inner: Arc::new(Inner {
                reader: Mutex::new(reader),
                writer: Mutex::new(None),
                session: Mutex::new(None),
                lease: Mutex::new(None),
                uses: Mutex::new(HashMap::new()),
                index_later: AtomicUsize::new(0),
                provider: RwLock::new(None),
                database,
                boot,
                root,
            }),
        };
        durability::drop_lost(&store)?;
        session::sweep(store.root())?;
        trash::empty_later(store.root())?;
        Ok(store)
    }
}

/// A database that was cut to nothing reads as a new one, and all that the store holds would be garbage.
fn refuse_lost(root: &Path, database: &Path) -> Result<()> {
    let cut = std::fs::metadata(database).is_ok_and(|found| found.len() == 0);
    let holds_layers = || std::fs::read_dir(root.join("snapshots")).is_ok_and(|mut layers| layers.next().is_some());
    if cut && holds_layers() {
        return Err(Error::DamagedDatabase { path: database.to_owned(), what: "it is empty".to_owned() });
    }
    Ok(())
}

/// An open store. Clones share the connections.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) boot: String,
    /// Begun with the first layer or blob that is written.
    pub(crate) session: Mutex<Option<Arc<Session>>>,
    /// Held from the first write on, so that what was written is not taken for garbage before it is referred to.
    pub(crate) lease: Mutex<Option<Lease>>,
    /// Uses of records that were not written down yet.
    pub(crate) uses: Mutex<HashMap<CacheKey, Use>>,
    /// How many wait with `index.json` until they are done.
    pub(crate) index_later: AtomicUsize,
    /// Brings layers that are absent.
    pub(crate) provider: RwLock<Option<Arc<dyn Provider>>>,
    database: PathBuf,
    reader: Mutex<Connection>,
    writer: Mutex<Option<Connection>>,
}

/// Uses of one record since they were last written down.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Use {
    pub(crate) hits: u64,
    pub(crate) last_ms: i64,
    /// The last use that is written down is long ago.
    pub(crate) due: bool,
}

/// When a transaction is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// With the next sync: a power cut may take it back, but never out of order.
    Lazy,
    /// When it returns.
    Durable,
}

impl Store {
    /// Opens the store at `root`, and creates it when it is not there. Drops what a power cut may have damaged and
    /// sweeps up after builders that were killed.
    pub fn open(root: &Path) -> Result<Self> {
        OpenOptions::new().open(root)
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Reads from the database.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        work(&locked(&self.inner.reader)).map_err(|error| error.located(&self.inner.database))
    }

    /// Reads one state of the database with several statements.
    pub(crate) fn read_consistent<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            work(&transaction)
        })
    }

    /// Writes to the database, all or nothing.
    pub(crate) fn write<T>(&self, commit: Commit, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut writer = locked(&self.inner.writer);
        self.write_with(&mut writer, commit, work).map_err(|error| error.located(&self.inner.database))
    }

    fn write_with<T>(
        &self,
        writer: &mut Option<Connection>,
        commit: Commit,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let writer = match writer {
            Some(writer) => writer,
            None => writer.insert(connect(&self.inner.database, OpenFlags::empty())?),
        };
        if commit == Commit::Durable {
            writer.pragma_update(None, "synchronous", "FULL")?;
        }
        let result = transact(writer, work);
        if commit == Commit::Durable {
            writer.pragma_update(None, "synchronous", "NORMAL")?;
        }
        result
    }

    /// Folds the write-ahead log back into the database if nobody else is using it just now.
    pub(crate) fn fold_log(&self) {
        let mut writer = locked(&self.inner.writer);
        if let Some(writer) = writer.as_mut() {
            fold_log(writer);
        }
    }
}

fn transact<T>(writer: &mut Connection, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// Best effort: what stays in the log is read from there.
fn fold_log(writer: &Connection) {
    let truncate = || -> rusqlite::Result<()> {
        writer.busy_timeout(Duration::ZERO)?;
        writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    };
    truncate().ok();
    writer.busy_timeout(BUSY_TIMEOUT).ok();
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(writer) = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).as_ref() else { return };
        let mut log = self.database.clone().into_os_string();
        log.push("-wal");
        if fs::metadata(log).is_ok_and(|log| log.len() > LONG_LOG) {
            fold_log(writer);
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.inner.root).finish_non_exhaustive()
    }
}

/// What a panic elsewhere left behind is still consistent: all state that matters is in the database.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that nobody else uses.
pub(crate) fn random_number() -> Result<u64> {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(_) => Ok(u64::from_ne_bytes(bytes)),
        Err(error) => Err(Error::io("read random bytes from", "the kernel", error)),
    }
}

pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn connect(database: &Path, more: OpenFlags) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch("PRAGMA synchronous = NORMAL")?;
    Ok(connection)
}

/// The database in the format of this builder. Several processes may create it or bring it there at once: one does,
/// and the others wait for that, but not for what it builds then.
fn open_database(root: &Path, database: &Path) -> Result<Connection> {
    if let Some(connection) = open_current(root, database)? {
        return Ok(connection);
    }
    make_directory(root, true)?;
    lock::settle(root)?;
    if let Some(connection) = open_current(root, database)? {
        return Ok(connection);
    }
    let _alone = match lock::exclusive(root, Wait::No) {
        Ok(alone) => alone,
        Err(Error::InUse { .. }) => {
            lock::settle(root)?;
            if let Some(connection) = open_current(root, database)? {
                return Ok(connection);
            }
            // An older builder is at work in an older store.
            lock::exclusive(root, Wait::Yes)?
        }
        Err(error) => return Err(error),
    };
    let mut connection = connect(database, OpenFlags::SQLITE_OPEN_CREATE)?;
    set_up(&mut connection, root)?;
    Ok(connection)
}

/// `None` when there is no database, or one that is still to be brought to this builder's format.
fn open_current(root: &Path, database: &Path) -> Result<Option<Connection>> {
    let connection = match connect(database, OpenFlags::empty()) {
        Ok(connection) => connection,
        Err(_) if !database.exists() => return Ok(None),
        // Another process may have made it since the first try.
        Err(_) => connect(database, OpenFlags::empty())?,
    };
    Ok((schema::version(&connection, root)? == schema::VERSION).then_some(connection))
}

/// Everything that a store has from its beginning, as far as it is missing.
fn set_up(connection: &mut Connection, root: &Path) -> Result<()> {
    for directory in
        ["blobs", "blobs/sha256", "snapshots", "active", "containers", "contexts", "mounts", "locks", "trash"]
    {
        make_directory(&root.join(directory), false)?;
    }
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    schema::migrate(connection, root)?;
    layout::set_up(root)?;
    reserve::set_aside(root);
    Ok(())
}

/// Only the owner looks into a store: its layers hold set-uid programs and other people's secrets.
fn make_directory(path: &Path, parents: bool) -> Result<()> {
    match DirBuilder::new().recursive(parents).mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.at("create", path),
    }
}

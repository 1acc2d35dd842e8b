//! Room for getting rid of things when there is none: a file of zeros that is given up so that the database can
//! write down what a prune deletes. Best effort; on a disk that is full already there is none.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::error::{Error, Result};

/// Enough for a transaction that deletes some ten thousand rows.
const SIZE: u64 = 4 * 1024 * 1024;

/// Sets the room aside if it is not yet.
pub(crate) fn set_aside(root: &Path) {
    let path = path(root);
    if fs::metadata(&path).is_ok_and(|file| file.len() == SIZE) {
        return;
    }
    let allocated =
        File::create(&path).is_ok_and(|file| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, SIZE).is_ok());
    if !allocated {
        fs::remove_file(&path).ok();
    }
}

/// Does something, once more with the room given up if there was too little.
pub(crate) fn or_give_up<T>(root: &Path, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    match work() {
        Err(error) if error.is_for_want_of_space() && fs::remove_file(path(root)).is_ok() => work(),
        result => result,
    }
}

fn path(root: &Path) -> PathBuf {
    root.join("reserve")
}

impl Error {
    /// The database does not always say that it is the space that it lacks.
    fn is_for_want_of_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Database(source) => {
                matches!(
                    source.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::SystemIoFailure | rusqlite::ErrorCode::DiskFull)
                )
            }
            _ => false,
        }
    }
}

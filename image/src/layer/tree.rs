//! One file or directory of a root that is in use → a tar, and from there into another root: `cp`.
//!
//! Times are exact to the nanosecond, hard links within what is copied stay hard links, sockets are left out. A removal
//! has no meaning here: what looks like one is a device.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, fstat, statat};
use rustix::process::geteuid;

use super::batch::read_batch;
use super::error::Error;
use super::extract::{Extract, Place};
use super::node::Rules;
use super::unpack::{UnpackOptions, Unpacked, unpack_with};
use super::walk::{DirectoryStep, Form, Node, Step};
use super::write::{EntryWriter, Style, produce_layer, write_entries};
use super::{Applied, ApplyOptions, WriteOptions, apply_layer, xattr};
use crate::block::{BlockWriter, Pulled, WriteSink, pull, stream};
use crate::tar::write::END;
use crate::tar::{Limits, Reader, Reason, TarError};

/// What is copied: opened by whoever knows how to resolve its path.
#[derive(Debug)]
pub enum TreeSource {
    /// A directory, open for reading.
    Directory(OwnedFd),
    /// Anything else, by its name in an open directory.
    File {
        /// The directory that it is in.
        parent: OwnedFd,
        /// Its name there.
        name: Vec<u8>,
    },
}

/// How to write it.
#[derive(Debug, Clone, Default)]
pub struct TreeOptions {
    /// What it is called in the tar; empty for the contents of a directory alone.
    pub name: Vec<u8>,
    /// Everything belongs to this user and group.
    pub owner: Option<(u32, u32)>,
}

/// Writes the tar of a file or a directory.
pub fn write_tree(source: &TreeSource, options: &TreeOptions, sink: &mut dyn Write) -> Result<(), Error> {
    use crate::block::StreamError;
    match stream(|out| produce(source, options, out), &mut WriteSink(sink)) {
        Ok(_) => Ok(()),
        Err(StreamError::Produce(error)) => Err(error),
        Err(StreamError::Consume(error)) => Err(Error::Sink(error)),
    }
}

/// Copies a file or a directory into the directory `destination`. A directory never takes the place of anything else,
/// nor anything else the place of a directory. Owners are kept if they may be.
pub fn copy_tree(source: &TreeSource, options: &TreeOptions, destination: BorrowedFd<'_>) -> Result<Unpacked, Error> {
    let rules = Rules { best_effort_xattrs: true, keep_owner: !geteuid().is_root(), ..Rules::default() };
    let Pulled { consumed, produced, .. } = pull(
        false,
        |out| produce(source, options, out),
        |input| -> Result<Unpacked, TarError> {
            let mut extract = Extract::new(destination, Place::Root, Vec::new(), rules);
            extract.keep_kinds();
            let mut reader = Reader::new(input, Limits::default());
            extract.all(&mut reader)?;
            reader.drain()?;
            Ok(extract.unpacked())
        },
    );
    match (produced, consumed) {
        (Err(Error::Stopped(_)) | Ok(()), consumed) => consumed.map_err(Error::from),
        // The reader only saw the stream end.
        (Err(error), Ok(_) | Err(TarError { reason: Reason::Truncated, .. })) => Err(error),
        (Err(_), Err(error)) => Err(error.into()),
    }
}

/// Unpacks somebody's tar, compressed or not, into the directory `destination`; what is a directory stays one.
pub fn unpack_tree(
    input: impl Read + Send,
    destination: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<Unpacked, Error> {
    unpack_with(input, destination, Path::new(""), options, true)
}

/// Copies a layer's directories in overlay form into the empty directory `directory`, as its tar describes it.
pub fn copy_layer(parts: &[impl AsRef<Path> + Sync], directory: &Path) -> Result<Applied, Error> {
    let Pulled { consumed, produced, .. } = pull(
        false,
        |out| produce_layer(parts, &WriteOptions::default(), out),
        |input| apply_layer(input, directory, &ApplyOptions::default()),
    );
    match (produced, consumed) {
        (Err(Error::Stopped(_)) | Ok(()), consumed) => consumed,
        (Err(error), _) => Err(error),
    }
}

fn produce(source: &TreeSource, options: &TreeOptions, out: &mut BlockWriter) -> Result<(), Error> {
    let style = Style { form: Form::Root, time: None, nanos: true, owner: options.owner };
    let mut writer = EntryWriter::new(out, style);
    let name = options.name.as_slice();
    let fail = |error: rustix::io::Errno| Error::io("read", name, error);
    match source {
        TreeSource::Directory(root) => {
            if !name.is_empty() {
                let stat = fstat(root).map_err(fail)?;
                let xattrs = xattr::read(root.as_fd(), name)?.kept;
                let step = Step::Directory(DirectoryStep { path: name.to_vec(), stat, xattrs });
                writer.batch(Some(read_batch(vec![step])))?;
                writer.below(name);
            }
            write_entries(&[root.try_clone().map_err(|error| Error::io("open", name, error))?], &mut writer)?;
        }
        TreeSource::File { parent, name: own } => {
            let stat = statat(parent, own.as_slice(), AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
            let parent = parent.try_clone().map_err(|error| Error::io("open", name, error))?;
            let node = Node::single(parent, own.clone(), FileType::from_raw_mode(stat.st_mode));
            let mut batch = read_batch(vec![Step::Node(node)]);
            for prepared in batch.entries.iter_mut().flatten() {
                prepared.entry.path = name.to_vec();
                // Its other names are not copied.
                prepared.linked = None;
            }
            writer.batch(Some(batch))?;
        }
    }
    writer.end()
}

impl EntryWriter<'_> {
    /// Everything that follows is below `directory`.
    fn below(&mut self, directory: &[u8]) {
        self.set_prefix([directory, b"/"].concat());
    }

    fn end(&mut self) -> Result<(), Error> {
        Ok(self.write(&END)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::layer::node::open_root;

    fn directory(path: &Path) -> TreeSource {
        TreeSource::Directory(open_root(path).unwrap())
    }

    #[test]
    fn a_directory_is_copied_with_what_belongs_to_it() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tree = from.path().join("tree");
        fs::create_dir_all(tree.join("deep/er")).unwrap();
        fs::write(tree.join("deep/file"), vec![b'x'; 300_000]).unwrap();
        fs::hard_link(tree.join("deep/file"), tree.join("twin")).unwrap();
        symlink("/etc/passwd", tree.join("link")).unwrap();
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o2750)).unwrap();
        let options = TreeOptions { name: b"new".to_vec(), owner: None };
        let target = open_root(to.path()).unwrap();
        copy_tree(&directory(&tree), &options, target.as_fd()).unwrap();
        let new = to.path().join("new");
        let stat = |path: &Path| fs::symlink_metadata(path).unwrap();
        assert_eq!(stat(&new).mode() & 0o7777, 0o2750);
        assert_eq!(stat(&new.join("twin")).ino(), stat(&new.join("deep/file")).ino());
        assert_eq!(fs::read_link(new.join("link")).unwrap(), Path::new("/etc/passwd"));
        let time = |path: &Path| (stat(path).mtime(), stat(path).mtime_nsec());
        assert_eq!(time(&new.join("deep/file")), time(&tree.join("deep/file")));
        // Again, into what is there: merged.
        fs::write(new.join("more"), "").unwrap();
        copy_tree(&directory(&tree), &options, target.as_fd()).unwrap();
        assert!(new.join("more").exists());
        let contents = TreeOptions::default();
        copy_tree(&directory(&tree), &contents, target.as_fd()).unwrap();
        assert!(to.path().join("deep/er").is_dir());
    }

    #[test]
    fn kinds_stay() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("file"), "x").unwrap();
        fs::create_dir_all(to.path().join("name/full")).unwrap();
        let file = TreeSource::File { parent: open_root(from.path()).unwrap(), name: b"file".to_vec() };
        let options = TreeOptions { name: b"name".to_vec(), owner: None };
        let target = open_root(to.path()).unwrap();
        let error = copy_tree(&file, &options, target.as_fd()).unwrap_err().to_string();
        assert!(error.contains("cannot overwrite directory with non-directory"), "{error}");
        fs::write(to.path().join("plain"), "").unwrap();
        let options = TreeOptions { name: b"plain".to_vec(), owner: None };
        let error = copy_tree(&directory(from.path()), &options, target.as_fd()).unwrap_err().to_string();
        assert!(error.contains("cannot overwrite non-directory with directory"), "{error}");
        copy_tree(&file, &options, target.as_fd()).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("plain")).unwrap(), "x");
    }

    #[test]
    fn a_file_gets_the_name_and_the_owner_that_were_asked_for() {
        let from = tempfile::tempdir().unwrap();
        fs::write(from.path().join("file"), "x").unwrap();
        let file = TreeSource::File { parent: open_root(from.path()).unwrap(), name: b"file".to_vec() };
        let mut tar = Vec::new();
        write_tree(&file, &TreeOptions { name: b"other".to_vec(), owner: Some((7, 8)) }, &mut tar).unwrap();
        let mut reader = Reader::new(tar.as_slice(), Limits::default());
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!((entry.path.as_slice(), entry.uid, entry.gid), (b"other".as_slice(), 7, 8));
        assert!(reader.next_entry().unwrap().is_none());
    }
}

//! Who a process runs as: `user[:group]` of an image, looked up in the image's own `/etc/passwd` and `/etc/group`.
//!
//! The files belong to whoever made the image: they are opened inside the root, must be regular and short, and a
//! line that does not parse never turns into somebody (least of all into root).

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use super::error::{Error, Result};
use crate::rootfs::in_root;

/// The longest file that is read.
const MAX_FILE: u64 = 1 << 20;
/// The largest id, as in Docker: what fits a signed 32-bit integer everywhere.
const MAX_ID: u32 = i32::MAX as u32;

/// A user as the kernel and the environment see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Further groups: those that list the user, none when the group was given explicitly.
    pub groups: Vec<u32>,
    /// The home directory; `/` when the user has no entry.
    pub home: String,
}

/// Finds `user[:group]` (names or numbers; empty means root) in the image below `root`.
///
/// # Errors
/// [`Error::Refused`] for unknown names, for numbers out of range and for files that are no sane user database.
pub fn resolve(root: impl AsFd, wanted: &str) -> Result<User> {
    let (user, group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (wanted, None),
    };
    let number = parse_id("user", user)?;
    let passwd = read_database(root.as_fd(), "etc/passwd")?;
    let entry = lines(&passwd).find_map(|line| match_passwd(line, user, number)).transpose()?;
    let (uid, mut gid, name, home) = match (entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, Some(entry.name), entry.home),
        (None, Some(uid)) => (uid, 0, None, String::new()),
        (None, None) if user.is_empty() => (0, 0, None, String::new()),
        (None, None) => {
            return Err(Error::Refused(format!("the user {user:?} is not in the image's /etc/passwd")));
        }
    };
    let home = if home.is_empty() { "/".to_owned() } else { home };

    let mut groups = Vec::new();
    if let Some(group) = group {
        let number = parse_id("group", group)?;
        let file = read_database(root.as_fd(), "etc/group")?;
        let found = lines(&file).find_map(|line| match_group(line, group, number)).transpose()?;
        gid = match found.or(number) {
            Some(gid) => gid,
            None => return Err(Error::Refused(format!("the group {group:?} is not in the image's /etc/group"))),
        };
    } else if let Some(name) = name {
        let file = read_database(root, "etc/group")?;
        for line in lines(&file) {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, id, members, ..] = fields.as_slice() else { continue };
            if members.split(',').any(|member| member.trim() == name)
                && let Some(id) = id.parse().ok().filter(|id| *id <= MAX_ID)
                && !groups.contains(&id)
            {
                groups.push(id);
            }
        }
    }
    Ok(User { uid, gid, groups, home })
}

struct PasswdEntry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// The entry of this line if it is the user that is wanted.
fn match_passwd(line: &str, user: &str, number: Option<u32>) -> Option<Result<PasswdEntry>> {
    let mut fields = line.split(':');
    let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let home = fields.nth(1).unwrap_or_default();
    let wanted_id = if user.is_empty() { Some(0) } else { number };
    let id =
        |text: &str| text.parse::<u32>().ok().filter(|id| *id <= MAX_ID && text.bytes().all(|b| b.is_ascii_digit()));
    if (user.is_empty() || name != user) && (wanted_id.is_none() || id(uid) != wanted_id) {
        return None;
    }
    Some(match (id(uid), id(gid)) {
        (Some(uid), Some(gid)) => Ok(PasswdEntry { name: name.to_owned(), uid, gid, home: home.to_owned() }),
        _ => Err(Error::Refused(format!("the line of {name:?} in the image's /etc/passwd has no valid ids"))),
    })
}

/// The id of this line if it is the group that is wanted.
fn match_group(line: &str, group: &str, number: Option<u32>) -> Option<Result<u32>> {
    let mut fields = line.split(':');
    let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
    let id = id.parse::<u32>().ok().filter(|id| *id <= MAX_ID);
    if name == group {
        return Some(
            id.ok_or_else(|| Error::Refused(format!("the line of {name:?} in the image's /etc/group has no valid id"))),
        );
    }
    (number.is_some() && id == number).then(|| Ok(id.unwrap_or_default()))
}

/// The number that `text` is, `None` when it is a name.
fn parse_id(what: &str, text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(Error::Refused(format!("the {what} id {text} is out of range: the largest is {MAX_ID}"))),
    }
}

fn lines(file: &str) -> impl Iterator<Item = &str> {
    file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Reads a file of the image; missing is empty.
fn read_database(root: impl AsFd, path: &str) -> Result<String> {
    let setup = |source: io::Error| Error::Setup { what: format!("read /{path} of the image"), source };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match in_root::open(root, Path::new(path), flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(error) if [Some(libc::ENOENT), Some(libc::ENOTDIR)].contains(&error.raw_os_error()) => {
            return Ok(String::new());
        }
        // What opening a device, a socket or a link that leads nowhere sane gives.
        Err(error) if [Some(libc::EACCES), Some(libc::ENXIO), Some(libc::ELOOP)].contains(&error.raw_os_error()) => {
            return Err(Error::Refused(format!("/{path} of the image is not a regular file ({error})")));
        }
        Err(error) => return Err(setup(error)),
    };
    let stat = rustix::fs::fstat(&fd).map_err(|error| setup(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::Refused(format!("/{path} of the image is not a regular file")));
    }
    if stat.st_size as u64 > MAX_FILE {
        return Err(Error::Refused(format!("/{path} of the image is larger than 1 MiB")));
    }
    let mut bytes = Vec::with_capacity(stat.st_size as usize);
    std::fs::File::from(fd).take(MAX_FILE).read_to_end(&mut bytes).map_err(setup)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\n\napp:x:1000:1001:,,,:/home/app:/bin/sh\n\
                          bad:x:4294967296:0::/:\nminus:x:-1:-1::/:\n1234:x:77:78::/odd:\nnohome:x:5:5\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:root,app\nappgroup:x:1001:\nvideo:x:44:app\nbroken:x:99999999999:app\n";

    fn image(passwd: Option<&str>, group: Option<&str>) -> (tempfile::TempDir, std::fs::File) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        for (name, text) in [("passwd", passwd), ("group", group)] {
            if let Some(text) = text {
                std::fs::write(dir.path().join("etc").join(name), text).unwrap();
            }
        }
        let root = std::fs::File::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn users_are_found_like_in_docker() {
        let (_dir, root) = image(Some(PASSWD), Some(GROUP));
        for (wanted, uid, gid, groups, home) in [
            ("", 0, 0, vec![4], "/root"),
            ("root", 0, 0, vec![4], "/root"),
            ("0", 0, 0, vec![4], "/root"),
            ("app", 1000, 1001, vec![4, 44], "/home/app"),
            ("1000", 1000, 1001, vec![4, 44], "/home/app"),
            ("app:video", 1000, 44, vec![], "/home/app"),
            ("app:", 1000, 1001, vec![4, 44], "/home/app"),
            ("app:7", 1000, 7, vec![], "/home/app"),
            (":video", 0, 44, vec![], "/root"),
            ("4242", 4242, 0, vec![], "/"),
            ("4242:4343", 4242, 4343, vec![], "/"),
            ("1234", 77, 78, vec![], "/odd"),
            ("nohome", 5, 5, vec![], "/"),
            ("2147483647", 2_147_483_647, 0, vec![], "/"),
        ] {
            let expected = User { uid, gid, groups, home: home.to_owned() };
            assert_eq!(resolve(&root, wanted).unwrap(), expected, "{wanted:?}");
        }
    }

    #[test]
    fn nobody_becomes_root_by_accident() {
        let (_dir, root) = image(Some(PASSWD), Some(GROUP));
        for wanted in [
            "4294967296",
            "2147483648",
            "-1",
            "0x0",
            "+0",
            "0\n",
            " 0",
            "bad",
            "minus",
            "nobody",
            "app:nogroup",
            "app:4294967296",
            "app:broken",
            "18446744073709551616",
        ] {
            assert!(matches!(resolve(&root, wanted), Err(Error::Refused(_))), "{wanted:?}");
        }
    }

    #[test]
    fn missing_files_leave_numbers() {
        let (_dir, root) = image(None, None);
        assert_eq!(resolve(&root, "").unwrap(), User { uid: 0, gid: 0, groups: vec![], home: "/".into() });
        assert_eq!(resolve(&root, "12:34").unwrap(), User { uid: 12, gid: 34, groups: vec![], home: "/".into() });
        assert!(resolve(&root, "app").is_err());
    }

    #[test]
    fn hostile_databases_are_refused() {
        for target in ["/dev/zero", "/proc/kcore", "../../../../etc/passwd", "passwd"] {
            let (dir, root) = image(None, None);
            std::os::unix::fs::symlink(target, dir.path().join("etc/passwd")).unwrap();
            let user = resolve(&root, "0").map(|user| user.home);
            assert!(matches!(user.as_deref(), Err(Error::Refused(_)) | Ok("/")), "{target}: {user:?}");
        }
        let (dir, root) = image(None, None);
        let fifo = dir.path().join("etc/passwd");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(resolve(&root, "app"), Err(Error::Refused(_))));
        let (_dir, root) = image(Some(&"x:x:1:1::/:\n".repeat(100_000)), None);
        assert!(matches!(resolve(&root, "x"), Err(Error::Refused(_))));
    }
}

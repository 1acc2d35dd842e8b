//! The mark for a removed name in a layer's directory.
//!
//! It is overlay's own, a character device 0:0. An overlay refuses to hold that mark itself, so in a store that lies on
//! an overlay (a builder in a container, where steps are copied instead of mounted) another device stands in for it,
//! with a number that the kernel gives to nobody.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, makedev, mknodat};
use rustix::io::Errno;

/// The largest minor number of major 0, which belongs to file systems without a device.
const STAND_IN: (u32, u32) = (0, 0xf_ffff);

/// Whether a character device with this number is a mark for a removed name.
pub fn is_whiteout(device: u64) -> bool {
    device == 0 || device == makedev(STAND_IN.0, STAND_IN.1)
}

/// Makes the mark.
///
/// # Errors
/// Whatever the kernel says to making a device.
pub fn make_whiteout(parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let parent = parent.as_fd();
    match mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::PERM) => {
            mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), makedev(STAND_IN.0, STAND_IN.1))
        }
        other => other,
    }
}

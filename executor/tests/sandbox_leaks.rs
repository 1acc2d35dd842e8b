//! Nothing is left over: alone in its process, whose descriptors and children are counted.

#![allow(clippy::unwrap_used, reason = "a test says by panicking")]

mod kit;

use std::collections::BTreeSet;

use builder_executor::sandbox::{Network, SpawnRequest, default_spec};
use kit::Room;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The mounts of this process that have to do with `room`.
fn mounts(room: &Room) -> BTreeSet<String> {
    let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = room.directory.path().to_str().unwrap();
    all.lines().filter(|line| line.contains(path)).map(str::to_owned).collect()
}

#[tokio::test]
async fn nothing_is_left_over() {
    let room = Room::new();
    room.sh("true").await.ok();
    let open = descriptors();
    for round in 0..30 {
        let mut options = room.options(&["/bin/sh", "-c", if round % 3 == 0 { "exit 1" } else { "sleep 100 & true" }]);
        if round % 4 == 0 {
            options.network = Network::None;
        }
        if round % 5 == 0 {
            options.args = vec!["/no/such".into()];
        }
        if round % 7 == 0 {
            // Killed at some point of starting up.
            let layer = room.layer();
            let root = room.mount(&layer);
            drop(room.sandbox.spawn(SpawnRequest::new(&default_spec(&options), &root)).unwrap());
        } else {
            let _ = room.run(&options).await;
        }
        assert_eq!(mounts(&room), BTreeSet::new());
    }
    assert_eq!(descriptors(), open);
    let Room { directory, driver, sandbox, .. } = room;
    drop((driver, sandbox));
    assert_eq!(kit::descendants(), []);
    drop(directory);
}

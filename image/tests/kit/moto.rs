//! An S3 server: moto's, which `make test` puts beside the build.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server with nothing in it. Any access key will do.
pub(crate) struct Moto {
    /// Where it listens.
    pub(crate) endpoint: String,
    server: Child,
}

impl Moto {
    /// Starts it on loopback.
    pub(crate) fn start() -> Self {
        let test = std::env::current_exe().expect("tests are programs");
        let place = |target: &std::path::Path| target.join("moto/bin/moto_server");
        let program: PathBuf = test
            .ancestors()
            .map(place)
            .find(|program| program.exists())
            .expect("moto_server is not beside the build: `make moto` puts it there");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let server = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is executable");
        let moto = Self { endpoint: format!("http://127.0.0.1:{port}"), server };
        let deadline = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "moto_server does not listen");
            std::thread::yield_now();
        }
        moto
    }

    /// Makes a bucket.
    pub(crate) fn bucket(&self, name: &str) {
        let made = Command::new("curl")
            .args(["-sf", "-o", "/dev/null", "-X", "PUT", &format!("{}/{name}", self.endpoint)])
            .status()
            .expect("curl is installed");
        assert!(made.success(), "the bucket {name} can't be made");
    }

    /// The names of all objects of a bucket.
    pub(crate) fn keys(&self, bucket: &str) -> Vec<String> {
        let listed = Command::new("curl").args(["-sf", &format!("{}/{bucket}?list-type=2", self.endpoint)]).output();
        let text = String::from_utf8(listed.expect("curl is installed").stdout).expect("XML");
        text.split("<Key>").skip(1).filter_map(|part| part.split("</Key>").next()).map(str::to_owned).collect()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may be gone already.
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

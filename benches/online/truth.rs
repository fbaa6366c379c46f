//! The mock server as a process, and what it really did.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;

/// As the mock tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct Truth {
    pub(crate) requests: Vec<TrueRequest>,
    /// Most responses that were open at once.
    pub(crate) peak: u32,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TrueRequest {
    pub(crate) received_ns: u64,
    pub(crate) write_ns: Vec<Vec<u64>>,
}

pub(crate) struct Mock {
    process: Child,
    pub(crate) port: u16,
}

impl Mock {
    pub(crate) fn start() -> Self {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--example", "mock-openai"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the mock does not build");
        let bench = std::env::current_exe().expect("a path");
        // target/release/deps/online-... -> target/release/examples/mock-openai
        let profile = bench.parent().and_then(|deps| deps.parent()).expect("deps");
        let binary: PathBuf = profile.join("examples/mock-openai");
        let mut process = Command::new(&binary)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("the mock tells its port");
        let port = line.trim().parse().expect("a port");
        Self { process, port }
    }

    /// Everything since the last time.
    pub(crate) fn truth(&self) -> Truth {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the mock lives");
        write!(stream, "GET /truth HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line).expect("a head") > 2 {
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a length");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        serde_json::from_slice(&body).expect("the mock's JSON")
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

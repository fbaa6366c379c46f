//! Starts the server: its files, its environment, its port, its guard.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::flags::flags;
use super::session::ServerSession;
use crate::engine::offline::DRIVER;
use crate::engine::started::{Kind, Launching};
use crate::engine::surroundings::write_private;
use crate::engine::warm::Starter;
use crate::engine::{Engine, Launch};
use crate::error::{PathError, chain};
use crate::load::{Api, Control, RequestEncoder, Target};
use crate::process::{LEASE_MODULE, LEASE_PY, RunDir};
use crate::record::{Failure, Leak};

/// The program that `vllm serve` runs in.
const LAUNCHER: &str = include_str!("server.py");
/// What the server calls its model: the same in all cells, so that their streams are as long.
const SERVED_NAME: &str = "rollbench";
/// Ports are taken from below the range that the kernel gives to outgoing connections: the server binds its port only
/// after importing vLLM, and meanwhile nobody should get it by chance.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Runs engines as servers.
#[derive(Debug)]
pub struct ServerEngine {
    starter: Starter,
    api: Api,
}

impl ServerEngine {
    /// Engines of this run, asked at this endpoint: they bear its marks and end with its lease.
    pub fn new(run: &RunDir, api: Api) -> Self {
        Self {
            starter: Starter::new(run, "server"),
            api,
        }
    }

    /// From a process that is not rollbench (a test): the path of its binary, which is the guard.
    #[must_use]
    pub fn with_guard(mut self, rollbench: &Path) -> Self {
        rollbench.clone_into(&mut self.starter.surroundings.rollbench);
        self
    }
}

impl Engine for ServerEngine {
    type Session = ServerSession;

    async fn launch(&self, launch: Launch) -> Result<ServerSession, Failure> {
        let mut launching = Launching::begin(Kind::Server, &self.starter.surroundings, launch);
        // For /reset_prefix_cache; the server listens on this machine alone.
        launching
            .env
            .entry("VLLM_SERVER_DEV_MODE".into())
            .or_insert_with(|| "1".into());
        let port =
            free_port().map_err(|error| launching.failure(&format!("no free port: {error}")))?;
        let launch = &launching.launch;
        let model = launch
            .args
            .get("served_model_name")
            .and_then(|name| name.as_str())
            .unwrap_or(SERVED_NAME)
            .to_owned();
        let program =
            lay_out(launch, port, &model).map_err(|error| launching.failure(&chain(&error)))?;
        let api_key = launching
            .env
            .get(std::ffi::OsStr::new("VLLM_API_KEY"))
            .and_then(|key| key.to_str())
            .map(str::to_owned);
        let control = Control::new(&format!("http://127.0.0.1:{port}"), api_key.clone())
            .map_err(|error| launching.failure(&chain(&error)))?;
        let host = format!("127.0.0.1:{port}");
        let encoder = RequestEncoder {
            target: Target {
                base: format!("http://{host}"),
                path: format!("/v1/{}", self.api.path()),
                host,
                api: self.api,
                addresses: vec![([127, 0, 0, 1], port).into()],
            },
            model,
            sampling: launch.sampling.clone(),
            ignore_eos: true,
            token_ids: false,
            api_key,
            headers: Vec::new(),
        };
        let nothing = || Ok((Vec::new(), ()));
        let (started, ()) = launching.start(&self.starter, program, nothing).await?;
        Ok(ServerSession::new(started, control, encoder))
    }

    async fn keep(&self, session: ServerSession) {
        self.starter.keep(session.into_started()).await;
    }

    async fn end_block(&self) -> Vec<Leak> {
        self.starter.end().await
    }
}

/// A port that nobody listens on now.
fn free_port() -> std::io::Result<u16> {
    let span = PORTS.end - PORTS.start;
    let first = rand::random::<u16>() % span;
    let mut last = None;
    for step in 0..span {
        let port = PORTS.start + (first + step) % span;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into()))
}

/// The launcher's files; its path.
fn lay_out(launch: &Launch, port: u16, name: &str) -> Result<PathBuf, PathError> {
    let scratch = &launch.scratch;
    let order = json!({
        "args": launch.args,
        "flags": flags(&launch.args, port, name),
        "profile": launch.profile,
    });
    write_private(&scratch.join("server.json"), &order.to_string())?;
    write_private(&scratch.join("driver.py"), DRIVER)?;
    write_private(&scratch.join(LEASE_MODULE), LEASE_PY)?;
    let program = scratch.join("server.py");
    write_private(&program, LAUNCHER)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_free_and_below_the_outgoing_ones() {
        let port = free_port().expect("there is one");
        assert!(PORTS.contains(&port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free");
    }
}

//! The mock server as a program, for benchmarks and whoever else looks on: an example target, so it is never installed.

#[path = "mod.rs"]
mod mock;

use std::io;

fn main() -> io::Result<()> {
    let server = mock::Server::listen()?;
    // The port is printed, so that nobody has to guess a free one.
    println!("{}", server.port()?);
    // A benchmark that dies takes its server with it.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let _ = rollbench::testing::load::allow_streams(20_000);
    server.serve()
}

//! The floor: a client that reads and looks at the clock, and does nothing else. It knows neither HTTP nor JSON: a
//! read after the head is a token.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rollbench::testing::clock::mono_ns;
use rollbench::testing::load::{Api, Expected, RequestEncoder, Target};
use rollbench::testing::stats::quantile;
use rollbench::testing::workload::Sampling;
use serde_json::json;

struct Stream {
    socket: TcpStream,
    sent_ns: u64,
    reads_ns: Vec<u64>,
}

/// `URL STREAMS TOKENS`.
pub(crate) fn main(args: &[String]) -> ExitCode {
    let [url, streams, tokens] = args else {
        return ExitCode::from(2);
    };
    let streams: u32 = streams.parse().expect("a number");
    let requested: u32 = tokens.parse().expect("a number");
    let target = Target::parse(url, Api::Completions).expect("a URL");
    rollbench::testing::load::allow_streams(u64::from(streams)).expect("enough files");
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
    let mut all: Vec<Stream> = (0..streams)
        .map(|slot| {
            let socket = TcpStream::connect(target.addresses[0]).expect("connected");
            socket.set_nodelay(true).expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(slot));
            epoll.add(&socket, event).expect("added");
            let reads_ns = Vec::with_capacity(requested as usize + 8);
            Stream {
                socket,
                sent_ns: 0,
                reads_ns,
            }
        })
        .collect();
    let request = request(target, requested);
    for stream in &mut all {
        stream.sent_ns = mono_ns();
        stream
            .socket
            .write_all(&request)
            .expect("room for a small request");
    }
    read_all(&epoll, &mut all);
    let mut ttft_ms = 0.0;
    let mut gaps_ms = Vec::new();
    let (mut begin_ns, mut end_ns, mut events) = (u64::MAX, 0, 0);
    for stream in &all {
        // The first read is the head, the last the usage chunk and the end.
        let tokens = &stream.reads_ns[1..stream.reads_ns.len().max(3) - 1];
        ttft_ms += (tokens[0] - stream.sent_ns) as f64 / 1e6;
        gaps_ms.extend(tokens.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e6));
        begin_ns = begin_ns.min(stream.sent_ns);
        end_ns = tokens.last().copied().unwrap_or(0).max(end_ns);
        events += requested;
    }
    gaps_ms.sort_unstable_by(f64::total_cmp);
    let told = json!({
        "mean_ttft_ms": ttft_ms / f64::from(streams),
        "p99_itl_ms": quantile(&gaps_ms, 0.99),
        // It cannot count: what it asked for came, or the run is of no use.
        "output_throughput": f64::from(events) / ((end_ns - begin_ns) as f64 / 1e9),
    });
    println!("{told}");
    ExitCode::SUCCESS
}

fn request(target: Target, tokens: u32) -> Vec<u8> {
    let encoder = RequestEncoder {
        target,
        model: "mock".to_owned(),
        sampling: Sampling::default(),
        ignore_eos: true,
        token_ids: false,
        api_key: None,
        headers: vec![],
    };
    let choice = Expected {
        group: 0,
        sample: 0,
        prompt_tokens: 64,
        requested_tokens: tokens,
    };
    let prompt: Vec<u32> = (0..64).collect();
    encoder.encode(&prompt, vec![choice]).bytes
}

fn read_all(epoll: &Epoll, all: &mut [Stream]) {
    let mut events = vec![EpollEvent::empty(); 1024];
    let mut buffer = vec![0; 64 << 10];
    let mut open = all.len();
    while open > 0 {
        let count = epoll.wait(&mut events, EpollTimeout::NONE).expect("events");
        for event in &events[..count] {
            let slot = usize::try_from(event.data()).expect("a slot");
            let stream = &mut all[slot];
            let length = stream.socket.read(&mut buffer).expect("readable");
            stream.reads_ns.push(mono_ns());
            if length == 0 || buffer[..length].ends_with(b"0\r\n\r\n") {
                epoll.delete(&stream.socket).expect("added before");
                open -= 1;
            }
        }
    }
}

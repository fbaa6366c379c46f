//! Starting the mock, and making requests for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rollbench::testing::load::{
    Api, Expected, Limit, Load, Outcome, Pacing, Request, RequestEncoder, Target, Timeouts, Watch,
};
use rollbench::testing::workload::Sampling;

use crate::mock::{Server, truth::Truth};

/// A running mock, which serves until the tests end.
pub(crate) struct Mock {
    port: u16,
}

impl Mock {
    pub(crate) fn start() -> Self {
        let server = Server::listen().expect("a free port");
        let port = server.port().expect("a port");
        std::thread::spawn(|| server.serve().expect("the mock goes on"));
        Self { port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `scenario` as in the mock's paths: `ttft=50,itl=20`.
    pub(crate) fn target(&self, scenario: &str, api: Api) -> Target {
        let url = format!("http://127.0.0.1:{}/{scenario}", self.port);
        Target::parse(&url, api).expect("a sound URL")
    }

    /// Everything since the last time.
    pub(crate) fn truth(&self) -> Truth {
        serde_json::from_str(&self.get("/truth")).expect("the mock's JSON")
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the mock lives");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a head");
            match line.trim() {
                "" => break,
                line => {
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.parse().expect("a length");
                    }
                }
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        String::from_utf8(body).expect("UTF-8")
    }
}

/// `count` requests of `tokens` tokens, told apart by the first id of their prompts.
pub(crate) fn requests(target: &Target, count: u32, n: u32, tokens: u32) -> Vec<Request> {
    let encoder = RequestEncoder {
        target: target.clone(),
        model: "mock".to_owned(),
        sampling: Sampling::default(),
        ignore_eos: true,
        token_ids: false,
        api_key: Some("key".to_owned()),
        headers: vec![],
    };
    (0..count)
        .map(|group| {
            let prompt = [group, 1, 2, 3];
            let choices = (0..n)
                .map(|sample| Expected {
                    group,
                    sample,
                    prompt_tokens: 4,
                    requested_tokens: tokens,
                })
                .collect();
            encoder.encode(&prompt, choices)
        })
        .collect()
}

/// All at once, a count, short limits.
pub(crate) fn load(target: Target, count: u64) -> Load {
    Load {
        target,
        pacing: Pacing::AllAtOnce,
        limit: Limit::Count(count),
        max_concurrency: None,
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            first_token: Duration::from_secs(20),
            between_tokens: Duration::from_secs(20),
            total: Duration::from_mins(1),
        },
        seed: 1,
    }
}

pub(crate) fn run(load: &Load, requests: Vec<Request>) -> Outcome {
    rollbench::testing::load::run(load, requests.into_iter(), &Watch::default()).expect("a run")
}

/// Nothing is wrong with `outcome`, unless it is that the machine is too busy for the client to be on time, which is
/// the client's to say and no test's to fail on.
pub(crate) fn assert_sound(outcome: &Outcome) {
    assert_eq!(outcome.failed(), 0, "{:?}", outcome.reasons);
    let other = outcome
        .reasons
        .iter()
        .filter(|r| !r.starts_with("the load client "));
    assert_eq!(other.count(), 0, "{:?}", outcome.reasons);
    assert_eq!(outcome.client.saturated, !outcome.reasons.is_empty());
}

//! One connection of the mock: reads requests, writes each response on its schedule.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use nix::sys::socket::{setsockopt, sockopt};
use rollbench::testing::clock::mono_ns;

use super::scenario::{Fault, Models, Scenario};
use super::stream::{self, Body};
use super::truth::{TrueRequest, Truth};

const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Welcome</title></head></html>";

/// What a connection needs next.
pub(crate) enum Next {
    /// To be called at this time.
    At(u64),
    /// Nothing until bytes come.
    Idle,
    Close,
}

pub(crate) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    pub(crate) action: u64,
    response: Option<Response>,
}

struct Response {
    body: Body,
    scenario: Scenario,
    truth: TrueRequest,
    /// Chunks written of each choice.
    chunks: u32,
    /// Tokens still to come of each choice.
    left: u32,
    stalled: bool,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            action: 0,
            response: None,
        }
    }

    /// Bytes are there.
    pub(crate) fn ready(&mut self, truth: &mut Truth) -> io::Result<Next> {
        let mut buffer = vec![0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Ok(Next::Close),
            Ok(length) => self.input.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.response.is_some() {
            return Ok(self.next());
        }
        let Some((head, body)) = take_request(&mut self.input) else {
            return Ok(Next::Idle);
        };
        self.answer(&head, &body, truth)
    }

    /// The time that [`Next::At`] named has come.
    pub(crate) fn due(&mut self, truth: &mut Truth) -> io::Result<Next> {
        let Some(response) = &mut self.response else {
            return Ok(Next::Idle);
        };
        let scenario = response.scenario;
        let inside = response.chunks == scenario.at;
        match scenario.fault {
            Fault::Stall if inside => {
                response.stalled = true;
                return Ok(Next::Idle);
            }
            Fault::Cut if inside => return Ok(Next::Close),
            Fault::Reset if inside => {
                let linger = nix::libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                setsockopt(&self.stream, sockopt::Linger, &linger)?;
                return Ok(Next::Close);
            }
            Fault::Ping if inside => {
                send(&mut self.stream, b"8\r\n: ping\n\n\r\n")?;
                return Ok(Next::At(mono_ns() + 20_000_000));
            }
            Fault::Error | Fault::Nonsense | Fault::Abort if inside => {
                let mut out = Vec::new();
                let json = match scenario.fault {
                    Fault::Error => {
                        "{\"error\": {\"message\": \"EngineCore encountered an issue\", \"type\": \"InternalServerError\", \
                         \"param\": null, \"code\": 500}}"
                    }
                    Fault::Abort => {
                        "{\"choices\": [{\"index\": 0, \"text\": \"\", \"finish_reason\": \"abort\"}]}"
                    }
                    _ => "{\"choices\": [{",
                };
                stream::event(&mut out, &scenario, json);
                stream::event(&mut out, &scenario, "[DONE]");
                out.extend_from_slice(b"0\r\n\r\n");
                self.send(&out)?;
                self.finish(truth, true);
                return Ok(Next::Idle);
            }
            Fault::Early if inside => {
                self.send(b"0\r\n\r\n")?;
                self.finish(truth, true);
                return Ok(Next::Idle);
            }
            _ => {}
        }
        let tokens = response.left.min(scenario.pack);
        response.left -= tokens;
        let finished = response.left == 0 && !scenario.empty_end;
        for choice in 0..response.body.n {
            let mut out = Vec::with_capacity(400);
            let json = stream::chunk(&response.body, choice, tokens, finished);
            stream::event(&mut out, &scenario, &json);
            response.truth.write_ns[choice as usize].push(mono_ns());
            response.truth.tokens[choice as usize].push(tokens);
            send(&mut self.stream, &out)?;
        }
        response.chunks += 1;
        if response.left > 0 {
            return Ok(self.next());
        }
        let mut out = Vec::new();
        if scenario.empty_end {
            for choice in 0..response.body.n {
                let json = stream::chunk(&response.body, choice, 0, true);
                stream::event(&mut out, &scenario, &json);
            }
        }
        if scenario.usage {
            let tokens = response.truth.tokens.iter().flatten().sum();
            stream::event(&mut out, &scenario, &stream::usage(&response.body, tokens));
        }
        stream::event(&mut out, &scenario, "[DONE]");
        out.extend_from_slice(b"0\r\n\r\n");
        self.send(&out)?;
        self.finish(truth, true);
        Ok(if scenario.close {
            Next::Close
        } else {
            Next::Idle
        })
    }

    /// The connection goes, whatever was on it.
    pub(crate) fn abandon(&mut self, truth: &mut Truth) {
        if self.response.is_some() {
            self.finish(truth, false);
        }
    }

    fn next(&self) -> Next {
        match &self.response {
            Some(response) if !response.stalled => {
                let after = response.scenario.ttft_ns
                    + u64::from(response.chunks) * response.scenario.itl_ns;
                Next::At(response.truth.received_ns + after)
            }
            _ => Next::Idle,
        }
    }

    fn finish(&mut self, truth: &mut Truth, ended: bool) {
        if let Some(response) = self.response.take() {
            let end_ns = ended.then(mono_ns);
            truth.open -= 1;
            truth.requests.push(TrueRequest {
                end_ns,
                ..response.truth
            });
        }
    }

    fn answer(&mut self, head: &str, body: &[u8], truth: &mut Truth) -> io::Result<Next> {
        let received_ns = mono_ns();
        let path = head.split(' ').nth(1).unwrap_or("/");
        if head.starts_with("GET ") {
            return self.get(path, truth);
        }
        let scenario = match Scenario::parse(path) {
            Ok(scenario) => scenario,
            Err(what) => return self.whole(404, "text/plain", &format!("scenario: {what}")),
        };
        let body: Body = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(error) => return self.whole(400, "application/json", &error.to_string()),
        };
        if !body.stream || (body.chat() != path.ends_with("/chat/completions")) {
            return self.whole(404, "application/json", "{\"detail\":\"Not Found\"}");
        }
        let nth = truth.requests.len() as u64 + u64::from(truth.open) + 1;
        let scenario = if nth.is_multiple_of(scenario.every) {
            scenario
        } else {
            Scenario {
                fault: Fault::None,
                ..scenario
            }
        };
        let choices = body.n as usize;
        let mut told = TrueRequest {
            key: body.prompt.key(),
            prompt: body.prompt_tokens(),
            received_ns,
            write_ns: vec![Vec::new(); choices],
            tokens: vec![Vec::new(); choices],
            authorization: header(head, "authorization"),
            ..TrueRequest::default()
        };
        let refused = match scenario.fault {
            Fault::Status => Some(self.whole(
                scenario.status,
                "application/json",
                "{\"error\":{\"message\":\"This model's maximum context length is 2048 tokens.\",\"code\":400}}",
            )),
            Fault::Html => Some(self.whole(200, "text/html", PAGE)),
            Fault::Gateway => Some(self.whole(502, "text/html", PAGE)),
            Fault::Json => Some(self.whole(200, "application/json", "{\"choices\":[]}")),
            Fault::Redirect => Some(self.redirect()),
            Fault::Garbage => {
                self.send(b"220 mail.example.org ESMTP\r\n")?;
                Some(Ok(Next::Close))
            }
            Fault::Hangup => Some(Ok(Next::Close)),
            _ => None,
        };
        if let Some(next) = refused {
            truth.requests.push(told);
            return next;
        }
        truth.open += 1;
        truth.peak = truth.peak.max(truth.open);
        let mut out = stream::HEAD.as_bytes().to_vec();
        if scenario.fault == Fault::Gzip {
            out.extend_from_slice(b"content-encoding: gzip\r\n");
        }
        if scenario.close {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        told.head_ns = mono_ns();
        if body.chat() {
            told.role_ns = Some(told.head_ns);
            for choice in 0..body.n {
                stream::event(&mut out, &scenario, &stream::role(&body, choice));
            }
        }
        let left = (i64::from(body.asked()) + scenario.extra).max(1) as u32;
        self.response = Some(Response {
            body,
            scenario,
            truth: told,
            chunks: 0,
            left,
            stalled: false,
        });
        self.send(&out)?;
        Ok(self.next())
    }

    fn get(&mut self, path: &str, truth: &mut Truth) -> io::Result<Next> {
        if path.ends_with("/v1/models") {
            match Scenario::parse(path).map(|scenario| scenario.models) {
                Ok(Models::Mock) | Err(_) => {}
                Ok(Models::None) => return self.whole(200, "application/json", "{\"data\":[]}"),
                Ok(Models::Html) => return self.whole(200, "text/html", PAGE),
                Ok(Models::Missing) => {
                    return self.whole(404, "application/json", "{\"detail\":\"Not Found\"}");
                }
                Ok(Models::Moved) => return self.redirect(),
                Ok(Models::Stall) => return Ok(Next::Idle),
                Ok(Models::Endless) => {
                    return self.whole(200, "application/json", &" ".repeat(2 << 20));
                }
            }
            let models = "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\",\"root\":\"/models/mock\",\
                          \"max_model_len\":40960}]}";
            return self.whole(200, "application/json", models);
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        match name {
            "health" => self.whole(200, "text/plain", ""),
            "truth" => {
                let told = serde_json::to_string(&std::mem::take(truth)).unwrap_or_default();
                self.whole(200, "application/json", &told)
            }
            "metrics" => {
                let metrics = format!(
                    "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{engine=\"0\"}} {}.0\n\
                     vllm:num_requests_waiting{{engine=\"0\"}} 0.0\nvllm:kv_cache_usage_perc{{engine=\"0\"}} 0.25\n\
                     vllm:num_preemptions_total{{engine=\"0\"}} 3.0\nvllm:prefix_cache_queries_total{{engine=\"0\"}} 100.0\n\
                     vllm:prefix_cache_hits_total{{engine=\"0\"}} 40.0\n",
                    truth.open
                );
                self.whole(200, "text/plain; version=0.0.4", &metrics)
            }
            _ => self.whole(404, "application/json", "{\"detail\":\"Not Found\"}"),
        }
    }

    fn whole(&mut self, status: u16, content_type: &str, body: &str) -> io::Result<Next> {
        let length = body.len();
        self.send(
            format!(
                "HTTP/1.1 {status} Status\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        )?;
        Ok(Next::Idle)
    }

    fn redirect(&mut self) -> io::Result<Next> {
        self.send(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://other:8000/v1\r\ncontent-length: 0\r\n\r\n")?;
        Ok(Next::Idle)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        send(&mut self.stream, bytes)
    }
}

/// Writes everything. A client that does not read stops the mock, as it should be noticed.
fn send(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The first whole request in `input`: head and body.
fn take_request(input: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = input.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&input[..end]).into_owned();
    let length = header(&head, "content-length")
        .and_then(|v| v.parse().ok())
        .unwrap_or(0);
    if input.len() < end + length {
        return None;
    }
    let body = input[end..end + length].to_vec();
    input.drain(..end + length);
    Some((head, body))
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

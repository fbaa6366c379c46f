//! Servers that fail, in every way that we know of.

use std::net::TcpStream;
use std::time::Duration;

use rollbench::testing::load::{Api, LoadError, Outcome, Target, Watch};
use rollbench::testing::record::{Role, StepStatus};

use crate::support::{Mock, assert_sound, load, requests, run};

/// What the client says about a server that behaves like `scenario`.
fn said(mock: &Mock, scenario: &str) -> String {
    let outcome = one(mock, scenario);
    assert_eq!(outcome.status, StepStatus::Failed);
    format!(
        "{scenario}: {}",
        outcome.sequences.error[0].as_deref().unwrap_or("")
    )
}

fn one(mock: &Mock, scenario: &str) -> Outcome {
    let target = mock.target(scenario, Api::Completions);
    let mut load = load(target.clone(), 1);
    load.timeouts.first_token = Duration::from_millis(100);
    load.timeouts.between_tokens = Duration::from_millis(150);
    run(&load, requests(&target, 1, 1, 5))
}

#[test]
fn every_fault_has_its_words() {
    let mock = Mock::start();
    let said = [
        "status=400",
        "status=503",
        "fault=html",
        "fault=gateway",
        "fault=json",
        "fault=gzip",
        "fault=redirect",
        "fault=stall",
        "fault=stall,at=2",
        "fault=reset",
        "fault=reset,at=2",
        "fault=cut,at=2",
        "fault=early",
        "fault=early,at=2",
        "fault=error,at=2",
        "fault=nonsense,at=2",
        "fault=garbage",
        "fault=hangup",
        "fault=abort,at=2",
        "fault=ping,at=2",
        "extra=1000000",
        "extra=1000000,odd=1",
    ]
    .map(|scenario| said(&mock, scenario))
    .join("\n");
    insta::assert_snapshot!(said, @r#"
    status=400: HTTP 400: {"error":{"message":"This model's maximum context length is 2048 tokens.","code":400}}
    status=503: HTTP 503: {"error":{"message":"This model's maximum context length is 2048 tokens.","code":400}}
    fault=html: an HTML page instead of a token stream: <!DOCTYPE html> <html><head><title>Welcome</title></head></html>
    fault=gateway: HTTP 502 with an HTML page: <!DOCTYPE html> <html><head><title>Welcome</title></head></html>
    fault=json: no token stream (application/json): {"choices":[]}
    fault=gzip: the server compresses its stream, although it was not asked to
    fault=redirect: HTTP 307, redirected to http://other:8000/v1; give that address
    fault=stall: no token within 100ms
    fault=stall,at=2: no further token within 150ms
    fault=reset: the connection broke before the first token: Connection reset by peer (os error 104)
    fault=reset,at=2: the connection broke after 2 chunks: Connection reset by peer (os error 104)
    fault=cut,at=2: the stream was cut off after 2 chunks: the server closed the connection
    fault=early: the stream ended without a single token
    fault=early,at=2: the stream ended early after 2 chunks, without a finish_reason and without [DONE]
    fault=error,at=2: the server reported an error in the stream: EngineCore encountered an issue
    fault=nonsense,at=2: a data line that is no chunk (EOF while parsing an object at line 1 column 14): {"choices": [{
    fault=garbage: not an HTTP/1.1 response (invalid HTTP version): 220 mail.example.org ESMTP
    fault=hangup: the server closed the connection without an answer
    fault=abort,at=2: the server gave the response up after 3 chunks (finish_reason "abort")
    fault=ping,at=2: no further token within 150ms
    extra=1000000: the stream does not end: 70 tokens came, and 5 were asked for
    extra=1000000,odd=1: the stream does not end: 70 tokens came, and 5 were asked for
    "#);
}

#[test]
fn what_came_before_a_fault_is_kept() {
    let mock = Mock::start();
    let outcome = one(&mock, "ttft=10,itl=5,fault=reset,at=3");
    assert_eq!(outcome.tokens.rows[0].chunk_ns.len(), 3);
    assert_eq!(outcome.online.http_status, [Some(200)]);
    assert!(outcome.sequences.first_ns[0].is_some());
    let refused = one(&mock, "status=429");
    assert_eq!(refused.online.http_status, [Some(429)]);
    assert_eq!(refused.sequences.first_ns, [None]);
    assert!(refused.online.first_byte_ns[0].is_some());
}

#[test]
fn failures_make_a_run_invalid_and_many_are_told_apart() {
    let mock = Mock::start();
    for (every, failed, too_many) in [(100, 2, false), (50, 4, true)] {
        let target = mock.target(
            &format!("itl=1,fault=reset,at=1,every={every}"),
            Api::Completions,
        );
        let mut closed = load(target.clone(), 200);
        closed.max_concurrency = Some(16);
        let outcome = run(&closed, requests(&target, 200, 1, 5));
        assert_eq!(outcome.failed(), failed);
        assert_eq!(outcome.status, StepStatus::Invalid, "{:?}", outcome.reasons);
        assert_eq!(
            outcome
                .into_step(0, Role::Measured, "main".to_owned(), None, None)
                .too_many_failed(),
            too_many
        );
        // A request that failed was not tried again: the server saw as many as were asked for.
        assert_eq!(mock.truth().requests.len(), 200);
    }
}

#[test]
fn a_length_other_than_asked_is_reported() {
    let mock = Mock::start();
    let outcome = one(&mock, "extra=2");
    assert_eq!(outcome.sequences.output_tokens, [7]);
    assert_eq!(outcome.sequences.requested_tokens, [5]);
    assert_eq!(outcome.status, StepStatus::Invalid);
    assert_eq!(
        outcome.reasons,
        ["1 of 1 sequences have another length than asked for"]
    );
}

#[test]
fn a_server_that_closes_each_connection_costs_connections_and_nothing_else() {
    let mock = Mock::start();
    let target = mock.target("ttft=10,itl=1,close=1", Api::Completions);
    let mut closed = load(target.clone(), 40);
    closed.max_concurrency = Some(4);
    let outcome = run(&closed, requests(&target, 40, 1, 5));
    assert_sound(&outcome);
    assert_eq!(mock.truth().requests.len(), 40);
    // Connecting is in the send lag, where it is due, and in no latency.
    let online = &outcome.online;
    let late = (0..40).filter(|row| online.connected_ns[*row] > Some(online.due_ns[*row]));
    assert_eq!(late.count(), 36, "all but the first four");
}

#[test]
fn a_server_that_takes_no_connection_is_given_up_after_the_limit() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let backlog = nix::sys::socket::Backlog::new(0).expect("a length");
    nix::sys::socket::listen(&listener, backlog).expect("it listens");
    let address = listener.local_addr().expect("bound");
    // Nobody accepts: once the queue is full, connecting hangs.
    let wait = Duration::from_millis(50);
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, wait) {
        queued.push(stream);
    }
    let target = Target::parse(&address.to_string(), Api::Completions).expect("a URL");
    let mut load = load(target.clone(), 1);
    load.timeouts.connect = Duration::from_millis(200);
    let requests = requests(&target, 1, 1, 5).into_iter();
    let error = rollbench::testing::load::run(&load, requests, &Watch::default());
    let error = error.expect_err("nobody accepts").to_string();
    assert_eq!(error, format!("cannot connect to {address}: timed out"));
}

#[test]
fn nobody_there_is_told_before_the_clock_starts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let target = Target::parse(&address, Api::Completions).expect("a URL");
    let requests = requests(&target, 1, 1, 5).into_iter();
    let error = rollbench::testing::load::run(&load(target, 1), requests, &Watch::default());
    let error = error.expect_err("nobody there");
    assert!(matches!(error, LoadError::Connect { .. }));
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[test]
fn a_run_that_cannot_be_is_refused() {
    let mock = Mock::start();
    let target = mock.target("", Api::Completions);
    let refused = |change: fn(&mut rollbench::testing::load::Load)| {
        let mut load = load(target.clone(), 4);
        change(&mut load);
        let requests = requests(&target, 4, 1, 5).into_iter();
        rollbench::testing::load::run(&load, requests, &Watch::default())
            .expect_err("impossible")
            .to_string()
    };
    let said = [
        refused(|l| l.limit = rollbench::testing::load::Limit::Count(0)),
        refused(|l| l.max_concurrency = Some(0)),
        refused(|l| l.limit = rollbench::testing::load::Limit::Duration(Duration::from_secs(1))),
        refused(|l| {
            let spread = rollbench::testing::load::Spread::Constant;
            l.pacing = rollbench::testing::load::Pacing::Rate {
                per_s: -1.0,
                spread,
            };
        }),
    ];
    insta::assert_snapshot!(said.join("\n"), @r#"
        nothing to send: a count of 0
        nothing to send: a concurrency of 0
        all at once for a duration needs a concurrency limit or a rate: it would send without end
        a request rate has to be greater than 0 and finite, not -1; `inf` sends all at once
        "#);
}

//! Every time that the client reports, against the server's truth.

use rollbench::testing::load::{Api, Outcome};
use rollbench::testing::record::{ChunkTokens, Role, StepStatus, TokenTimes};
use rollbench::testing::stats::StepMetrics;

use crate::mock::truth::{TrueRequest, Truth};
use crate::support::{Mock, assert_sound, load, requests, run};

/// How far a reported arrival may lie behind the write, where the kernel stamps arrivals: what the loopback takes,
/// and a preemption between the server's look at the clock and its write.
const SLACK_NS: u64 = 5_000_000;

/// The true request of each row.
fn pair<'t>(outcome: &Outcome, truth: &'t Truth) -> Vec<&'t TrueRequest> {
    let find = |group: &u32| {
        let mut found = truth.requests.iter().filter(|r| r.key == *group);
        let one = found.next().expect("the server saw it");
        assert_eq!(found.next(), None, "request {group} was sent twice");
        one
    };
    outcome.sequences.group.iter().map(find).collect()
}

/// How many of `pairs` (true time, reported time since the begin) are off by more than the slack; none may be early.
fn late(outcome: &Outcome, pairs: impl Iterator<Item = (u64, u64)>) -> (usize, usize) {
    let (mut late, mut all) = (0, 0);
    for (truth_ns, reported_ns) in pairs {
        let reported_ns = reported_ns + outcome.begin_mono_ns;
        // The two clocks of a kernel stamp are read one after the other.
        assert!(
            reported_ns + 1_000_000 > truth_ns,
            "a token before it was written"
        );
        late += usize::from(reported_ns > truth_ns + SLACK_NS);
        all += 1;
    }
    (late, all)
}

#[test]
fn every_token_of_every_stream_arrives_when_it_was_written() {
    let mock = Mock::start();
    let target = mock.target("ttft=30,itl=5", Api::Completions);
    let outcome = run(&load(target.clone(), 64), requests(&target, 64, 1, 40));
    let truth = mock.truth();
    assert_eq!(
        outcome.sequences.output_tokens, [40; 64],
        "{:?}",
        outcome.reasons
    );
    assert_eq!(truth.peak, 64);
    assert_eq!(outcome.client.peak_streams, 64);
    let truths = pair(&outcome, &truth);
    let tokens = truths
        .iter()
        .zip(&outcome.tokens.rows)
        .flat_map(|(true_one, row)| {
            assert_eq!(row.tokens, ChunkTokens::OneEach);
            assert_eq!(row.chunk_ns.len(), 40);
            let times = &row.chunk_ns;
            // Chunks of one read have the time of the last of them. How many are read together is up to how busy the
            // machine is, and is reported; the time of the last has to be right all the same.
            let last_of_read = |i: &usize| times.get(i + 1) != Some(&times[*i]);
            (0..40)
                .filter(last_of_read)
                .map(|i| (true_one.write_ns[0][i], times[i]))
        });
    let (late, all) = late(&outcome, tokens);
    assert!(
        late * 100 <= all,
        "{late} of {all} tokens late: {:?}",
        outcome.client
    );
    for (row, true_one) in truths.iter().enumerate() {
        let online = &outcome.online;
        let at = |ns: Option<u64>| ns.expect("it came") + outcome.begin_mono_ns;
        assert!(online.scheduled_ns[row] == 0 && online.due_ns[row] == 0);
        assert!(at(online.connected_ns[row]) <= at(online.sent_ns[row]));
        assert!(at(online.sent_ns[row]) <= true_one.received_ns);
        assert!(at(online.first_byte_ns[row]) >= true_one.head_ns - 1_000_000);
        assert!(at(online.close_ns[row]) >= true_one.write_ns[0][39] - 1_000_000);
        assert_eq!(online.first_choice_ns[row], outcome.sequences.first_ns[row]);
        assert_eq!(true_one.authorization.as_deref(), Some("Bearer key"));
    }
    let last = outcome.online.close_ns.iter().flatten().max();
    assert_eq!(Some(&outcome.makespan_ns), last);
}

#[test]
fn choices_of_one_request_are_streams_of_their_own() {
    let mock = Mock::start();
    let target = mock.target("ttft=10,itl=4,pack=3", Api::Completions);
    let outcome = run(&load(target.clone(), 4), requests(&target, 4, 3, 10));
    assert_sound(&outcome);
    assert_eq!(outcome.submitted.requests, 4);
    assert_eq!(outcome.submitted.prompt_tokens, 16);
    assert_eq!(outcome.sequences.sample, [0, 1, 2].repeat(4));
    assert_eq!(outcome.sequences.output_tokens, [10; 12]);
    assert_eq!(outcome.client.counted.token_ids, 12);
    let truth = mock.truth();
    for (row, true_one) in pair(&outcome, &truth).iter().enumerate() {
        let got = &outcome.tokens.rows[row];
        assert_eq!(got.tokens, ChunkTokens::Counted(vec![3, 3, 3, 1]));
        assert_eq!(true_one.tokens[row % 3], [3, 3, 3, 1]);
    }
}

#[test]
fn chats_role_chunk_stands_apart() {
    let mock = Mock::start();
    let target = mock.target("ttft=40,itl=5", Api::Chat);
    let outcome = run(&load(target.clone(), 4), requests(&target, 4, 1, 5));
    assert_sound(&outcome);
    assert_eq!(outcome.sequences.output_tokens, [5; 4]);
    assert_eq!(
        outcome.sequences.prompt_tokens, [7; 4],
        "as usage says, not as sent"
    );
    for row in 0..4 {
        let first_choice = outcome.online.first_choice_ns[row].expect("it came");
        let first = outcome.sequences.first_ns[row].expect("it came");
        assert_eq!(outcome.online.role_ns[row], Some(first_choice));
        assert!(first >= first_choice + 30_000_000, "{first} {first_choice}");
        assert_eq!(
            outcome.tokens.rows[row].tokens,
            ChunkTokens::OneEachAfterRole
        );
    }
}

#[test]
fn without_usage_chunks_are_counted_and_that_is_said() {
    let mock = Mock::start();
    let target = mock.target("usage=0,ttft=50", Api::Completions);
    let outcome = run(&load(target.clone(), 4), requests(&target, 4, 1, 5));
    assert_eq!(outcome.sequences.output_tokens, [5; 4]);
    assert_eq!(outcome.client.counted.chunks, 4);
    assert_eq!(outcome.status, StepStatus::Invalid);
    assert_eq!(
        outcome.reasons,
        ["the tokens of 4 of 4 sequences are counted from chunks: the server sends no usage"]
    );
    // Several tokens a chunk, with usage: the sum is known, the spread is not.
    let target = mock.target("pack=2", Api::Completions);
    let outcome = run(&load(target.clone(), 4), requests(&target, 4, 1, 5));
    assert_eq!(outcome.sequences.output_tokens, [5; 4]);
    assert_eq!(outcome.tokens.rows[0].tokens, ChunkTokens::Unknown);
    // A last chunk without a token does not count as one.
    let target = mock.target("end=1", Api::Completions);
    let outcome = run(&load(target.clone(), 1), requests(&target, 1, 1, 3));
    assert_eq!(outcome.sequences.output_tokens, [3]);
    assert_eq!(
        outcome.tokens.rows[0].tokens,
        ChunkTokens::Counted(vec![1, 1, 1, 0])
    );
}

#[test]
fn odd_but_legal_streams_are_read() {
    let mock = Mock::start();
    let target = mock.target("odd=1,itl=1", Api::Completions);
    let outcome = run(&load(target.clone(), 8), requests(&target, 8, 2, 12));
    assert_sound(&outcome);
    assert_eq!(outcome.sequences.output_tokens, [12; 16]);
}

/// The derived numbers, computed once more from what the server wrote.
#[test]
fn the_metrics_are_those_of_the_truth() {
    let mock = Mock::start();
    let target = mock.target("ttft=50,itl=10", Api::Completions);
    let mut closed = load(target.clone(), 48);
    closed.max_concurrency = Some(16);
    let outcome = run(&closed, requests(&target, 48, 1, 20));
    assert_sound(&outcome);
    let truth = mock.truth();
    let truths = pair(&outcome, &truth);
    let begin_ns = outcome.begin_mono_ns;
    let sent: Vec<u64> = outcome.online.sent_ns.iter().flatten().copied().collect();
    let tokens = outcome.tokens.clone();
    let step = outcome.into_step(0, Role::Measured, "main".to_owned(), None, None);
    let metrics = StepMetrics::of(&step, None);

    let mean = |values: Vec<u64>| values.iter().sum::<u64>() as f64 / values.len() as f64 / 1e6;
    let first = |row: usize| truths[row].write_ns[0][0];
    let last = |row: usize| truths[row].write_ns[0][19];
    let ttft = mean((0..48).map(|r| first(r) - begin_ns - sent[r]).collect());
    let e2el = mean((0..48).map(|r| last(r) - begin_ns - sent[r]).collect());
    let itl = mean((0..48).map(|r| (last(r) - first(r)) / 19).collect());
    let close = |reported: Option<f64>, truth: f64, slack: f64, what: &str| {
        let reported = reported.expect(what);
        let off = (reported - truth).abs();
        assert!(off < slack, "{what}: {reported} ms, really {truth} ms");
    };
    let latency = metrics.latency.as_ref().expect("online");
    close(latency.ttft_ms.map(|d| d.mean), ttft, 2.0, "TTFT");
    close(latency.e2el_ms.map(|d| d.mean), e2el, 2.0, "E2EL");
    close(latency.itl_ms.map(|d| d.mean), itl, 0.2, "ITL");
    close(latency.tpot_ms.map(|d| d.mean), itl, 0.2, "TPOT");
    close(
        latency.itl_token_ms.map(|d| d.mean),
        itl,
        0.2,
        "ITL per token",
    );
    assert_eq!((metrics.requests, metrics.completed), (48, 48));
    assert_eq!(metrics.output_tokens, 48 * 20);
    assert_eq!(metrics.prompt_tokens, 48 * 4);
    let end_ns = truths
        .iter()
        .filter_map(|r| r.end_ns)
        .max()
        .expect("they ended");
    let duration_ms = (end_ns - begin_ns) as f64 / 1e6;
    close(Some(metrics.makespan_s * 1e3), duration_ms, 5.0, "duration");
    let chunks = TokenTimes::decode(&tokens.encode());
    assert_eq!(chunks, Ok(tokens));
}

//! A matrix online: a server per cell, the streaming client, and the same record and summary as offline.

use nix::sys::signal::Signal;
use rollbench::testing::record::{CellStatus, Phase, Role, StartStatus, StepStatus, read_tokens};
use serde_json::json;

use crate::world::{TWO_CELLS, World, read_record};

#[test]
fn a_server_per_cell_is_started_measured_and_ended() {
    let world = World::new(TWO_CELLS);
    // Slow enough that a response lasts longer than the sending of all requests.
    let outcome = world.run(&json!({"speed": 400}), &["--online"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("online mode, 2 samples per prompt"),
        "{}",
        outcome.stderr
    );
    for precision in ["bf16", "w8a8"] {
        let record = read_record(&world.result(&format!("tiny_{precision}.online.json")));
        assert_eq!(record.status, CellStatus::Done);
        let start = &record.starts[0];
        assert!(
            start
                .stop
                .as_ref()
                .is_some_and(|stop| stop.polite && stop.leaks.is_empty())
        );
        assert_eq!(start.steps.len(), 3);
        for step in &start.steps {
            assert_eq!(step.sequences.output_tokens, [8; 8]);
            assert_eq!(step.sequences.prompt_tokens, [16; 8]);
            assert!(step.online.is_some() && step.client.is_some());
            let detail = step.detail.as_ref().expect("token times");
            let tokens = read_tokens(&world.result(""), detail).expect("as written");
            assert!(tokens.rows.iter().all(|row| row.chunk_ns.len() == 8));
        }
    }
    let cells = &world.summary()["cells"];
    for cell in cells.as_array().expect("a list") {
        let latency = &cell["metrics"]["latency"];
        for name in ["ttft_ms", "tpot_ms", "itl_ms", "e2el_ms", "itl_token_ms"] {
            assert!(
                latency[name]["p99"].as_f64().is_some_and(|ms| ms > 0.0),
                "{name}: {latency}"
            );
        }
    }
    assert!(
        outcome.stdout.contains("Online: latency"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn a_user_who_says_nothing_of_samples_gets_one_online_and_flags_shape_the_load() {
    let matrix = TWO_CELLS.replace("n = 2\n", "");
    let world = World::new(&matrix);
    let flags = [
        "--online",
        "--quants",
        "bf16",
        "--max-concurrency",
        "2",
        "--request-rate",
        "50",
    ];
    let outcome = world.run(&json!({"speed": 4000}), &flags);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("online mode, 1 sample per prompt"),
        "{}",
        outcome.stderr
    );
    let record = read_record(&world.result("tiny_bf16.online.json"));
    let origin = |path: &str| record.settings[path].origin.clone();
    assert_eq!(origin("online.max_concurrency"), "flag --max-concurrency");
    assert_eq!(record.settings["online.request_rate"].value, 50.0);
    for step in &record.starts[0].steps {
        assert_eq!(step.sequences.output_tokens, [8; 4]);
        assert!(
            step.client
                .as_ref()
                .is_some_and(|client| client.peak_streams <= 2)
        );
        let scheduled = &step.online.as_ref().expect("online").scheduled_ns;
        // 4 requests at 50 a second: the last is due after 80 ms, whatever the seed.
        assert_eq!(scheduled.last().map(|ns| ns / 1_000_000), Some(80));
    }
    let wrong = world.start(&json!({}), &["--max-concurrency", "2"]).end();
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
}

#[test]
fn a_server_that_dies_costs_its_cell_and_no_other() {
    let world = World::new(TWO_CELLS);
    let faults =
        json!({"speed": 400, "faults": [{"fault": "exit_in_step", "model": "w8a8", "after": 10}]});
    let outcome = world.run(&faults, &["--online"]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let good = read_record(&world.result("tiny_bf16.online.json"));
    assert_eq!(good.status, CellStatus::Done);
    let bad = read_record(&world.result("tiny_w8a8.online.json"));
    let start = &bad.starts[0];
    assert_eq!(start.status, StartStatus::Failed);
    let failure = start.failure.as_ref().expect("a failure");
    assert_eq!(failure.phase, Phase::Measure);
    assert_eq!(
        failure.exit.and_then(|exit| exit.code),
        Some(1),
        "{failure:#?}"
    );
    assert_eq!(start.steps.len(), 1, "the warm-up was measured before");
}

#[test]
fn a_step_with_failed_requests_is_kept_marked_and_counted() {
    let world = World::new(TWO_CELLS);
    // The proof, 8 of the warm-up, and then one of the first measured step.
    let faults = json!({"speed": 4000, "faults": [
        {"fault": "fail_in_step", "model": "w8a8", "after": 12, "until": 13},
        {"fault": "no_reset", "model": "bf16"},
    ]});
    let outcome = world.run(&faults, &["--online"]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let record = read_record(&world.result("tiny_w8a8.online.json"));
    assert_eq!(record.status, CellStatus::Done);
    let start = &record.starts[0];
    assert_eq!(
        (start.status, start.steps.len()),
        (StartStatus::Complete, 3)
    );
    let step = &start.steps[1];
    assert_eq!(step.status, StepStatus::Invalid);
    assert!(
        step.reasons[0].starts_with("1 of 8 sequences failed, the first: HTTP 500"),
        "{:?}",
        step.reasons
    );
    assert_eq!(step.sequences.output_tokens.iter().sum::<u32>(), 7 * 8);
    let reset = |cell: &str| {
        let record = read_record(&world.result(&format!("tiny_{cell}.online.json")));
        record.starts[0].steps[1].prefix_cache_reset
    };
    assert_eq!((reset("bf16"), reset("w8a8")), (Some(false), Some(true)));
}

/// A sweep of 2 points over 2 precisions, killed in the second server and gone on with.
#[test]
fn a_sweep_is_measured_on_one_server_a_cell_and_survives_a_kill() {
    let world = World::new(TWO_CELLS);
    let flags = ["--online", "--request-rate", "100,inf", "-n", "1"];
    let slow = json!({"speed": 400, "speeds": {"w8a8": 40}});
    let mut run = world.start(&slow, &flags);
    run.until_it_says("w8a8: step 2/4 (100 requests/s):");
    run.signal(Signal::SIGKILL);
    assert_eq!(run.end().code, 137);
    let before = read_record(&world.result("tiny_bf16.online.json"));
    assert_eq!(before.status, CellStatus::Done);

    let other = [
        "--online",
        "--request-rate",
        "100,50",
        "-n",
        "1",
        "--resume",
    ];
    let refused = world.run(&json!({"speed": 400}), &other);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    let key = "online.request_rate: [100.0,\"inf\"] -> [100.0,50.0]";
    assert!(refused.stderr.contains(key), "{}", refused.stderr);

    let outcome = world.run(
        &json!({"speed": 400}),
        &[&flags[..], &["--resume"]].concat(),
    );
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let records = ["bf16", "w8a8"]
        .map(|precision| read_record(&world.result(&format!("tiny_{precision}.online.json"))));
    assert_eq!(records[0].starts, before.starts, "kept as it was");
    for record in &records {
        assert_eq!(
            (record.session.plan.steps, record.session.plan.points),
            (2, 2)
        );
        let start = record.starts.last().expect("a start");
        let told = |role| {
            let steps = start.steps.iter().filter(move |step| step.role == role);
            steps
                .map(|step| step.point.expect("online").to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(told(Role::Warmup), ["100 requests/s", "all at once"]);
        let expected = [
            "100 requests/s",
            "100 requests/s",
            "all at once",
            "all at once",
        ];
        assert_eq!(told(Role::Measured), expected);
    }
    // The same requests at the same index in both cells.
    assert_eq!(
        records[0].workloads["main"].sha256,
        records[1].workloads["main"].sha256
    );

    let cells = world.summary()["cells"].clone();
    let cells = cells.as_array().expect("a list");
    let rows: Vec<_> = cells
        .iter()
        .map(|cell| {
            let counted = cell["steps"].as_array().expect("steps").iter();
            let counted = counted.filter(|step| step["counted"] == true);
            assert!(counted.clone().all(|step| step["point"] == cell["point"]));
            (
                cell["precision"].clone(),
                cell["point"]["rate"].clone(),
                counted.count(),
            )
        })
        .collect();
    let expected = [
        (json!("bf16"), json!(100.0), 2),
        (json!("w8a8"), json!(100.0), 2),
        (json!("bf16"), json!(null), 2),
        (json!("w8a8"), json!(null), 2),
    ];
    assert_eq!(rows, expected, "a row a point, and two steps in each");
    for cell in [&cells[1], &cells[3]] {
        assert!(cell["comparison"]["estimate"]["ratio"].is_f64(), "{cell}");
    }
    let shown = &outcome.stdout;
    assert!(
        shown.contains("tiny (online, 100 requests/s) w8a8: "),
        "{shown}"
    );
    assert!(
        shown.contains("tiny (online, all at once) w8a8: "),
        "{shown}"
    );
}

#[test]
fn objectives_are_counted_and_a_ramp_is_followed() {
    let world = World::new(TWO_CELLS);
    let flags = [
        "--online",
        "--quants",
        "bf16",
        "-n",
        "1",
        "--ramp",
        "20:80",
        "--burstiness",
        "inf",
        "--goodput",
        "ttft:5000",
        "e2el:0.001",
    ];
    let outcome = world.run(&json!({"speed": 400}), &flags);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let record = read_record(&world.result("tiny_bf16.online.json"));
    assert_eq!(record.settings["online.ramp"].value, "20:80");
    assert_eq!(record.settings["online.goodput"].origin, "flag --goodput");
    let steps = &record.starts[0].steps;
    let scheduled = &steps[1].online.as_ref().expect("online").scheduled_ns;
    let gaps: Vec<u64> = scheduled.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(
        gaps.windows(2).all(|w| w[0] > w[1]),
        "ever faster: {gaps:?}"
    );
    let cell = world.summary()["cells"][0].clone();
    assert_eq!(
        cell["metrics"]["request_goodput_req_s"], 0.0,
        "nothing ends within 1 us"
    );
    assert_eq!(cell["point"]["ramp"]["to"], 80.0);
    assert!(outcome.stdout.contains("Goodput/s"), "{}", outcome.stdout);

    let kept = world.run(
        &json!({"speed": 400}),
        &[
            "--online",
            "--quants",
            "bf16",
            "-n",
            "1",
            "--goodput",
            "ttft:5000",
        ],
    );
    assert_eq!(kept.code, 0, "{}", kept.stderr);
    let metrics = &world.summary()["cells"][0]["metrics"];
    assert_eq!(
        metrics["request_goodput_req_s"],
        metrics["request_throughput_req_s"]
    );
}

#[test]
fn a_step_that_ends_by_time_is_compared_by_its_throughput() {
    let world = World::new(TWO_CELLS);
    let flags = [
        "--online",
        "-n",
        "1",
        "--duration",
        "0.5",
        "--max-concurrency",
        "2",
        "--steps",
        "1",
    ];
    let outcome = world.run(&json!({"speed": 400, "speeds": {"w8a8": 200}}), &flags);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let record = read_record(&world.result("tiny_bf16.online.json"));
    let step = &record.starts[0].steps[1];
    assert_eq!(step.duration_s, Some(0.5));
    assert!(
        step.sequences.len() > 8,
        "more than the batch of 4: {}",
        step.sequences.len()
    );
    assert!(
        step.sequences
            .output_tokens
            .iter()
            .all(|tokens| *tokens == 8)
    );
    let last = step
        .online
        .as_ref()
        .expect("online")
        .scheduled_ns
        .iter()
        .max();
    assert!(last.is_some_and(|ns| *ns < 500_000_000));
    let cells = world.summary()["cells"].clone();
    let ratio = cells[1]["comparison"]["estimate"]["ratio"]
        .as_f64()
        .expect("a ratio");
    let throughput = |cell: &serde_json::Value| cell["metrics"]["output_throughput_tok_s"].as_f64();
    let expected = throughput(&cells[1]).expect("one") / throughput(&cells[0]).expect("one");
    assert!((ratio / expected - 1.0).abs() < 1e-6, "{ratio} {expected}");
    assert!(ratio < 0.75, "half the speed: {ratio}");
}

#[test]
fn chat_sends_text_and_says_that_lengths_are_approximate() {
    let world = World::new(TWO_CELLS);
    let flags = ["--online", "--quants", "bf16", "-n", "1", "--api", "chat"];
    let outcome = world.run(&json!({"speed": 400}), &flags);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let record = read_record(&world.result("tiny_bf16.online.json"));
    for step in &record.starts[0].steps {
        assert_eq!(step.sequences.output_tokens, [8; 4]);
        assert_eq!(
            step.sequences.prompt_tokens, [19; 4],
            "as the server counts"
        );
        let online = step.online.as_ref().expect("online");
        assert!(online.role_ns.iter().all(Option::is_some));
    }
    assert!(
        outcome
            .stdout
            .contains("lengths are approximate, by the server's count 19 tokens"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn what_cannot_be_combined_is_said_at_once_before_anything_starts() {
    let world = World::new(TWO_CELLS);
    let offline = world
        .start(&json!({}), &["--ramp", "1:2", "--goodput", "ttft:1"])
        .end();
    assert_eq!(offline.code, 2);
    assert!(
        offline
            .stderr
            .contains("only with --online: --ramp, --goodput"),
        "{}",
        offline.stderr
    );
    let flags = [
        "--online",
        "--ramp",
        "1:2",
        "--request-rate",
        "1,2",
        "--goodput",
        "tftt:5",
        "--max-concurrency",
        "4,4",
        "--duration",
        "5",
        "--num-prompts",
        "3",
    ];
    let mixed = world.start(&json!({}), &flags).end();
    assert_eq!(mixed.code, 2);
    for said in [
        "a sweep of rates and a ramp at once",
        "did you mean `ttft`?",
        "a limit on concurrency is there twice",
        "--duration decides how many prompts are sent",
    ] {
        assert!(mixed.stderr.contains(said), "{said}: {}", mixed.stderr);
    }
    world.is_empty();
}

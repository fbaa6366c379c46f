//! A matrix online: a server per cell, the streaming client, and the same record and summary as offline.

use rollbench::record::{CellStatus, Phase, StartStatus, read_tokens};
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

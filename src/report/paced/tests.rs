use crate::record::builder::{done, paced};
use crate::record::{CellRecord, Found};
use crate::report::derive::derive;
use crate::report::model::{Comparison, Summary};
use crate::report::{Format, render, render_sets};
use crate::stats::Judgement;
use crate::stats::compare::{Decision, Rules, compare};
use crate::stats::judged::JudgedBy;
use crate::units::Mode;

/// Three engine starts of 240 requests, ten a second; `latency` seconds for each request.
fn record(precision: &str, latency: impl Fn(usize) -> f64) -> CellRecord {
    let mut record = done("demo", precision, &[&[1.0], &[1.0], &[1.0]]);
    record.cell.mode = Mode::Online;
    for (start, luck) in record.starts.iter_mut().zip([0.99, 1.0, 1.01]) {
        start.steps = vec![paced(10.0, 240, |row| latency(row) * luck)];
    }
    record
}

/// Keeps up: every request takes so many seconds.
fn keeps_up(precision: &str, seconds: f64) -> CellRecord {
    record(precision, |_| seconds)
}

/// Serves one request after the other, `rate` a second, where ten are offered.
fn falls_behind(precision: &str, rate: f64) -> CellRecord {
    record(precision, move |row| {
        (row + 1) as f64 / rate - row as f64 / 10.0 + 0.001
    })
}

fn summary(cells: [CellRecord; 2]) -> Summary {
    let derived = cells.map(|cell| derive(Found::Record(Box::new(cell))));
    Summary::new(derived.into(), Vec::new())
}

fn comparison(base: CellRecord, cell: CellRecord) -> Comparison {
    summary([base, cell]).cells[1]
        .comparison
        .clone()
        .expect("compared")
}

#[test]
fn engines_that_keep_up_are_judged_by_latency() {
    let found = comparison(keeps_up("bf16", 0.4), keeps_up("w8a8", 0.1));
    assert_eq!(
        (found.judged_by, found.estimate, found.bound),
        (JudgedBy::Latency, None, None)
    );
    assert_eq!(found.latency.len(), 6, "p99 from 200 requests");
    for ratio in &found.latency {
        assert!((ratio.estimate.ratio - 4.0).abs() < 1e-6, "{ratio:?}");
        assert_eq!(ratio.judgement, Some(Judgement::Faster));
        let level = ratio.estimate.interval.expect("three starts").level;
        assert!((level - (1.0 - 0.05 / 6.0)).abs() < 1e-12);
    }
    let sentence = found.verdict.expect("a verdict").sentence;
    insta::assert_snapshot!(sentence, @"W8A8: judged by latency, since it and BF16 keep up with 10.0 requests/s (720 in 71.7 s), so that the schedule decides the makespan: TTFT p50 4.0000x (95 % CI 4.0000-4.0000, 3 engine starts): faster; TTFT p99 4.0000x (95 % CI 4.0000-4.0000, 3 engine starts): faster; TPOT p50 4.0000x (95 % CI 4.0000-4.0000, 3 engine starts): faster; TPOT p99 4.0000x (95 % CI 4.0000-4.0000, 3 engine starts): faster; E2EL p50 4.0000x (95 % CI 4.0000-4.0000, 3 engine starts): faster; E2EL p99 4.0000x (95 % CI 4.0000-4.0000, 3 engine starts): faster");
}

#[test]
fn equal_engines_that_keep_up_are_not_called_equivalent_in_throughput() {
    let shown = render(
        &summary([keeps_up("bf16", 0.1), keeps_up("w8a8", 0.1)]),
        Format::Text { width: None },
    );
    let shown = String::from_utf8(shown.expect("renders")).expect("text");
    assert!(shown.contains("by latency"), "{shown}");
    assert!(!shown.contains("the throughput of BF16"), "{shown}");
}

#[test]
fn one_that_keeps_up_is_at_least_so_much_faster() {
    let found = comparison(falls_behind("bf16", 5.0), keeps_up("w8a8", 0.1));
    assert_eq!((found.judged_by, found.estimate), (JudgedBy::AtLeast, None));
    assert!(found.bound.expect("a bound").ratio > 1.9);
    let sentence = found.verdict.expect("a verdict").sentence;
    insta::assert_snapshot!(sentence, @"W8A8: at least 2.00x the throughput of BF16 (95 % CI 1.98-2.02, 3 engine starts), capped by the offered rate: W8A8 keeps up with 10.0 requests/s (720 in 71.7 s), BF16 does not (in flight +88.4 to +89.1 over the arrivals, then 24.1 s of drain)");
    let found = comparison(keeps_up("bf16", 0.1), falls_behind("w8a8", 5.0));
    assert_eq!(found.judged_by, JudgedBy::AtMost);
    assert!(found.bound.expect("a bound").ratio < 0.6);
}

#[test]
fn where_none_keeps_up_throughput_is_judged() {
    let found = comparison(falls_behind("bf16", 4.0), falls_behind("w8a8", 6.0));
    assert_eq!(found.judged_by, JudgedBy::Throughput);
    assert!((found.estimate.expect("a ratio").ratio - 1.5).abs() < 0.02);
}

#[test]
fn a_threshold_follows() {
    let rules = Rules {
        smallest_effect: 0.02,
        fail_above: Some(0.05),
        although_different: false,
    };
    let gate = |base: CellRecord, new: CellRecord| {
        let found = compare(&[base], &[new], rules).expect("common");
        let text = render_sets(&found, Format::Text { width: None }).expect("renders");
        (found.rows[0].gate, text)
    };
    let bf16 = |seconds| keeps_up("bf16", seconds);
    assert_eq!(gate(bf16(0.1), bf16(0.4)).0, Some(Decision::Exceeded));
    assert_eq!(gate(bf16(0.4), bf16(0.1)).0, Some(Decision::Passed));
    let slow = || falls_behind("bf16", 5.0);
    assert_eq!(gate(bf16(0.1), slow()).0, Some(Decision::Exceeded));
    let (capped, shown) = gate(slow(), bf16(0.1));
    assert_eq!(capped, Some(Decision::Passed));
    assert!(shown.contains("at least"), "{shown}");
    let barely = || falls_behind("bf16", 9.7);
    assert_eq!(gate(bf16(0.1), barely()).0, Some(Decision::Undecided));
}

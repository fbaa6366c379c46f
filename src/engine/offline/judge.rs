//! From the driver's columns to a step of the record: what came back is held against what was asked for.

use super::super::session::StepRequest;
use super::protocol::{Columns, StepFinished};
use crate::config::FanOut;
use crate::record::{FinishSource, Sequences, Step, StepStatus, Submitted, Timeline};
use crate::workload::{Batch, Sample};

/// The step as it goes into the record; an error, in words, if sequences are missing.
pub(super) fn judge(
    request: &StepRequest,
    fan_out: FanOut,
    told: StepFinished,
) -> Result<Step, String> {
    let batch = &request.batch;
    check_shape(batch.samples.len(), &told.columns)?;
    let mut reasons = Vec::new();
    note(
        &mut reasons,
        batch,
        "came back with another length than asked for",
        |row, sample| {
            let (got, wanted) = (told.columns.output_tokens[row], sample.output_tokens);
            (got != wanted).then(|| format!("{got} of {wanted} tokens"))
        },
    );
    note(
        &mut reasons,
        batch,
        "were answered to a prompt of another length",
        |row, sample| {
            let got = told.columns.prompt_tokens[row];
            let wanted = batch.prompts[sample.group as usize].len();
            (got as usize != wanted).then(|| format!("{got} of {wanted} tokens"))
        },
    );
    note(&mut reasons, batch, "have an error", |row, _| {
        told.columns.error.get(row)?.clone()
    });
    let status = if reasons.is_empty() {
        StepStatus::Ok
    } else {
        StepStatus::Invalid
    };
    let (finish_source, columns) =
        trusted_times(told.finish_source, told.columns, told.makespan_ns);
    Ok(Step {
        index: request.index,
        role: request.role,
        workload: request.workload.clone(),
        point: None,
        duration_s: None,
        status,
        reasons,
        begin_mono_ns: told.begin_mono_ns,
        makespan_ns: told.makespan_ns,
        finish_source,
        submitted: submitted(batch, fan_out),
        arrivals: None,
        prefix_cache_reset: None,
        counters: told.counters,
        sequences: Sequences {
            group: batch.samples.iter().map(|s| s.group).collect(),
            sample: batch.samples.iter().map(|s| s.sample).collect(),
            requested_tokens: batch.samples.iter().map(|s| s.output_tokens).collect(),
            prompt_tokens: columns.prompt_tokens,
            output_tokens: columns.output_tokens,
            first_ns: columns.first_ns,
            finish_ns: columns.finish_ns,
            error: columns.error,
        },
        online: None,
        client: None,
        server: None,
        timeline: told.timeline.filter(|t: &Timeline| !t.t_ns.is_empty()),
        detail: None,
        tokens: None,
    })
}

fn check_shape(rows: usize, columns: &Columns) -> Result<(), String> {
    let lengths = [
        columns.prompt_tokens.len(),
        columns.output_tokens.len(),
        columns.first_ns.len(),
        columns.finish_ns.len(),
    ];
    if let Some(length) = lengths.into_iter().find(|length| *length != rows) {
        return Err(format!(
            "{rows} sequences were asked for, {length} came back"
        ));
    }
    let empty = columns.output_tokens.iter().filter(|t| **t == 0).count();
    if empty > 0 {
        return Err(format!("{empty} of {rows} sequences did not come back"));
    }
    Ok(())
}

/// Adds one reason that counts the rows in which `wrong` finds something and quotes the first of them.
fn note(
    reasons: &mut Vec<String>,
    batch: &Batch,
    what: &str,
    wrong: impl Fn(usize, &Sample) -> Option<String>,
) {
    let mut found = batch
        .samples
        .iter()
        .enumerate()
        .filter_map(|(row, sample)| Some((sample, wrong(row, sample)?)));
    if let Some((first, detail)) = found.next() {
        reasons.push(format!(
            "{} of {} sequences {what} (prompt {} sample {}: {detail})",
            1 + found.count(),
            batch.samples.len(),
            first.group,
            first.sample,
        ));
    }
}

/// What was handed to the engine: with `n` samples in one request, a prompt counts once.
fn submitted(batch: &Batch, fan_out: FanOut) -> Submitted {
    let length = |group: u32| batch.prompts[group as usize].len() as u64;
    match fan_out {
        FanOut::Requests => Submitted {
            requests: batch.samples.len() as u64,
            prompt_tokens: batch.samples.iter().map(|s| length(s.group)).sum(),
        },
        FanOut::N => Submitted {
            requests: batch.prompts.len() as u64,
            prompt_tokens: batch.prompts.iter().map(|p| p.len() as u64).sum(),
        },
    }
}

/// vLLM's timestamps are of its engine process. On one host that is the driver's clock; if they do not fit into the
/// step that the driver timed, they are of another one and are dropped rather than recorded.
fn trusted_times(
    source: FinishSource,
    mut columns: Columns,
    makespan_ns: u64,
) -> (FinishSource, Columns) {
    const TOLERANCE_NS: u64 = 20_000_000;
    let latest = makespan_ns + TOLERANCE_NS;
    let fits = columns
        .first_ns
        .iter()
        .zip(&columns.finish_ns)
        .all(|(first, finish)| match (first, finish) {
            (Some(first), Some(finish)) => first <= finish && *finish <= latest && *finish > 0,
            (None, Some(finish)) => *finish <= latest && *finish > 0,
            (_, None) => false,
        });
    if fits && source != FinishSource::None {
        for finish in columns.finish_ns.iter_mut().chain(&mut columns.first_ns) {
            *finish = finish.map(|ns| ns.min(makespan_ns));
        }
        return (source, columns);
    }
    let rows = columns.finish_ns.len();
    columns.first_ns = vec![None; rows];
    columns.finish_ns = vec![None; rows];
    (FinishSource::None, columns)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{Counters, Role};

    fn request() -> StepRequest {
        let sample = |group, sample| Sample {
            group,
            sample,
            output_tokens: 4,
        };
        StepRequest {
            index: 1,
            role: Role::Measured,
            workload: "main".to_owned(),
            batch: Arc::new(Batch {
                prompts: vec![vec![1, 2, 3], vec![4, 5]],
                samples: vec![sample(0, 0), sample(0, 1), sample(1, 0)],
            }),
            load: crate::engine::LoadShape::default(),
        }
    }

    fn told() -> StepFinished {
        StepFinished {
            id: 1,
            begin_mono_ns: 10,
            makespan_ns: 1_000,
            finish_source: FinishSource::RequestMetrics,
            counters: Counters::default(),
            columns: Columns {
                prompt_tokens: vec![3, 3, 2],
                output_tokens: vec![4, 4, 4],
                first_ns: vec![Some(100), Some(100), None],
                finish_ns: vec![Some(900), Some(950), Some(1_010)],
                error: vec![],
            },
            timeline: None,
        }
    }

    #[test]
    fn a_step_as_asked_for_counts() {
        let step = judge(&request(), FanOut::Requests, told()).expect("all came back");
        assert_eq!(step.status, StepStatus::Ok);
        assert_eq!(step.submitted.requests, 3);
        assert_eq!(step.submitted.prompt_tokens, 8);
        assert_eq!(step.sequences.finish_ns[2], Some(1_000));
        let step = judge(&request(), FanOut::N, told()).expect("all came back");
        assert_eq!(step.submitted.prompt_tokens, 5);
    }

    #[test]
    fn other_lengths_make_a_step_invalid() {
        let mut short = told();
        short.columns.output_tokens[1] = 3;
        short.columns.prompt_tokens[2] = 3;
        short.columns.error = vec![None, Some("finished by stop".to_owned()), None];
        let step = judge(&request(), FanOut::Requests, short).expect("all came back");
        assert_eq!(step.status, StepStatus::Invalid);
        assert_eq!(
            step.reasons,
            [
                "1 of 3 sequences came back with another length than asked for (prompt 0 sample 1: 3 of 4 tokens)",
                "1 of 3 sequences were answered to a prompt of another length (prompt 1 sample 0: 3 of 2 tokens)",
                "1 of 3 sequences have an error (prompt 0 sample 1: finished by stop)",
            ]
        );
    }

    #[test]
    fn missing_sequences_are_no_step() {
        let mut missing = told();
        missing.columns.output_tokens[0] = 0;
        let error = judge(&request(), FanOut::Requests, missing).expect_err("one is missing");
        assert_eq!(error, "1 of 3 sequences did not come back");
        let mut missing = told();
        missing.columns.finish_ns.pop();
        assert!(judge(&request(), FanOut::Requests, missing).is_err());
    }

    #[test]
    fn times_of_another_clock_are_dropped() {
        let mut foreign = told();
        foreign.columns.finish_ns[0] = Some(90_000_000_000);
        let step = judge(&request(), FanOut::Requests, foreign).expect("all came back");
        assert_eq!(step.finish_source, FinishSource::None);
        assert_eq!(step.sequences.finish_ns, [None, None, None]);
        assert_eq!(step.makespan_ns, 1_000);
    }
}

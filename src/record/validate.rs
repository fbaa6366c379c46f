//! Whether a record can be believed: what a program could not have written, or could not have measured.

use super::{CellRecord, EngineStart, Sequences, Step, StepStatus};

/// Finish times may lie beyond the makespan by this much: the engine's clock and the driver's agree to a few
/// milliseconds, and a client is told of an end after it.
const TOLERANCE_NS: u64 = 50_000_000;

impl CellRecord {
    /// `Err` names the first thing that cannot be, and where it is.
    pub fn validate(&self) -> Result<(), String> {
        let mut complete = Vec::new();
        for (number, start) in self.starts.iter().enumerate() {
            check_start(start).map_err(|reason| format!("start {number}: {reason}"))?;
            let place = (start.arm, start.block);
            if start.is_complete() && complete.contains(&place) {
                return Err(format!("block {} has two complete starts", start.block));
            }
            if start.is_complete() {
                complete.push(place);
            }
        }
        Ok(())
    }
}

fn check_start(start: &EngineStart) -> Result<(), String> {
    if let Some(facts) = &start.engine {
        duration("import_s", facts.import_s)?;
        duration("load_s", facts.load_s)?;
    }
    let mut counted = Vec::new();
    for step in &start.steps {
        check_step(step).map_err(|reason| format!("step {}: {reason}", step.index))?;
        let place = (&step.workload, step.index);
        if step.status == StepStatus::Ok {
            if counted.contains(&place) {
                return Err(format!("step {} is there twice", step.index));
            }
            counted.push(place);
        }
    }
    Ok(())
}

fn check_step(step: &Step) -> Result<(), String> {
    let counters = &step.counters;
    if step.status == StepStatus::Ok && (step.makespan_ns == 0 || step.sequences.is_empty()) {
        return Err("counts, yet holds nothing".to_owned());
    }
    if counters
        .kv_peak
        .is_some_and(|peak| !(0.0..=1.001).contains(&peak))
    {
        return Err("kv_peak is not between 0 and 1".to_owned());
    }
    if counters.prefix_hits > counters.prefix_queries {
        return Err("more prefix hits than queries".to_owned());
    }
    check_sequences(&step.sequences, step.makespan_ns)?;
    let rows = step.sequences.len();
    if let Some(online) = &step.online {
        let lengths = [
            online.scheduled_ns.len(),
            online.sent_ns.len(),
            online.connected_ns.len(),
            online.first_byte_ns.len(),
            online.role_ns.len(),
            online.first_choice_ns.len(),
            online.close_ns.len(),
            online.http_status.len(),
            online.usage_tokens.len(),
        ];
        if lengths.iter().any(|&length| length != rows) {
            return Err("online columns differ in length".to_owned());
        }
    }
    if let Some(client) = &step.client {
        duration("cpu_s", client.cpu_s)?;
    }
    if let Some(server) = &step.server {
        let series = [&server.running, &server.waiting, &server.kv];
        if series.iter().any(|s| s.len() != server.t_ns.len()) {
            return Err("server series differ in length".to_owned());
        }
        if series
            .into_iter()
            .flatten()
            .any(|v| !v.is_finite() || *v < 0.0)
        {
            return Err("a server counter is negative".to_owned());
        }
    }
    if let Some(timeline) = &step.timeline {
        let length = timeline.t_ns.len();
        if timeline.running.len() != length || timeline.tokens.len() != length {
            return Err("timeline columns differ in length".to_owned());
        }
        if !timeline.t_ns.is_sorted() {
            return Err("the timeline runs backwards".to_owned());
        }
    }
    Ok(())
}

fn check_sequences(sequences: &Sequences, makespan_ns: u64) -> Result<(), String> {
    let rows = sequences.len();
    let columns = [
        ("group", sequences.group.len()),
        ("sample", sequences.sample.len()),
        ("prompt_tokens", sequences.prompt_tokens.len()),
        ("requested_tokens", sequences.requested_tokens.len()),
        ("first_ns", sequences.first_ns.len()),
        ("finish_ns", sequences.finish_ns.len()),
        ("error", sequences.error.len()),
    ];
    for (name, length) in columns {
        if length != rows && length != 0 {
            return Err(format!(
                "column {name} has {length} rows, output_tokens {rows}"
            ));
        }
    }
    let finish = sequences.finish_ns.iter().flatten();
    if finish
        .clone()
        .any(|&ns| ns > makespan_ns.saturating_add(TOLERANCE_NS))
    {
        return Err("a sequence finished after the makespan".to_owned());
    }
    let both = sequences.first_ns.iter().zip(&sequences.finish_ns);
    if both
        .into_iter()
        .any(|(first, finish)| matches!((first, finish), (Some(a), Some(b)) if a > b))
    {
        return Err("a sequence finished before its first token".to_owned());
    }
    Ok(())
}

fn duration(name: &str, seconds: f64) -> Result<(), String> {
    if seconds.is_finite() && seconds >= 0.0 {
        Ok(())
    } else {
        Err(format!("{name} is {seconds}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::builder;
    use super::*;

    fn reason(change: impl FnOnce(&mut CellRecord)) -> String {
        let mut record = builder::done("demo", "bf16", &[&[1.0, 1.1], &[1.2, 1.3]]);
        record.validate().unwrap();
        change(&mut record);
        record.validate().unwrap_err()
    }

    #[test]
    fn what_cannot_be_is_named_with_its_place() {
        let cases = [
            reason(|r| r.starts[0].steps[1].sequences.finish_ns[0] = Some(u64::MAX)),
            reason(|r| r.starts[1].steps[0].sequences.group.truncate(7)),
            reason(|r| r.starts[0].engine.as_mut().unwrap().load_s = -1.0),
            reason(|r| r.starts[0].steps[1].sequences.first_ns[0] = Some(900_000_000)),
            reason(|r| r.starts[1].block = 0),
            reason(|r| r.starts[0].steps[2].index = 1),
            reason(|r| {
                let point = Some(crate::record::Point::default());
                r.starts[0].steps[1].point = point;
                r.starts[0].steps[2].point = point;
                r.starts[0].steps[2].index = 1;
            }),
            reason(|r| r.starts[0].steps[1].makespan_ns = 0),
            reason(|r| r.starts[0].steps[1].counters.kv_peak = Some(-0.5)),
            reason(|r| r.starts[0].steps[1].counters.prefix_hits = Some(1 << 40)),
        ];
        insta::assert_snapshot!(cases.join("\n"), @r"
        start 0: step 1: a sequence finished after the makespan
        start 1: step 0: column group has 7 rows, output_tokens 8
        start 0: load_s is -1
        start 0: step 1: a sequence finished before its first token
        block 0 has two complete starts
        start 0: step 1 is there twice
        start 0: step 1 is there twice
        start 0: step 1: counts, yet holds nothing
        start 0: step 1: kv_peak is not between 0 and 1
        start 0: step 1: more prefix hits than queries
        ");
    }
}

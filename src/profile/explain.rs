//! Two profiles side by side: where the time of a decode step went, what that predicts, and whether what was measured
//! without a profiler agrees.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::align::aligned;
use super::digest::{Column, Digest, RoleColumn, Table};
use super::interval::{Estimate, mean, median_and_mad, ratio};
use super::roles::Role;
use super::rules::Rules;

/// Fewer steps say nothing.
const FEWEST_STEPS: usize = 10;
/// More unmatched time than this, and the categories do not tell.
const MOST_UNMATCHED: f64 = 0.05;
/// Less aligned time than this, and the two do not run the same model.
const LEAST_ALIGNED: f64 = 0.9;
/// Control kernels further apart than this, and the machine changed between the two profiles.
const CONTROL_APART: f64 = 0.1;
/// Where recording slowed the engine by more, its idle time tells nothing.
const MOST_INFLATED: f64 = 1.3;

/// The account of two profiles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// One line that says it all.
    pub(crate) sentence: String,
    /// Absent where nothing was measured without a profiler.
    pub(crate) verdict: Option<Verdict>,
    /// Why it is no better.
    pub(crate) reasons: Vec<String>,
    /// The one that is compared with.
    pub(crate) base: Side,
    /// The one that is explained.
    pub(crate) other: Side,
    /// By category, the largest first. With idle, their changes add up to that of the period.
    pub(crate) categories: Vec<CategoryChange>,
    /// Linear layers by their place in a layer.
    pub(crate) roles: Vec<RoleChange>,
    /// Ratio of the periods: what the profiles say as they are.
    pub(crate) as_profiled: Option<Estimate>,
    /// Ratio of the times at work: what would be left without idle.
    pub(crate) on_device: Option<Estimate>,
    /// What was measured without a profiler.
    pub(crate) measured: Option<Measured>,
    /// Share of the time at work that is in kernels which have a partner in the other sequence; quantization, which
    /// cannot have one, left out. Absent without sequences.
    pub(crate) aligned: Option<f64>,
    /// Time of kernels that are the same in both and should cost the same, base over other; absent if there are none.
    pub(crate) control: Option<f64>,
}

/// What may be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Prediction and measurement lie in each other's intervals.
    Explained,
    /// They have the same sign.
    Partly,
    /// Their intervals lie on opposite sides of 1.
    Contradiction,
    /// The profiles do not bear a statement.
    Unreliable,
}

impl Verdict {
    /// As output names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Explained => "explained",
            Self::Partly => "partly",
            Self::Contradiction => "contradiction",
            Self::Unreliable => "unreliable",
        }
    }
}

/// One of the two, times in microseconds a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Side {
    /// Files.
    pub(crate) files: Vec<String>,
    /// Decode steps at the batch.
    pub(crate) steps: usize,
    /// Sequences that decode.
    pub(crate) batch: Option<u32>,
    /// Mean period.
    pub(crate) period_us: f64,
    /// Median period.
    pub(crate) period_median_us: f64,
    /// Median distance from that.
    pub(crate) period_mad_us: f64,
    /// Mean time at work.
    pub(crate) busy_us: f64,
    /// Mean time without.
    pub(crate) idle_us: f64,
    /// Of it, waiting for the host.
    pub(crate) host_bound_us: f64,
    /// Kernels a step.
    pub(crate) kernels: f64,
    /// Share of the time at work that no rule matched.
    pub(crate) unmatched: f64,
}

/// One category in both, or `idle`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CategoryChange {
    /// Its name.
    pub(crate) category: String,
    /// Paths it took in the base, with their time.
    pub(crate) base_paths: Vec<(String, f64)>,
    /// In the other.
    pub(crate) other_paths: Vec<(String, f64)>,
    /// Mean a step.
    pub(crate) base_us: f64,
    /// Mean a step.
    pub(crate) other_us: f64,
    /// Median a step.
    pub(crate) base_median_us: f64,
    /// Median a step.
    pub(crate) other_median_us: f64,
    /// Change as a share of the base's period; all shares add up to the change of the period.
    pub(crate) of_the_step: f64,
    /// Calls a step.
    pub(crate) base_calls: f64,
    /// Calls a step.
    pub(crate) other_calls: f64,
    /// The largest change between two profiles of one side, as a share of the base's period; absent without repeats.
    pub(crate) floor: Option<f64>,
}

impl CategoryChange {
    /// Whether it is smaller than what repeating the same profile changes.
    pub(crate) fn unchanged(&self) -> bool {
        self.floor
            .is_some_and(|floor| self.of_the_step.abs() <= floor)
    }
}

/// One place in a layer in both, times in microseconds a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoleChange {
    /// The place.
    pub(crate) role: Role,
    /// Products of matrices.
    pub(crate) base_us: f64,
    /// Products of matrices.
    pub(crate) other_us: f64,
    /// Quantization of what goes into them.
    pub(crate) base_quantization_us: f64,
    /// Likewise.
    pub(crate) other_quantization_us: f64,
}

/// Decode time an iteration without a profiler, at the same batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Base over other.
    pub(crate) ratio: Estimate,
    /// Mean of the base in microseconds; absent where only a ratio was given.
    pub(crate) base_us: Option<f64>,
    /// Of the other.
    pub(crate) other_us: Option<f64>,
}

impl Measured {
    /// From iterations of both, in nanoseconds. Absent if there are none.
    pub(crate) fn of(base_ns: &[f64], other_ns: &[f64]) -> Option<Self> {
        Some(Self {
            ratio: ratio(base_ns, other_ns)?,
            base_us: Some(mean(base_ns) / 1e3),
            other_us: Some(mean(other_ns) / 1e3),
        })
    }
}

/// Profiles of one side: repeats of the same, and of several ranks the slowest.
struct Pooled<'d> {
    digests: Vec<&'d Digest>,
    table: Table,
}

/// Explains `other` against `base`; each is all profiles of one cell. Absent if one of them has no decode step.
pub(crate) fn explain(
    base: &[Digest],
    other: &[Digest],
    measured: Option<Measured>,
    rules: &Rules,
) -> Option<Explanation> {
    let (b, q) = (Pooled::of(base)?, Pooled::of(other)?);
    let categories = categories(&b, &q);
    let as_profiled = ratio(&floats(&b.table.period_ns), &floats(&q.table.period_ns));
    let on_device = ratio(&floats(&b.table.busy_ns()), &floats(&q.table.busy_ns()));
    let mut made = Explanation {
        sentence: String::new(),
        verdict: None,
        reasons: Vec::new(),
        base: b.side(),
        other: q.side(),
        roles: roles(&b.table, &q.table),
        aligned: aligned(&b.digests[0].sequence, &q.digests[0].sequence),
        control: control(b.digests[0], q.digests[0], rules),
        categories,
        as_profiled,
        on_device,
        measured,
    };
    made.reasons = reasons(&made, &b, &q);
    made.verdict = verdict(&made);
    made.sentence = super::sentence::sentence(&made);
    Some(made)
}

fn floats(values: &[u64]) -> Vec<f64> {
    values.iter().map(|value| *value as f64).collect()
}

fn mean_us(values: &[u64]) -> f64 {
    mean(&floats(values)) / 1e3
}

fn median_us(values: &[u64]) -> f64 {
    median_and_mad(&floats(values)).0 / 1e3
}

impl<'d> Pooled<'d> {
    fn of(digests: &'d [Digest]) -> Option<Self> {
        let period = |digest: &Digest| {
            digest
                .decode
                .as_ref()
                .map_or(0.0, |table| mean_us(&table.period_ns))
        };
        let with: Vec<&Digest> = digests
            .iter()
            .filter(|digest| digest.decode.is_some())
            .collect();
        let slowest = with
            .iter()
            .copied()
            .max_by(|a, b| period(a).total_cmp(&period(b)))?;
        // Threads of operators are numbered anew in every process.
        let lane = |digest: &Digest| (digest.platform != "cpu").then(|| digest.lane.clone());
        let same = |digest: &&&Digest| digest.rank == slowest.rank && lane(digest) == lane(slowest);
        let chosen: Vec<&Digest> = with.iter().filter(same).copied().collect();
        let mut table = Table {
            batch: chosen[0].decode.as_ref()?.batch,
            ..Table::default()
        };
        for next in chosen.iter().filter_map(|digest| digest.decode.as_ref()) {
            append(&mut table, next);
        }
        Some(Self {
            digests: chosen,
            table,
        })
    }

    fn side(&self) -> Side {
        let table = &self.table;
        let (median, mad) = median_and_mad(&floats(&table.period_ns));
        Side {
            files: self
                .digests
                .iter()
                .map(|digest| digest.file.clone())
                .collect(),
            steps: table.period_ns.len(),
            batch: table.batch,
            period_us: mean_us(&table.period_ns),
            period_median_us: median / 1e3,
            period_mad_us: mad / 1e3,
            busy_us: mean_us(&table.busy_ns()),
            idle_us: mean_us(&table.idle_ns),
            host_bound_us: mean_us(&table.host_bound_ns),
            kernels: mean(
                &table
                    .kernels
                    .iter()
                    .map(|n| f64::from(*n))
                    .collect::<Vec<_>>(),
            ),
            unmatched: table.unmatched(),
        }
    }
}

/// Puts the steps of `next` behind those of `table`.
fn append(table: &mut Table, next: &Table) {
    let had = table.period_ns.len();
    let adds = next.period_ns.len();
    let weighed = |a: f64, b: f64| (a * had as f64 + b * adds as f64) / (had + adds) as f64;
    table.batch = table.batch.filter(|batch| Some(*batch) == next.batch);
    table.period_ns.extend(&next.period_ns);
    table.idle_ns.extend(&next.idle_ns);
    table.host_bound_ns.extend(&next.host_bound_ns);
    table.added_up_ns.extend(&next.added_up_ns);
    table.kernels.extend(&next.kernels);
    for column in &mut table.categories {
        column.calls = weighed(column.calls, 0.0);
        column.ns.resize(had + adds, 0);
    }
    for column in &next.categories {
        let same = |c: &Column| (&c.category, &c.path) == (&column.category, &column.path);
        let place = table.categories.iter().position(same).unwrap_or_else(|| {
            table.categories.push(Column {
                ns: vec![0; had + adds],
                calls: 0.0,
                ..column.clone()
            });
            table.categories.len() - 1
        });
        let mine = &mut table.categories[place];
        mine.ns[had..].copy_from_slice(&column.ns);
        mine.calls += weighed(0.0, column.calls);
    }
    for column in &next.roles {
        match table.roles.iter_mut().find(|mine| mine.role == column.role) {
            Some(mine) => {
                mine.ns.extend(&column.ns);
                mine.quantization_ns.extend(&column.quantization_ns);
            }
            None => table.roles.push(RoleColumn { ..column.clone() }),
        }
    }
}

/// Times of a category in one profile: each step's sum over its paths, its paths' means, its calls.
#[derive(Default)]
struct Times {
    ns: Vec<u64>,
    paths: Vec<(String, f64)>,
    calls: f64,
}

fn times(table: &Table, category: &str) -> Times {
    let mut times = Times {
        ns: vec![0; table.period_ns.len()],
        ..Times::default()
    };
    for column in table
        .categories
        .iter()
        .filter(|column| column.category == category)
    {
        for (sum, ns) in times.ns.iter_mut().zip(&column.ns) {
            *sum += ns;
        }
        times.calls += column.calls;
        if let Some(path) = &column.path {
            times.paths.push((path.clone(), mean_us(&column.ns)));
        }
    }
    times
}

fn categories(b: &Pooled<'_>, q: &Pooled<'_>) -> Vec<CategoryChange> {
    let period = mean_us(&b.table.period_ns);
    let names: BTreeSet<&str> = [&b.table, &q.table]
        .iter()
        .flat_map(|t| &t.categories)
        .map(|c| c.category.as_str())
        .collect();
    let change = |category: &str, base: Times, other: Times| {
        let (base_us, other_us) = (mean_us(&base.ns), mean_us(&other.ns));
        CategoryChange {
            category: category.to_owned(),
            base_paths: base.paths,
            other_paths: other.paths,
            base_us,
            other_us,
            base_median_us: median_us(&base.ns),
            other_median_us: median_us(&other.ns),
            of_the_step: (other_us - base_us) / period,
            base_calls: base.calls,
            other_calls: other.calls,
            floor: floor(&[b, q], category, period),
        }
    };
    let mut changes: Vec<CategoryChange> = names
        .iter()
        .map(|name| change(name, times(&b.table, name), times(&q.table, name)))
        .collect();
    changes.sort_by(|x, y| (y.base_us + y.other_us).total_cmp(&(x.base_us + x.other_us)));
    let idle = |table: &Table| Times {
        ns: table.idle_ns.clone(),
        ..Times::default()
    };
    changes.push(change("idle", idle(&b.table), idle(&q.table)));
    changes
}

/// What repeating a profile changes at most.
fn floor(sides: &[&Pooled<'_>], category: &str, period: f64) -> Option<f64> {
    let mut most = None;
    for side in sides {
        let of = |digest: &&Digest| {
            let table = digest.decode.as_ref()?;
            Some(if category == "idle" {
                mean_us(&table.idle_ns)
            } else {
                mean_us(&times(table, category).ns)
            })
        };
        let means: Vec<f64> = side.digests.iter().filter_map(of).collect();
        if means.len() > 1 {
            let spread = means.iter().copied().fold(f64::MIN, f64::max)
                - means.iter().copied().fold(f64::MAX, f64::min);
            most = Some(f64::max(most.unwrap_or(0.0), spread / period));
        }
    }
    most
}

fn roles(base: &Table, other: &Table) -> Vec<RoleChange> {
    let of = |table: &Table, role: Role| {
        let column = table.roles.iter().find(|column| column.role == role);
        column.map_or((0.0, 0.0), |c| {
            (mean_us(&c.ns), mean_us(&c.quantization_ns))
        })
    };
    let all: BTreeSet<Role> = base
        .roles
        .iter()
        .chain(&other.roles)
        .map(|column| column.role)
        .collect();
    all.into_iter()
        .map(|role| {
            let ((base_us, base_quantization_us), (other_us, other_quantization_us)) =
                (of(base, role), of(other, role));
            RoleChange {
                role,
                base_us,
                other_us,
                base_quantization_us,
                other_quantization_us,
            }
        })
        .collect()
}

/// Kernels of control categories that both run equally often, by name without what compilers number.
fn control(base: &Digest, other: &Digest, rules: &Rules) -> Option<f64> {
    let of = |digest: &Digest| -> BTreeMap<String, (f64, f64)> {
        let steps = digest.steps_listed.max(1) as f64;
        let mut named: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for kernel in digest
            .kernels
            .iter()
            .filter(|kernel| rules.is_control(&kernel.category))
        {
            let name = kernel
                .name
                .trim_end_matches(|c: char| c.is_ascii_digit() || c == '_')
                .to_owned();
            let sum = named.entry(name).or_default();
            sum.0 += kernel.calls as f64 / steps;
            sum.1 += kernel.ns as f64 / steps;
        }
        named
    };
    let (base, other) = (of(base), of(other));
    let same = base
        .iter()
        .filter_map(|(name, b)| Some((b, other.get(name)?)));
    let (mut sum_b, mut sum_q) = (0.0, 0.0);
    for (b, q) in same.filter(|(b, q)| (b.0 - q.0).abs() <= 0.05 * b.0) {
        sum_b += b.1;
        sum_q += q.1;
    }
    (sum_b > 0.0 && sum_q > 0.0).then(|| sum_b / sum_q)
}

/// What speaks against a statement.
fn reasons(made: &Explanation, b: &Pooled<'_>, q: &Pooled<'_>) -> Vec<String> {
    let mut reasons = differences(made, b.digests[0], q.digests[0]);
    for (name, side, pooled) in [("the base", &made.base, b), ("the other", &made.other, q)] {
        if side.steps < FEWEST_STEPS {
            reasons.push(format!(
                "{name} has {} decode steps at one batch, fewer than {FEWEST_STEPS}",
                side.steps
            ));
        }
        if side.unmatched > MOST_UNMATCHED {
            reasons.push(format!(
                "{:.1} % of {name}'s time is in kernels that no rule matches",
                100.0 * side.unmatched
            ));
        }
        for digest in &pooled.digests {
            let facts = &digest.launches;
            if facts.graphs_with_kernels * 2 < facts.graphs {
                reasons.push(format!(
                    "{name}: {} of {} graph launches have no kernels in the trace",
                    facts.graphs - facts.graphs_with_kernels,
                    facts.graphs
                ));
            }
            if digest.truncated {
                reasons.push(format!("{} ends early", digest.file));
            }
        }
    }
    if let Some(aligned) = made.aligned.filter(|share| *share < LEAST_ALIGNED) {
        reasons.push(format!(
            "only {:.0} % of the time is in kernels that both have in the same order",
            100.0 * aligned
        ));
    }
    if let Some(control) = made.control.filter(|_| !made.control_agrees()) {
        reasons.push(format!(
            "kernels that are the same in both take {control:.2}x the time in the base: clocks or load changed between the two"
        ));
    }
    reasons
}

/// What was not the same when they were taken.
fn differences(made: &Explanation, b: &Digest, q: &Digest) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |what: &str, base: &str, other: &str| {
        if base != other {
            found.push(format!("{what} differs: {base} and {other}"));
        }
    };
    let batch = |side: &Side| {
        side.batch
            .map_or_else(|| "unknown".to_owned(), |batch| batch.to_string())
    };
    differ("the batch", &batch(&made.base), &batch(&made.other));
    differ("the platform", &b.platform, &q.platform);
    for (key, what) in [
        ("vllm_version", "vLLM"),
        ("device", "the device"),
        ("world_size", "the number of ranks"),
    ] {
        if let (Some(base), Some(other)) = (b.facts.get(key), q.facts.get(key)) {
            differ(what, base, other);
        }
    }
    let graphs = |digest: &Digest| {
        if digest.launches.graphs > 0 {
            "graphs"
        } else {
            "single launches"
        }
    };
    differ("how kernels are launched", graphs(b), graphs(q));
    let attention = |side: &[(String, f64)]| {
        side.iter()
            .map(|(path, _)| path.as_str())
            .collect::<Vec<_>>()
            .join(" + ")
    };
    if let Some(row) = made
        .categories
        .iter()
        .find(|row| row.category == "attention")
    {
        differ(
            "the attention backend",
            &attention(&row.base_paths),
            &attention(&row.other_paths),
        );
    }
    found
}

impl Explanation {
    /// Whether kernels that are the same in both take the same time; true where there are none to tell.
    pub(crate) fn control_agrees(&self) -> bool {
        self.control
            .is_none_or(|control| (1.0 - CONTROL_APART..=1.0 + CONTROL_APART).contains(&control))
    }

    /// Profiled over unprofiled period of the base and of the other.
    pub(crate) fn slowdown(&self) -> Option<(f64, f64)> {
        let measured = self.measured.as_ref()?;
        Some((
            self.base.period_us / measured.base_us?,
            self.other.period_us / measured.other_us?,
        ))
    }

    /// Whether recording left the engine's idle time as it is.
    pub(crate) fn idle_tells(&self) -> bool {
        self.slowdown()
            .is_none_or(|(base, other)| base.max(other) <= MOST_INFLATED)
    }
}

fn verdict(made: &Explanation) -> Option<Verdict> {
    if !made.reasons.is_empty() {
        return Some(Verdict::Unreliable);
    }
    let measured = made.measured.as_ref()?.ratio;
    let predictions: Vec<Estimate> = [made.as_profiled, made.on_device]
        .into_iter()
        .flatten()
        .collect();
    let opposite = |prediction: &Estimate| matches!((prediction.side(1.0), measured.side(1.0)), (Some(a), Some(b)) if a != b);
    Some(
        if predictions
            .iter()
            .any(|p| p.holds(measured.value) && measured.holds(p.value))
        {
            Verdict::Explained
        } else if predictions
            .iter()
            .any(|p| (p.value > 1.0) == (measured.value > 1.0))
        {
            Verdict::Partly
        } else if predictions.iter().all(opposite) {
            Verdict::Contradiction
        } else {
            // Signs differ, but not beyond the intervals.
            Verdict::Unreliable
        },
    )
}

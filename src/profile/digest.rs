//! What a profile says, small enough to be kept beside a record: the trace itself is not needed any more.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::account::{self, Cost, Launches, Piece};
use super::roles::{Role, Token, roles};
use super::rules::Rules;
use super::steps::{self, FoundBy, Phase, Step, Steps};
use super::trace::{Lane, Platform, Trace};

/// The format's name and version.
pub(crate) const SCHEMA: &str = "rollbench.profile/1";
/// Kernels kept by name.
const MOST_KERNELS: usize = 120;
/// Names are cut here: they reach ten kilobytes.
const LONGEST_NAME: usize = 240;
/// Steps whose sequence of kernels is kept to tell roles.
const MOST_SEQUENCES: usize = 400;
/// Entries of the sequence that is kept for aligning.
const LONGEST_SEQUENCE: usize = 4000;

/// One device's (or thread's) profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Digest {
    /// [`SCHEMA`].
    pub(crate) schema: String,
    /// The file, relative to the folder that was read.
    pub(crate) file: String,
    /// Its size, inflated.
    pub(crate) bytes: u64,
    /// Events in it.
    pub(crate) events: u64,
    /// Whether it ends early.
    pub(crate) truncated: bool,
    /// `gpu`, `npu` or `cpu`.
    pub(crate) platform: String,
    /// The device's number, or the thread's.
    pub(crate) lane: String,
    /// Of several processes; absent if not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rank: Option<u32>,
    /// `vllm_version`, `device`, `world_size` ... as the file tells.
    #[serde(default)]
    pub(crate) facts: BTreeMap<String, String>,
    /// How steps were told apart.
    pub(crate) steps_found_by: FoundBy,
    /// How many steps there are of which sort.
    pub(crate) steps: StepCounts,
    /// Decode steps at the most frequent batch; absent if there are none.
    pub(crate) decode: Option<Table>,
    /// Steps that only work on prompts; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prefill: Option<Table>,
    /// Steps that `kernels` and places of layers are of: the first of the decode steps.
    pub(crate) steps_listed: usize,
    /// Kernels of these steps, the most expensive first.
    pub(crate) kernels: Vec<Kernel>,
    /// A typical decode step's categories in order, equal neighbours as one, with their time in nanoseconds.
    pub(crate) sequence: Vec<(String, u64)>,
    /// What launches tell.
    pub(crate) launches: LaunchFacts,
    /// What is wrong with the file or was left out, with positions.
    pub(crate) notes: Vec<String>,
}

/// Steps by sort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepCounts {
    /// Decode at the most frequent batch.
    pub(crate) decode: u64,
    /// Decode at another batch.
    pub(crate) decode_other: u64,
    /// Prompts and decode together.
    pub(crate) mixed: u64,
    /// Prompts only.
    pub(crate) prefill: u64,
    /// Nothing to do.
    pub(crate) empty: u64,
    /// Left out: something was loaded for the first time.
    pub(crate) loading: u64,
}

/// Steps of one sort, in columns: one value a step, times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Sequences that decode; absent if not told, or not the same.
    pub(crate) batch: Option<u32>,
    /// Start of a step to the start of the next.
    pub(crate) period_ns: Vec<u64>,
    /// Nothing ran. The period is this and all categories.
    pub(crate) idle_ns: Vec<u64>,
    /// Idle in which the next kernel was not launched yet.
    pub(crate) host_bound_ns: Vec<u64>,
    /// Durations added up: more than busy where kernels overlap.
    pub(crate) added_up_ns: Vec<u64>,
    /// Kernels (or operators) that began.
    pub(crate) kernels: Vec<u32>,
    /// By category and path.
    pub(crate) categories: Vec<Column>,
    /// Linear layers by their place in a layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) roles: Vec<RoleColumn>,
}

/// One category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) category: String,
    /// The code path, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Time in each step.
    pub(crate) ns: Vec<u64>,
    /// Calls a step, on average.
    pub(crate) calls: f64,
}

/// One place in a layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoleColumn {
    /// The place.
    pub(crate) role: Role,
    /// Products of matrices in each step.
    pub(crate) ns: Vec<u64>,
    /// Quantization of what goes into them.
    pub(crate) quantization_ns: Vec<u64>,
    /// Products a step, on average.
    pub(crate) calls: f64,
}

/// One kernel (or operator) over the steps listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kernel {
    /// Its name, cut.
    pub(crate) name: String,
    /// Its category.
    pub(crate) category: String,
    /// The code path, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// How often it ran.
    pub(crate) calls: u64,
    /// Attributed time.
    pub(crate) ns: u64,
}

/// What launches tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaunchFacts {
    /// Launches of whole graphs, and those among them whose kernels are in the trace.
    pub(crate) graphs: u64,
    /// Those with kernels.
    pub(crate) graphs_with_kernels: u64,
    /// Median from the end of a launch to the start of its first kernel; absent without launches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delay_ns: Option<i64>,
}

impl Table {
    /// Time at work in each step.
    pub(crate) fn busy_ns(&self) -> Vec<u64> {
        self.period_ns
            .iter()
            .zip(&self.idle_ns)
            .map(|(period, idle)| period - idle)
            .collect()
    }

    /// Time that no rule matched, as a share of the time at work.
    pub(crate) fn unmatched(&self) -> f64 {
        let busy: u64 = self.busy_ns().iter().sum();
        let other = self
            .categories
            .iter()
            .find(|column| column.category == "other");
        let other: u64 = other.map_or(0, |column| column.ns.iter().sum());
        if busy == 0 {
            0.0
        } else {
            other as f64 / busy as f64
        }
    }
}

/// The number of sequences that decode in the first of them that tells.
pub(crate) fn batch(digests: &[Digest]) -> Option<u32> {
    digests
        .iter()
        .find_map(|digest| digest.decode.as_ref()?.batch)
}

/// Digests a trace: one for each of its devices, or of its threads that run steps.
pub(super) fn digests(mut trace: Trace, rules: &Rules, file: &str) -> Vec<Digest> {
    let mut made = Vec::new();
    let platform = trace.platform();
    match platform {
        Platform::Gpu | Platform::Npu => {
            let devices = std::mem::take(&mut trace.devices);
            for (device, mut lane) in devices {
                account::sort(&mut lane);
                let steps = steps::on_device(&trace, &device, &lane);
                let mut costs = account::empty(&steps.list, rules.count());
                let mut calls = std::mem::take(&mut trace.launches);
                let launches = account::launches(&lane, &mut calls, &steps.list, &mut costs);
                trace.launches = calls;
                let wanted = Wanted::of(&trace, &steps);
                let label = |kind: u32| trace.kinds[kind as usize].label;
                account::attribute(&mut lane, label, &steps.list, &wanted.sequences, &mut costs);
                let parts = Parts {
                    lane: device,
                    steps,
                    costs,
                    launches,
                    wanted,
                    names: names(&lane),
                    platform,
                };
                made.push(parts.digest(&trace, rules, file));
            }
        }
        Platform::Cpu => {
            let mut threads = std::mem::take(&mut trace.threads);
            threads.retain(|thread, _| trace.host_ranges.iter().any(|range| range.lane == *thread));
            for (thread, mut spans) in threads {
                let steps = steps::on_thread(&trace, &thread);
                let mut costs = account::empty(&steps.list, rules.count());
                let wanted = Wanted::of(&trace, &steps);
                let label = |kind: u32| trace.kinds[kind as usize].label;
                account::attribute_thread(
                    &mut spans,
                    label,
                    &steps.list,
                    &wanted.sequences,
                    &mut costs,
                );
                let launches = Launches::default();
                let parts = Parts {
                    lane: thread,
                    steps,
                    costs,
                    launches,
                    wanted,
                    names: Vec::new(),
                    platform,
                };
                made.push(parts.digest(&trace, rules, file));
            }
        }
        Platform::Nothing => {}
    }
    made
}

/// Which steps count for what.
struct Wanted {
    /// Decode at the most frequent batch.
    decode: Vec<bool>,
    prefill: Vec<bool>,
    /// Those of `decode` whose sequence is kept.
    sequences: Vec<bool>,
    batch: Option<u32>,
    counts: StepCounts,
}

impl Wanted {
    fn of(trace: &Trace, steps: &Steps) -> Self {
        let loading = |step: &Step| {
            trace
                .loadings
                .iter()
                .any(|at| (step.start..step.end).contains(at))
        };
        let mut batches: BTreeMap<Option<u32>, u64> = BTreeMap::new();
        for step in &steps.list {
            if let Phase::Decode(batch) = step.phase {
                *batches.entry(batch).or_default() += 1;
            }
        }
        let batch = batches
            .iter()
            .max_by_key(|(batch, count)| (**count, **batch))
            .map(|(batch, _)| *batch);
        let mut counts = StepCounts::default();
        let mut wanted = Self {
            decode: Vec::new(),
            prefill: Vec::new(),
            sequences: Vec::new(),
            batch: batch.flatten(),
            counts,
        };
        let mut kept = 0;
        for step in &steps.list {
            let typical = !loading(step);
            let decode = typical && batch.is_some_and(|batch| step.phase == Phase::Decode(batch));
            let count = match step.phase {
                _ if !typical => &mut counts.loading,
                Phase::Decode(_) if decode => &mut counts.decode,
                Phase::Decode(_) => &mut counts.decode_other,
                Phase::Mixed => &mut counts.mixed,
                Phase::Prefill => &mut counts.prefill,
                Phase::Empty => &mut counts.empty,
            };
            *count += 1;
            wanted.decode.push(decode);
            wanted.prefill.push(typical && step.phase == Phase::Prefill);
            wanted.sequences.push(decode && kept < MOST_SEQUENCES);
            kept += usize::from(decode);
        }
        wanted.counts = counts;
        wanted
    }
}

/// Spans beside the compute class, by their kind: (kind, when it began, its time).
fn names(lane: &Lane) -> Vec<(u32, i64, u64)> {
    let own = lane.spans[1..].iter().flatten();
    own.map(|span| {
        (
            span.kind,
            span.start,
            u64::try_from(span.end - span.start).unwrap_or(0),
        )
    })
    .collect()
}

struct Parts {
    lane: String,
    steps: Steps,
    costs: Vec<Cost>,
    launches: Launches,
    wanted: Wanted,
    names: Vec<(u32, i64, u64)>,
    platform: Platform,
}

impl Parts {
    fn digest(self, trace: &Trace, rules: &Rules, file: &str) -> Digest {
        let table = |chosen: &[bool], batch| self.table(chosen, batch, rules);
        let mut decode = table(&self.wanted.decode, self.wanted.batch);
        if let Some(decode) = &mut decode {
            decode.roles = self.roles(trace, rules);
        }
        let mut delays = self.launches.delays.clone();
        delays.sort_unstable();
        let mut facts = trace.facts.clone();
        facts.remove("platform");
        Digest {
            schema: SCHEMA.to_owned(),
            file: file.to_owned(),
            bytes: trace.bytes,
            events: trace.events,
            truncated: trace.cut,
            platform: match self.platform {
                Platform::Npu => "npu",
                Platform::Cpu => "cpu",
                _ => "gpu",
            }
            .to_owned(),
            lane: self.lane.clone(),
            rank: facts.remove("rank").and_then(|rank| rank.parse().ok()),
            facts,
            steps_found_by: self.steps.found_by,
            steps: self.wanted.counts,
            decode,
            prefill: table(&self.wanted.prefill, None),
            steps_listed: self.chosen(&self.wanted.sequences).count(),
            kernels: self.kernels(trace, rules),
            sequence: self.sequence(trace, rules),
            launches: LaunchFacts {
                graphs: self.launches.graphs,
                graphs_with_kernels: self.launches.graphs_with_kernels,
                delay_ns: delays.get(delays.len() / 2).copied(),
            },
            notes: trace.notes.clone(),
        }
    }

    fn chosen<'s>(&'s self, chosen: &'s [bool]) -> impl Iterator<Item = (&'s Step, &'s Cost)> {
        let all = self.steps.list.iter().zip(&self.costs);
        all.zip(chosen)
            .filter(|(_, chosen)| **chosen)
            .map(|(both, _)| both)
    }

    fn table(&self, chosen: &[bool], batch: Option<u32>, rules: &Rules) -> Option<Table> {
        let mut table = Table {
            batch,
            ..Table::default()
        };
        for (step, cost) in self.chosen(chosen) {
            table
                .period_ns
                .push(u64::try_from(step.end - step.start).unwrap_or(0));
            table.idle_ns.push(cost.idle);
            table.host_bound_ns.push(cost.waited_for_host);
            table.added_up_ns.push(cost.added_up);
            table.kernels.push(cost.calls.iter().sum());
        }
        if table.period_ns.is_empty() {
            return None;
        }
        for id in 0..rules.count() {
            let ns: Vec<u64> = self
                .chosen(chosen)
                .map(|(_, cost)| cost.labels[id])
                .collect();
            let calls: u64 = self
                .chosen(chosen)
                .map(|(_, cost)| u64::from(cost.calls[id]))
                .sum();
            if calls > 0 || ns.iter().any(|ns| *ns > 0) {
                let label = rules.at(id);
                table.categories.push(Column {
                    category: label.category.clone(),
                    path: label.path.clone(),
                    calls: calls as f64 / ns.len() as f64,
                    ns,
                });
            }
        }
        Some(table)
    }

    fn roles(&self, trace: &Trace, rules: &Rules) -> Vec<RoleColumn> {
        let sequences: Vec<&Cost> = self
            .chosen(&self.wanted.sequences)
            .map(|(_, cost)| cost)
            .collect();
        let mut columns: BTreeMap<Role, RoleColumn> = BTreeMap::new();
        for (step, cost) in sequences.iter().enumerate() {
            let token = |piece: &Piece| {
                let kind = &trace.kinds[piece.kind as usize];
                match Token::of(&rules.get(kind.label).category, &kind.name) {
                    // Between the operators that it calls, a product on the CPU has several pieces.
                    Token::Linear if !piece.begins => Token::Reduction,
                    token => token,
                }
            };
            let tokens: Vec<Token> = cost.sequence.iter().map(token).collect();
            for ((role, token), piece) in
                roles(&tokens).into_iter().zip(&tokens).zip(&cost.sequence)
            {
                let Some(role) = role else { continue };
                let column = columns.entry(role).or_insert_with(|| RoleColumn {
                    role,
                    ns: vec![0; sequences.len()],
                    quantization_ns: vec![0; sequences.len()],
                    calls: 0.0,
                });
                if *token == Token::Quantization {
                    column.quantization_ns[step] += piece.ns;
                } else {
                    column.ns[step] += piece.ns;
                    column.calls += f64::from(u8::from(piece.begins && *token != Token::Reduction))
                        / sequences.len() as f64;
                }
            }
        }
        columns.into_values().collect()
    }

    fn kernels(&self, trace: &Trace, rules: &Rules) -> Vec<Kernel> {
        let mut totals: HashMap<u32, (u64, u64)> = HashMap::new();
        let mut add = |kind: u32, begins: bool, ns: u64| {
            let total = totals.entry(kind).or_default();
            total.0 += u64::from(begins);
            total.1 += ns;
        };
        for (_, cost) in self.chosen(&self.wanted.sequences) {
            for piece in &cost.sequence {
                add(piece.kind, piece.begins, piece.ns);
            }
        }
        let steps: Vec<&Step> = self
            .chosen(&self.wanted.sequences)
            .map(|(step, _)| step)
            .collect();
        for (kind, start, ns) in &self.names {
            let at = steps.partition_point(|step| step.end <= *start);
            if steps.get(at).is_some_and(|step| step.start <= *start) {
                add(*kind, true, *ns);
            }
        }
        // Kinds that differ in their number of tokens only are one kernel.
        let mut named: HashMap<&str, (u32, u64, u64)> = HashMap::new();
        for (kind, (calls, ns)) in totals {
            let entry = named
                .entry(&trace.kinds[kind as usize].name)
                .or_insert((kind, 0, 0));
            entry.1 += calls;
            entry.2 += ns;
        }
        let mut kernels: Vec<Kernel> = named
            .into_iter()
            .map(|(name, (kind, calls, ns))| {
                let label = rules.get(trace.kinds[kind as usize].label);
                let (category, path) = (label.category.clone(), label.path.clone());
                Kernel {
                    name: cut(name),
                    category,
                    path,
                    calls,
                    ns,
                }
            })
            .collect();
        kernels.sort_unstable_by(|a, b| b.ns.cmp(&a.ns).then_with(|| a.name.cmp(&b.name)));
        kernels.truncate(MOST_KERNELS);
        kernels
    }

    /// Of the step whose sequence is of the median length.
    fn sequence(&self, trace: &Trace, rules: &Rules) -> Vec<(String, u64)> {
        let mut sequences: Vec<&Vec<Piece>> = self
            .chosen(&self.wanted.sequences)
            .map(|(_, cost)| &cost.sequence)
            .collect();
        sequences.sort_by_key(|sequence| sequence.len());
        let mut shown: Vec<(String, u64)> = Vec::new();
        for piece in sequences
            .get(sequences.len() / 2)
            .into_iter()
            .copied()
            .flatten()
        {
            let category = &rules.get(trace.kinds[piece.kind as usize].label).category;
            match shown.last_mut() {
                // Products are told apart: they are what is aligned.
                Some((last, sum)) if last == category && category != "linear" => *sum += piece.ns,
                _ => shown.push((category.clone(), piece.ns)),
            }
        }
        shown.truncate(LONGEST_SEQUENCE);
        shown
    }
}

fn cut(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((at, _)) => format!("{}...", &name[..at]),
        None => name.to_owned(),
    }
}

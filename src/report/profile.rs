//! Profiles and their explanation, in several formats.

use serde::Serialize;

use super::document::{Section, Table, list, table, words};
use super::figures::{NONE, or_none, percent};
use super::write::Format;
use super::{json, markdown, text};
use crate::profile::{
    self, CategoryChange, Digest, Explanation, Verdict, mean, median_and_mad, points,
};

/// Profiles that were read, and what they say together.
#[derive(Debug, Serialize)]
pub(crate) struct ProfileReport {
    /// What is compared with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) base: Vec<Digest>,
    /// What was asked about.
    pub(crate) profiles: Vec<Digest>,
    /// Absent without a base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) explanation: Option<Explanation>,
    /// Kernels to list.
    #[serde(skip)]
    pub(crate) top: usize,
}

/// The report as text, Markdown, CSV or JSON.
pub(crate) fn render_profile(report: &ProfileReport, format: Format) -> std::io::Result<Vec<u8>> {
    Ok(match format {
        Format::Text { width } => text::text(sections(report), width).into_bytes(),
        Format::Markdown => markdown::markdown(sections(report)).into_bytes(),
        Format::Csv => rows(report).map_err(std::io::Error::other)?,
        Format::Json | Format::Verl | Format::Html(_) => json::json(report)?.into_bytes(),
    })
}

fn sections(report: &ProfileReport) -> Vec<Section> {
    let mut sections = Vec::new();
    if let Some(explanation) = &report.explanation {
        sections.extend(explained(explanation));
    }
    for digest in &report.profiles {
        sections.extend(alone(digest, report.top));
    }
    if report.profiles.len() > 1 {
        sections.push(table("Side by side", ranks(&report.profiles)));
    }
    sections
}

/// What two profiles say.
fn explained(made: &Explanation) -> Vec<Section> {
    let verdict = match made.verdict {
        Some(verdict) => format!("verdict: {}", verdict.name()),
        None => "no verdict: nothing that was measured without a profiler is there to compare with"
            .to_owned(),
    };
    let mut why = vec![made.sentence.clone(), verdict];
    if made.verdict == Some(Verdict::Contradiction) {
        why.insert(
            0,
            "the profiles contradict what was measured: no claim is made".to_owned(),
        );
    }
    why.extend(
        made.reasons
            .iter()
            .map(|reason| format!("because {reason}")),
    );
    let measured = made.measured.as_ref();
    if let Some((base, other)) = measured.and_then(|m| Some((m.base_us?, m.other_us?))) {
        why.push(format!(
            "without a profiler an iteration takes {base:.1} and {other:.1} us, of which {:.1} and {:.1} us are idle if the \
             time at work is as profiled",
            (base - made.base.busy_us).max(0.0),
            (other - made.other.busy_us).max(0.0)
        ));
    }
    if !made.idle_tells() {
        why.push(
            "recording slowed the engine by more than 30 %: its idle time says nothing".to_owned(),
        );
    }
    let mut sections: Vec<Section> = list("Why", why).into_iter().collect();
    sections.push(table("A decode step by category", changes(made)));
    if !made.roles.is_empty() {
        sections.push(table("Linear layers by place", roles(made)));
    }
    sections
}

fn us(value: f64) -> String {
    format!("{value:.1}")
}

fn times(base: f64, other: f64) -> String {
    if base > 0.0 && other > 0.0 {
        format!("{:.2}x", base / other)
    } else {
        NONE.to_owned()
    }
}

fn paths(paths: &[(String, f64)]) -> String {
    let mut names: Vec<&str> = paths.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    if names.is_empty() {
        NONE.to_owned()
    } else {
        names.join(" + ")
    }
}

pub(super) fn changes(made: &Explanation) -> Table {
    let row = |row: &CategoryChange| {
        vec![
            profile::words(&row.category).to_owned(),
            paths(&row.base_paths),
            paths(&row.other_paths),
            us(row.base_us),
            us(row.other_us),
            if row.unchanged() {
                "unchanged".to_owned()
            } else {
                points(row.of_the_step)
            },
            times(row.base_us, row.other_us),
            format!("{:.0}", row.base_calls),
            format!("{:.0}", row.other_calls),
        ]
    };
    let mut rows: Vec<Vec<String>> = made.categories.iter().map(row).collect();
    rows.push(vec![
        "period".to_owned(),
        String::new(),
        String::new(),
        us(made.base.period_us),
        us(made.other.period_us),
        points((made.other.period_us - made.base.period_us) / made.base.period_us),
        times(made.base.period_us, made.other.period_us),
        format!("{:.0}", made.base.kernels),
        format!("{:.0}", made.other.kernels),
    ]);
    Table {
        labels: 3,
        header: words(&[
            "Category",
            "Base path",
            "Path",
            "Base us",
            "us",
            "Of the step",
            "Ratio",
            "Base calls",
            "Calls",
        ]),
        rows,
    }
}

fn roles(made: &Explanation) -> Table {
    Table {
        labels: 1,
        header: words(&[
            "Place",
            "Base us",
            "us",
            "Ratio",
            "Quantization us",
            "With it",
        ]),
        rows: made
            .roles
            .iter()
            .map(|role| {
                let with = |product: f64, quantization: f64| product + quantization;
                vec![
                    role.role.name().to_owned(),
                    us(role.base_us),
                    us(role.other_us),
                    times(role.base_us, role.other_us),
                    us(role.other_quantization_us),
                    times(
                        with(role.base_us, role.base_quantization_us),
                        with(role.other_us, role.other_quantization_us),
                    ),
                ]
            })
            .collect(),
    }
}

/// Figures of a column: mean, median and its MAD, in microseconds.
struct Figures {
    mean: f64,
    median: f64,
    mad: f64,
}

impl Figures {
    fn of(ns: &[u64]) -> Self {
        let us: Vec<f64> = ns.iter().map(|ns| *ns as f64 / 1e3).collect();
        let (median, mad) = median_and_mad(&us);
        Self {
            mean: mean(&us),
            median,
            mad,
        }
    }
}

/// One profile.
fn alone(digest: &Digest, top: usize) -> Vec<Section> {
    let mut sections = Vec::new();
    sections.extend(list(&digest.file, head(digest)));
    let Some(decode) = &digest.decode else {
        return sections;
    };
    sections.push(table("Where a decode step goes", categories(decode)));
    if top > 0 && !digest.kernels.is_empty() {
        sections.push(table(
            "Most expensive kernels of a decode step",
            kernels(digest, decode, top),
        ));
    }
    sections
}

fn head(digest: &Digest) -> Vec<String> {
    let mut lines = Vec::new();
    let facts = |key: &str, before: &str| {
        digest
            .facts
            .get(key)
            .map(|value| format!("{before}{value}"))
    };
    let known: Vec<String> = [
        Some(format!("{} {}", digest.platform, digest.lane)),
        digest.rank.map(|rank| format!("rank {rank}")),
        facts("device", ""),
        facts("vllm_version", "vLLM "),
        Some(format!("{} events", digest.events)),
    ]
    .into_iter()
    .flatten()
    .collect();
    lines.push(known.join(", "));
    let counts = digest.steps;
    let sorts: Vec<String> = [
        (counts.decode, "decode"),
        (counts.decode_other, "decode at another batch"),
        (counts.mixed, "mixed with prefill"),
        (counts.prefill, "prefill"),
        (counts.empty, "empty"),
        (counts.loading, "with something loaded for the first time"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, sort)| format!("{count} {sort}"))
    .collect();
    if sorts.is_empty() {
        lines.push(
            "no steps can be told apart: no annotations of an engine, and nothing repeats"
                .to_owned(),
        );
    } else {
        lines.push(format!("steps: {}", sorts.join(", ")));
    }
    if let Some(decode) = &digest.decode {
        let batch = decode
            .batch
            .map_or_else(String::new, |batch| format!(" of {batch} sequences"));
        let period = Figures::of(&decode.period_ns);
        lines.push(format!(
            "a decode step{batch} takes {:.1} us (median {:.1}, MAD {:.1}) and runs {:.0} kernels",
            period.mean,
            period.median,
            period.mad,
            mean(
                &decode
                    .kernels
                    .iter()
                    .map(|n| f64::from(*n))
                    .collect::<Vec<_>>()
            )
        ));
        let host = Figures::of(&decode.host_bound_ns).mean;
        let idle = Figures::of(&decode.idle_ns).mean;
        if digest.platform == "gpu" {
            lines.push(format!(
                "idle: {:.1} us waiting for the host to launch, {:.1} us between launched kernels",
                host,
                idle - host
            ));
        }
        lines.push(format!(
            "{} % of the time at work is in kernels that no rule matches",
            percent(decode.unmatched())
        ));
    }
    if let Some(prefill) = &digest.prefill {
        lines.push(format!(
            "a prefill step takes {:.1} us",
            Figures::of(&prefill.period_ns).mean
        ));
    }
    let graphs = &digest.launches;
    if graphs.graphs > 0 {
        lines.push(format!(
            "{} launches of graphs, {} with kernels in the trace",
            graphs.graphs, graphs.graphs_with_kernels
        ));
    }
    lines.push("to look at it: open the file in https://ui.perfetto.dev (gzip too)".to_owned());
    lines
}

fn categories(decode: &profile::Table) -> Table {
    let period = Figures::of(&decode.period_ns);
    let row = |name: &str, path: Option<&str>, ns: &[u64], calls: Option<f64>| {
        let figures = Figures::of(ns);
        vec![
            profile::words(name).to_owned(),
            path.unwrap_or(NONE).to_owned(),
            us(figures.mean),
            us(figures.median),
            us(figures.mad),
            percent(figures.mean / period.mean),
            or_none(calls, |calls| format!("{calls:.0}")),
        ]
    };
    let mut columns: Vec<&profile::Column> = decode.categories.iter().collect();
    columns.sort_by_key(|column| std::cmp::Reverse(column.ns.iter().sum::<u64>()));
    let mut rows: Vec<Vec<String>> = columns
        .iter()
        .map(|column| {
            row(
                &column.category,
                column.path.as_deref(),
                &column.ns,
                Some(column.calls),
            )
        })
        .collect();
    rows.push(row("idle", None, &decode.idle_ns, None));
    rows.push(row("period", None, &decode.period_ns, None));
    Table {
        labels: 2,
        header: words(&[
            "Category",
            "Path",
            "Mean us",
            "Median us",
            "MAD us",
            "Share %",
            "Calls",
        ]),
        rows,
    }
}

fn kernels(digest: &Digest, decode: &profile::Table, top: usize) -> Table {
    let steps = decode.period_ns.len().min(digest.steps_listed) as f64;
    let busy = Figures::of(&decode.busy_ns()).mean;
    Table {
        labels: 2,
        header: words(&[
            "Kernel",
            "Category",
            "Calls",
            "us a step",
            "us a call",
            "Work %",
        ]),
        rows: digest
            .kernels
            .iter()
            .take(top)
            .map(|kernel| {
                let (calls, ns) = (kernel.calls as f64 / steps, kernel.ns as f64 / steps);
                vec![
                    short(&kernel.name),
                    kernel
                        .path
                        .clone()
                        .unwrap_or_else(|| profile::words(&kernel.category).to_owned()),
                    format!("{calls:.0}"),
                    us(ns / 1e3),
                    format!("{:.2}", kernel.ns as f64 / 1e3 / kernel.calls as f64),
                    percent(ns / 1e3 / busy),
                ]
            })
            .collect(),
    }
}

/// A name that leaves room for numbers beside it.
fn short(name: &str) -> String {
    const WIDTH: usize = 60;
    match name.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}...", &name[..at]),
        None => name.to_owned(),
    }
}

/// Several devices or files; the slowest holds up the others.
fn ranks(digests: &[Digest]) -> Table {
    let row = |digest: &Digest| {
        let decode = digest.decode.as_ref()?;
        let communication = decode
            .categories
            .iter()
            .filter(|column| column.category == "communication");
        let communication: f64 = communication
            .map(|column| Figures::of(&column.ns).mean)
            .sum();
        Some(vec![
            digest.file.clone(),
            or_none(digest.rank, |rank| rank.to_string()),
            us(Figures::of(&decode.period_ns).mean),
            us(Figures::of(&decode.busy_ns()).mean),
            us(communication),
            us(Figures::of(&decode.idle_ns).mean),
        ])
    };
    Table {
        labels: 1,
        header: words(&[
            "Profile",
            "Rank",
            "Period us",
            "Work us",
            "Communication us",
            "Idle us",
        ]),
        rows: digests.iter().filter_map(row).collect(),
    }
}

/// One row a category: of the explanation if there is one, else of each profile.
fn rows(report: &ProfileReport) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if let Some(made) = &report.explanation {
        writer.write_record([
            "category",
            "base_path",
            "path",
            "base_us",
            "us",
            "base_median_us",
            "median_us",
            "of_the_step",
            "base_calls",
            "calls",
        ])?;
        for row in &made.categories {
            writer.write_record([
                row.category.clone(),
                paths(&row.base_paths),
                paths(&row.other_paths),
                row.base_us.to_string(),
                row.other_us.to_string(),
                row.base_median_us.to_string(),
                row.other_median_us.to_string(),
                row.of_the_step.to_string(),
                row.base_calls.to_string(),
                row.other_calls.to_string(),
            ])?;
        }
    } else {
        writer.write_record([
            "file",
            "rank",
            "lane",
            "batch",
            "steps",
            "category",
            "path",
            "mean_us",
            "median_us",
            "mad_us",
            "calls",
        ])?;
        for digest in &report.profiles {
            let Some(decode) = &digest.decode else {
                continue;
            };
            let mut row = |category: &str, path: Option<&str>, ns: &[u64], calls: Option<f64>| {
                let figures = Figures::of(ns);
                let number = |value: Option<String>| value.unwrap_or_default();
                writer.write_record([
                    digest.file.clone(),
                    number(digest.rank.map(|rank| rank.to_string())),
                    digest.lane.clone(),
                    number(decode.batch.map(|batch| batch.to_string())),
                    decode.period_ns.len().to_string(),
                    category.to_owned(),
                    path.unwrap_or_default().to_owned(),
                    figures.mean.to_string(),
                    figures.median.to_string(),
                    figures.mad.to_string(),
                    number(calls.map(|calls| calls.to_string())),
                ])
            };
            for column in &decode.categories {
                row(
                    &column.category,
                    column.path.as_deref(),
                    &column.ns,
                    Some(column.calls),
                )?;
            }
            row("idle", None, &decode.idle_ns, None)?;
        }
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

//! Linear layers alone, by path and number of tokens.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::document::{Section, Table, list, table};
use super::figures::{NONE, percent};
use super::write::Format;
use super::{json, markdown, text};

/// What was timed, and what it would mean.
#[derive(Debug, Serialize)]
pub(crate) struct OpsReport {
    /// `cpu`, `cuda` or `npu`.
    pub(crate) device: String,
    /// Sequences that decode.
    pub(crate) batch: u32,
    /// Each product alone.
    pub(crate) rows: Vec<OpsRow>,
    /// Paths that cannot be had here, and why.
    pub(crate) absent: BTreeMap<String, String>,
    /// Linear layers' share of a profiled baseline's decode step; absent without a profile.
    pub(crate) linear_share: Option<f64>,
}

/// One product at one number of tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OpsRow {
    /// The precision.
    pub(crate) path: String,
    /// Its place in a layer.
    pub(crate) role: String,
    /// Tokens.
    pub(crate) m: u32,
    /// The product.
    pub(crate) us: f64,
    /// Quantization of what goes into it, where that is a kernel of its own.
    pub(crate) quantization_us: f64,
}

/// A layer's products together at one number of tokens.
#[derive(Debug, Clone, Copy, Default)]
struct Layer {
    products: f64,
    quantization: f64,
}

impl Layer {
    fn total(self) -> f64 {
        self.products + self.quantization
    }
}

type Layers = BTreeMap<String, BTreeMap<u32, Layer>>;

impl OpsReport {
    fn layers(&self) -> Layers {
        let mut layers = Layers::new();
        for row in &self.rows {
            let layer = layers
                .entry(row.path.clone())
                .or_default()
                .entry(row.m)
                .or_default();
            layer.products += row.us;
            layer.quantization += row.quantization_us;
        }
        layers
    }
}

/// The report as text or Markdown; in every other format as JSON.
pub(crate) fn render_ops(report: &OpsReport, format: Format) -> std::io::Result<String> {
    Ok(match format {
        Format::Text { width } => text::text(sections(report), width),
        Format::Markdown => markdown::markdown(sections(report)),
        Format::Csv | Format::Json | Format::Verl | Format::Html(_) => json::json(report)?,
    })
}

fn sections(report: &OpsReport) -> Vec<Section> {
    let layers = report.layers();
    let title = format!(
        "Linear layers of one layer on {}: speed-up over BF16",
        report.device
    );
    let mut sections = vec![table(&title, by_tokens(&layers))];
    sections.extend(list("What that means", meaning(report, &layers)));
    let absent = report
        .absent
        .iter()
        .map(|(path, why)| format!("{path}: {why}"));
    sections.extend(list("Not to be had here", absent));
    sections
}

fn by_tokens(layers: &Layers) -> Table {
    let base = layers.get("bf16").cloned().unwrap_or_default();
    let others: Vec<_> = layers.iter().filter(|(path, _)| *path != "bf16").collect();
    let mut header = vec!["Tokens".to_owned(), "bf16 us".to_owned()];
    for (path, _) in &others {
        header.extend([
            format!("{path} us"),
            (*path).clone(),
            "Quantization %".to_owned(),
        ]);
    }
    let row = |(m, bf16): (&u32, &Layer)| {
        let mut row = vec![m.to_string(), format!("{:.1}", bf16.total())];
        for (_, by_m) in &others {
            row.extend(match by_m.get(m) {
                Some(layer) => [
                    format!("{:.1}", layer.total()),
                    format!("{:.2}x", bf16.total() / layer.total()),
                    percent(layer.quantization / layer.total()),
                ],
                None => [NONE; 3].map(str::to_owned),
            });
        }
        row
    };
    Table {
        labels: 0,
        rows: base.iter().map(row).collect(),
        header,
    }
}

fn meaning(report: &OpsReport, layers: &Layers) -> Vec<String> {
    let Some(base) = layers.get("bf16") else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for (path, by_m) in layers.iter().filter(|(path, _)| *path != "bf16") {
        let ratio = |m: u32| Some(base.get(&m)?.total() / by_m.get(&m)?.total());
        // From there on it is never slower again.
        let slower = base
            .keys()
            .rev()
            .copied()
            .find(|m| ratio(*m).is_some_and(|ratio| ratio < 1.0));
        let even = base
            .keys()
            .copied()
            .find(|m| slower.is_none_or(|slower| *m > slower));
        lines.push(match even {
            Some(m) => format!("{path}: not slower than BF16 from {m} tokens at once"),
            None => format!("{path}: slower than BF16 at every number of tokens that was tried"),
        });
        if let Some(at_batch) = ratio(report.batch) {
            let mut line = format!(
                "{path}: {at_batch:.2}x for the linear layers of {} sequences that decode",
                report.batch
            );
            if let Some(share) = report.linear_share {
                // Amdahl: what is no linear layer stays as it is.
                let expected = 1.0 / ((1.0 - share) + share / at_batch);
                let _ = write!(
                    line,
                    ", which are {} % of the profiled step: {expected:.2}x for the step",
                    percent(share)
                );
            }
            lines.push(line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_pays_from_where_it_is_never_slower_again() {
        let row = |path: &str, m, us, quantization_us| OpsRow {
            path: path.to_owned(),
            role: "o".to_owned(),
            m,
            us,
            quantization_us,
        };
        let report = OpsReport {
            device: "cuda".to_owned(),
            batch: 256,
            rows: vec![
                row("bf16", 1, 10.0, 0.0),
                row("bf16", 256, 30.0, 0.0),
                row("w8a8", 1, 9.0, 3.0),
                row("w8a8", 256, 12.0, 3.0),
            ],
            absent: BTreeMap::from([("fp8".to_owned(), "no kernel".to_owned())]),
            linear_share: Some(0.5),
        };
        let shown = render_ops(&report, Format::Text { width: None }).expect("text");
        assert!(
            shown.contains("w8a8: not slower than BF16 from 256 tokens at once"),
            "{shown}"
        );
        assert!(
            shown.contains("w8a8: 2.00x for the linear layers of 256 sequences that decode, which are 50.0 % of the profiled step: 1.33x"),
            "{shown}"
        );
    }
}

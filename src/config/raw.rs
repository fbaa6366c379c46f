//! The matrix as written: engine, precisions, models and the selection, every mistake in them noted, nothing merged
//! yet.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;

use super::diagnostic::{Diagnostics, listed, nearest};
use super::document::{At, Made};
use super::layer::{self, Layer};
use super::shape_only::near;
use super::walk::{Table, sub_table, text, wrong_type};
use crate::checkpoint::{Known, Location, ShapeScheme, is_path, known_names};
use crate::units::{InvalidId, ModelId, PrecisionId};

/// The version of the format that this rollbench reads.
const SCHEMA: i64 = 1;

/// A whole document.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(crate) select_models: Option<Vec<At<String>>>,
    pub(crate) select_precisions: Option<Vec<At<String>>>,
    pub(crate) engine: Layer,
    pub(crate) precisions: Vec<RawPrecision>,
    pub(crate) models: Vec<RawModel>,
}

/// `[[precision]]`.
#[derive(Debug)]
pub(crate) struct RawPrecision {
    pub(crate) id: PrecisionId,
    pub(crate) label: String,
    pub(crate) baseline: Option<Range<usize>>,
    pub(crate) layer: Layer,
    pub(crate) unsupported: BTreeMap<String, String>,
    pub(crate) span: Range<usize>,
}

/// `[[model]]`.
#[derive(Debug)]
pub(crate) struct RawModel {
    pub(crate) id: ModelId,
    pub(crate) label: String,
    pub(crate) layer: Layer,
    pub(crate) checkpoints: Vec<(At<String>, RawCheckpoint)>,
    pub(crate) cells: Vec<(At<String>, Layer)>,
    pub(crate) span: Range<usize>,
}

/// A checkpoint: a text, or a table with more than that; or a shape without weights.
#[derive(Debug)]
pub(crate) struct RawCheckpoint {
    pub(crate) path: At<String>,
    pub(crate) revision: Option<At<String>>,
    pub(crate) tokenizer: Option<At<String>>,
}

/// Names that were all there, by which ids are declared.
trait Declared {
    type Id: FromStr<Err = InvalidId> + PartialEq;
    fn id(&self) -> &Self::Id;
    fn span(&self) -> &Range<usize>;
}

impl Declared for RawPrecision {
    type Id = PrecisionId;
    fn id(&self) -> &PrecisionId {
        &self.id
    }
    fn span(&self) -> &Range<usize> {
        &self.span
    }
}

impl Declared for RawModel {
    type Id = ModelId;
    fn id(&self) -> &ModelId {
        &self.id
    }
    fn span(&self) -> &Range<usize> {
        &self.span
    }
}

impl Raw {
    /// Reads a document; what is made for a flag, behind its text, stands in place of the document's own matrix.
    pub(crate) fn read(root: &Table<'_>, made: Option<&Made>, found: &mut Diagnostics) -> Self {
        schema(root, found);
        if let Some((key, _)) = root.get("workloads") {
            found
                .at(&key.span, "`workloads` is not supported yet")
                .label("reserved for several workloads on one loaded engine");
        }
        let mut raw = Self::default();
        // What has another type is noted where the settings of these tables are read.
        match (made, root.table_if_any("select")) {
            (Some(made), _) => {
                let at = |name: &&str| At::new((*name).to_owned(), made.from..made.from);
                raw.select_precisions = Some(made.precisions.iter().map(at).collect());
            }
            (None, Some(select)) => raw.read_select(&select, found),
            (None, None) => {}
        }
        let counts = |table: &Table<'_>| made.is_none_or(|made| table.span.start >= made.from);
        if let Some(engine) = root.table_if_any("engine") {
            raw.engine = Layer::read(&engine, found);
        }
        for table in root.tables("precision", found).into_iter().filter(counts) {
            let precision = RawPrecision::read(&table, found);
            declare(&mut raw.precisions, precision, "precision", found);
        }
        for table in root.tables("model", found).into_iter().filter(counts) {
            let model = RawModel::read(&table, found);
            declare(&mut raw.models, model, "model", found);
        }
        raw.check(root, found);
        raw
    }

    /// Reads what `[select]` says.
    fn read_select(&mut self, select: &Table<'_>, found: &mut Diagnostics) {
        if let Some((key, _)) = select.get("quants") {
            found
                .at(&key.span, "unknown key `quants` in `select`")
                .label("the key is `precisions`; only the flag is called --quants");
        }
        self.select_models = select.texts("models", found);
        self.select_precisions = select.texts("precisions", found);
    }

    /// What only the whole document can tell.
    fn check(&self, root: &Table<'_>, found: &mut Diagnostics) {
        let precisions: Vec<&str> = self.precisions.iter().map(|p| p.id.as_str()).collect();
        let models: Vec<&str> = self.models.iter().map(|m| m.id.as_str()).collect();
        if root.get("precision").is_none() {
            found
                .plain("the configuration has no precision")
                .help("add [[precision]] with a `name`, one of them with `baseline = true`");
        }
        if root.get("model").is_none() {
            found
                .plain("the configuration has no model")
                .help("add [[model]] with a `name` and `checkpoints`");
        }
        let mut baselines = self.precisions.iter().filter_map(|p| p.baseline.as_ref());
        match (baselines.next(), baselines.next()) {
            (None, _) => {
                if let Some(first) = self.precisions.first() {
                    found
                        .at(&first.span, "no precision is the baseline")
                        .help("add `baseline = true` to the one that the others are compared with");
                }
            }
            (Some(first), Some(second)) => {
                found
                    .at(second, "two precisions are the baseline")
                    .label("the second one")
                    .related(first.clone(), "the first one");
            }
            _ => {}
        }
        for model in &self.models {
            let keys = model.checkpoints.iter().map(|(key, _)| key);
            for key in keys.chain(model.cells.iter().map(|(key, _)| key)) {
                unknown(key, &precisions, "precision", found);
            }
        }
        for name in self.select_models.iter().flatten() {
            unknown(name, &models, "model", found);
        }
        for name in self.select_precisions.iter().flatten() {
            unknown(name, &precisions, "precision", found);
        }
        self.check_unset(found);
    }

    /// All layers of all cells.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &Layer> {
        let cells = self.models.iter().flat_map(|m| m.cells.iter());
        std::iter::once(&self.engine)
            .chain(self.models.iter().map(|m| &m.layer))
            .chain(self.precisions.iter().map(|p| &p.layer))
            .chain(cells.map(|(_, layer)| layer))
    }

    /// An `unset` of a name that nothing sets is a typo.
    fn check_unset(&self, found: &mut Diagnostics) {
        let layers: Vec<&Layer> = self.layers().collect();
        let set: Vec<&str> = layers
            .iter()
            .flat_map(|l| l.args.iter().map(|(name, _)| name.as_str()))
            .collect();
        for name in layers.iter().flat_map(|l| &l.unset) {
            if set.contains(&name.value.as_str()) {
                continue;
            }
            let mistake = found.at(
                &name.span,
                format!("nothing sets `{}`, so it cannot be unset", name.value),
            );
            if let Some(near) = nearest(&name.value, set.iter().copied()) {
                mistake.label(format!("did you mean `{near}`?"));
            }
        }
    }
}

impl RawPrecision {
    fn read(table: &Table<'_>, found: &mut Diagnostics) -> Option<Self> {
        table.only(
            &with_layer(&["name", "label", "baseline", "unsupported"]),
            found,
        );
        let label = table.text("label", found);
        let baseline = table.boolean("baseline", found);
        let layer = Layer::read(table, found);
        let mut unsupported = BTreeMap::new();
        if let Some(reasons) = table.table("unsupported", found) {
            reasons.only(&["cpu", "cuda", "npu"], found);
            for (key, _) in reasons.entries() {
                if let Some(reason) = reasons.text(key.value, found) {
                    unsupported.insert(key.value.to_owned(), reason.value);
                }
            }
        }
        let (id, span) = name(table, "precision", found)?;
        Some(Self {
            label: label.map_or_else(|| PrecisionId::to_string(&id), |l| l.value),
            id,
            baseline: baseline.filter(|b| b.value).map(|b| b.span),
            layer,
            unsupported,
            span,
        })
    }
}

impl RawModel {
    fn read(table: &Table<'_>, found: &mut Diagnostics) -> Option<Self> {
        table.only(
            &with_layer(&["name", "label", "checkpoints", "cells"]),
            found,
        );
        let label = table.text("label", found);
        let layer = Layer::read(table, found);
        let mut checkpoints = Vec::new();
        if let Some(of) = table.table("checkpoints", found) {
            for (key, value) in of.entries() {
                let path = of.path_of(key.value);
                if let Some(checkpoint) = RawCheckpoint::read(value, key.value, &path, found) {
                    checkpoints.push((At::new(key.value.to_owned(), key.span), checkpoint));
                }
            }
        }
        let mut cells = Vec::new();
        if let Some(of) = table.table("cells", found) {
            for (key, value) in of.entries() {
                if let Some(cell) = sub_table(key.value, value, of.path_of(key.value), found) {
                    cell.only(&layer::KEYS, found);
                    let layer = Layer::read(&cell, found);
                    cells.push((At::new(key.value.to_owned(), key.span), layer));
                }
            }
        }
        let (id, span) = name(table, "model", found)?;
        Some(Self {
            label: label.map_or_else(|| ModelId::to_string(&id), |l| l.value),
            id,
            layer,
            checkpoints,
            cells,
            span,
        })
    }
}

impl RawCheckpoint {
    fn read(
        value: &toml::Spanned<toml::de::DeValue<'_>>,
        key: &str,
        path: &str,
        found: &mut Diagnostics,
    ) -> Option<Self> {
        if value.get_ref().as_table().is_none() {
            if value.get_ref().as_str().is_none() {
                wrong_type(
                    value,
                    path,
                    "a text, { path, revision, tokenizer } or { shapes_of, scheme }",
                    found,
                );
                return None;
            }
            return Some(Self {
                path: text(value, path, found)?,
                revision: None,
                tokenizer: None,
            });
        }
        let table = sub_table(key, value, path.to_owned(), found)?;
        if table.get("shapes_of").is_some() || table.get("scheme").is_some() {
            return Self::read_shape(&table, found);
        }
        table.only(
            &["path", "revision", "tokenizer", "shapes_of", "scheme"],
            found,
        );
        if table.get("path").is_none() {
            found.at(&table.span, format!("`{path}` has no `path`"));
        }
        let revision = table.text("revision", found);
        let tokenizer = table.text("tokenizer", found);
        Some(Self {
            path: table.text("path", found)?,
            revision,
            tokenizer,
        })
    }
}

impl RawCheckpoint {
    /// `{ shapes_of = "qwen3-8b", scheme = "w8a8" }`
    fn read_shape(table: &Table<'_>, found: &mut Diagnostics) -> Option<Self> {
        table.only(&["shapes_of", "scheme", "tokenizer"], found);
        for key in ["shapes_of", "scheme"] {
            if table.get(key).is_none() {
                found.at(&table.span, format!("`{}` has no `{key}`", table.path));
            }
        }
        let tokenizer = table.text("tokenizer", found);
        let of = table.text("shapes_of", found);
        let scheme = table.text("scheme", found)?;
        let Some(known) = ShapeScheme::of(&scheme.value) else {
            found
                .at(&scheme.span, format!("unknown scheme `{}`", scheme.value))
                .label(near(&scheme.value, ShapeScheme::names()));
            return None;
        };
        let of = of?;
        let expands = of.value.contains("${");
        if Known::of(&of.value).is_none() && !is_path(&of.value) && !expands {
            found
                .at(&of.span, format!("unknown shape `{}`", of.value))
                .label(near(&of.value, known_names()))
                .help("a folder with a config.json is named with a slash: ./NAME");
            return None;
        }
        // As everywhere else, though something stands before it in a location.
        let home = of
            .value
            .strip_prefix("~/")
            .map(|below| format!("${{HOME}}/{below}"));
        let shown = home.as_ref().unwrap_or(&of.value);
        Some(Self {
            path: At::new(Location::of_shape(shown, known), of.span),
            revision: None,
            tokenizer,
        })
    }
}

/// Adds a declaration, unless its name is taken.
fn declare<D: Declared>(declared: &mut Vec<D>, new: Option<D>, what: &str, found: &mut Diagnostics)
where
    D::Id: std::fmt::Display,
{
    let Some(new) = new else { return };
    match declared.iter().find(|d| d.id() == new.id()) {
        Some(first) => {
            found
                .at(
                    new.span(),
                    format!("{what} `{}` is declared twice", new.id()),
                )
                .label("again here")
                .related(first.span().clone(), "first here");
        }
        None => declared.push(new),
    }
}

/// The `name` of a declaration, and where it stands.
fn name<I: FromStr<Err = InvalidId>>(
    table: &Table<'_>,
    what: &str,
    found: &mut Diagnostics,
) -> Option<(I, Range<usize>)> {
    if table.get("name").is_none() {
        found
            .at(&table.span, format!("this {what} has no `name`"))
            .help(format!(
                "add `name = \"...\"`: the id of the {what} in flags and file names"
            ));
    }
    let name = table.text("name", found)?;
    match name.value.parse() {
        Ok(id) => Some((id, name.span)),
        Err(error) => {
            found
                .at(&name.span, error.to_string())
                .label("`_` parts model from precision in file names");
            None
        }
    }
}

fn schema(root: &Table<'_>, found: &mut Diagnostics) {
    if root.get("schema").is_none() {
        found
            .plain("the configuration does not say which version of the format it is")
            .help(format!("begin it with `schema = {SCHEMA}`"));
        return;
    }
    if let Some(version) = root.integer("schema", i64::MIN..=i64::MAX, found)
        && version.value != SCHEMA
    {
        let mistake = found.at(
            &version.span,
            format!(
                "this rollbench reads schema {SCHEMA}, not {}",
                version.value
            ),
        );
        if version.value > SCHEMA {
            mistake.help("the file is for a newer rollbench");
        }
    }
}

/// Notes a name that is not declared.
fn unknown(name: &At<String>, declared: &[&str], what: &str, found: &mut Diagnostics) {
    if declared.contains(&name.value.as_str()) {
        return;
    }
    let mistake = found.at(&name.span, format!("unknown {what} `{}`", name.value));
    match nearest(&name.value, declared.iter().copied()) {
        Some(near) => mistake.label(format!("did you mean `{near}`?")),
        None => mistake.help(format!(
            "the {what}s here are {}",
            listed(declared.iter().copied())
        )),
    };
}

fn with_layer<'a>(keys: &[&'a str]) -> Vec<&'a str> {
    keys.iter().copied().chain(layer::KEYS).collect()
}

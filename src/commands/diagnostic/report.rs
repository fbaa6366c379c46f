//! What the stages found, as text and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::error::{CommandError, Exit};

/// The stages, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Name {
    /// The configuration is valid and selects a cell.
    Configuration,
    /// The cell's checkpoint is there and is what its precision says.
    Checkpoint,
    /// The interpreter has a vLLM that knows the configured arguments.
    Vllm,
    /// The device answers and nobody else holds it.
    Device,
    /// One engine generates a few tokens.
    Engine,
    /// The record of that can be read back.
    Result,
}

impl Name {
    /// As tables show it.
    fn shown(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Checkpoint => "checkpoint",
            Self::Vllm => "vllm",
            Self::Device => "device",
            Self::Engine => "engine",
            Self::Result => "result",
        }
    }

    /// What a stage makes no sense without.
    fn needs(self) -> &'static [Self] {
        match self {
            Self::Configuration => &[],
            Self::Checkpoint | Self::Vllm | Self::Device => &[Self::Configuration],
            Self::Engine => &[
                Self::Configuration,
                Self::Checkpoint,
                Self::Vllm,
                Self::Device,
            ],
            Self::Result => &[Self::Engine],
        }
    }

    /// How the process exits if this is the first stage that fails.
    fn exit(self) -> Exit {
        match self {
            Self::Configuration => Exit::Usage,
            Self::Checkpoint | Self::Vllm | Self::Device => Exit::Environment,
            Self::Engine | Self::Result => Exit::Partial,
        }
    }
}

/// How a stage went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Nothing to say against it.
    Ok,
    /// A run would work, but its numbers may not be what they seem.
    Warning,
    /// A run would not work.
    Failed,
    /// It needs a stage that failed.
    NotRun,
}

/// What one stage found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// A line each.
    pub(crate) found: Vec<String>,
    /// What to do, a line each.
    pub(crate) hints: Vec<String>,
}

impl Finding {
    pub(crate) fn ok(found: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, found)
    }

    pub(crate) fn failed(found: impl Into<String>) -> Self {
        Self::new(Verdict::Failed, found)
    }

    /// A command's failure as a stage's.
    pub(crate) fn of_error(error: &CommandError) -> Self {
        let mut finding = Self::failed(error.error.to_string());
        for cause in error.error.chain().skip(1) {
            finding = finding.also(cause.to_string());
        }
        finding.hints.clone_from(&error.hints);
        finding
    }

    fn new(verdict: Verdict, found: impl Into<String>) -> Self {
        Self {
            verdict,
            found: vec![found.into()],
            hints: Vec::new(),
        }
    }

    /// One more fact.
    #[must_use]
    pub(crate) fn also(mut self, found: impl Into<String>) -> Self {
        self.found.push(found.into());
        self
    }

    /// One more fact, which makes what was in order a warning.
    #[must_use]
    pub(crate) fn but(mut self, found: impl Into<String>) -> Self {
        if self.verdict == Verdict::Ok {
            self.verdict = Verdict::Warning;
        }
        self.also(found)
    }

    /// One more fact, with which a run would not work.
    #[must_use]
    pub(crate) fn fails(mut self, found: impl Into<String>) -> Self {
        self.verdict = Verdict::Failed;
        self.also(found)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// A stage with its finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Stage {
    pub(crate) name: Name,
    #[serde(flatten)]
    pub(crate) finding: Finding,
}

/// All stages so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    stages: Vec<Stage>,
}

impl Report {
    /// Why `name` cannot be run: the first stage that it needs and that failed or was not run.
    pub(crate) fn blocked(&self, name: Name) -> Option<Finding> {
        let blocks = |verdict| matches!(verdict, Verdict::Failed | Verdict::NotRun);
        let culprit = self
            .stages
            .iter()
            .find(|stage| name.needs().contains(&stage.name) && blocks(stage.finding.verdict))?;
        let why = format!("not run: needs the stage `{}`", culprit.name.shown());
        Some(Finding::new(Verdict::NotRun, why))
    }

    /// Adds a stage and returns its lines.
    pub(crate) fn add(&mut self, name: Name, finding: Finding) -> String {
        self.stages.push(Stage { name, finding });
        self.stages.last().map(lines).unwrap_or_default()
    }

    /// How the process exits.
    pub(crate) fn exit(&self) -> Exit {
        self.stages
            .iter()
            .find(|stage| stage.finding.verdict == Verdict::Failed)
            .map_or(Exit::Done, |stage| stage.name.exit())
    }

    /// The last line.
    pub(crate) fn sum_up(&self) -> String {
        let count = |verdict| {
            let of = |stage: &&Stage| stage.finding.verdict == verdict;
            self.stages.iter().filter(of).count()
        };
        let words = [
            (count(Verdict::Ok), "in order"),
            (count(Verdict::Warning), "with a warning"),
            (count(Verdict::Failed), "failed"),
            (count(Verdict::NotRun), "not run"),
        ];
        let counts: Vec<String> = words
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let verdict = match (self.exit(), count(Verdict::Warning)) {
            (Exit::Done, 0) => "ready to run",
            (Exit::Done, _) => "a run will work; read the warnings first",
            _ => "a run would not work",
        };
        format!("{verdict}: {}\n", counts.join(", "))
    }

    /// All of it.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        let value = serde_json::json!({"stages": self.stages, "exit": self.exit().code()});
        serde_json::to_string_pretty(&value).map(|text| text + "\n")
    }
}

fn lines(stage: &Stage) -> String {
    let mark = match stage.finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "FAILED",
        Verdict::NotRun => "-",
    };
    let mut text = String::new();
    let mut head = format!("{:13}  {mark:7}", stage.name.shown());
    for line in stage.finding.found.iter().flat_map(|found| found.lines()) {
        let _ = writeln!(text, "{head}  {line}");
        head = " ".repeat(22);
    }
    for hint in &stage.finding.hints {
        let _ = writeln!(text, "{}  hint: {hint}", " ".repeat(22));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Report, String) {
        let mut report = Report::default();
        let mut text = String::new();
        text += &report.add(
            Name::Configuration,
            Finding::ok("built-in cpu (no accelerator found)").also("smollm2-135m at bf16"),
        );
        let wrong = Finding::ok("INT8 W8A8, 167 MB")
            .but("the precision is called bf16")
            .hint("check `checkpoints` of the model");
        text += &report.add(Name::Checkpoint, wrong);
        let none = Finding::failed("python3 has no module named vllm").hint("use --python managed");
        text += &report.add(Name::Vllm, none);
        for name in [Name::Engine, Name::Result] {
            let blocked = report.blocked(name).expect("blocked");
            text += &report.add(name, blocked);
        }
        text += &report.sum_up();
        (report, text)
    }

    #[test]
    fn each_stage_says_what_it_found_and_the_remedy() {
        insta::assert_snapshot!(sample().1, @r"
        configuration  ok       built-in cpu (no accelerator found)
                                smollm2-135m at bf16
        checkpoint     warning  INT8 W8A8, 167 MB
                                the precision is called bf16
                                hint: check `checkpoints` of the model
        vllm           FAILED   python3 has no module named vllm
                                hint: use --python managed
        engine         -        not run: needs the stage `vllm`
        result         -        not run: needs the stage `engine`
        a run would not work: 1 in order, 1 with a warning, 1 failed, 2 not run
        ");
    }

    #[test]
    fn the_first_failure_decides_the_exit_code() {
        assert_eq!(sample().0.exit(), Exit::Environment);
        let mut report = Report::default();
        report.add(Name::Configuration, Finding::ok("fine"));
        assert_eq!(report.exit(), Exit::Done);
        report.add(Name::Engine, Finding::failed("killed"));
        assert_eq!(report.exit(), Exit::Partial);
    }

    #[test]
    fn a_stage_depends_only_on_what_it_needs() {
        let mut report = Report::default();
        report.add(Name::Configuration, Finding::ok("fine"));
        report.add(Name::Checkpoint, Finding::failed("gone"));
        assert_eq!(report.blocked(Name::Device), None);
        assert!(report.blocked(Name::Engine).is_some());
    }

    #[test]
    fn the_json_has_stages_and_exit() {
        let value: serde_json::Value =
            serde_json::from_str(&sample().0.json().expect("serializes")).expect("parses");
        assert_eq!(value["exit"], 3);
        assert_eq!(value["stages"][1]["name"], "checkpoint");
        assert_eq!(value["stages"][1]["verdict"], "warning");
        assert_eq!(value["stages"][3]["verdict"], "not_run");
    }
}

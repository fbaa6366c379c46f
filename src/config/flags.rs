//! The declared settings as flags, and what the user said with them. No flag has a clap default: a default would hide
//! whether the user said it, and then it would beat the configuration file.

use std::collections::BTreeMap;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::declared::ALL;
use super::setting::{Declaration, Kind, LOAD, MATRIX, PREDICT, Setting};

/// The groups of `--help`, in its order.
const HEADINGS: [&str; 9] = [
    "Matrix",
    "Mode",
    "Online load",
    "Workload",
    "Measurement",
    "Fidelity",
    "Profile",
    "Engine",
    "Output",
];

/// What was said by flags: the texts of each setting, by its key.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Given(BTreeMap<&'static str, Vec<String>>);

impl Given {
    /// The texts of a setting; empty if its flag was not given.
    pub(crate) fn texts(&self, setting: &Declaration) -> &[String] {
        self.0.get(setting.key).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn has<T>(&self, setting: &Setting<T>) -> bool {
        !self.texts(&setting.declaration).is_empty()
    }

    /// As if the flag had been given with these texts.
    pub(crate) fn give<T, S: Into<String>>(
        &mut self,
        setting: &Setting<T>,
        texts: impl IntoIterator<Item = S>,
    ) {
        self.say(&setting.declaration, texts);
    }

    /// The same for a setting whose type is not known.
    pub(crate) fn say<S: Into<String>>(
        &mut self,
        setting: &Declaration,
        texts: impl IntoIterator<Item = S>,
    ) {
        let texts = texts.into_iter().map(Into::into).collect();
        self.0.insert(setting.key, texts);
    }

    /// As if the flag had not been given.
    pub(crate) fn forget<T>(&mut self, setting: &Setting<T>) {
        self.0.remove(setting.declaration.key);
    }
}

/// The flags of the commands `OF`, for clap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags<const OF: u8>(pub(crate) Given);

/// Those of `run`, `plan` and `diagnostic`.
pub(crate) type MatrixFlags = Flags<MATRIX>;
/// Those of the batch that is predicted.
pub(crate) type BatchFlags = Flags<PREDICT>;
/// Those of the steps that `load` sends, and how.
pub(crate) type LoadFlags = Flags<LOAD>;

fn of(commands: u8) -> Vec<&'static Declaration> {
    let mut settings: Vec<_> = ALL
        .iter()
        .copied()
        .filter(|setting| setting.flag.is_some() && setting.commands & commands != 0)
        .collect();
    settings.sort_by_key(|setting| HEADINGS.iter().position(|h| *h == setting.heading));
    settings
}

impl<const OF: u8> clap::Args for Flags<OF> {
    fn augment_args(command: Command) -> Command {
        of(OF)
            .into_iter()
            .fold(command, |command, setting| command.args(args(setting, OF)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const OF: u8> clap::FromArgMatches for Flags<OF> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in of(OF) {
            let texts: Vec<String> = match setting.kind {
                Kind::Switch if matches.get_flag(setting.key) => vec!["true".to_owned()],
                Kind::Switch => Vec::new(),
                Kind::Either(choices) => choices
                    .iter()
                    .filter(|(flag, _)| matches.get_flag(flag))
                    .map(|(flag, _)| flag.trim_start_matches('-').to_owned())
                    .collect(),
                _ => matches
                    .get_many::<String>(setting.key)
                    .map(|texts| texts.cloned().collect())
                    .unwrap_or_default(),
            };
            if !texts.is_empty() {
                self.0.0.insert(setting.key, texts);
            }
        }
        Ok(())
    }
}

/// The flag of a setting; one for each choice where each has its own.
fn args(setting: &'static Declaration, of: u8) -> Vec<Arg> {
    let Kind::Either(choices) = setting.kind else {
        return vec![arg(setting, of)];
    };
    let one = |(flag, help): &'static (&str, &str)| {
        let others = choices
            .iter()
            .map(|(other, _)| *other)
            .filter(move |other| other != flag);
        Arg::new(*flag)
            .long(flag.trim_start_matches('-'))
            .action(ArgAction::SetTrue)
            .conflicts_with_all(others)
            .help(*help)
            .help_heading(setting.heading)
    };
    choices.iter().map(one).collect()
}

fn arg(setting: &'static Declaration, of: u8) -> Arg {
    let mut arg = Arg::new(setting.key).help_heading(setting.heading);
    let mut named = false;
    let usage = setting.flag.unwrap_or_default();
    for word in usage.split_whitespace() {
        arg = if let Some(long) = word.strip_prefix("--") {
            if std::mem::replace(&mut named, true) {
                arg.visible_alias(long)
            } else {
                arg.long(long)
            }
        } else if let Some(short) = word.strip_prefix('-') {
            arg.short(short.chars().next())
        } else {
            let value = word.trim_end_matches("...").trim_matches(['<', '>']);
            arg.value_name(value)
        };
    }
    arg = match (setting.kind, setting.many) {
        (Kind::Switch, _) => arg.action(ArgAction::SetTrue),
        (_, true) => arg.action(ArgAction::Append),
        (_, false) => arg.action(ArgAction::Set),
    };
    if usage.ends_with("...") {
        arg = arg.num_args(1..);
    }
    if setting.many && !matches!(setting.kind, Kind::Path) {
        arg = arg.value_delimiter(',');
    }
    arg = match setting.kind {
        Kind::Choice(of) => {
            let words = of
                .iter()
                .map(|(word, help)| PossibleValue::new(*word).help(*help));
            arg.value_parser(PossibleValuesParser::new(words))
        }
        Kind::Whole(..) | Kind::Number(_) | Kind::Share => arg.allow_negative_numbers(true),
        _ => arg,
    };
    let (short, long) = help(setting, of);
    match long {
        Some(long) => arg.help(short).long_help(long),
        None => arg.help(short),
    }
}

/// What `-h` shows in the commands `of`, and what `--help` shows where that is more.
fn help(setting: &Declaration, of: u8) -> (String, Option<String>) {
    let declared = setting.default_words.or(match setting.kind {
        Kind::Switch => None,
        _ => setting.default,
    });
    let default = match of {
        // What is not said is taken from the records.
        PREDICT => None,
        LOAD => setting.load_default.or(declared),
        _ => declared,
    };
    let env = setting.env.map(|name| format!(" [env: {name}]"));
    let default = default.map(|words| format!(" [default: {words}]"));
    let tail: String = [env, default].into_iter().flatten().collect();
    let text = setting.help_text();
    match text.split_once("\n\n") {
        Some((first, _)) => (format!("{first}{tail}"), Some(format!("{text}{tail}"))),
        None => (format!("{text}{tail}"), None),
    }
}

impl Declaration {
    /// The help text: lines of a paragraph joined, paragraphs parted by an empty line.
    pub(crate) fn help_text(&self) -> String {
        let paragraphs = self.help.split("\n \n").flat_map(|p| p.split("\n\n"));
        let joined = paragraphs.map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "));
        joined.collect::<Vec<_>>().join("\n\n")
    }

    /// The same as a cell of a table.
    pub(super) fn help_cell(&self) -> String {
        let sentences = self.help_text().replace(".\n\n", ". ");
        sentences.replace("\n\n", ". ").replace('|', "\\|")
    }
}

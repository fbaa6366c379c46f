//! Run scripts and lines of Hydra overrides: what the trainer is called with.

use std::collections::HashMap;

use super::shell::{self, Call, Value};
use super::{Entry, Read, State, hydra};

/// Reads `text`, the content of `file`.
pub(super) fn read(file: &str, text: &str) -> Read {
    let outcome = shell::evaluate(file, text, is_wanted);
    let mut read = read_ways(text, &outcome.ways);
    read.not_understood.splice(0..0, outcome.not_followed);
    read
}

/// Reads the calls of every way that the script in `text` can go, the way of a caller who sets nothing first.
pub(super) fn read_ways(text: &str, ways: &[Vec<Call>]) -> Read {
    let mut ways: Vec<Way> = ways.iter().filter_map(|calls| Way::of(calls)).collect();
    for way in &mut ways {
        way.find_lines(text);
    }
    let mut read = Read::default();
    if ways.is_empty() {
        return read;
    }
    let first = ways.remove(0);
    for said in &first.said {
        let others = if first
            .last(&said.key)
            .is_some_and(|last| std::ptr::eq(last, said))
        {
            others(&first, &ways, said)
        } else {
            Vec::new()
        };
        read.put(said, others);
    }
    for way in &ways {
        for said in way
            .said
            .iter()
            .filter(|said| first.last(&said.key).is_none())
        {
            let known = read.entries.iter().any(|entry| entry.key == said.key);
            if !known && let Some(last) = way.last(&said.key) {
                let entry = Entry {
                    state: State::Elsewhere,
                    ..last.entry()
                };
                read.entries.extend(hydra::flattened(entry));
            }
        }
    }
    read.streams = first.streams;
    for way in [first].into_iter().chain(ways) {
        for line in way.not_understood {
            if !read.not_understood.contains(&line) {
                read.not_understood.push(line);
            }
        }
    }
    read
}

/// One override.
struct Said {
    /// Without Hydra's `+` and `++`.
    key: String,
    value: Value,
    line: usize,
}

/// What the trainer is called with on one way through the script.
struct Way {
    said: Vec<Said>,
    not_understood: Vec<String>,
    streams: bool,
}

impl Way {
    /// Absent where no trainer is called.
    fn of(calls: &[Call]) -> Option<Self> {
        let bare: Vec<&Call> = calls.iter().filter(|call| is_bare(call)).collect();
        let trainers: Vec<&Call> = calls
            .iter()
            .filter(|call| !is_bare(call) && is_trainer(call))
            .collect();
        let training = trainers.iter().copied().find(|call| trains(call));
        let chosen = training.or(trainers.first().copied());
        let mut way = Self {
            said: Vec::new(),
            not_understood: Vec::new(),
            streams: false,
        };
        match chosen {
            Some(chosen) => {
                way.add(chosen);
                if let Some(script) = other_script(chosen) {
                    let line = chosen.line;
                    way.not_understood.push(format!(
                        "line {line}: {script} is given these settings and may have its own: not read (--trace runs it)"
                    ));
                }
                for other in trainers
                    .iter()
                    .filter(|other| !std::ptr::eq(**other, chosen))
                {
                    let line = other.line;
                    way.not_understood.push(format!(
                        "line {line}: another command of a trainer: not read"
                    ));
                }
            }
            None if bare.is_empty() => return None,
            None => bare.into_iter().for_each(|call| way.add(call)),
        }
        Some(way)
    }

    fn add(&mut self, call: &Call) {
        let mut words = call.words.iter().peekable();
        while let Some(word) = words.next() {
            let (text, line) = (word.value.to_string(), word.line);
            self.streams |=
                text.contains("fully_async_main") || text.contains("fully_async_policy");
            if let Some(config) = text
                .strip_prefix("--config-name")
                .or(text.strip_prefix("--config-path"))
            {
                let file = match config.strip_prefix('=') {
                    Some(file) => file.to_owned(),
                    None => words
                        .next()
                        .map(|next| next.value.to_string())
                        .unwrap_or_default(),
                };
                self.other_defaults(line, &text, &file);
                continue;
            }
            match said(&word.value, line) {
                Some(said) => self.said.push(said),
                // A word that may hold settings, or be one.
                None if is_meant(&text)
                    || word.value.first_unknown().is_some() && !text.starts_with(['-', '/']) =>
                {
                    self.not_understood.push(format!("line {line}: {text}"));
                }
                None => {}
            }
        }
    }

    /// The lines of the settings themselves, which stand in lists and texts far from the call.
    fn find_lines(&mut self, text: &str) {
        let mut before: HashMap<String, usize> = HashMap::new();
        for said in &mut self.said {
            let nth = before.entry(said.key.clone()).or_default();
            said.line = line_of(text, said, *nth).unwrap_or(said.line);
            *nth += 1;
        }
    }

    fn last(&self, key: &str) -> Option<&Said> {
        self.said.iter().rev().find(|said| said.key == key)
    }

    /// verl's own configurations have the defaults that stand here; another one has what it likes.
    fn other_defaults(&mut self, line: usize, option: &str, file: &str) {
        let is_verls = file.starts_with("ppo_") && option.starts_with("--config-name");
        if !is_verls {
            let option = option.split('=').next().unwrap_or(option);
            self.not_understood.push(format!(
                "line {line}: {option}={file}: the defaults of that configuration are not read"
            ));
        }
    }
}

/// Where `said`, the `nth` of its key, is written: with its very value, else in the order of the file. Absent where the key
/// is put together.
fn line_of(text: &str, said: &Said, nth: usize) -> Option<usize> {
    let assigned = format!("{}=", said.key);
    let literal = format!("{assigned}{}", said.value);
    let mut lines = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        for (at, _) in line.match_indices(&assigned) {
            let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
            if !line[..at].ends_with(inner) {
                lines.push((i + 1, line[at..].starts_with(&literal)));
            }
        }
    }
    let literally: Vec<usize> = lines
        .iter()
        .filter(|(_, same)| *same)
        .map(|(line, _)| *line)
        .collect();
    match literally.as_slice() {
        [only] => Some(*only),
        _ => lines.get(nth).or(lines.last()).map(|(line, _)| *line),
    }
}

/// What else `said` may be, each value once; a value that the caller gave in place of a default is the caller's to know.
fn others(first: &Way, ways: &[Way], said: &Said) -> Vec<String> {
    let mut others = Vec::new();
    for way in ways {
        let other = match way.last(&said.key) {
            Some(other) if other.value == said.value || other.value.is_given() => continue,
            Some(other) => other.value.to_string(),
            None => "not said".to_owned(),
        };
        if !others.contains(&other) {
            others.push(other);
        }
    }
    debug_assert!(first.last(&said.key).is_some());
    others
}

impl Read {
    fn put(&mut self, said: &Said, others: Vec<String>) {
        let entry = Entry {
            others,
            ..said.entry()
        };
        match entry.state {
            State::Known => self.entries.extend(hydra::flattened(entry)),
            _ => self.entries.push(entry),
        }
    }
}

impl Said {
    fn entry(&self) -> Entry {
        let why = |unknown: &shell::Unknown| {
            let name = &unknown.name;
            State::Unknown(if unknown.outside {
                format!("{name} is not set in this file")
            } else {
                format!("{name} is known when it runs only")
            })
        };
        Entry {
            key: self.key.clone(),
            value: self.value.to_string(),
            line: self.line,
            others: Vec::new(),
            state: self.value.first_unknown().map(why).unwrap_or_default(),
        }
    }
}

/// `a.b=value`, as Hydra reads it; absent for another word.
fn said(value: &Value, line: usize) -> Option<Said> {
    let mut parts = value.parts().iter();
    let Some(shell::Part::Text(first)) = parts.next() else {
        return None;
    };
    let (key, begin) = first.split_once('=')?;
    let key = key.trim_start_matches(['+', '~']);
    if !is_key(key) || !key.contains('.') {
        return None;
    }
    let mut rest = Value::text(begin);
    for part in parts {
        rest.push(part.clone());
    }
    Some(Said {
        key: key.to_owned(),
        value: rest,
        line,
    })
}

fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '@'))
}

/// Something like `a.b-c=1` is meant as a setting all the same.
fn is_meant(text: &str) -> bool {
    let key = text.split_once('=').map_or("", |(key, _)| key);
    let key = key.trim_start_matches(['+', '~']);
    key.contains('.')
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && !key.contains(['/', ' ', '"', '$'])
}

/// A call that says something of a run.
pub(super) fn is_wanted(call: &Call) -> bool {
    is_bare(call) || is_trainer(call)
}

/// A line of overrides, without a program.
fn is_bare(call: &Call) -> bool {
    call.words
        .first()
        .is_some_and(|word| said(&word.value, 0).is_some() || is_meant(&word.value.to_string()))
}

fn is_trainer(call: &Call) -> bool {
    let ours = ["actor_rollout_ref.", "data."];
    let is_ours = |said: Said| ours.iter().any(|begin| said.key.starts_with(begin));
    call.words
        .iter()
        .any(|word| said(&word.value, 0).is_some_and(is_ours))
}

/// A script that is called with settings, rather than a program.
fn other_script(call: &Call) -> Option<String> {
    let words = call.words.iter().map(|word| word.value.to_string());
    let named = words
        .take(2)
        .find(|word| word.rsplit_once('.').is_some_and(|(_, end)| end == "sh"));
    named.filter(|name| !name.contains('='))
}

/// Not one that only evaluates or generates.
fn trains(call: &Call) -> bool {
    let words = || call.words.iter().map(|word| word.value.to_string());
    let only_looks = [
        "main_generation",
        "main_eval",
        "sft_trainer",
        "trainer.val_only=True",
        "trainer.val_only=true",
    ];
    !words().any(|word| only_looks.iter().any(|part| word.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each setting as `key=value (line)`, with what else it may be, what is not known, and what was not understood.
    fn shown(text: &str) -> String {
        let read = read("run.sh", text);
        let show = |entry: &Entry| {
            let Entry {
                key,
                value,
                line,
                others,
                state,
            } = entry;
            match state {
                State::Known => [vec![format!("{key}={value} ({line})")], others.clone()]
                    .concat()
                    .join(" or "),
                State::Unknown(_) => format!("? {entry}"),
                State::Elsewhere => format!("perhaps {key}={value} ({line})"),
            }
        };
        let mut lines: Vec<String> = read.entries.iter().map(show).collect();
        lines.extend(read.not_understood.iter().map(|line| format!("! {line}")));
        lines.join("\n")
    }

    /// What `value` becomes behind `setup`.
    fn becomes(setup: &str, value: &str) -> String {
        let script = format!("{setup}\npython3 -m verl.trainer.main_ppo data.x={value}\n");
        let shown = shown(&script);
        let line = script.lines().count();
        shown
            .replace("data.x=", "")
            .replace(&format!(" ({line})"), "")
    }

    #[test]
    fn parameters_are_expanded_as_bash_does() {
        let path = "X=/a/b.c/Qwen3-8B.tar.gz\nE=";
        for (value, expected) in [
            ("${X##*/}", "Qwen3-8B.tar.gz"),
            ("${X#*/}", "a/b.c/Qwen3-8B.tar.gz"),
            ("${X%.*}", "/a/b.c/Qwen3-8B.tar"),
            ("${X%%.*}", "/a/b"),
            ("${X//a/o}", "/o/b.c/Qwen3-8B.tor.gz"),
            ("${X/a/o}", "/o/b.c/Qwen3-8B.tar.gz"),
            ("${X:1:3}", "a/b"),
            ("${#X}", "22"),
            ("${E:-d}", "d"),
            ("${E-d}", ""),
            ("${U-d}", "d"),
            ("${U:-d$E${X:0:2}}", "d/a"),
            ("${X:+y}${E:+n}", "y"),
            ("${X^^}", "/A/B.C/QWEN3-8B.TAR.GZ"),
            ("$(basename $X .gz)", "Qwen3-8B.tar"),
            ("$(basename $(dirname \"$X\"))", "b.c"),
            ("`echo a b`", "a"),
            ("$((2 * (3 + ${#E}) ** 2))", "18"),
            ("'$X'\"'$E'\"", "$X''"),
            ("$'a'\\ b", "a b"),
            ("$HOME/m", "${HOME}/m"),
            ("${HOME%/*}/m", "? line 3: ${HOME}"),
        ] {
            if expected.starts_with('?') {
                assert!(becomes(path, value).starts_with('?'), "{value}");
            } else {
                assert_eq!(becomes(path, value), expected, "{value}");
            }
        }
    }

    #[test]
    fn lists_functions_and_loops_are_followed() {
        for (setup, value, expected) in [
            ("A=(1 'b c')\nA+=(d)", "\"${A[1]}\"", "b c"),
            ("A=(1 2 3)", "${#A[@]}", "3"),
            ("A=(1 2 3)", "${A[-1]}", "3"),
            (": ${X:=4}", "$X", "4"),
            ("f() { local X=2; Y=$1; }\nX=1; f 7", "$X$Y", "17"),
            ("f() { echo $(( $1 * 2 )); }", "$(f 4)", "8"),
            ("for i in 1 2 3; do S=$S$i; done\nS=${S:-}", "$S", "? "),
            ("S=\nfor i in {1..3}; do S+=$i; done", "$S", "123"),
            ("S=1\nfor ((i=0;i<3;i++)); do S=$((S*2)); done", "$S", "8"),
            ("i=0\nwhile [ $i -lt 5 ]; do i=$((i+1)); done", "$i", "5"),
            ("set -- a b\nshift", "$1$#", "b1"),
            ("X=a\ncase $X in [ab]) Y=1;; *) Y=2;; esac", "$Y", "1"),
            (
                "X=Qwen3-8B\nif [[ $X == Qwen* && ! $X =~ 32B ]]; then Y=1; else Y=2; fi",
                "$Y",
                "1",
            ),
            ("X=1\nX=2 true", "$X", "1"),
            ("(X=2)\nX=${X:-1}", "$X", "1"),
            ("X=$(cat <<EOF\n$((1+1))\nEOF\n)", "$X", "2"),
            ("A=1; B=A", "${!B}", "1"),
            ("[ 1 -gt 2 ] && X=1 || X=2", "$X", "2"),
            ("export X=5 Y=6\nreadonly Z=7", "$X$Y$Z", "567"),
        ] {
            let got = becomes(setup, value);
            if expected == "? " {
                assert!(got.starts_with('?'), "{setup}: {got}");
            } else {
                assert_eq!(got, expected, "{setup}");
            }
        }
    }

    #[test]
    fn what_the_caller_decides_keeps_every_value() {
        insta::assert_snapshot!(becomes("X=1\nif [ \"$D\" = npu ]; then X=2; fi", "$X"), @"1 or 2");
        insta::assert_snapshot!(becomes("case $D in a) X=1;; b) X=2;; *) X=3;; esac", "$X"), @"3 or 2 or 1");
        insta::assert_snapshot!(becomes("[ -z \"$X\" ] && X=4", "$X"), @"4");
        insta::assert_snapshot!(becomes("if [ -n \"$N\" ]; then X=$N; else X=4; fi", "$X"), @"4");
        insta::assert_snapshot!(becomes("X=4; [ -n \"$NPU\" ] && X=5", "$X"), @"4 or 5");
        insta::assert_snapshot!(becomes("D=${D:-$(python3 -c 'import torch_npu' && echo npu || echo gpu)}\ncase $D in npu) X=1;; gpu) X=2;; *) exit 1;; esac", "$X"), @"2 or 1");
        insta::assert_snapshot!(becomes("if [ $# -lt 1 ]; then echo usage; exit 1; fi\nX=1", "$X"), @"1");
        insta::assert_snapshot!(shown("A=()\nif [ $D = x ]; then A+=(data.y=1); fi\npython3 -m verl.trainer.main_ppo data.x=1 ${A[@]}"), @r"
data.x=1 (3)
perhaps data.y=1 (2)
");
    }

    #[test]
    fn a_part_that_is_not_known_is_only_that_part() {
        insta::assert_snapshot!(becomes("", "a/$ROOT/b"), @"? line 2: a/$ROOT/b: $ROOT is not set in this file");
        insta::assert_snapshot!(becomes("P=$ROOT/m/Qwen", "${P##*/}"), @"Qwen");
        insta::assert_snapshot!(becomes("N=$(nvidia-smi -L | wc -l)", "$N"), @"? line 2: $(nvidia-smi -L | wc -l): $(nvidia-smi -L | wc -l) is known when it runs only");
        insta::assert_snapshot!(becomes("", "$((NODES * 8))"), @"? line 2: $((NODES * 8)): $((NODES * 8)) is known when it runs only");
    }

    #[test]
    fn only_what_is_called_counts() {
        insta::assert_snapshot!(shown("# data.n=9\necho data.n=8 a.b=7\nX='data.n=6'\ncat <<EOF\ndata.n=5\nEOF\npython3 -m verl.trainer.main_ppo \\\n  data.n=1 data.b-c=2 +data.o='5' $E \"$@\""), @r"
data.n=1 (8)
data.o=5 (8)
! line 8: data.b-c=2
! line 8: $E
");
        insta::assert_snapshot!(shown("python3 -m verl.trainer.main_ppo data.n=1 trainer.val_only=True\nray job submit -- python3 -m verl.trainer.main_ppo --config-name=mine data.n=2\n"), @r"
data.n=2 (2)
! line 2: --config-name=mine: the defaults of that configuration are not read
! line 1: another command of a trainer: not read
");
        insta::assert_snapshot!(shown("srun bash -c \"python3 -m verl.trainer.main_ppo data.n=3 data.m=$M\""), @r"
data.n=3 (1)
? line 1: data.m=$M: $M is not set in this file
");
        insta::assert_snapshot!(shown("exec bash \"$(dirname $0)/other.sh\" data.n=1"), @r"
data.n=1 (1)
! line 1: ./other.sh is given these settings and may have its own: not read (--trace runs it)
");
        insta::assert_snapshot!(shown("data.n=1\n  +data.m='2'\n"), @r"
data.n=1 (1)
data.m=2 (2)
");
    }

    #[test]
    fn what_does_not_end_ends() {
        for script in [
            "f() { f; }\nf\n",
            "while true; do X=1$X; done\n",
            "for i in {1..900000}; do :; done\n",
            "if [ $A = 1 ]; then B=$A$B; fi\n".repeat(40).as_str(),
        ] {
            let _ = read(
                "run.sh",
                &format!("{script}\npython3 -m verl.trainer.main_ppo data.n=1\n"),
            );
        }
    }

    proptest! {
        #[test]
        fn no_script_makes_it_panic(text in "[a-z=.$(){}'\"\\\\ \n#+:;&|<-]{0,120}") {
            let _ = read("run.sh", &text);
        }
    }
}

//! The configuration that verl prints when it starts, out of a log: a Python dict, behind Ray's prefixes and colours.

use std::sync::LazyLock;

use regex::Regex;

use super::{Read, yaml};

static COLOUR: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("\u{1b}\\[[0-9;]*[A-Za-z]").ok());

/// `(TaskRunner pid=1234, ip=10.0.0.1) `
static PREFIX: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\([\w.]+ pid=\d+[^)]*\) ?").ok());

/// The settings of the first configuration in `log`; absent where there is none. Lines are those of the log.
pub(super) fn read(log: &str) -> Option<Read> {
    let colour = COLOUR.as_ref()?;
    let prefix = PREFIX.as_ref()?;
    let plain: Vec<String> = log
        .lines()
        .map(|line| colour.replace_all(line, "").into_owned())
        .collect();
    let behind = |line: &str| prefix.find(line).map_or(0, |found| found.end());
    let begins = |line: &String| line[behind(line)..].trim_start().starts_with("{'");
    let starts = plain.iter().enumerate().filter(|(_, line)| begins(line));
    for (start, first) in starts {
        let process = &first[..behind(first)];
        let mut dict = String::new();
        let mut lines = Vec::new();
        let mut depth = Depth::default();
        for (i, line) in plain.iter().enumerate().skip(start) {
            // Other processes print in between.
            if &line[..behind(line)] != process {
                continue;
            }
            let text = &line[process.len()..];
            dict.push_str(text);
            dict.push('\n');
            lines.push(i + 1);
            depth.follow(text);
            if depth.open == 0 {
                break;
            }
        }
        if depth.open > 0 || !dict.contains("'actor_rollout_ref'") {
            continue;
        }
        let mut read = yaml::read(&as_yaml(&dict));
        for entry in &mut read.entries {
            entry.line = lines
                .get(entry.line.saturating_sub(1))
                .copied()
                .unwrap_or(start + 1);
        }
        read.overridden = Some(Vec::new());
        return Some(read);
    }
    None
}

/// How many brackets are open, outside quotes.
#[derive(Default)]
struct Depth {
    open: usize,
    quote: Option<char>,
}

impl Depth {
    fn follow(&mut self, text: &str) {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match (c, self.quote) {
                ('\\', Some(_)) => {
                    chars.next();
                }
                (c, Some(quote)) if c == quote => self.quote = None,
                ('\'' | '"', None) => self.quote = Some(c),
                ('{' | '[' | '(', None) => self.open += 1,
                ('}' | ']' | ')', None) => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
    }
}

/// A dict as pprint writes it is a flow map of YAML, but for texts broken over lines and escaped quotes.
fn as_yaml(dict: &str) -> String {
    let mut yaml = String::with_capacity(dict.len());
    let mut chars = dict.chars().peekable();
    // Where the last text ended.
    let mut last_end = None;
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                // Two texts side by side are one: what lies between them is dropped, with the quotes.
                match last_end.take().filter(|end| yaml[*end..].trim().is_empty()) {
                    Some(end) => yaml.truncate(end - 1),
                    None => yaml.push('"'),
                }
                while let Some(inner) = chars.next() {
                    match inner {
                        inner if inner == c => break,
                        '\\' => match chars.next() {
                            Some('\'') => yaml.push('\''),
                            Some(escaped) => yaml.extend(['\\', escaped]),
                            None => {}
                        },
                        '"' => yaml.push_str("\\\""),
                        inner => yaml.push(inner),
                    }
                }
                yaml.push('"');
                last_end = Some(yaml.len());
            }
            // Texts in brackets, and tuples, of which a configuration has none.
            '(' | ')' => {}
            c => yaml.push(c),
        }
    }
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_configuration_is_found_in_a_log() {
        let log = "INFO starting\n\u{1b}[36m(TaskRunner pid=77)\u{1b}[0m {'x': 1}\n\
                   \u{1b}[36m(TaskRunner pid=77)\u{1b}[0m {'actor_rollout_ref': {'model': {'path': '/m/it\\'s'},\n\
                   \u{1b}[36m(Worker pid=78)\u{1b}[0m {'noise': 2}\n\
                   \u{1b}[36m(TaskRunner pid=77)\u{1b}[0m                        'rollout': {'n': 5, 'max_model_len': None, 'stop': [],\n\
                   \u{1b}[36m(TaskRunner pid=77)\u{1b}[0m                        'note': ('a b '\n\
                   \u{1b}[36m(TaskRunner pid=77)\u{1b}[0m                                 'c \"d\"'), 'enforce_eager': False}},\n\
                   \u{1b}[36m(TaskRunner pid=77)\u{1b}[0m  'data': {'train_batch_size': 64}}\nstep:1\n";
        let read = read(log).expect("a configuration");
        let found: Vec<String> = read
            .entries
            .iter()
            .map(|e| format!("{} = {}", e.key, e.value))
            .collect();
        insta::assert_snapshot!(found.join("\n"), @r#"
actor_rollout_ref.model.path = /m/it's
actor_rollout_ref.rollout.n = 5
actor_rollout_ref.rollout.max_model_len = None
actor_rollout_ref.rollout.stop = []
actor_rollout_ref.rollout.note = a b c "d"
actor_rollout_ref.rollout.enforce_eager = false
data.train_batch_size = 64
"#);
        assert_eq!(read.not_understood, Vec::<String>::new());
        assert_eq!(super::read("step:1 - {'a': 1}\n{'b': 2}\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_log_makes_it_panic(log in "[{}()'\"\\\\a:, \n]{0,80}") {
            let _ = read(&log);
            let _ = yaml::read(&as_yaml(&log));
        }
    }
}

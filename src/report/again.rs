//! The command that measures again what failed or cannot be told yet.

/// Engine starts that verdicts need at least.
pub(super) const BLOCKS_FOR_VERDICTS: u32 = 6;

/// The session's command line with `--blocks 6`.
pub(super) fn with_more_blocks(argv: &[String]) -> String {
    let mut words = vec!["rollbench".to_owned()];
    let mut arguments = argv.iter().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--blocks" {
            arguments.next();
        } else if !argument.starts_with("--blocks=") && !argument.starts_with("--resume") {
            words.push(quoted(argument));
        }
    }
    words.push(format!("--blocks {BLOCKS_FOR_VERDICTS}"));
    words.join(" ")
}

/// The session's command line with `--resume`: what is complete stays, what failed is measured again.
pub(crate) fn resumed(argv: &[String]) -> String {
    let arguments = argv.iter().skip(1);
    let kept = arguments.filter(|argument| !argument.starts_with("--resume"));
    let words: Vec<String> = kept.map(|argument| quoted(argument)).collect();
    format!("rollbench {} --resume", words.join(" "))
}

/// As a POSIX shell reads it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_sessions_own_with_more_blocks() {
        let argv = [
            "/usr/bin/rollbench",
            "run",
            "--blocks",
            "1",
            "--out",
            "a b",
            "--resume",
            "--models=x",
        ];
        assert_eq!(
            with_more_blocks(&argv.map(str::to_owned)),
            "rollbench run --out 'a b' --models=x --blocks 6"
        );
        assert_eq!(
            resumed(&argv.map(str::to_owned)),
            "rollbench run --blocks 1 --out 'a b' --models=x --resume"
        );
    }
}

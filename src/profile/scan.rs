//! Chrome traces, event by event, in one pass over a window: an object with `traceEvents`, or a bare array.
//!
//! Layout is never relied on: writers put fields on one line or on many. What cannot be read is skipped up to the next
//! event and counted with the position of the first, so that one broken place costs what it broke.

use memchr::{memchr2, memchr3, memmem};

use super::number::nanoseconds;
use super::window::Window;

/// A value longer than this is taken for a broken one.
const LARGEST: usize = 4 << 20;
/// After so many broken places the rest is given up: no trace, but noise.
const MOST_BROKEN: u64 = 1000;

/// One event, its strings as they stand in the file (escapes included).
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Event<'a> {
    /// `X` complete, `M` metadata, `i` instant, `s`/`f` flow ...
    pub(super) ph: &'a [u8],
    pub(super) cat: &'a [u8],
    pub(super) name: &'a [u8],
    /// The value's text, quoted or not.
    pub(super) pid: &'a [u8],
    /// The value's text, quoted or not.
    pub(super) tid: &'a [u8],
    /// Absent if there is none, or none that can be read.
    pub(super) ts: Option<i64>,
    /// Likewise.
    pub(super) dur: Option<i64>,
    /// The object's text.
    pub(super) args: &'a [u8],
}

/// Who gets what is found.
pub(super) trait Sink {
    /// An event.
    fn event(&mut self, event: &Event<'_>);
    /// Another key of the top level, with its value's text.
    fn top(&mut self, key: &[u8], value: &[u8]);
}

/// How the reading went.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Events handed over.
    pub(super) events: u64,
    /// Bytes of the (inflated) file.
    pub(super) bytes: u64,
    /// Places that could not be read, and where the first is.
    pub(super) broken: Option<(u64, u64)>,
    /// Where the file ends early, and how that is known.
    pub(super) cut: Option<(u64, String)>,
    /// No `traceEvents` and no array was found.
    pub(super) no_events: bool,
}

enum Stop {
    /// The value goes on beyond the window.
    More,
    /// It is none.
    Bad,
}

/// Reads it all.
pub(super) fn scan(window: &mut Window, sink: &mut impl Sink) -> Scanned {
    let mut scanned = Scanned::default();
    let ended = top_level(window, sink, &mut scanned);
    while window.more() {
        window.consume(window.ahead().len());
    }
    scanned.bytes = window.position() + window.ahead().len() as u64;
    if let Some(failure) = window.failure() {
        scanned.cut = Some((scanned.bytes, failure.to_owned()));
    } else if !ended && scanned.cut.is_none() {
        scanned.cut = Some((scanned.bytes, "no closing bracket".to_owned()));
    }
    scanned
}

/// Whether the outermost bracket was closed.
fn top_level(window: &mut Window, sink: &mut impl Sink, scanned: &mut Scanned) -> bool {
    if window.ahead().is_empty() {
        window.more();
    }
    if window.ahead().starts_with(b"\xef\xbb\xbf") {
        window.consume(3);
    }
    match peek(window) {
        Some(b'[') => {
            window.consume(1);
            return events(window, sink, scanned);
        }
        Some(b'{') => window.consume(1),
        _ => {
            scanned.no_events = true;
            return true;
        }
    }
    let mut found = false;
    loop {
        match peek(window) {
            Some(b'}') => {
                window.consume(1);
                scanned.no_events = !found;
                return true;
            }
            Some(b',') => window.consume(1),
            Some(b'"') => {
                let Some(key) = take(window, string) else {
                    break;
                };
                let key = unquoted(&key).to_vec();
                if peek(window) != Some(b':') {
                    break;
                }
                window.consume(1);
                if key == b"traceEvents" && peek(window) == Some(b'[') {
                    window.consume(1);
                    found = true;
                    if !events(window, sink, scanned) {
                        return false;
                    }
                } else if peek(window).is_some() {
                    let Some(value) = take(window, value) else {
                        break;
                    };
                    sink.top(&key, &value);
                }
            }
            Some(_) => break,
            None => {
                scanned.no_events = !found;
                return false;
            }
        }
    }
    // Something that is no JSON stands among the keys: there may still be events behind it.
    broken(window, scanned);
    let before = scanned.events;
    let closed = events(window, sink, scanned);
    scanned.no_events = !found && scanned.events == before;
    closed
}

/// Events up to the closing bracket; false if the file ends before it.
fn events(window: &mut Window, sink: &mut impl Sink, scanned: &mut Scanned) -> bool {
    // After a broken place, a `]` may be one of its own and does not end the events.
    let mut in_step = true;
    loop {
        match peek(window) {
            None => return false,
            Some(b',') => window.consume(1),
            Some(b']') if in_step => {
                window.consume(1);
                return true;
            }
            Some(b'{') => {
                in_step = one(window, sink).is_ok();
                if in_step {
                    scanned.events += 1;
                } else if !broken(window, scanned) {
                    return false;
                }
            }
            Some(_) => {
                if in_step && !broken(window, scanned) {
                    return false;
                }
                in_step = false;
                skip_to_brace(window);
            }
        }
    }
}

/// Counts a broken place and steps over its first byte; false if there were too many, with the rest given up.
fn broken(window: &mut Window, scanned: &mut Scanned) -> bool {
    let at = window.position();
    let (count, _) = scanned.broken.get_or_insert((0, at));
    *count += 1;
    if *count > MOST_BROKEN {
        scanned.cut = Some((at, "too many places that are no events".to_owned()));
        return false;
    }
    window.consume(1);
    skip_to_brace(window);
    true
}

fn skip_to_brace(window: &mut Window) {
    loop {
        if let Some(n) = memchr::memchr(b'{', window.ahead()) {
            window.consume(n);
            return;
        }
        window.consume(window.ahead().len());
        if !window.more() {
            return;
        }
    }
}

/// The event that the window begins with.
fn one(window: &mut Window, sink: &mut impl Sink) -> Result<(), ()> {
    loop {
        let end = match event(window.ahead()) {
            Ok((event, _)) if event.ph.is_empty() => return Err(()),
            Ok((event, end)) => {
                sink.event(&event);
                Some(end)
            }
            Err(Stop::More) => None,
            Err(Stop::Bad) => return Err(()),
        };
        if let Some(end) = end {
            window.consume(end);
            return Ok(());
        }
        if window.ahead().len() >= LARGEST || !window.more() {
            return Err(());
        }
    }
}

/// The first byte that is no white space.
fn peek(window: &mut Window) -> Option<u8> {
    loop {
        let bytes = window.ahead();
        if let Some(n) = bytes.iter().position(|b| !b.is_ascii_whitespace()) {
            let byte = bytes[n];
            window.consume(n);
            return Some(byte);
        }
        window.consume(window.ahead().len());
        if !window.more() {
            return None;
        }
    }
}

/// A value of the top level; absent if it is broken, or too large to be one.
fn take(window: &mut Window, read: fn(&[u8], usize) -> Result<usize, Stop>) -> Option<Vec<u8>> {
    loop {
        match read(window.ahead(), 0) {
            Ok(end) => {
                let taken = window.ahead()[..end].to_vec();
                window.consume(end);
                return Some(taken);
            }
            Err(Stop::More) if window.ahead().len() < LARGEST && window.more() => {}
            Err(_) => return None,
        }
    }
}

/// The event that `b` begins with, and where it ends.
fn event(b: &[u8]) -> Result<(Event<'_>, usize), Stop> {
    let mut event = Event::default();
    let mut at = 1;
    loop {
        at = blank(b, at)?;
        match b[at] {
            b'}' => return Ok((event, at + 1)),
            b',' => {
                at += 1;
                continue;
            }
            b'"' => {}
            _ => return Err(Stop::Bad),
        }
        let key_end = string(b, at)?;
        let key = &b[at + 1..key_end - 1];
        at = blank(b, key_end)?;
        if b[at] != b':' {
            return Err(Stop::Bad);
        }
        at = blank(b, at + 1)?;
        let end = value(b, at)?;
        let text = &b[at..end];
        match key {
            b"ph" => event.ph = unquoted(text),
            b"cat" => event.cat = unquoted(text),
            b"name" => event.name = unquoted(text),
            b"pid" => event.pid = text,
            b"tid" => event.tid = text,
            b"ts" => event.ts = nanoseconds(unquoted(text)),
            b"dur" => event.dur = nanoseconds(unquoted(text)),
            b"args" => event.args = text,
            _ => {}
        }
        at = end;
    }
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    }
}

/// The next byte at or after `at` that is no white space.
fn blank(b: &[u8], mut at: usize) -> Result<usize, Stop> {
    while let Some(byte) = b.get(at) {
        if !byte.is_ascii_whitespace() {
            return Ok(at);
        }
        at += 1;
    }
    Err(Stop::More)
}

/// Behind the string that begins at `at`.
fn string(b: &[u8], at: usize) -> Result<usize, Stop> {
    let mut at = at + 1;
    loop {
        match memchr2(b'"', b'\\', b.get(at..).unwrap_or(&[])) {
            None => return Err(Stop::More),
            Some(n) if b[at + n] == b'"' => return Ok(at + n + 1),
            Some(n) => at += n + 2,
        }
    }
}

/// Behind the value that begins at `at`.
fn value(b: &[u8], at: usize) -> Result<usize, Stop> {
    match b.get(at) {
        None => Err(Stop::More),
        Some(b'"') => string(b, at),
        Some(b'{') => nested(b, at, b'{', b'}'),
        Some(b'[') => nested(b, at, b'[', b']'),
        Some(b',' | b'}' | b']' | b':') => Err(Stop::Bad),
        Some(_) => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
            match b[at..].iter().position(ends) {
                None => Err(Stop::More),
                Some(n)
                    if b[at..at + n]
                        .iter()
                        .any(|c| matches!(c, b'"' | b'{' | b'[')) =>
                {
                    Err(Stop::Bad)
                }
                Some(n) => Ok(at + n),
            }
        }
    }
}

/// Brackets of the other sort are balanced among themselves, so only one sort needs counting.
fn nested(b: &[u8], at: usize, open: u8, close: u8) -> Result<usize, Stop> {
    let mut depth = 1usize;
    let mut at = at + 1;
    while depth > 0 {
        let Some(n) = memchr3(b'"', open, close, b.get(at..).unwrap_or(&[])) else {
            return Err(Stop::More);
        };
        at += n;
        match b[at] {
            b'"' => {
                at = string(b, at)?;
                continue;
            }
            byte if byte == open => depth += 1,
            _ => depth -= 1,
        }
        at += 1;
    }
    Ok(at)
}

/// The value of `"key":` (its quotes and colon included in `needle`) within the text of an object.
pub(super) fn field<'a>(args: &'a [u8], needle: &memmem::Finder<'_>) -> Option<&'a [u8]> {
    let at = needle.find(args)? + needle.needle().len();
    let at = blank(args, at).ok()?;
    let end = value(args, at).ok()?;
    Some(unquoted(&args[at..end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Names(Vec<String>, Vec<String>);

    impl Sink for Names {
        fn event(&mut self, event: &Event<'_>) {
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            self.0.push(format!(
                "{} {:?} {:?}",
                text(event.name),
                event.ts,
                event.dur
            ));
        }
        fn top(&mut self, key: &[u8], _: &[u8]) {
            self.1.push(String::from_utf8_lossy(key).into_owned());
        }
    }

    fn read(text: &[u8]) -> (Names, Scanned) {
        let mut names = Names::default();
        let scanned = scan(
            &mut Window::read(std::io::Cursor::new(text.to_vec())),
            &mut names,
        );
        (names, scanned)
    }

    const EVENT: &str = r#"{"ph":"X","name":"a\"b{","ts":1.5,"dur":2}"#;

    #[test]
    fn objects_and_bare_arrays_are_read() {
        let (names, scanned) = read(
            format!("{{\"a\": [1, {{\"b\": \"]}}\"}}], \"traceEvents\": [{EVENT},\n{EVENT}\n], \"z\": 1 }}").as_bytes(),
        );
        assert_eq!(names.0, ["a\\\"b{ Some(1500) Some(2000)"; 2]);
        assert_eq!(names.1, ["a", "z"]);
        assert_eq!((scanned.cut, scanned.broken), (None, None));
        let (names, scanned) = read(format!("[{EVENT}]").as_bytes());
        assert_eq!((names.0.len(), scanned.cut), (1, None));
    }

    #[test]
    fn a_cut_file_keeps_what_is_whole_and_says_where_it_ends() {
        let whole = format!("[{EVENT},{EVENT}");
        let (names, scanned) = read(whole.as_bytes());
        assert_eq!(names.0.len(), 2);
        assert_eq!(scanned.cut.expect("cut").0, whole.len() as u64);
        let (names, scanned) = read(&whole.as_bytes()[..whole.len() - 3]);
        assert_eq!(names.0.len(), 1);
        assert!(scanned.cut.is_some());
    }

    #[test]
    fn a_broken_place_costs_what_it_broke() {
        let text = format!("[{EVENT},{{\"ph\":\"X\",\"na{EVENT},@,{EVENT},{{}} ,{EVENT}]");
        let (names, scanned) = read(text.as_bytes());
        assert!(names.0.len() >= 3, "{:?}", names.0);
        let (count, at) = scanned.broken.expect("broken");
        assert!(count >= 2, "{count}");
        assert_eq!(at, 2 + EVENT.len() as u64);
        assert_eq!(scanned.cut, None);
    }

    #[test]
    fn what_is_no_trace_is_told() {
        assert!(read(b"").1.no_events);
        assert!(read(b"hello").1.no_events);
        assert!(read(b"{\"a\": 1}").1.no_events);
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(text in proptest::collection::vec(
            prop_oneof![Just(b'{'), Just(b'"'), Just(b'['), Just(b']'), Just(b'}'), Just(b','), Just(b':'), Just(b'\\'), any::<u8>()], 0..400)) {
            read(&text);
        }

        #[test]
        fn every_cut_of_a_file_gives_a_prefix_of_its_events(cut in 0usize..200) {
            let text = format!("{{\"traceEvents\":[{EVENT},{EVENT},{EVENT}],\"x\":2}}");
            let (all, _) = read(text.as_bytes());
            let (part, _) = read(&text.as_bytes()[..cut.min(text.len())]);
            prop_assert!(all.0.starts_with(&part.0));
        }
    }
}

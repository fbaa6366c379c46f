//! How long it takes from the blow to the end of the last of 20 processes, and who is left: the guard beside what scripts do.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::processes::{Identity, identity};
use crate::rig::Rig;

/// 20 processes: a leader, three below it with five each, and one that has left group, session and parent.
const TREE: &str = r#"
list=$1
for i in 1 2 3; do
  bash -c 'for j in 1 2 3 4 5; do sleep 1000 & echo "leaf $!" >> "$0"; done; echo "middle $$" >> "$0"; wait' "$list" &
done
(setsid bash -c 'echo "daemon $$" >> "$0"; exec sleep 1000' "$list" &)
echo "top $$" >> "$list"
until [ $(wc -l < "$list") = 20 ]; do sleep 0.01; done
echo ready >> "$list"
wait
"#;

/// As found in benchmark scripts.
const TREE_KILL: &str = r#"
tree() { for child in $(pgrep -P "$1"); do tree "$child"; done; kill -9 "$1" 2>/dev/null; }
tree "$1"
"#;

fn members(list: &Path) -> Vec<Identity> {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(list).unwrap_or_default();
        if text.contains("ready") {
            let pid = |line: &str| line.split_once(' ')?.1.parse().ok();
            return text.lines().filter_map(pid).filter_map(identity).collect();
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "no tree");
        sleep(Duration::from_millis(2));
    }
}

fn alive(members: &[Identity]) -> usize {
    members
        .iter()
        .filter(|who| identity(who.0) == Some(**who))
        .count()
}

/// Waits until all are gone or nothing has changed for a while; the time of the last end, and how many are left.
fn settle(members: &[Identity], begun: Instant) -> (Duration, usize) {
    let (mut left, mut last) = (members.len(), Duration::ZERO);
    loop {
        let now = alive(members);
        if now != left {
            (left, last) = (now, begun.elapsed());
        }
        if now == 0 || begun.elapsed() > last + Duration::from_millis(300) {
            return (last, left);
        }
        sleep(Duration::from_micros(200));
    }
}

fn by_script(end: impl Fn(&Child)) -> (Duration, usize) {
    let dir = tempfile::tempdir().expect("tempdir");
    let list = dir.path().join("list");
    let mut leader = Command::new("bash")
        .args(["-c", TREE, "tree"])
        .arg(&list)
        .stdin(Stdio::null())
        // Where bash tells of the killed.
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("bash is there");
    let members = members(&list);
    assert_eq!(members.len(), 20);
    let begun = Instant::now();
    end(&leader);
    let result = settle(&members, begun);
    leader.wait().expect("ours");
    for (pid, _) in members.iter().filter(|who| identity(who.0) == Some(**who)) {
        kill(pid_of(*pid), Signal::SIGKILL).expect("ours");
    }
    result
}

fn by_guard() -> (Duration, usize) {
    let mut list = None;
    let mut rig = Rig::launch_with(|path| {
        list = Some(path.to_owned());
        let argv = ["bash", "-c", TREE, "tree"].map(Into::into).into_iter();
        argv.chain([path.to_owned()]).collect()
    })
    .ready();
    let members = members(&list.expect("set by the launch"));
    assert_eq!(members.len(), 20);
    let begun = Instant::now();
    rig.kill();
    let result = settle(&members, begun);
    rig.reap();
    rig.until_gone(Duration::from_secs(5))
        .expect("the guard ends too");
    result
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("a pid"))
}

#[test]
fn the_guard_leaves_none_of_20_where_scripts_leave_some() {
    let _alone = crate::ALONE.blocking_lock();
    let runs = if crate::soak() { 101 } else { 3 };
    println!(
        "{:<44} {:>5} {:>10} {:>10} {:>12}",
        "20 processes", "runs", "median ms", "worst ms", "left of 20"
    );
    let measure = |name: &str, once: &dyn Fn() -> (Duration, usize)| {
        let mut results: Vec<(Duration, usize)> = (0..runs).map(|_| once()).collect();
        results.sort();
        let ms = |at: usize| results[at].0.as_secs_f64() * 1e3;
        let left = results.iter().map(|result| result.1).max().unwrap_or(0);
        println!(
            "{name:<44} {runs:>5} {:>10.1} {:>10.1} {left:>12}",
            ms(runs / 2),
            ms(runs - 1)
        );
        (ms(runs / 2), left)
    };
    let (median, left) = measure("rollbench is SIGKILLed, its guard sweeps", &by_guard);
    let group = |leader: &Child| killpg(pid_of(leader.id()), Signal::SIGKILL).expect("ours");
    let (_, group_left) = measure("kill -9 of the process group", &|| by_script(group));
    let recursion = |leader: &Child| {
        Command::new("bash")
            .args(["-c", TREE_KILL, "kill"])
            .arg(leader.id().to_string())
            .status()
            .expect("bash is there");
    };
    let (_, tree_left) = measure("bash: pgrep -P, recursively, then kill -9", &|| {
        by_script(recursion)
    });
    assert_eq!((left, group_left, tree_left), (0, 1, 1));
    assert!(!crate::soak() || median < 100.0, "{median} ms");
}

/// What the guard itself costs while an engine runs: it must not wake up.
#[test]
fn a_guard_is_small_and_sleeps() {
    let _alone = crate::ALONE.blocking_lock();
    let rig = Rig::launch_with(|list| {
        let script = "echo ready > $0; exec sleep 1000";
        ["bash", "-c", script]
            .map(Into::into)
            .into_iter()
            .chain([list.to_owned()])
            .collect()
    })
    .ready();
    let guard = rig.pid("guard");
    let read = |file: &str| fs::read_to_string(format!("/proc/{guard}/{file}")).expect("it runs");
    let wakeups = || {
        let status = read("status");
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches"));
        line.expect("there").to_owned()
    };
    sleep(Duration::from_millis(100));
    let before = wakeups();
    sleep(Duration::from_millis(500));
    assert_eq!(wakeups(), before);
    let (status, memory) = (read("status"), read("smaps_rollup"));
    let kilobytes = |key: &str| -> u64 {
        let line = memory
            .lines()
            .chain(status.lines())
            .find(|line| line.starts_with(key))
            .expect("there");
        line.split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("a number")
    };
    println!(
        "guard: {} kB its share of memory, {} kB with all that it shares, {} kB its own; {} thread",
        kilobytes("Pss:"),
        kilobytes("Rss:"),
        kilobytes("Private_Clean:") + kilobytes("Private_Dirty:"),
        kilobytes("Threads:")
    );
    assert_eq!(kilobytes("Threads:"), 1);
    assert!(kilobytes("RssAnon:") < 2048);
    // A build without optimisation maps more of itself.
    assert!(cfg!(debug_assertions) || kilobytes("Pss:") < 5 * 1024);
}

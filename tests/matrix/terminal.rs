//! A real terminal: its keys reach rollbench as signals of the foreground group, and it is as before afterwards.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{Termios, tcgetattr};
use rollbench::testing::record::{CellStatus, StartStatus, StepStatus};
use serde_json::json;

use crate::processes::{PATIENCE, python, send};
use crate::world::{TWO_CELLS, World};

/// What a shell does for a job, and no more: it leads the terminal's session, puts the command into the foreground, and
/// says what becomes of it; after SIGUSR1 it continues it. Its exit code is the command's, as a shell shows it.
const SHELL: &str = r#"
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    os.execvp(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        sys.exit(os.waitstatus_to_exitcode(status) % 256)
    os.tcsetpgrp(0, os.getpgid(0))
    print(f"[stopped by {os.WSTOPSIG(status)}]", flush=True)
    signal.sigwait([signal.SIGUSR1])
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
"#;

const CTRL_C: &[u8] = b"\x03";
const CTRL_Z: &[u8] = b"\x1a";

/// A terminal with rollbench in its foreground.
struct Terminal {
    shell: Child,
    keys: File,
    /// Kept open, to look at its settings after the end.
    screen: OwnedFd,
    before: Termios,
    shown: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    fn with(command: &Command) -> Self {
        let size = Winsize {
            ws_row: 40,
            ws_col: 160,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
        let before = tcgetattr(&slave).expect("its settings");
        let side = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let mut shell = Command::new(python());
        shell
            .args(["-c", SHELL])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(command.get_current_dir().expect("the world's"))
            .env_clear()
            .env("TERM", "xterm-256color")
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(side())
            .stdout(side())
            .stderr(side());
        let keys = File::from(master);
        let mut screen = keys.try_clone().expect("a descriptor");
        let shown = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&shown);
        let shell = shell.spawn().expect("python starts");
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut chunk) {
                let text = String::from_utf8_lossy(&chunk[..count]);
                told.lock().expect("no panic").push_str(&text);
            }
        });
        Self {
            shell,
            keys,
            screen: slave,
            before,
            shown,
            reader,
        }
    }

    fn shown(&self) -> String {
        self.shown.lock().expect("no panic").clone()
    }

    fn until_it_shows(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.shown().contains(text) {
            let ended = self.shell.try_wait().expect("ours");
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "`{text}` is not shown within {PATIENCE:?} ({ended:?}): {}",
                self.shown()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, key: &[u8]) {
        self.keys.write_all(key).expect("a key");
    }

    /// As `fg`.
    fn continue_it(&self) {
        send(self.shell.id(), Signal::SIGUSR1);
    }

    /// The exit code and all that was shown, after which the terminal must be as it was.
    fn end(mut self) -> (Option<i32>, String) {
        let code = self.shell.wait().expect("ours").code();
        let after = tcgetattr(&self.screen).expect("its settings");
        assert_eq!(after, self.before, "the terminal's settings");
        // The last open descriptor of that side: now the reader sees the end.
        drop(self.screen);
        self.reader.join().expect("no panic");
        let shown = self.shown.lock().expect("no panic").clone();
        let (hidden, visible) = (shown.rfind("\x1b[?25l"), shown.rfind("\x1b[?25h"));
        assert!(hidden <= visible, "the cursor is left hidden: {shown:?}");
        (code, shown)
    }
}

/// Each of the three steps takes a second and a half.
fn begin(world: &World) -> Terminal {
    let command = world.run_command(&json!({"speed": 40}), &["--quants", "bf16"]);
    let mut terminal = Terminal::with(&command);
    terminal.until_it_shows("warm-up 1/1:");
    terminal
}

#[test]
fn ctrl_z_in_a_step_and_fg_measure_it_again() {
    let world = World::new(TWO_CELLS);
    let mut terminal = begin(&world);
    terminal.press(CTRL_Z);
    terminal.until_it_shows("[stopped by 20]");
    std::thread::sleep(Duration::from_millis(300));
    terminal.continue_it();
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    world.is_empty();
    let record = world.record("bf16");
    assert_eq!(record.status, CellStatus::Done);
    let seen: Vec<(u32, StepStatus)> = record.starts[0]
        .steps
        .iter()
        .map(|step| (step.index, step.status))
        .collect();
    let [ok, invalid] = [StepStatus::Ok, StepStatus::Invalid];
    assert_eq!(seen, [(0, ok), (1, invalid), (1, ok), (2, ok)], "{shown}");
}

#[test]
fn ctrl_c_in_a_step_saves_and_ends() {
    let world = World::new(TWO_CELLS);
    let mut terminal = begin(&world);
    terminal.press(CTRL_C);
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(130), "{shown}");
    assert!(shown.contains("SIGINT"), "{shown}");
    world.is_empty();
    let start = &world.record("bf16").starts[0];
    assert_eq!(start.status, StartStatus::Interrupted);
    assert_eq!(start.steps.len(), 1, "the warm-up");
    assert!(world.result("summary.json").is_file());
}

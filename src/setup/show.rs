//! Shows a set-up on stderr: a live line on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::units::Seconds;

use super::SetupEvent;

/// A stage that lasts says so this often where lines cannot be redrawn.
const REMINDER: Duration = Duration::from_secs(30);

/// Installers write lines of any length; so much of one is enough to see that it is alive.
const DETAIL: usize = 80;

/// Takes the events of one set-up.
#[derive(Debug)]
pub(crate) struct Show {
    /// Absent if stderr is no terminal.
    bar: Option<ProgressBar>,
    begun: Instant,
    stage: Option<(String, Instant)>,
    reminded: Duration,
}

impl Default for Show {
    fn default() -> Self {
        Self {
            bar: std::io::stderr().is_terminal().then(spinner),
            begun: Instant::now(),
            stage: None,
            reminded: Duration::ZERO,
        }
    }
}

impl Show {
    /// Shows one event.
    pub(crate) fn event(&mut self, event: &SetupEvent) {
        match event {
            SetupEvent::Waiting { holder } => self.line(&format!("waiting for {holder}")),
            SetupEvent::Begun { cache, needed } => self.line(&format!(
                "setting up in {} (takes up to {needed})",
                cache.display()
            )),
            SetupEvent::Stage { number, of, text } => {
                self.end_stage();
                let text = format!("[{number}/{of}] {text}");
                match &self.bar {
                    Some(bar) => bar.set_message(text.clone()),
                    None => self.line(&text),
                }
                self.stage = Some((text, Instant::now()));
                self.reminded = Duration::ZERO;
            }
            SetupEvent::Working { elapsed, detail } => self.working(*elapsed, detail.as_deref()),
            SetupEvent::Finished => {
                self.end_stage();
                let took = Seconds(self.begun.elapsed().as_secs_f64());
                self.line(&format!("set up in {took}"));
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
            }
        }
    }

    fn working(&mut self, elapsed: Duration, detail: Option<&str>) {
        let Some((text, since)) = &self.stage else {
            return;
        };
        let detail = detail.map(|line| line.trim().chars().take(DETAIL).collect::<String>());
        if let Some(bar) = &self.bar {
            let mut message = format!("{text}  {}", Seconds(since.elapsed().as_secs_f64()));
            if let Some(detail) = detail {
                let _ = write!(message, "  {detail}");
            }
            bar.set_message(message);
        } else if elapsed >= self.reminded + REMINDER {
            self.reminded = elapsed;
            let detail = detail.map(|line| format!(": {line}")).unwrap_or_default();
            self.line(&format!("  {}{detail}", Seconds(elapsed.as_secs_f64())));
        }
    }

    fn end_stage(&mut self) {
        if let (Some((text, since)), Some(bar)) = (self.stage.take(), &self.bar) {
            let took = Seconds(since.elapsed().as_secs_f64());
            bar.println(format!("{text}  {took}"));
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // A reader that has gone away is no reason to stop.
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    // The template is a constant; without it the line would only look plainer.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

//! One live line at the bottom of a terminal; what is over scrolls away above it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;

use super::state::State;
use crate::event::Envelope;
use crate::output::printable;
use crate::units::Seconds;

pub(crate) async fn show(events: &mut UnboundedReceiver<Envelope>) {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}")
        .expect("the template is valid");
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(250));
    let mut state = State::default();
    while let Some(envelope) = events.recv().await {
        if let Some(line) = state.apply(&envelope) {
            bar.println(printable(&line));
        }
        let left = state
            .remaining_s()
            .map(|s| format!(" · about {} left", Seconds(s)))
            .unwrap_or_default();
        let share = state
            .step_progress()
            .map(|(done, all)| format!(" {}", gauge(done, all)))
            .unwrap_or_default();
        let message = format!(
            "{}{}{share}{left}",
            state.place(envelope.cell.as_ref()),
            state.live(envelope.mono_ns)
        );
        bar.set_message(printable(&message).into_owned());
    }
    bar.finish_and_clear();
}

/// Ten cells that fill up.
fn gauge(done: u64, all: u64) -> String {
    let filled = usize::try_from((done * 10).checked_div(all).unwrap_or(0))
        .unwrap_or(10)
        .min(10);
    format!("{}{}", "█".repeat(filled), "░".repeat(10 - filled))
}

#[cfg(test)]
mod tests {
    use super::gauge;

    #[test]
    fn the_gauge_fills_up() {
        assert_eq!(
            [gauge(0, 0), gauge(3, 10), gauge(10, 10)],
            ["░░░░░░░░░░", "███░░░░░░░", "██████████"]
        );
    }
}

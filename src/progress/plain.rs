//! Plain lines, for logs, CI and pipes: one per step, and a sign of life twice a minute during long ones.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior};

use super::state::State;
use crate::clock::mono_ns;
use crate::event::Envelope;
use crate::output::printable;

const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

pub(crate) async fn show(events: &mut UnboundedReceiver<Envelope>) {
    let mut state = State::default();
    let mut cell = None;
    let mut quiet = tokio::time::interval_at(Instant::now() + SIGN_OF_LIFE, SIGN_OF_LIFE);
    quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            envelope = events.recv() => {
                let Some(envelope) = envelope else { return };
                if let Some(line) = state.apply(&envelope) {
                    eprintln!("{}", printable(&line));
                    quiet.reset();
                }
                cell = envelope.cell;
            }
            _ = quiet.tick() => {
                let live = state.live(mono_ns());
                if !live.is_empty() {
                    let line = format!("{}{live}", state.place(cell.as_ref()));
                    eprintln!("{}", printable(&line));
                }
            }
        }
    }
}

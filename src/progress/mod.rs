//! What a person sees of a run while it lasts. Listens to the event stream and may lose events: the records do not
//! depend on it.

mod plain;
mod state;
mod terminal;

use std::io::IsTerminal as _;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::event::Envelope;
use crate::output;

/// Shows the stream on stderr until it ends: a live line on a terminal, plain lines elsewhere.
pub(crate) fn show(mut events: UnboundedReceiver<Envelope>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if output::quiet() {
            while events.recv().await.is_some() {}
        } else if std::io::stderr().is_terminal() {
            terminal::show(&mut events).await;
        } else {
            plain::show(&mut events).await;
        }
    })
}

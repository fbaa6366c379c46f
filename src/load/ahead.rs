//! Requests for a run that ends by time, which takes as many as it needs.

use std::io;

use super::request::Request;

/// Requests that wait to be taken.
const MADE_AHEAD: usize = 1024;

/// `requests`, made on a thread of their own so that the load never waits for them to be drawn and encoded. The
/// thread ends when nobody takes them any more.
pub(crate) fn made_ahead(
    requests: impl Iterator<Item = Request> + Send + 'static,
) -> io::Result<impl Iterator<Item = Request> + Send> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(MADE_AHEAD);
    let thread = std::thread::Builder::new().name("requests".to_owned());
    thread.spawn(move || {
        for request in requests {
            if sender.send(request).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver.into_iter())
}

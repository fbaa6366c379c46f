//! A time limit that does not run while rollbench stands still.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Between two looks at the clock. What is beyond it was no waiting: this process did not run (Ctrl-Z, a frozen
/// container, a paused virtual machine), and what it waits for may have stood still with it. A suspended machine's
/// monotonic clock stands still by itself.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How much longer something may take. Counts only time in which this process ran.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    left: Duration,
    looked: Instant,
}

impl Patience {
    /// From now on.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            left: limit,
            looked: Instant::now(),
        }
    }

    /// What it was at its beginning.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Begins anew.
    pub(crate) fn renew(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Waits until it is over. A wait that is dropped and begun again counts on.
    pub(crate) async fn over(&mut self) {
        while !self.is_over() {
            sleep(self.left.min(LOOK_EVERY)).await;
        }
    }

    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let passed = (now - self.looked).min(LOOK_EVERY);
        self.left = self.left.saturating_sub(passed);
        self.looked = now;
        self.left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn time_in_which_nothing_ran_does_not_count() {
        let mut patience = Patience::new(Duration::from_millis(400));
        std::thread::sleep(Duration::from_millis(700));
        let over = timeout(Duration::from_millis(50), patience.over()).await;
        assert!(over.is_err(), "at most 300 of 400 ms have passed");
        timeout(Duration::from_mins(1), patience.over())
            .await
            .expect("it ends");
    }

    #[tokio::test]
    async fn waits_that_are_interrupted_add_up_until_it_begins_anew() {
        let begun = Instant::now();
        let mut patience = Patience::new(Duration::from_millis(100));
        while timeout(Duration::from_millis(20), patience.over())
            .await
            .is_err()
        {}
        assert!(begun.elapsed() >= Duration::from_millis(100));
        patience.renew();
        let over = timeout(Duration::from_millis(1), patience.over()).await;
        assert!(over.is_err());
        assert_eq!(patience.limit(), Duration::from_millis(100));
    }
}

//! Clients take turns in every round, so that a disturbance meets all of them.

use super::Options;
use super::client::Client;
use super::run::Run;

/// The runs of one client, in the order of the rounds; `None` where it failed.
pub(crate) struct Runs<R> {
    pub(crate) client: Client,
    pub(crate) of_round: Vec<Option<R>>,
}

/// Runs `one` for every client in every round. Each round begins with another client.
pub(crate) fn rounds<R>(
    clients: &[Client],
    repeats: usize,
    options: &Options,
    one: impl Fn(&Client) -> Result<R, String>,
) -> Vec<Runs<R>> {
    let new = |client: &Client| Runs {
        client: client.clone(),
        of_round: Vec::new(),
    };
    let mut all: Vec<Runs<R>> = clients.iter().map(new).collect();
    for round in 0..repeats {
        for turn in 0..all.len() {
            let turn = (turn + round) % all.len();
            let runs = &mut all[turn];
            if runs.client.starts_slowly() && round >= options.slow_repeats {
                continue;
            }
            let run = one(&runs.client).inspect_err(|error| eprintln!("{}: {error}", runs.client));
            runs.of_round.push(run.ok());
        }
    }
    all
}

impl<R> Runs<R> {
    pub(crate) fn done(&self) -> usize {
        self.of_round.iter().flatten().count()
    }

    /// The median over the rounds; not a number if all failed.
    pub(crate) fn median(&self, of: impl Fn(&R) -> f64) -> f64 {
        median(self.of_round.iter().flatten().map(of).collect())
    }

    /// The median of what this client has in a round beside what `other` has in the same round.
    pub(crate) fn beside(&self, other: &Self, of: impl Fn(&R, &R) -> f64) -> f64 {
        let both = self.of_round.iter().zip(&other.of_round);
        let both = both.filter_map(|(mine, its)| Some(of(mine.as_ref()?, its.as_ref()?)));
        median(both.collect())
    }
}

impl Runs<Run> {
    pub(crate) fn least(&self, of: impl Fn(&Run) -> f64) -> f64 {
        let values = self.of_round.iter().flatten().map(of);
        values.fold(f64::INFINITY, f64::min)
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    rollbench::testing::stats::quantile(&values, 0.5).unwrap_or(f64::NAN)
}

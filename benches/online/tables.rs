//! What is measured, each part as a table in Markdown.

use super::Options;
use super::client::{Client, Load};
use super::rounds::{Runs, rounds};
use super::run::Run;
use super::truth::Mock;

/// As a small model on an accelerator: 50 tokens a second and stream.
const TTFT_MS: f64 = 50.0;
const ITL_MS: f64 = 20.0;

pub(crate) struct Bench {
    mock: Mock,
    clients: Vec<Client>,
    options: Options,
}

/// A long and a short run of one client, one after the other: what they differ by is the cost of the events.
pub(crate) struct Cost {
    short: Run,
    long: Run,
}

impl Cost {
    fn per_event_us(&self) -> f64 {
        let events = self.long.events - self.short.events;
        (self.long.cpu_s - self.short.cpu_s) / events as f64 * 1e6
    }

    /// What is left without any event.
    fn fixed_s(&self) -> f64 {
        self.short.cpu_s - self.per_event_us() * self.short.events as f64 / 1e6
    }
}

impl Bench {
    pub(crate) fn new(mock: Mock, clients: Vec<Client>, options: Options) -> Self {
        Self {
            mock,
            clients,
            options,
        }
    }

    fn run(&self, client: &Client, streams: u32, tokens: u32) -> Result<Run, String> {
        let load = Load {
            streams,
            tokens,
            ttft_ms: TTFT_MS,
            itl_ms: ITL_MS,
        };
        Run::of(client, &self.mock, load)
    }

    /// What each client reported against what the server did.
    pub(crate) fn accuracy(&self) -> Vec<(u32, Vec<Runs<Run>>)> {
        let Options {
            tokens, repeats, ..
        } = self.options;
        println!(
            "### Error: TTFT {TTFT_MS} ms, ITL {ITL_MS} ms, {tokens} tokens, all streams at once; medians\n"
        );
        println!(
            "| streams | client | mean TTFT | p99 ITL | output tok/s | open at once | rounds |"
        );
        println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: |");
        let mut all = Vec::new();
        for streams in &self.options.streams {
            let runs = rounds(&self.clients, repeats, &self.options, |client| {
                self.run(client, *streams, tokens)
            });
            for runs in &runs {
                println!(
                    "| {streams} | {} | {:+.2} ms | {:+.2} ms | {:+.1} % | {} | {} |",
                    runs.client,
                    runs.median(Run::ttft_error_ms),
                    runs.median(Run::itl_p99_error_ms),
                    runs.median(Run::throughput_error),
                    runs.least(|run| f64::from(run.streams_at_once)),
                    runs.done(),
                );
            }
            all.push((*streams, runs));
        }
        println!();
        all
    }

    /// Processor time per event, with nearly one read for each.
    pub(crate) fn cost(&self) -> Vec<Runs<Cost>> {
        const STREAMS: u32 = 256;
        const SHORT: u32 = 16;
        let long = |client: &Client| {
            // Where starting varies by seconds of processor time, the events have to be worth many of them.
            let times = if client.starts_slowly() { 4 } else { 1 };
            self.options.long_tokens * times
        };
        let repeats = self.options.repeats.min(3);
        let all = rounds(&self.clients, repeats, &self.options, |client| {
            Ok(Cost {
                short: self.run(client, STREAMS, SHORT)?,
                long: self.run(client, STREAMS, long(client))?,
            })
        });
        println!(
            "### Cost: {STREAMS} streams, ITL {ITL_MS} ms; {} tokens beside {SHORT} (four times as many where starting costs seconds); medians\n",
            self.options.long_tokens
        );
        println!(
            "| client | CPU s per million events | of the reader's | fixed CPU s | memory at most | start to first request | rounds |"
        );
        println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        for runs in &all {
            println!(
                "| {} | {:.1} | {:.2} | {:.2} | {:.0} MB | {:.3} s | {} |",
                runs.client,
                runs.median(Cost::per_event_us),
                runs.beside(&all[0], |own, reader| own.per_event_us()
                    / reader.per_event_us()),
                runs.median(Cost::fixed_s),
                runs.median(|cost| cost.long.memory_mb),
                runs.median(|cost| cost.short.first_request_s),
                runs.done(),
            );
        }
        println!();
        all
    }

    /// As fast as server and client can on the processors that they share.
    pub(crate) fn peak(&self) {
        let load = Load {
            streams: 64,
            tokens: self.options.tokens * 16,
            ttft_ms: 0.0,
            itl_ms: 0.0,
        };
        let repeats = self.options.repeats.min(3);
        let all = rounds(&self.clients, repeats, &self.options, |client| {
            Run::of(client, &self.mock, load)
        });
        println!(
            "### Peak: {} streams x {} tokens, no pause between them; medians\n",
            load.streams, load.tokens
        );
        println!("| client | events per second | of the reader's | rounds |");
        println!("| --- | ---: | ---: | ---: |");
        for runs in &all {
            println!(
                "| {} | {:.0} thousand | {:.2} | {} |",
                runs.client,
                runs.median(Run::true_tokens_per_s) / 1e3,
                runs.beside(&all[0], |own, reader| own.true_tokens_per_s()
                    / reader.true_tokens_per_s()),
                runs.done(),
            );
        }
        println!();
    }

    /// All at once, far more than anybody serves from one engine.
    pub(crate) fn many(&self) {
        let (streams, tokens) = self.options.many;
        let load = Load {
            streams,
            tokens,
            ttft_ms: 2000.0,
            itl_ms: 1000.0,
        };
        println!(
            "### Many: {streams} streams at once, TTFT {} ms, ITL {} ms, {tokens} tokens; one round\n",
            load.ttft_ms, load.itl_ms
        );
        println!(
            "| client | open at once | mean TTFT | p99 ITL | sent late, p99 | CPU s | memory | too slow, by its own word |"
        );
        println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |");
        for client in &self.clients {
            if client.starts_slowly() {
                continue;
            }
            match Run::of(client, &self.mock, load) {
                Ok(run) => println!(
                    "| {client} | {} | {:+.2} ms | {:+.2} ms | {} | {:.2} | {:.0} MB | {} |",
                    run.streams_at_once,
                    run.ttft_error_ms(),
                    run.itl_p99_error_ms(),
                    run.said
                        .send_lag_p99_ms
                        .map_or_else(|| "not told".to_owned(), |lag| format!("{lag:.1} ms")),
                    run.cpu_s,
                    run.memory_mb,
                    match run.said.saturated {
                        Some(true) => "yes",
                        Some(false) => "no",
                        None => "not told",
                    },
                ),
                Err(error) => println!("| {client} | {error} | | | | | | |"),
            }
        }
        println!();
    }

    /// A million tokens in flight at once.
    pub(crate) fn large(&self) -> Option<Run> {
        let (streams, tokens) = self.options.large;
        println!("### Large: {streams} streams x {tokens} tokens\n");
        match self.run(&Client::Rollbench, streams, tokens) {
            Ok(run) => {
                println!(
                    "rollbench load: {} events; memory at most {:.0} MB; mean TTFT {:+.2} ms, p99 ITL {:+.2} ms off\n",
                    run.events,
                    run.memory_mb,
                    run.ttft_error_ms(),
                    run.itl_p99_error_ms()
                );
                Some(run)
            }
            Err(error) => {
                println!("rollbench load: {error}\n");
                None
            }
        }
    }
}

/// The bounds that the client is held to, the reader of the same round being the floor.
pub(crate) fn held(accuracy: &[(u32, Vec<Runs<Run>>)], cost: &[Runs<Cost>], large: Option<&Run>) {
    println!("### Held to\n");
    println!("| rollbench load | bound | measured | |");
    println!("| --- | ---: | ---: | --- |");
    let row = |what: &str, bound: f64, measured: f64, unit: &str| {
        let verdict = if measured <= bound { "held" } else { "missed" };
        println!("| {what} | {bound}{unit} | {measured:.2}{unit} | {verdict} |");
    };
    let [reader, own, ..] = cost else { return };
    row(
        "CPU per event, of the reader's",
        1.2,
        own.beside(reader, |own, reader| {
            own.per_event_us() / reader.per_event_us()
        }),
        "",
    );
    for (streams, runs) in accuracy {
        let [reader, own, ..] = &runs[..] else { return };
        let bound = match streams {
            ..=128 => 0.5,
            129..=512 => 1.0,
            _ => 2.0,
        };
        let beyond = |of: fn(&Run) -> f64| {
            own.beside(reader, move |own, reader| of(own).abs() - of(reader).abs())
        };
        let ttft = beyond(Run::ttft_error_ms);
        row(
            &format!("error of mean TTFT beyond the reader's, {streams} streams"),
            bound,
            ttft,
            " ms",
        );
        let itl = beyond(Run::itl_p99_error_ms);
        row(
            &format!("error of p99 ITL beyond the reader's, {streams} streams"),
            2.0,
            itl,
            " ms",
        );
    }
    if let Some(run) = large {
        row("memory, large", 100.0, run.memory_mb, " MB");
    }
    let start_ms = own.median(|cost| cost.short.first_request_s * 1e3);
    row("start to first request", 50.0, start_ms, " ms");
    println!();
}

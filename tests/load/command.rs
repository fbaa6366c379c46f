//! `rollbench load` itself, as a person runs it.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rollbench::testing::record::{CellRecord, StartStatus, read_tokens};
use serde_json::Value;

use crate::support::Mock;

fn command(mock: &Mock, scenario: &str, flags: &str, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollbench"));
    command
        .arg("load")
        .arg(format!("127.0.0.1:{}/{scenario}", mock.port()))
        .args(flags.split_whitespace())
        .current_dir(out)
        .env_remove("OPENAI_API_KEY")
        .env_remove("VLLM_API_KEY")
        .env_remove("BENCH_BASE_DIR");
    command
}

fn run(mock: &Mock, scenario: &str, flags: &str, out: &Path) -> Output {
    command(mock, scenario, flags, out)
        .output()
        .expect("rollbench starts")
}

fn record(out: &Path) -> CellRecord {
    let path = out.join("benchmark_results/mock_server.online.json");
    let text = std::fs::read_to_string(path).expect("a record");
    serde_json::from_str(&text).expect("of our format")
}

#[test]
fn a_sweep_is_printed_as_json_and_kept_as_a_record() {
    let mock = Mock::start();
    let out = tempfile::tempdir().expect("a folder");
    let flags = "--num-prompts 8 --output-len 6 --input-len 16 --request-rate 40,inf --goodput ttft:5000 --json";
    let output = run(&mock, "ttft=20,itl=2", flags, out.path());
    assert!(output.status.success(), "{output:?}");
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    let points = printed["points"].as_array().expect("a list");
    assert_eq!(points.len(), 2);
    for point in points {
        assert_eq!(point["completed"], 8);
        assert_eq!(point["total_output_tokens"], 48);
        assert_eq!(point["total_input_tokens"], 128);
        let ttft = point["mean_ttft_ms"].as_f64().expect("a number");
        assert!((20.0..200.0).contains(&ttft), "{ttft}");
        assert_eq!(point["request_goodput"], point["request_throughput"]);
        assert_eq!(point["counters"]["preemptions"], 0);
    }
    assert_eq!(points[0]["request_rate"], 40.0);
    assert_eq!(points[1]["request_rate"], "inf");

    let record = record(out.path());
    let [start] = &record.starts[..] else {
        panic!("one start");
    };
    assert_eq!(start.status, StartStatus::Complete);
    assert_eq!(start.steps.len(), 4, "two points, each with a warm-up");
    record.validate().expect("believable");
    for step in &start.steps {
        let sidecar = step.detail.as_ref().expect("token times");
        let tokens = read_tokens(&out.path().join("benchmark_results"), sidecar);
        assert_eq!(tokens.map(|t| t.rows.len()), Some(8));
    }
    // Every step had prompts of its own: no prefix cache could know one.
    let mut keys: Vec<u32> = mock.truth().requests.iter().map(|r| r.key).collect();
    assert_eq!(keys.len(), 1 + 4 * 8);
    keys.sort_unstable();
    keys.dedup();
    assert!(keys.len() > 20, "{keys:?}");

    let summary = Command::new(env!("CARGO_BIN_EXE_rollbench"))
        .args(["summarize", "."])
        .current_dir(out.path())
        .output()
        .expect("rollbench starts");
    assert!(summary.status.success(), "{summary:?}");
    assert!(String::from_utf8_lossy(&summary.stdout).contains("mock"));
}

#[test]
fn a_load_is_gone_on_with_only_as_it_began() {
    let mock = Mock::start();
    let out = tempfile::tempdir().expect("a folder");
    let flags = "--num-prompts 4 --output-len 5 --resume";
    let first = run(&mock, "", flags, out.path());
    assert!(first.status.success(), "{first:?}");
    let before = record(out.path());
    assert_eq!(before.workloads["main"].sha256.len(), 64);
    for file in [
        "summary.txt",
        "summary.md",
        "summary.csv",
        "summary.json",
        "steps.csv",
    ] {
        let path = out.path().join("benchmark_results").join(file);
        assert!(path.is_file(), "{file}");
    }
    mock.truth();
    let again = run(&mock, "", flags, out.path());
    assert!(again.status.success(), "{again:?}");
    assert_eq!(record(out.path()).starts, before.starts);
    assert_eq!(again.stdout, first.stdout, "shown from the record");
    assert_eq!(
        mock.truth().requests.len(),
        1,
        "to see whether it takes one"
    );
    let other = run(
        &mock,
        "",
        "--num-prompts 4 --output-len 6 --resume",
        out.path(),
    );
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    assert_eq!(record(out.path()).starts, before.starts);
}

#[test]
fn text_names_what_it_measures() {
    let mock = Mock::start();
    let out = tempfile::tempdir().expect("a folder");
    let flags = "--num-prompts 4 --output-len 6 --max-concurrency 2 --api chat";
    let output = run(&mock, "ttft=20,itl=2", flags, out.path());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for part in [
        "all at once, at most 2 at a time",
        "4 requests done, 0 failed",
        "TTFT without role chunk",
        "queue before being due",
        "2 of 2 streams at once",
        "KV cache",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn failures_have_exit_codes_and_hints() {
    let mock = Mock::start();
    let out = tempfile::tempdir().expect("a folder");
    let said = |scenario: &str, flags: &str| {
        let output = run(&mock, scenario, flags, out.path());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let tail: Vec<&str> = text.lines().filter(|l| l.contains(": ")).collect();
        let wanted = |l: &&&str| l.starts_with("error: ") || l.starts_with("hint: ");
        let lines: Vec<String> = tail
            .iter()
            .filter(wanted)
            .map(|l| l.replace(&mock.port().to_string(), "PORT"))
            .collect();
        format!("{:?}\n{}", output.status.code(), lines.join("\n"))
    };
    let all = [
        said("status=400", ""),
        said("status=401", ""),
        said("fault=html", ""),
        said("fault=stall", "--first-token-timeout 0.2"),
        said("", "--model other"),
        said("", "--request-rate 0"),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
        Some(3)
        error: a first request to http://127.0.0.1:PORT/status=400/v1/completions failed: HTTP 400: {"error":{"message":"This model's maximum context length is 2048 tokens.","code":400}}
        hint: a server that does not know vLLM's `ignore_eos` needs --no-ignore-eos
        Some(3)
        error: a first request to http://127.0.0.1:PORT/status=401/v1/completions failed: HTTP 401: {"error":{"message":"This model's maximum context length is 2048 tokens.","code":400}}
        hint: the server wants a key: set OPENAI_API_KEY
        Some(3)
        error: a first request to http://127.0.0.1:PORT/fault=html/v1/completions failed: an HTML page instead of a token stream: <!DOCTYPE html> <html><head><title>Welcome</title></head></html>
        hint: this is no OpenAI-compatible server that streams
        Some(3)
        error: a first request to http://127.0.0.1:PORT/fault=stall/v1/completions failed: no token within 200ms
        hint: the server takes requests and makes no token: look into its log
        Some(2)
        error: the server has no model `other`
        hint: it has: mock
        Some(2)
        error: --request-rate 0: must be above 0; `inf` sends all at once
        "#);
    // Requests that fail once the run is under way: the numbers are printed all the same.
    let output = run(
        &mock,
        "fault=reset,at=1,every=2",
        "--num-prompts 10 --output-len 5 --warmup 0",
        out.path(),
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("5 of 10 sequences failed, the first: the connection broke"),
        "{text}"
    );
}

/// The exit code, and the lines that say what is wrong and what to do.
fn told(output: &Output, port: u16) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let wanted = |l: &&str| l.starts_with("error: ") || l.starts_with("hint: ");
    let lines: Vec<String> = text
        .lines()
        .filter(wanted)
        .map(|l| l.replace(&port.to_string(), "PORT"))
        .collect();
    format!("{:?}\n{}", output.status.code(), lines.join("\n"))
}

#[test]
fn an_address_that_is_none_is_told_with_what_to_write() {
    let out = tempfile::tempdir().expect("a folder");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = listener.local_addr().expect("bound").port();
    drop(listener);
    let said = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollbench"));
        command.args(["load", url]).current_dir(out.path());
        told(&command.output().expect("rollbench starts"), closed)
    };
    let all = [
        said("https://127.0.0.1:8000"),
        said("http://"),
        said("http://key@127.0.0.1:8000"),
        said("127.0.0.1:port"),
        said(&format!("127.0.0.1:{closed}")),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    Some(2)
    error: `https://127.0.0.1:8000`: TLS is not supported, it would be measured with the server; give the server's own http:// address
    Some(2)
    error: `http://` is not a URL (empty host); write http://HOST:PORT
    Some(2)
    error: the URL holds a user name or password; give the key in the environment (OPENAI_API_KEY)
    Some(2)
    error: `127.0.0.1:port` is not a URL (invalid port number); write http://HOST:PORT
    Some(3)
    error: cannot reach http://127.0.0.1:PORT/v1/models: Connection refused (os error 111)
    hint: is the server up, and is this its host and port? `vllm serve` listens on port 8000
    "#);
    let unknown = said("no-such-host.invalid:8000");
    assert!(
        unknown.starts_with("Some(3)\nerror: cannot resolve `no-such-host.invalid:8000`: "),
        "{unknown}"
    );
    assert_eq!(std::fs::read_dir(out.path()).expect("a folder").count(), 0);
}

#[test]
fn a_server_that_is_another_one_is_told_before_anything_is_sent() {
    let mock = Mock::start();
    let out = tempfile::tempdir().expect("a folder");
    let said = |scenario: &str| told(&run(&mock, scenario, "", out.path()), mock.port());
    let all = [
        said("models=html"),
        said("models=missing"),
        said("models=moved"),
        said("models=none"),
        said("models=endless"),
        said("status=404"),
        said("fault=redirect"),
        said("fault=gateway"),
        said("fault=hangup"),
        said("fault=error,at=1"),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    Some(3)
    error: http://127.0.0.1:PORT/models=html/v1/models does not answer as an OpenAI-compatible server: <!DOCTYPE html> <html><head><title>Welcome</title></head></html>
    hint: give the server's root, such as http://127.0.0.1:8000; /v1 is added
    Some(3)
    error: http://127.0.0.1:PORT/models=missing/v1/models answers HTTP 404: {"detail":"Not Found"}
    hint: give the server's root, such as http://127.0.0.1:8000; /v1 is added
    Some(3)
    error: http://127.0.0.1:PORT/models=moved/v1/models answers HTTP 307: redirected to http://other:8000/v1
    hint: the server redirects: give the address that it redirects to
    Some(3)
    error: the server lists no model
    hint: name one with --model
    Some(3)
    error: http://127.0.0.1:PORT/models=endless/v1/models answers with more than 1 MiB
    hint: give the server's root, such as http://127.0.0.1:8000; /v1 is added
    Some(3)
    error: a first request to http://127.0.0.1:PORT/status=404/v1/completions failed: HTTP 404: {"error":{"message":"This model's maximum context length is 2048 tokens.","code":400}}
    hint: the server does not have this endpoint; try --api chat, or give its root as URL
    Some(3)
    error: a first request to http://127.0.0.1:PORT/fault=redirect/v1/completions failed: HTTP 307, redirected to http://other:8000/v1; give that address
    hint: the server redirects: give the address that it redirects to
    Some(3)
    error: a first request to http://127.0.0.1:PORT/fault=gateway/v1/completions failed: HTTP 502 with an HTML page: <!DOCTYPE html> <html><head><title>Welcome</title></head></html>
    hint: the server, or one behind it, is not ready: wait until it is, or look into its log
    Some(3)
    error: a first request to http://127.0.0.1:PORT/fault=hangup/v1/completions failed: the server closed the connection without an answer
    hint: look into the server's log
    Some(3)
    error: a first request to http://127.0.0.1:PORT/fault=error,at=1/v1/completions failed: the server reported an error in the stream: EngineCore encountered an issue
    hint: look into the server's log
    "#);
}

#[test]
fn more_streams_than_files_are_refused_before_the_run() {
    let mock = Mock::start();
    let out = tempfile::tempdir().expect("a folder");
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 256 && exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_rollbench"))
        .args(["load", &format!("127.0.0.1:{}", mock.port())])
        .args(["--num-prompts", "1000", "--warmup", "0"])
        .current_dir(out.path())
        .output()
        .expect("a shell");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("error: 1000 streams need ")
            && text.contains(" open files, and the hard limit is 256")
            && text.contains("hint: raise it (`ulimit -Hn`"),
        "{text}"
    );
    // One request, to see whether the server takes one, and none of the run.
    assert_eq!(mock.truth().requests.len(), 1);
}

#[test]
fn what_is_odd_about_a_run_is_said_beside_its_numbers() {
    let mock = Mock::start();
    let out = tempfile::tempdir().expect("a folder");
    let marks = |scenario: &str, flags: &str| {
        let flags = format!("--num-prompts 8 --output-len 5 --warmup 0 {flags}");
        let output = run(&mock, scenario, &flags, out.path());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let marks: Vec<&str> = text
            .lines()
            .filter(|l| l.starts_with("  ! ") && !l.contains("the load client"))
            .collect();
        format!("{:?}\n{}", output.status.code(), marks.join("\n"))
    };
    let all = [
        marks("ttft=50,usage=0", ""),
        marks("ttft=50,extra=2", ""),
        marks("ttft=50,extra=-1", ""),
        marks("ttft=50,fault=cut,at=2,every=3", ""),
        marks("ttft=50,fault=stall,at=2,every=4", "--token-timeout 0.3"),
        marks("ttft=50,fault=nonsense,at=1,every=8", ""),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    Some(0)
      ! the tokens of 8 of 8 sequences are counted from chunks: the server sends no usage
    Some(0)
      ! 8 of 8 sequences have another length than asked for
    Some(0)
      ! 8 of 8 sequences have another length than asked for
    Some(1)
      ! 3 of 8 sequences failed, the first: the stream was cut off after 2 chunks: the server closed the connection
    Some(1)
      ! 2 of 8 sequences failed, the first: no further token within 300ms
    Some(1)
      ! 1 of 8 sequences failed, the first: a data line that is no chunk (EOF while parsing an object at line 1 column 14): {"choices": [{
    "#);
    // Each request's own length is in the record, beside what was asked.
    let output = run(
        &mock,
        "extra=2",
        "--num-prompts 2 --output-len 5",
        out.path(),
    );
    assert!(output.status.success(), "{output:?}");
    let step = record(out.path())
        .starts
        .remove(0)
        .steps
        .pop()
        .expect("measured");
    assert_eq!(step.sequences.requested_tokens, [5, 5]);
    assert_eq!(step.sequences.output_tokens, [7, 7]);
}

#[test]
fn an_interrupted_load_keeps_what_it_has() {
    let mock = Mock::start();
    let out = tempfile::tempdir().expect("a folder");
    let flags = "--num-prompts 4 --output-len 5 --warmup 0 --steps 1000";
    let child = command(&mock, "ttft=20,itl=2", flags, out.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rollbench starts");
    let journal = out.path().join("benchmark_results");
    let has_tokens = || {
        let files = std::fs::read_dir(&journal).into_iter().flatten().flatten();
        files
            .filter(|f| f.path().extension().is_some_and(|e| e == "tokens"))
            .count()
            >= 2
    };
    for _ in 0..500 {
        if has_tokens() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, Signal::SIGINT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let record = record(out.path());
    assert_eq!(record.starts[0].status, StartStatus::Interrupted);
    assert!(record.starts[0].steps.len() >= 2);
}

/// Whatever it waits for: the server's models, a first token, a further one.
#[test]
fn ctrl_c_is_answered_at_once_whenever_it_comes() {
    let mock = Mock::start();
    for scenario in ["models=stall", "fault=stall", "fault=stall,at=2"] {
        for after_ms in [0, 5, 10, 20, 40, 80, 160, 320] {
            let out = tempfile::tempdir().expect("a folder");
            let mut child = command(&mock, scenario, "--num-prompts 4", out.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("rollbench starts");
            std::thread::sleep(Duration::from_millis(after_ms));
            let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
            let begun = Instant::now();
            kill(pid, Signal::SIGINT).expect("it waits");
            let status = child.wait().expect("it ends");
            let took = begun.elapsed();
            // Before it listens for signals, the signal itself ends it.
            assert!(
                status.code() == Some(130) || status.signal() == Some(Signal::SIGINT as i32),
                "{scenario}, {after_ms} ms: {status}"
            );
            assert!(
                took < Duration::from_millis(500),
                "{scenario}, {after_ms} ms: answered after {took:?}"
            );
        }
    }
}

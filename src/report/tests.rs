//! Every format, drawn from synthetic records.

use std::fs;

use super::derive::{Derived, derive};
use super::model::Summary;
use super::write::FILES;
use super::{Format, render};
use crate::record::{
    CellRecord, Found, Leak, Neighbour, PassedOver, Point, StartStatus, StepStatus, Store, builder,
    read_results,
};
use crate::units::Mode;

fn summary(records: Vec<CellRecord>) -> Summary {
    Summary::new(derived(records), Vec::new())
}

fn derived(records: Vec<CellRecord>) -> Vec<Derived> {
    let found = |record: CellRecord| derive(Found::Record(Box::new(record)));
    records.into_iter().map(found).collect()
}

fn shown(summary: &Summary, format: Format) -> String {
    String::from_utf8(render(summary, format).unwrap()).unwrap()
}

fn text(summary: &Summary) -> String {
    shown(summary, Format::Text { width: None })
}

/// One block: a baseline, a faster cell, a cell without a kernel.
fn one_block() -> Vec<CellRecord> {
    vec![
        builder::done("demo", "bf16", &[&[2.0, 2.02, 1.98]]),
        builder::done("demo", "w8a8", &[&[1.6, 1.62, 1.58]]),
        builder::skipped("demo", "w8a16"),
    ]
}

fn six_blocks() -> Vec<CellRecord> {
    let of = |precision: &str, makespans: [f64; 6]| {
        let rows = makespans.map(|m| [m, m * 1.01, m * 0.99]);
        let rows: Vec<&[f64]> = rows.iter().map(<[f64; 3]>::as_slice).collect();
        builder::done("demo", precision, &rows)
    };
    vec![
        of("bf16", [2.0, 2.03, 1.99, 2.01, 2.02, 1.98]),
        of("w8a8", [1.7, 1.73, 1.70, 1.71, 1.71, 1.69]),
        of("w8a16", [2.0, 2.05, 1.97, 2.01, 2.03, 1.97]),
    ]
}

#[test]
fn slow_ways_that_vllm_took_stand_beside_the_ratio() {
    let mut records = one_block();
    for record in &mut records {
        let precision = record.cell.id.precision.to_string();
        for facts in record.starts.iter_mut().flat_map(|s| &mut s.engine) {
            facts.fallbacks = vec![format!("untuned kernels for {precision}")];
        }
    }
    let summary = summary(records);
    let text = text(&summary);
    let beside = "Against the baseline
  DEMO W8A8: 1.25x the throughput of BF16 (one engine start: no interval)
  DEMO W8A8: by its log vLLM took a slower way: untuned kernels for w8a8";
    assert!(text.contains(beside), "{text}");
    let alone = "DEMO BF16: by its log vLLM took a slower way: untuned kernels for bf16";
    assert!(text.contains(alone), "{text}");
    assert!(shown(&summary, Format::Csv).contains("untuned kernels for w8a8"));
    assert!(shown(&summary, Format::Json).contains("untuned kernels for w8a8"));
}

#[test]
fn one_block_as_text() {
    insta::assert_snapshot!(text(&summary(one_block())), @r"
    Offline: LLM.generate, all requests at once
    ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     Model   Precision   Measured      Speed-up   Output tok/s   Total tok/s   Requests/s   Makespan s   Tail %   Preempt.   KV tokens   Load s
    ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     DEMO    BF16        3 steps       baseline            128           384         4.00         2.00      8.8          0     123,456     40.0
     DEMO    W8A8        3 steps          1.25x            160           480         5.00         1.60      8.8          0     123,456     40.0
     DEMO    W8A16       skipped (1)          -              -             -            -            -        -          -           -        -
    ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    Against the baseline
      DEMO W8A8: 1.25x the throughput of BF16 (one engine start: no interval)

    Remarks
      (1) DEMO W8A16: skipped: unsupported on cpu: vLLM's CPU platform has no INT8 weight-only kernel

    Checkpoints
    ─────────────────────────────────────────────────────────────────────────────
     Model   Precision   Weights really are   Kernels                       Size
    ─────────────────────────────────────────────────────────────────────────────
     DEMO    BF16        BF16                 SomeKernel for SomeScheme   269 MB
     DEMO    W8A8        W8A8                 SomeKernel for SomeScheme   269 MB
     DEMO    W8A16       W8A16                -                           269 MB
    ─────────────────────────────────────────────────────────────────────────────

    Measured on
      node1: no accelerator; Some CPU (2 CPUs, 16.0 GB), Linux 6.18.0; torch 2.13.0, vllm 0.32.0+cpu on cpu
      workload main: 4 prompts x 2 samples, up to 64 tokens in, 32 out, seed 0, sha256 abcdef012345
      session s1: 2026-08-01 00:00:00 UTC, rollbench 0.1.0, rollbench.toml; 1 x (1 warm-up + 3 measured steps) a cell

    Notes
      One engine start a cell: a difference cannot be told from luck. For intervals and verdicts (about 11 minutes, by this run's own times):
          rollbench run --blocks 6
    ");
}

#[test]
fn one_block_as_markdown() {
    insta::assert_snapshot!(shown(&summary(one_block()), Format::Markdown), @r"
    ### Offline: LLM.generate, all requests at once

    | Model | Precision | Measured | Speed-up | Output tok/s | Total tok/s | Requests/s | Makespan s | Tail % | Preempt. | KV tokens | Load s |
    | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
    | DEMO | BF16 | 3 steps | baseline | 128 | 384 | 4.00 | 2.00 | 8.8 | 0 | 123,456 | 40.0 |
    | DEMO | W8A8 | 3 steps | 1.25x | 160 | 480 | 5.00 | 1.60 | 8.8 | 0 | 123,456 | 40.0 |
    | DEMO | W8A16 | skipped (1) | - | - | - | - | - | - | - | - | - |

    ### Against the baseline

    - DEMO W8A8: 1.25x the throughput of BF16 (one engine start: no interval)

    ### Remarks

    - (1) DEMO W8A16: skipped: unsupported on cpu: vLLM's CPU platform has no INT8 weight-only kernel

    ### Checkpoints

    | Model | Precision | Weights really are | Kernels | Size |
    | --- | --- | --- | --- | ---: |
    | DEMO | BF16 | BF16 | SomeKernel for SomeScheme | 269 MB |
    | DEMO | W8A8 | W8A8 | SomeKernel for SomeScheme | 269 MB |
    | DEMO | W8A16 | W8A16 | - | 269 MB |

    ### Measured on

    - node1: no accelerator; Some CPU (2 CPUs, 16.0 GB), Linux 6.18.0; torch 2.13.0, vllm 0.32.0+cpu on cpu
    - workload main: 4 prompts x 2 samples, up to 64 tokens in, 32 out, seed 0, sha256 abcdef012345
    - session s1: 2026-08-01 00:00:00 UTC, rollbench 0.1.0, rollbench.toml; 1 x (1 warm-up + 3 measured steps) a cell

    ### Notes

    - One engine start a cell: a difference cannot be told from luck. For intervals and verdicts (about 11 minutes, by this run's own times):

      ```
      rollbench run --blocks 6
      ```
    ");
}

#[test]
fn one_block_as_csv() {
    insta::assert_snapshot!(shown(&summary(one_block()), Format::Csv), @"
    model,precision,mode,request_rate_req_s,ramp_req_s,max_concurrency,load,measured_by,session,outcome,baseline,starts,planned_starts,steps,speedup,speedup_low,speedup_high,speedup_level,speedup_baseline,speedup_blocks,speedup_across_sessions,verdict,verdict_sentence,judged_by,speedup_bound,speedup_bound_low,speedup_bound_high,speedup_p50_ttft,speedup_p50_ttft_low,speedup_p50_ttft_high,speedup_p99_ttft,speedup_p99_ttft_low,speedup_p99_ttft_high,speedup_p50_tpot,speedup_p50_tpot_low,speedup_p50_tpot_high,speedup_p99_tpot,speedup_p99_tpot_low,speedup_p99_tpot_high,speedup_p50_e2el,speedup_p50_e2el_low,speedup_p50_e2el_high,speedup_p99_e2el,speedup_p99_e2el_low,speedup_p99_e2el_high,offered_requests,sent_requests,unsent_requests,latency_valid,offered_rate_req_s,keeps_up,output_throughput_tok_s,output_throughput_per_device_tok_s,total_token_throughput_tok_s,request_throughput_req_s,steady_output_throughput_tok_s,request_goodput_req_s,makespan_s,output_tokens,prompt_tokens,time_to_50_s,time_to_90_s,time_to_99_s,tail_share,bubble_ratio,length_inflation_max,length_inflation_p99,preemptions,prefix_hit_rate,kv_peak,kv_tokens,weights_bytes,load_s,failed_requests,mean_ttft_ms,p50_ttft_ms,p90_ttft_ms,p95_ttft_ms,p99_ttft_ms,mean_tpot_ms,p50_tpot_ms,p90_tpot_ms,p95_tpot_ms,p99_tpot_ms,mean_itl_ms,p50_itl_ms,p90_itl_ms,p95_itl_ms,p99_itl_ms,mean_e2el_ms,p50_e2el_ms,p90_e2el_ms,p95_e2el_ms,p99_e2el_ms,mean_ttft_content_ms,p50_ttft_content_ms,p90_ttft_content_ms,p95_ttft_content_ms,p99_ttft_content_ms,mean_itl_token_ms,p50_itl_token_ms,p90_itl_token_ms,p95_itl_token_ms,p99_itl_token_ms,mean_close_ms,p50_close_ms,p90_close_ms,p95_close_ms,p99_close_ms,mean_queue_ms,p50_queue_ms,p90_queue_ms,p95_queue_ms,p99_queue_ms,mean_ttft_from_schedule_ms,p50_ttft_from_schedule_ms,p90_ttft_from_schedule_ms,p95_ttft_from_schedule_ms,p99_ttft_from_schedule_ms,mean_e2el_from_schedule_ms,p50_e2el_from_schedule_ms,p90_e2el_from_schedule_ms,p95_e2el_from_schedule_ms,p99_e2el_from_schedule_ms,mean_send_lag_ms,p50_send_lag_ms,p90_send_lag_ms,p95_send_lag_ms,p99_send_lag_ms,mean_connect_ms,p50_connect_ms,p90_connect_ms,p95_connect_ms,p99_connect_ms,k3_kl,floor_k3_kl,k3_kl_excess,k3_kl_excess_low,k3_kl_excess_high,fidelity_verdict,valid,invalid_reasons,warnings,reason,checkpoint,checkpoint_format,checkpoint_bytes,kernels,cannot_be_known
    demo,bf16,offline,,,,,rollbench,s1,done,true,1,1,3,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,128,,384,4,,,2,768,1536,1.125,1.825,1.9825,0.0875,0.4375,1,1,0,0.25,0.25,123456,270000000,40,0,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,true,,,,/models/demo-bf16,BF16,269060552,SomeKernel for SomeScheme,
    demo,w8a8,offline,,,,,rollbench,s1,done,false,1,1,3,1.25002344,,,,bf16,1,false,no_interval,W8A8: 1.25x the throughput of BF16 (one engine start: no interval),throughput,,,,,,,,,,,,,,,,,,,,,,,,,,,,160,,480,5,,,1.6,768,1536,0.9,1.46,1.586,0.0875,0.4375,1,1,0,0.25,0.25,123456,270000000,40,0,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,true,,,,/models/demo-w8a8,W8A8,269060552,SomeKernel for SomeScheme,
    demo,w8a16,offline,,,,,rollbench,s1,skipped,false,,1,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,unsupported on cpu: vLLM's CPU platform has no INT8 weight-only kernel,/models/demo-w8a16,W8A16,269060552,,
    ");
}

#[test]
fn steps_as_csv() {
    let steps = super::csv::steps(&summary(one_block()[1..].to_vec())).unwrap();
    insta::assert_snapshot!(String::from_utf8(steps).unwrap(), @"
    model,precision,mode,session,start,arm,block,attempt,step,role,workload,request_rate_req_s,ramp_req_s,max_concurrency,duration_s,status,counted,reasons,makespan_s,requests,sequences,failed,offered,sent,unsent,latency_doubt,prompt_tokens,output_tokens,output_throughput_tok_s,total_token_throughput_tok_s,request_throughput_req_s,request_goodput_req_s,time_to_50_s,time_to_90_s,time_to_99_s,tail_share,bubble_ratio,length_inflation_max,length_inflation_p99,preemptions,prefix_queries,prefix_hits,kv_peak,p50_ttft_ms,p99_ttft_ms,p50_tpot_ms,p99_tpot_ms,p50_itl_ms,p99_itl_ms,p50_e2el_ms,p99_e2el_ms,timing_s/gen,timing_per_token_ms/gen,response_length/mean,response_length/max,response_length/min,response_length/clip_ratio
    demo,w8a8,offline,s1,s1-demo_w8a8-0,main,0,0,0,warmup,main,,,,,ok,false,,3.2,8,8,0,,,,,512,256,80,240,2.5,,1.8,2.92,3.172,0.0875,0.4375,1,1,0,512,128,0.25,,,,,,,,,3.2,12.5,32,32,32,1
    demo,w8a8,offline,s1,s1-demo_w8a8-0,main,0,0,1,measured,main,,,,,ok,true,,1.6,8,8,0,,,,,512,256,160,480,5,,0.9,1.46,1.586,0.0875,0.4375,1,1,0,512,128,0.25,,,,,,,,,1.6,6.25,32,32,32,1
    demo,w8a8,offline,s1,s1-demo_w8a8-0,main,0,0,2,measured,main,,,,,ok,true,,1.62,8,8,0,,,,,512,256,158.024691,474.074074,4.9382716,,0.91125,1.47825,1.605825,0.0875,0.4375,1,1,0,512,128,0.25,,,,,,,,,1.62,6.328125,32,32,32,1
    demo,w8a8,offline,s1,s1-demo_w8a8-0,main,0,0,3,measured,main,,,,,ok,true,,1.58,8,8,0,,,,,512,256,162.025316,486.075949,5.06329114,,0.88875,1.44175,1.566175,0.0875,0.4375,1,1,0,512,128,0.25,,,,,,,,,1.58,6.171875,32,32,32,1
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "the snapshot is the whole format")]
fn one_block_as_json() {
    let mut summary = summary(one_block()[1..].to_vec());
    summary.cells[0].steps.truncate(1);
    insta::assert_snapshot!(shown(&summary, Format::Json), @r#"
    {
      "schema": "rollbench.summary/1",
      "sessions": [
        {
          "id": "s1",
          "started": "2026-08-01T00:00:00Z",
          "rollbench": "0.1.0",
          "argv": [
            "rollbench",
            "run"
          ],
          "resumes": null,
          "matrix": {
            "source": "rollbench.toml",
            "models": [
              "demo"
            ],
            "precisions": [
              "bf16",
              "w8a8",
              "w8a16"
            ],
            "baseline": "bf16"
          },
          "plan": {
            "blocks": 1,
            "warmup": 1,
            "steps": 3
          },
          "seed": 0
        }
      ],
      "cells": [
        {
          "model": "demo",
          "precision": "w8a8",
          "mode": "offline",
          "model_label": "DEMO",
          "precision_label": "W8A8",
          "baseline": false,
          "session": "s1",
          "outcome": "done",
          "planned_starts": 1,
          "skip": null,
          "failures": [],
          "interrupted_starts": 0,
          "checkpoint": {
            "path": "/models/demo-w8a8",
            "format": "W8A8",
            "bytes": 269060552,
            "sha256_config": "c0ffee",
            "shape_only": false
          },
          "kernels": [
            "SomeKernel for SomeScheme"
          ],
          "config_difference": {},
          "metrics": {
            "starts": 1,
            "steps": 3,
            "makespan_s": 1.6,
            "output_throughput_tok_s": 160.0,
            "output_throughput_per_device_tok_s": null,
            "total_token_throughput_tok_s": 480.0,
            "request_throughput_req_s": 5.0,
            "output_tokens": 768,
            "prompt_tokens": 1536,
            "time_to_50_s": 0.9,
            "time_to_90_s": 1.46,
            "time_to_99_s": 1.586,
            "tail_share": 0.0875,
            "bubble_ratio": 0.4375,
            "length_inflation_max": 1.0,
            "length_inflation_p99": 1.0,
            "preemptions": 0,
            "prefix_hit_rate": 0.25,
            "kv_peak": 0.25,
            "kv_tokens": 123456,
            "weights_bytes": 270000000,
            "load_s": 40.0,
            "failed": 0
          },
          "invalid": [],
          "warnings": [],
          "comparison": null,
          "steps": [
            {
              "session": "s1",
              "start": "s1-demo_w8a8-0",
              "arm": "main",
              "block": 0,
              "attempt": 0,
              "step": 0,
              "role": "warmup",
              "workload": "main",
              "status": "ok",
              "counted": false,
              "reasons": [],
              "makespan_s": 3.2,
              "requests": 8,
              "completed": 8,
              "sequences": 8,
              "failed": 0,
              "prompt_tokens": 512,
              "output_tokens": 256,
              "output_throughput_tok_s": 80.0,
              "total_token_throughput_tok_s": 240.0,
              "request_throughput_req_s": 2.5,
              "time_to_50_s": 1.8,
              "time_to_90_s": 2.92,
              "time_to_99_s": 3.172,
              "tail_share": 0.0875,
              "bubble_ratio": 0.4375,
              "response_length": {
                "mean": 32.0,
                "p99": 32.0,
                "max": 32,
                "min": 32,
                "clip_ratio": 1.0
              },
              "preemptions": 0,
              "prefix_queries": 512,
              "prefix_hits": 128,
              "kv_peak": 0.25
            }
          ]
        },
        {
          "model": "demo",
          "precision": "w8a16",
          "mode": "offline",
          "model_label": "DEMO",
          "precision_label": "W8A16",
          "baseline": false,
          "session": "s1",
          "outcome": "skipped",
          "planned_starts": 1,
          "skip": "unsupported on cpu: vLLM's CPU platform has no INT8 weight-only kernel",
          "failures": [],
          "interrupted_starts": 0,
          "checkpoint": {
            "path": "/models/demo-w8a16",
            "format": "W8A16",
            "bytes": 269060552,
            "sha256_config": "c0ffee",
            "shape_only": false
          },
          "kernels": [],
          "config_difference": {},
          "metrics": null,
          "invalid": [],
          "warnings": [],
          "comparison": null,
          "steps": []
        }
      ],
      "imported": [],
      "environments": [
        {
          "host": "node1",
          "kernel": "6.18.0",
          "cpu": "Some CPU",
          "cpus": 2,
          "memory_bytes": 16000000000,
          "devices": [],
          "platform": "cpu",
          "versions": {
            "torch": "2.13.0",
            "vllm": "0.32.0+cpu"
          },
          "env": {},
          "cells": [
            "demo_w8a8"
          ]
        }
      ],
      "workloads": [
        {
          "name": "main",
          "spec": {
            "num_prompts": 4,
            "n": 2,
            "prompt": {
              "kind": "fixed",
              "tokens": 64
            },
            "response": {
              "kind": "fixed",
              "tokens": 32
            },
            "sampling": {
              "temperature": 1.0,
              "top_p": 1.0,
              "top_k": -1,
              "logprobs": null
            },
            "sibling_correlation": 0.0,
            "shared_prefix": 0,
            "placement": {
              "kind": "local"
            }
          },
          "seed": 0,
          "sha256": "abcdef0123456789",
          "cells": [
            "demo_w8a8"
          ]
        }
      ],
      "leaks": [],
      "passed_over": [],
      "calibrations": [],
      "geometric_means": [],
      "notes": [
        {
          "text": "No speed-up for DEMO: its baseline precision bf16 was not measured.",
          "command": null
        }
      ]
    }
    "#);
}

#[test]
fn six_blocks_come_with_verdicts() {
    insta::assert_snapshot!(text(&summary(six_blocks())), @r"
    Offline: LLM.generate, all requests at once
    ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     Model   Precision   Measured      Speed-up   Output tok/s   Total tok/s   Requests/s   Makespan s   Tail %   Preempt.   KV tokens   Load s
    ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     DEMO    BF16        6 x 3 steps   baseline            128           383         3.99         2.00      8.8          0     123,456     40.0
     DEMO    W8A8        6 x 3 steps      1.17x            150           450         4.69         1.71      8.7          0     123,456     40.0
     DEMO    W8A16       6 x 3 steps      1.00x            128           383         3.99         2.00      8.8          0     123,456     40.0
    ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    Against the baseline
      DEMO W8A8: 1.17x the throughput of BF16 (95 % CI 1.17-1.18, 6 engine starts): faster
      DEMO W8A16: 1.00x the throughput of BF16 (95 % CI 0.99-1.01, 6 engine starts): equivalent within 2 %

    Checkpoints
    ─────────────────────────────────────────────────────────────────────────────
     Model   Precision   Weights really are   Kernels                       Size
    ─────────────────────────────────────────────────────────────────────────────
     DEMO    BF16        BF16                 SomeKernel for SomeScheme   269 MB
     DEMO    W8A8        W8A8                 SomeKernel for SomeScheme   269 MB
     DEMO    W8A16       W8A16                SomeKernel for SomeScheme   269 MB
    ─────────────────────────────────────────────────────────────────────────────

    Measured on
      node1: no accelerator; Some CPU (2 CPUs, 16.0 GB), Linux 6.18.0; torch 2.13.0, vllm 0.32.0+cpu on cpu
      workload main: 4 prompts x 2 samples, up to 64 tokens in, 32 out, seed 0, sha256 abcdef012345
      session s1: 2026-08-01 00:00:00 UTC, rollbench 0.1.0, rollbench.toml; 6 x (1 warm-up + 3 measured steps) a cell
    ");
}

#[test]
fn a_narrow_terminal_wraps() {
    let narrow = shown(&summary(one_block()), Format::Text { width: Some(80) });
    let command = |line: &&str| line.starts_with("      rollbench ");
    for line in narrow.lines().filter(|line| !command(line)) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// What can go wrong with a cell, all at once.
fn troubled() -> Vec<CellRecord> {
    let mut invalid = builder::done("demo", "w8a8", &[&[1.6, 1.9, 1.5]]);
    invalid.starts[0].neighbours.push(Neighbour {
        device: 0,
        pid: 7,
        command: "python train.py".to_owned(),
        memory_bytes: None,
    });
    invalid.starts[0].stop.as_mut().unwrap().leaks.push(Leak {
        pid: 4242,
        name: "VLLM::Worker_TP0".to_owned(),
        command: "VLLM::Worker_TP0".to_owned(),
        ended: true,
    });
    let mut interrupted = builder::done("demo", "fp8", &[&[1.0, 1.0, 1.0]]);
    interrupted.starts[0].status = StartStatus::Interrupted;
    interrupted.status = interrupted.derived_status();
    vec![
        builder::done("demo", "bf16", &[&[2.0, 2.02, 1.98]]),
        invalid,
        builder::failed("demo", "w8a16"),
        interrupted,
        builder::planned("other", "bf16"),
    ]
}

#[test]
fn trouble_is_said_beside_the_numbers() {
    let passed_over = vec![PassedOver {
        file: "demo_w4a16.json".to_owned(),
        reason: "cut short: EOF while parsing a string at line 1 column 1490".to_owned(),
    }];
    let summary = Summary::new(derived(troubled()), passed_over);
    insta::assert_snapshot!(text(&summary), @"
    Offline: LLM.generate, all requests at once
    ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     Model   Precision   Measured                 Speed-up   Output tok/s   Total tok/s   Requests/s   Makespan s   Tail %   Preempt.   KV tokens   Load s
    ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     DEMO    BF16        3 steps                  baseline            128           384         4.00         2.00      8.8          0     123,456     40.0
     DEMO    W8A8        3 steps, not valid (1)      1.21x            154           461         4.80         1.67      8.8          0     123,456     40.0
     DEMO    W8A16       failed (2)                      -              -             -            -            -        -          -           -        -
     DEMO    FP8         interrupted (3)                 -              -             -            -            -        -          -           -        -
     OTHER   BF16        not begun                       -              -             -            -            -        -          -           -        -
    ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    Against the baseline
      DEMO W8A8: 1.21x the throughput of BF16 (one engine start: no interval): not valid: other processes used the device in the engine start

    Remarks
      (1) DEMO W8A8: not valid: other processes used the device in the engine start
      (2) DEMO W8A16: failed while loading: Failed to find a kernel that can implement the WNA16 linear layer; this precision has no kernel here; leave the precision out (log: benchmark_logs/demo_w8a16.0.log)
      (3) DEMO FP8: an engine start was interrupted; kept in the record, and in no number

    Warnings
      DEMO W8A8: the measured steps vary by 12.5 % (standard deviation over mean, -3.0 % per step)

    Processes that outlived their engine
      demo_w8a8 block 0: VLLM::Worker_TP0 (pid 4242) was ended

    Files passed over
      demo_w4a16.json: cut short: EOF while parsing a string at line 1 column 1490

    Checkpoints
    ─────────────────────────────────────────────────────────────────────────────
     Model   Precision   Weights really are   Kernels                       Size
    ─────────────────────────────────────────────────────────────────────────────
     DEMO    BF16        BF16                 SomeKernel for SomeScheme   269 MB
     DEMO    W8A8        W8A8                 SomeKernel for SomeScheme   269 MB
     DEMO    W8A16       W8A16                -                           269 MB
     DEMO    FP8         FP8                  SomeKernel for SomeScheme   269 MB
     OTHER   BF16        BF16                 -                           269 MB
    ─────────────────────────────────────────────────────────────────────────────

    Measured on
      node1: no accelerator; Some CPU (2 CPUs, 16.0 GB), Linux 6.18.0; torch 2.13.0, vllm 0.32.0+cpu on cpu: demo_bf16, demo_w8a8, demo_fp8
      node1: no engine came up; Some CPU (2 CPUs, 16.0 GB), Linux 6.18.0: demo_w8a16
      workload main: 4 prompts x 2 samples, up to 64 tokens in, 32 out, seed 0, sha256 abcdef012345
      session s1: 2026-08-01 00:00:00 UTC, rollbench 0.1.0, rollbench.toml; 1 x (1 warm-up + 3 measured steps) a cell

    Notes
      One engine start a cell: a difference cannot be told from luck. For intervals and verdicts (about 11 minutes, by this run's own times):
          rollbench run --blocks 6
    ");
}

#[test]
fn without_the_baseline_there_is_no_speed_up_and_a_note() {
    let shown = text(&summary(vec![builder::done(
        "demo",
        "w8a8",
        &[&[1.6, 1.6, 1.6]],
    )]));
    assert!(!shown.contains("Speed-up"), "{shown}");
    assert!(
        shown.contains("No speed-up for DEMO: its baseline precision bf16 was not measured."),
        "{shown}"
    );
}

/// A cell of session `s2` beside those of `s1`.
fn other_session(precision: &str, makespans: &[f64]) -> CellRecord {
    let mut record = builder::done("demo", precision, &[makespans]);
    record.session = builder::session("s2");
    for start in &mut record.starts {
        start.session = "s2".to_owned();
    }
    record
}

#[test]
fn a_ratio_across_sessions_is_marked() {
    let shown = text(&summary(vec![
        builder::done("demo", "bf16", &[&[2.0, 2.0, 2.0]]),
        other_session("w8a8", &[1.6, 1.6, 1.6]),
    ]));
    assert!(shown.contains("1.25x*"), "{shown}");
    assert!(
        shown.contains("* The baseline of this ratio was measured in another session"),
        "{shown}"
    );
}

#[test]
fn other_requests_or_other_token_counts_give_no_ratio() {
    let mut workload = builder::done("demo", "w8a8", &[&[1.6]]);
    workload.workloads["main"].sha256 = "fedcba".to_owned();
    let mut tokens = builder::done("demo", "w8a16", &[&[1.6]]);
    tokens.starts[0].steps[1].sequences.output_tokens[3] = 31;
    let shown = text(&summary(vec![
        builder::done("demo", "bf16", &[&[2.0]]),
        workload,
        tokens,
    ]));
    assert!(
        shown.contains("DEMO W8A8: not compared: measured with the requests fedcba, the baseline with the requests abcdef012345"),
        "{shown}"
    );
    assert!(
        shown.contains(
            "DEMO W8A16: not compared: measured with 512 prompt and 255 output tokens in a step, the baseline with 512 prompt and 256 output tokens in a step"
        ),
        "{shown}"
    );
    assert!(!shown.contains("1.25x"), "{shown}");
}

#[test]
fn online_cells_have_a_table_of_latencies() {
    let mut record = builder::done("demo", "bf16", &[&[2.0]]);
    record.cell.mode = Mode::Online;
    let step = &mut record.starts[0].steps[1];
    let rows = step.sequences.len();
    step.online = Some(crate::record::OnlineColumns {
        scheduled_ns: vec![0; rows],
        first_choice_ns: vec![Some(100_000_000); rows],
        ..Default::default()
    });
    insta::assert_snapshot!(text(&summary(vec![record])), @r"
    Online: vllm serve, streaming client
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     Model   Precision   Measured   Output tok/s   Total tok/s   Requests/s   Makespan s   Tail %   Preempt.   KV tokens   Load s
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     DEMO    BF16        1 step              128           384         4.00         2.00      8.8          0     123,456     40.0
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    Online: latency
    ─────────────────────────────────────────────────────────────────────────────────────────────────────
     Model   Precision   TTFT p50 ms   p99   TPOT p50 ms    p99   ITL p50 ms   p99   E2EL p50 ms     p99
    ─────────────────────────────────────────────────────────────────────────────────────────────────────
     DEMO    BF16                100   100          33.1   60.7            -     -         1,125   1,982
    ─────────────────────────────────────────────────────────────────────────────────────────────────────

    Checkpoints
    ─────────────────────────────────────────────────────────────────────────────
     Model   Precision   Weights really are   Kernels                       Size
    ─────────────────────────────────────────────────────────────────────────────
     DEMO    BF16        BF16                 SomeKernel for SomeScheme   269 MB
    ─────────────────────────────────────────────────────────────────────────────

    Measured on
      node1: no accelerator; Some CPU (2 CPUs, 16.0 GB), Linux 6.18.0; torch 2.13.0, vllm 0.32.0+cpu on cpu
      workload main: 4 prompts x 2 samples, up to 64 tokens in, 32 out, seed 0, sha256 abcdef012345
      session s1: 2026-08-01 00:00:00 UTC, rollbench 0.1.0, rollbench.toml; 1 x (1 warm-up + 3 measured steps) a cell
    ");
}

#[test]
fn what_was_never_sent_makes_latencies_not_valid_and_those_from_the_schedule_bounds() {
    let mut record = builder::done("demo", "bf16", &[&[2.0]]);
    record.cell.mode = Mode::Online;
    let mut step = builder::paced(10.0, 10, |_| 0.5);
    step.duration_s = Some(1.0);
    step.arrivals = Some(crate::record::Arrivals {
        offered: 12,
        sent: 10,
        unsent: 2,
        unsent_scheduled_ns: vec![200_000_000, 900_000_000],
    });
    record.starts[0].steps[1] = step;
    let summary = summary(vec![record]);
    let shown = text(&summary);
    assert!(
        shown.contains("latencies not valid: 2 of 12 requests were due and never sent"),
        "{shown}"
    );
    assert!(shown.contains("E2EL p99 >= 767 ms"), "{shown}");
    let table = |bytes: Vec<u8>, column: &str| {
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let at = reader
            .headers()
            .unwrap()
            .iter()
            .position(|name| name == column);
        let last = reader.records().last().unwrap().unwrap();
        last[at.unwrap()].to_owned()
    };
    let of_cell = |column| table(super::csv::cells(&summary).unwrap(), column);
    assert_eq!(of_cell("unsent_requests"), "2");
    assert_eq!(of_cell("latency_valid"), "false");
    assert_eq!(of_cell("p99_e2el_from_schedule_ms"), ">=767");
    assert_eq!(of_cell("p99_e2el_ms"), "500");
    assert_eq!(table(super::csv::steps(&summary).unwrap(), "sent"), "10");
}

#[test]
fn an_empty_folder_has_no_results_and_whole_headers() {
    let summary = summary(Vec::new());
    assert_eq!(text(&summary), "No results.\n");
    assert_eq!(shown(&summary, Format::Markdown), "No results.\n");
    assert!(shown(&summary, Format::Csv).starts_with("model,precision,mode,"));
}

#[test]
fn the_order_in_which_files_are_read_does_not_matter() {
    let mut backwards = troubled();
    backwards.reverse();
    assert_eq!(summary(troubled()), summary(backwards));
}

#[test]
fn a_suspended_step_that_was_measured_again_invalidates_nothing() {
    let mut record = builder::done("demo", "bf16", &[&[2.0, 2.0]]);
    let mut suspended = record.starts[0].steps[1].clone();
    suspended.status = StepStatus::Invalid;
    suspended.reasons = vec!["suspended".to_owned()];
    suspended.begin_mono_ns = 5;
    record.starts[0].steps.insert(1, suspended);
    let summary = summary(vec![record]);
    assert_eq!(summary.cells[0].invalid, Vec::<String>::new());
    assert_eq!(summary.cells[0].metrics.as_ref().unwrap().steps, 2);
}

#[test]
fn imported_results_say_what_they_cannot_know() {
    let dir = tempfile::tempdir().unwrap();
    let throughput = r#"{"elapsed_time": 9.2, "num_requests": 32, "total_num_tokens": 24576,
        "requests_per_second": 3.4782608695652173, "tokens_per_second": 2671.304347826087}"#;
    fs::write(dir.path().join("qwen3-1.7b_bf16_run1.json"), throughput).unwrap();
    fs::write(dir.path().join("qwen3-1.7b_bf16_run2.json"), throughput).unwrap();
    let (derived, passed_over) = read_results(dir.path(), derive).unwrap();
    let summary = Summary::new(derived, passed_over);
    insta::assert_snapshot!(text(&summary), @r"
    Imported
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     Model        Precision   Measured by             Load          Runs   Speed-up   Output tok/s   Total tok/s   Requests/s
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
     qwen3-1.7b   bf16        vllm bench throughput   32 requests      2          -    unknown (1)         2,671         3.48
    ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    Remarks
      (1) vllm bench throughput writes no count of output tokens: their throughput cannot be known from its file
    ");
    assert_eq!(summary.imported[0].output_throughput, None);
}

#[test]
fn the_files_are_the_same_bytes_each_time_and_do_not_disturb_a_second_reading() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &builder::session("s1")).unwrap();
    for record in one_block() {
        let _ = store.put_cell(record);
    }
    store.close().unwrap();
    let results = crate::record::results_dir(dir.path());
    let write = || {
        let summary = super::read(&results).unwrap();
        assert_eq!(summary.passed_over, []);
        super::write_all(&results, &summary, false).unwrap();
        FILES.map(|file| fs::read(results.join(file)).unwrap())
    };
    assert_eq!(write(), write());
}

/// The cell's starts once more as the calibration arm, each slower by `factor`.
fn calibrated(mut record: CellRecord, factors: [f64; 6]) -> CellRecord {
    let main = record.starts.clone();
    for (start, factor) in main.into_iter().zip(factors) {
        let mut again = start;
        again.arm = crate::record::Arm::Calibration;
        for step in &mut again.steps {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "nanoseconds"
            )]
            let scaled = (step.makespan_ns as f64 * factor) as u64;
            step.makespan_ns = scaled;
        }
        record.starts.push(again);
    }
    record
}

fn section(text: &str, title: &str) -> String {
    let lines = text.lines().skip_while(|line| *line != title);
    lines
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_calibration_is_told_and_limits_what_is_claimed() {
    let mut records = six_blocks();
    records[0] = calibrated(
        records.swap_remove(0),
        [1.01, 0.99, 1.004, 0.997, 1.008, 0.993],
    );
    insta::assert_snapshot!(section(&text(&summary(records)), "Against the baseline"), @r"
Against the baseline
  DEMO W8A8: 1.17x the throughput of BF16 (95 % CI 1.17-1.18, 6 engine starts): faster
  DEMO: the baseline measured twice: 1.000x (0.991-1.008); this session can tell 0.9 % from nothing
");
    let mut records = six_blocks();
    records[0] = calibrated(
        records.swap_remove(0),
        [1.05, 1.051, 1.049, 1.05, 1.052, 1.048],
    );
    insta::assert_snapshot!(section(&text(&summary(records)), "Against the baseline"), @r"
Against the baseline
  DEMO W8A8: 1.17x the throughput of BF16 (95 % CI 1.17-1.18, 6 engine starts): not valid: BF16 measured twice differs from itself by more than the smallest effect of interest
  DEMO: the baseline measured twice: 0.952x (0.951-0.954); this session can tell 0.1 % from nothing. Two equal arms differ by more than the smallest effect of interest: this session is not valid
");
}

#[test]
fn several_models_have_a_geometric_mean_and_the_training_step_follows() {
    let mut records = six_blocks();
    records.truncate(2);
    for mut record in six_blocks().into_iter().take(2) {
        record.cell.id.model = "other".parse().unwrap();
        record.cell.labels.model = "OTHER".to_owned();
        records.push(record);
    }
    let times = "gen=100,rest=60".parse().unwrap();
    let shown = text(&summary(records).with_step_time(times));
    insta::assert_snapshot!(section(&shown, "Against the baseline"), @r"
Against the baseline
  DEMO W8A8: 1.17x the throughput of BF16 (95 % CI 1.17-1.18, 6 engine starts): faster
  OTHER W8A8: 1.17x the throughput of BF16 (95 % CI 1.17-1.18, 6 engine starts): faster
  All 2 models W8A8: 1.17x (95 % CI 1.17-1.18), the geometric mean of their speed-ups
");
    insta::assert_snapshot!(section(&shown, "The whole training step"), @r"
The whole training step
  DEMO W8A8: the whole training step 1.103x as fast (1.100-1.105), generation being 62 % of it; nothing is won once a weight sync costs 14.9 s more
  OTHER W8A8: the whole training step 1.103x as fast (1.100-1.105), generation being 62 % of it; nothing is won once a weight sync costs 14.9 s more
");
}

#[test]
fn a_block_that_stands_out_is_told_and_kept() {
    let of = |precision: &str, last: f64| {
        let rows = [1.0, 1.01, 1.02, 0.99, 1.0, 1.01, 0.98, last].map(|m| [m]);
        let rows: Vec<&[f64]> = rows.iter().map(<[f64; 1]>::as_slice).collect();
        builder::done("demo", precision, &rows)
    };
    let mut records = vec![of("bf16", 1.0), of("w8a8", 0.6)];
    for (start, factor) in records[1]
        .starts
        .iter_mut()
        .zip([1.0, 1.004, 0.997, 1.002, 0.998, 1.003, 1.001, 1.0])
    {
        for step in &mut start.steps {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "nanoseconds"
            )]
            let scaled = (step.makespan_ns as f64 * factor) as u64;
            step.makespan_ns = scaled;
        }
    }
    insta::assert_snapshot!(section(&text(&summary(records)), "Against the baseline"), @r"
Against the baseline
  DEMO W8A8: no difference detectable at 2 % (1.07x, 0.92-1.24); about 26 more engine starts would decide
  DEMO W8A8: block 7 (of 8, from 0) stands out; it is in the numbers, and without it the ratio is 1.00x
");
}

#[test]
fn steps_come_under_verls_names() {
    let shown = shown(&summary(one_block()), Format::Verl);
    assert_eq!(shown.lines().count(), 6);
    insta::assert_snapshot!(shown.lines().next().unwrap(), @r#"{"step":1,"rollbench/model":"demo","rollbench/precision":"bf16","rollbench/mode":"offline","rollbench/arm":"main","rollbench/block":0,"timing_s/gen":2.0,"timing_per_token_ms/gen":7.8125,"response_length/mean":32.0,"response_length/max":32,"response_length/min":32,"response_length/clip_ratio":1.0}"#);
}

/// Two precisions at two points: W8A8 is twice as fast at 4 requests/s and as fast as BF16 all at once.
fn sweep() -> Vec<CellRecord> {
    let of = |precision: &str, makespans: [f64; 4]| {
        let mut record = builder::done("demo", precision, &[&makespans]);
        record.cell.mode = Mode::Online;
        record.session.plan.steps = 2;
        record.session.plan.points = 2;
        let [paced, at_once] = [Some(4.0), None].map(|rate| Point {
            rate,
            ..Point::default()
        });
        for step in &mut record.starts[0].steps {
            step.point = Some(if step.index < 3 { paced } else { at_once });
        }
        record
    };
    vec![
        of("bf16", [2.0, 2.0, 1.0, 1.0]),
        of("w8a8", [1.0, 1.0, 1.0, 1.0]),
    ]
}

#[test]
fn a_sweep_has_a_row_and_a_ratio_a_point() {
    let summary = summary(sweep());
    let rows: Vec<_> = summary
        .cells
        .iter()
        .map(|cell| {
            let ratio = cell.comparison.as_ref().and_then(|c| c.estimate);
            let makespan = cell.metrics.as_ref().map(|m| m.makespan_s);
            (cell.title(), makespan, ratio.map(|e| e.ratio))
        })
        .collect();
    let expected = [
        ("DEMO BF16 (4 requests/s)", 2.0, None),
        ("DEMO W8A8 (4 requests/s)", 1.0, Some(2.0)),
        ("DEMO BF16 (all at once)", 1.0, None),
        ("DEMO W8A8 (all at once)", 1.0, Some(1.0)),
    ]
    .map(|(title, makespan, ratio)| (title.to_owned(), Some(makespan), ratio));
    assert_eq!(rows, expected);
    let shown = text(&summary);
    let points: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("online,"))
        .collect();
    insta::assert_snapshot!(points.join("\n"), @"
    DEMO (online, 4 requests/s) W8A8: 2.00x the throughput of BF16 (one engine start: no interval)
    DEMO (online, all at once) W8A8: 1.00x the throughput of BF16 (one engine start: no interval)
    ");
    let csv = shown_csv(&summary);
    assert_eq!(csv, ["4", "4", "inf", "inf"]);
}

fn shown_csv(summary: &Summary) -> Vec<String> {
    let text = shown(summary, Format::Csv);
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let names = rows.headers().unwrap().clone();
    let rate = names
        .iter()
        .position(|name| name == "request_rate_req_s")
        .unwrap();
    rows.records()
        .map(|row| row.unwrap()[rate].to_owned())
        .collect()
}

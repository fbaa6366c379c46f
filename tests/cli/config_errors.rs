//! Bad input through the real binary: all mistakes at once, with the source line, exit code 2, nothing on stdout.

use super::site::Site;

fn refused(site: &Site, args: &[&str]) -> String {
    let output = site.rollbench(args);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(output.stdout.is_empty());
    site.shown(&stderr)
}

#[test]
fn mistakes_of_file_and_flags_come_together() {
    let site = Site::new();
    site.write(
        "rollbench.toml",
        "schema = 1\n[run]\nstep = 3\n[[precision]]\nname = \"bf16\"\n[[model]]\nname = \"tiny\"\n",
    );
    insta::assert_snapshot!(refused(&site, &["plan", "--quants", "bf61", "-n", "0"]), @r#"
    error: -n 0: must be at least 1

    error: unknown precision `bf61` in --quants
     |
     = help: did you mean `bf16`?
     = help: the precisions of rollbench.toml are `bf16`

    error: unknown key `step` in `run`
     --> rollbench.toml:3:1
      |
    3 | step = 3
      | ^^^^ did you mean `steps`?

    error: no precision is the baseline
     --> rollbench.toml:5:8
      |
    5 | name = "bf16"
      |        ^^^^^^
      |
      = help: add `baseline = true` to the one that the others are compared with

    error: 4 mistakes in the configuration; nothing was run
    "#);
}

#[test]
fn an_unknown_model_names_the_built_in_matrix_that_has_it() {
    let site = Site::new();
    insta::assert_snapshot!(refused(&site, &["plan", "--config", "cpu", "--models", "pangu-7b"]), @"
    error: unknown model `pangu-7b` in --models
     |
     = help: the models of built-in cpu.toml are `smollm2-135m`
     = help: the built-in matrix `ascend` has it: --config ascend
     = help: the built-in matrix `nvidia` has it: --config nvidia

    error: 1 mistake in the configuration; nothing was run
    ");
}

#[test]
fn an_unset_model_base_says_how_to_set_it() {
    let site = Site::new();
    insta::assert_snapshot!(refused(&site, &["plan", "--config", "ascend", "--quants", "bf16"]), @r#"
    error: the variable MODEL_BASE is not set
      --> built-in ascend.toml:65:20
       |
    65 | checkpoints.bf16 = "${MODEL_BASE}/qwen3-1.7b"
       |                    ^^^^^^^^^^^^^^^^^^^^^^^^^^ needed here and in 2 more places
       |
       = help: export MODEL_BASE, or pass --model-base DIR: the folder that holds the checkpoints

    error: 1 mistake in the configuration; nothing was run
    "#);
}

#[test]
fn a_run_stops_at_the_same_mistakes_before_anything_is_made() {
    let site = Site::new();
    let shown = refused(&site, &["run", "--config", "cpu", "--gpu-mem-util", "1.5"]);
    assert!(
        shown.contains("--gpu-mem-util 1.5: must be above 0 and at most 1"),
        "{shown}"
    );
    assert_eq!(site.files(), Vec::<String>::new());
}

#[test]
fn a_file_that_is_no_text_is_named() {
    let site = Site::new();
    site.write_bytes("rollbench.toml", b"schema = 1 # \xff\xfe");
    insta::assert_snapshot!(refused(&site, &["plan"]), @"
    error: rollbench.toml is not UTF-8 text (byte 13)
     |
     = help: TOML is UTF-8; save the file in that encoding

    error: 1 mistake in the configuration; nothing was run
    ");
}

/// Every flag keeps to the range of its key; what it must be is said, and nothing panics.
#[test]
fn flags_out_of_range_are_refused_with_the_range() {
    let site = Site::new();
    let cases: [(&[&str], &str); 17] = [
        (
            &["--blocks", "4294967295"],
            "--blocks 4294967295: must be from 1 to 10000",
        ),
        (&["--steps", "0"], "--steps 0: must be at least 1"),
        (&["--steps", "1e3"], "--steps 1e3: must be a whole number"),
        (
            &["--warmup", "99999"],
            "--warmup 99999: must be from 0 to 10000",
        ),
        (
            &["--num-prompts", "-1"],
            "--num-prompts -1: must be at least 1",
        ),
        (
            &["--num-prompts", "10000000"],
            "--num-prompts 10000000: must be from 1 to 1000000",
        ),
        (
            &["--input-len", "4294967295"],
            "--input-len 4294967295: must be from 1 to 10000000",
        ),
        (&["-n", "1000000"], "-n 1000000: must be from 1 to 100000"),
        (&["--seed", "-1"], "--seed -1: must be at least 0"),
        (
            &["--gate-timeout", "inf"],
            "--gate-timeout inf: must be a number of seconds above 0",
        ),
        (
            &["--until", "5"],
            "--until 5: a share above 0 is written 5% or 0.05",
        ),
        (
            &["--online", "--request-rate", "1e-30"],
            "--request-rate 1e-30: must be from 0.000001 to 1000000",
        ),
        (
            &["--online", "--request-rate", "1e30"],
            "--request-rate 1e30: must be from 0.000001 to 1000000",
        ),
        (
            &["--online", "--ramp", "1e-30:1e-29"],
            "--ramp 1e-30:1e-29: both rates must be from 0.000001 to 1000000",
        ),
        (
            &["--online", "--duration", "1e300", "--max-concurrency", "1"],
            "--duration 1e300: must be a number of seconds above 0",
        ),
        (
            &["--online", "--request-rate", "1", "--burstiness", "1e-300"],
            "--burstiness 1e-300: must be from 0.001 to 1000000",
        ),
        (
            &["--online", "--max-concurrency", "1,0"],
            "--max-concurrency 0: must be at least 1",
        ),
    ];
    for (args, told) in cases {
        let shown = refused(&site, &[&["plan", "--config", "cpu"], args].concat());
        assert!(shown.contains(told), "{args:?}: {shown}");
    }
}

#[test]
fn what_no_process_can_be_given_is_refused() {
    let site = Site::new();
    site.write(
        "rollbench.toml",
        "schema = 1\n[engine]\nenv = { A = \"a\\u0000b\", \"B=\" = \"1\" }\nargs = { dtype = \"\\u0000\" }\n\
         [[precision]]\nname = \"bf16\"\nbaseline = true\n[[model]]\nname = \"tiny\"\n",
    );
    let shown = refused(&site, &["plan"]);
    for told in [
        "`engine.env.A` holds a NUL character",
        "\"B=\" is no name of a variable",
        "`engine.args.dtype` holds a NUL character",
    ] {
        assert!(shown.contains(told), "{shown}");
    }
}

#[test]
fn a_parent_folders_configuration_is_found_up_to_the_repository() {
    let site = Site::new();
    site.write("rollbench.toml", include_str!("../../configs/cpu.toml"));
    std::fs::create_dir_all(site.work().join("a/b")).expect("made");
    let source = |folder: &str| {
        let output = site
            .command(&["plan", "--json"], folder)
            .output()
            .expect("runs");
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |key: &str| plan["matrix"][key].as_str().expect("text").to_owned();
        site.shown(&format!("{} ({})", text("source"), text("why")))
    };
    assert_eq!(
        source(""),
        "rollbench.toml (found in the current directory)"
    );
    assert_eq!(
        source("a/b"),
        "DIR/rollbench.toml (found in a parent folder)"
    );
    std::fs::create_dir(site.work().join("a/.git")).expect("made");
    assert!(source("a/b").starts_with("built-in "), "{}", source("a/b"));
}

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

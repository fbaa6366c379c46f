//! What vLLM says in its log about the kernels it chose and the memory its weights take.

use super::log::parse_line;
use crate::units::Bytes;

/// The kernels named, in order, without repeats: `CPUInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8`.
///
/// vLLM says `Selected <Kernel> for <Scheme>` from 0.18 on, and `Using <Kernel> for <Scheme or purpose>` in places.
pub(super) fn kernels(log: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in log.lines() {
        let message = parse_line(line).message;
        let Some(rest) = message
            .strip_prefix("Selected ")
            .or_else(|| message.strip_prefix("Using "))
        else {
            continue;
        };
        let mut words = rest.split_whitespace();
        let (Some(kernel), Some("for"), Some(scheme)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        // A class name, no English word: `Using pad_token for padding` names no kernel.
        let is_kernel = kernel.starts_with(|c: char| c.is_ascii_uppercase())
            && (kernel.contains("Kernel")
                || kernel.contains("Linear")
                || kernel.contains("Backend"));
        if is_kernel {
            let named = format!("{kernel} for {}", scheme.trim_end_matches(['.', ',']));
            if !found.contains(&named) {
                found.push(named);
            }
        }
    }
    found
}

/// The device memory that the weights take, summed over workers; absent if vLLM does not say (it does not on CPU).
pub(super) fn weights(log: &str) -> Option<Bytes> {
    let gib: f64 = log
        .lines()
        .filter_map(|line| {
            let rest = parse_line(line)
                .message
                .strip_prefix("Model loading took ")?;
            let (number, unit) = rest.split_once(' ')?;
            unit.starts_with("GiB")
                .then(|| number.parse::<f64>().ok())?
        })
        .sum();
    // A positive size far below 2^63.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bytes = (gib * 1_073_741_824.0).round() as u64;
    (bytes > 0).then_some(Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
(Worker pid=9) INFO 11-24 12:44:36 [__init__.py:847] Selected CPUInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8
(Worker pid=10) INFO 11-24 12:44:36 [__init__.py:847] Selected CPUInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8
INFO 11-24 12:44:36 [compressed_tensors_wNa16.py:138] Using MarlinLinearKernel for CompressedTensorsWNA16
INFO 11-24 12:44:36 [x.py:1] Using pad_token for padding
(Worker_TP0 pid=9) INFO 11-24 12:44:36 [gpu_model_runner.py:5150] Model loading took 3.25 GiB memory and 1.5 seconds
(Worker_TP1 pid=10) INFO 11-24 12:44:36 [gpu_model_runner.py:5150] Model loading took 3.25 GiB memory and 1.6 seconds
";

    #[test]
    fn kernels_are_named_once() {
        assert_eq!(
            kernels(LOG),
            [
                "CPUInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8",
                "MarlinLinearKernel for CompressedTensorsWNA16"
            ]
        );
    }

    #[test]
    fn weights_of_all_workers_are_summed() {
        assert_eq!(weights(LOG), Some(Bytes(6_979_321_856)));
        assert_eq!(weights("nothing"), None);
    }
}

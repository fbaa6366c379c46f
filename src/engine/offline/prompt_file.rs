//! The requests of one step as a file, because 20,000 prompts of 512 ids as JSON are 59 MB.
//!
//! ```text
//! 8 bytes    "RBPROMPT"
//! u32        G, the number of prompts
//! u32        S, the number of sequences
//! u32 x G+1  offsets: prompt g is ids[offsets[g]..offsets[g + 1]]
//! u32 x S    column `group`: the prompt of each sequence
//! u32 x S    column `sample`
//! u32 x S    column `output_tokens`: the exact length asked for
//! u32 x ...  ids, as many as the last offset says
//! ```
//! All numbers are little-endian. `read_prompt_file` in `driver.py` is the reader.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::PathError;
use crate::workload::Batch;

const MAGIC: &[u8; 8] = b"RBPROMPT";

/// Writes `batch` to a new file that only its owner may read: prompts can be private.
pub(super) fn write(path: &Path, batch: &Batch) -> Result<(), PathError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(PathError::on("create", path))?;
    // Not as one buffer first: the ids of a big step are most of rollbench's memory already.
    let mut out = BufWriter::new(file);
    encode(batch, &mut out)
        .and_then(|()| out.flush())
        .map_err(PathError::on("write", path))
}

fn encode(batch: &Batch, out: &mut impl Write) -> io::Result<()> {
    let word = |n: usize| {
        u32::try_from(n).map_err(|_| io::Error::other("a step holds at most 2^32 tokens"))
    };
    out.write_all(MAGIC)?;
    let mut push = |n: u32| out.write_all(&n.to_le_bytes());
    push(word(batch.prompts.len())?)?;
    push(word(batch.samples.len())?)?;
    let mut offset = 0;
    push(0)?;
    for prompt in &batch.prompts {
        offset += prompt.len();
        push(word(offset)?)?;
    }
    let samples = &batch.samples;
    samples.iter().try_for_each(|s| push(s.group))?;
    samples.iter().try_for_each(|s| push(s.sample))?;
    samples.iter().try_for_each(|s| push(s.output_tokens))?;
    batch.prompts.iter().flatten().try_for_each(|&id| push(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Sample;

    #[test]
    fn the_layout_is_as_documented() {
        let sample = |group, sample, output_tokens| Sample {
            group,
            sample,
            output_tokens,
        };
        let batch = Batch {
            prompts: vec![vec![7, 8, 9], vec![10]],
            samples: vec![sample(0, 0, 5), sample(0, 1, 6), sample(1, 0, 4)],
        };
        let mut bytes = Vec::new();
        encode(&batch, &mut bytes).expect("memory takes all");
        let words: Vec<u32> = bytes[8..]
            .chunks_exact(4)
            .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
            .collect();
        assert_eq!(&bytes[..8], MAGIC);
        assert_eq!(
            words,
            [2, 3, 0, 3, 4, 0, 0, 1, 0, 1, 0, 5, 6, 4, 7, 8, 9, 10]
        );
    }
}

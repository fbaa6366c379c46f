//! Ascend's tables, as `torch_npu` leaves them in `ASCEND_PROFILER_OUTPUT`. Columns are found by name: their order,
//! presence and spelling move with CANN.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::number::nanoseconds;
use super::rules::Rules;
use super::trace::{Kinds, Mark, Range, Span, Trace, text};
use super::window::Window;

/// Reads `kernel_details.csv`.
pub(super) fn read(path: &Path, rules: &Rules) -> io::Result<Trace> {
    Ok(read_window(Window::open(path)?, rules))
}

/// Columns of `kernel_details.csv` by their names in any CANN.
struct Columns {
    device: Option<usize>,
    step: Option<usize>,
    name: usize,
    op_type: Option<usize>,
    start: usize,
    duration: usize,
    shapes: Option<usize>,
}

impl Columns {
    fn find(header: &ByteRecord) -> Option<Self> {
        let at = |names: &[&str]| {
            names.iter().find_map(|name| {
                header
                    .iter()
                    .position(|h| h.trim_ascii() == name.as_bytes())
            })
        };
        Some(Self {
            device: at(&["Device_id", "Device ID"]),
            step: at(&["Step Id", "Step ID"]),
            name: at(&["Name", "Op Name"])?,
            op_type: at(&["Type", "OP Type"]),
            start: at(&["Start Time(us)", "Task Start Time(us)"])?,
            duration: at(&["Duration(us)", "Task Duration(us)"])?,
            shapes: at(&["Input Shapes"]),
        })
    }
}

/// Rows that could not be used, and the line of the first.
#[derive(Default)]
struct Wrong(Option<(u64, u64)>);

impl Wrong {
    fn at(&mut self, line: u64) {
        self.0.get_or_insert((0, line)).0 += 1;
    }
}

/// Reads what a window shows.
pub(super) fn read_window(window: Window, rules: &Rules) -> Trace {
    let mut trace = Trace::default();
    trace.facts.insert("platform".to_owned(), "npu".to_owned());
    let mut reader = ReaderBuilder::new()
        .flexible(true)
        .buffer_capacity(1 << 18)
        .from_reader(window);
    let columns = reader.byte_headers().ok().and_then(Columns::find);
    let Some(columns) = columns else {
        trace.notes.push(
            "no columns `Name`, `Start Time(us)` and `Duration(us)`: not a kernel_details.csv"
                .to_owned(),
        );
        return trace;
    };
    let mut kinds = Kinds::new(rules);
    let mut wrong = Wrong::default();
    let mut steps: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
    let mut row = ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut row) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                trace.notes.push(format!("truncated: {error}"));
                trace.cut = true;
                break;
            }
        }
        trace.events += 1;
        let line = row.position().map_or(0, csv::Position::line);
        let times = row
            .get(columns.start)
            .and_then(nanoseconds)
            .zip(row.get(columns.duration).and_then(nanoseconds));
        let Some((start, end)) =
            times.and_then(|(start, ns)| Some((start, start.checked_add(ns.max(0))?)))
        else {
            wrong.at(line);
            continue;
        };
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at)).unwrap_or(b"").trim_ascii();
        let op_type = cell(columns.op_type);
        let product = memchr::memmem::find(op_type, b"atMul")
            .or_else(|| memchr::memmem::find(op_type, b"atmul"));
        let rows = product.and_then(|_| first_dimension(cell(columns.shapes)));
        let kind = kinds.of_npu(op_type, row.get(columns.name).unwrap_or(b""), rows);
        let device = cell(columns.device);
        let span = Span {
            start,
            end,
            kind,
            correlation: 0,
        };
        let class = kinds.class(kind);
        match trace
            .devices
            .get_mut(std::str::from_utf8(device).unwrap_or(""))
        {
            Some(lane) => lane.push(class, span),
            None => trace
                .devices
                .entry(text(device))
                .or_default()
                .push(class, span),
        }
        let step = cell(columns.step);
        if !step.is_empty() && step != b"N/A" {
            let range = steps
                .entry((text(device), text(step)))
                .or_insert((start, end));
            *range = (range.0.min(start), range.1.max(end));
        }
    }
    trace.bytes = reader.position().byte();
    trace.device_ranges = steps
        .into_iter()
        .map(|((lane, _), (start, end))| Range {
            start,
            end,
            lane,
            mark: Mark { work: None },
        })
        .collect();
    if let Some((count, line)) = wrong.0 {
        trace.notes.push(format!(
            "{count} rows without a readable time were passed over, the first in line {line}"
        ));
    }
    if let Some(failure) = reader.get_ref().failure() {
        trace
            .notes
            .push(format!("truncated ({failure}); what is whole was read"));
        trace.cut = true;
    }
    trace.kinds = kinds.all;
    trace
}

/// Of `"128,4096;4096,4096"`, quotes included: 128.
fn first_dimension(shapes: &[u8]) -> Option<u32> {
    let digits: Vec<u8> = shapes
        .iter()
        .copied()
        .skip_while(|b| matches!(b, b'"' | b' ' | b'['))
        .take_while(u8::is_ascii_digit)
        .collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// What `op_statistic.csv` and `step_trace_time.csv` tell where there are no single kernels: totals over the whole
/// window, as one device that is busy with each type in turn and then idle.
pub(super) fn read_totals(
    statistic: &Path,
    step_times: Option<&Path>,
    rules: &Rules,
) -> io::Result<Trace> {
    let mut trace = Trace::default();
    trace.facts.insert("platform".to_owned(), "npu".to_owned());
    trace.notes.push(
        "only totals by operator type (op_statistic.csv): no steps can be told apart".to_owned(),
    );
    let mut kinds = Kinds::new(rules);
    let mut ends: BTreeMap<String, i64> = BTreeMap::new();
    let (rows, bytes) = table(statistic)?;
    trace.bytes = bytes;
    for row in &rows {
        trace.events += 1;
        let Some(total) = row
            .get("Total Time(us)")
            .and_then(|v| nanoseconds(v.as_bytes()))
        else {
            continue;
        };
        let op_type = row
            .get("OP Type")
            .or_else(|| row.get("Op Type"))
            .map_or("", String::as_str);
        let kind = kinds.of_npu(op_type.as_bytes(), op_type.as_bytes(), None);
        let device = row.get("Device_id").cloned().unwrap_or_default();
        let end = ends.entry(device.clone()).or_default();
        let span = Span {
            start: *end,
            end: *end + total.max(0),
            kind,
            correlation: 0,
        };
        *end = span.end;
        trace
            .devices
            .entry(device)
            .or_default()
            .push(kinds.class(kind), span);
    }
    let free = match step_times {
        Some(path) => table(path)?.0,
        None => Vec::new(),
    };
    for (device, end) in ends {
        let mine = free
            .iter()
            .filter(|row| row.get("Device_id").is_none_or(|id| *id == device));
        let free: i64 = mine
            .filter_map(|row| nanoseconds(row.get("Free")?.as_bytes()))
            .sum();
        for start in [0, end + free.max(0)] {
            trace.device_ranges.push(Range {
                start,
                end: start,
                lane: device.clone(),
                mark: Mark { work: None },
            });
        }
    }
    trace.kinds = kinds.all;
    Ok(trace)
}

/// A small table, each row by the names of its columns; and its size.
fn table(path: &Path) -> io::Result<(Vec<BTreeMap<String, String>>, u64)> {
    let mut reader = ReaderBuilder::new()
        .flexible(true)
        .from_reader(Window::open(path)?);
    let header: Vec<String> = match reader.byte_headers() {
        Ok(header) => header.iter().map(|h| text(h.trim_ascii())).collect(),
        Err(_) => Vec::new(),
    };
    let named = |row: ByteRecord| {
        header
            .iter()
            .cloned()
            .zip(row.iter().map(|v| text(v.trim_ascii())))
            .collect()
    };
    let rows = reader
        .byte_records()
        .filter_map(Result::ok)
        .map(named)
        .collect();
    let bytes = reader.position().byte();
    Ok((rows, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Trace {
        let rules = Rules::new(None).expect("built in");
        read_window(
            Window::read(io::Cursor::new(text.as_bytes().to_vec())),
            &rules,
        )
    }

    #[test]
    fn quoted_shapes_tabs_and_sixteen_digits_are_read() {
        let trace = read_text(concat!(
            "Device_id,Name,Type,Accelerator Core,Start Time(us),Duration(us),Input Shapes\n",
            "0,aclnnMatmul_MatMulV2,MatMulV2,AI_CORE,1774670741777000.027\t,420.50,\"\"\"128,4096;4096,4096\"\"\"\n",
            "0,hcom_allReduce__123_0_1,OP,N/A,1774670741777400.000\t,10,N/A\n",
            "0,broken,MatMulV2,AI_CORE,N/A,10,N/A\n",
        ));
        let lane = &trace.devices["0"];
        assert_eq!(lane.spans[0][0].start, 1_774_670_741_777_000_027);
        assert_eq!(lane.spans[0][0].end, 1_774_670_741_777_420_527);
        assert_eq!(lane.spans[1].len(), 1);
        assert_eq!(trace.kinds[0].rows, Some(128));
        assert_eq!(
            trace.notes,
            ["1 rows without a readable time were passed over, the first in line 4"]
        );
    }

    #[test]
    fn another_table_is_told() {
        assert!(read_text("a,b\n1,2\n").notes[0].contains("not a kernel_details.csv"));
        assert!(read_text("").notes[0].contains("not a kernel_details.csv"));
    }
}

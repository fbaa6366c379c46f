//! The tables of `npu-smi info`, which has no machine-readable form. They differ between chips and releases; what all
//! share is that a device takes two rows, the second ending in `used / total` memory, and that a second table, with
//! `Process id` in its head, lists the processes.

/// Everything that is read of the tables.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Tables {
    /// The tool's version; the driver's is the same.
    pub(super) version: Option<String>,
    pub(super) chips: Vec<Chip>,
    pub(super) processes: Vec<ChipProcess>,
}

/// One chip; a card may carry two.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chip {
    /// The card.
    pub(super) npu: u32,
    /// Its number on the card.
    pub(super) number: u32,
    /// The number by which software selects it; absent where the table does not say.
    pub(super) logical: Option<u32>,
    pub(super) name: String,
    pub(super) bus: Option<String>,
    pub(super) used_mib: u64,
    pub(super) total_mib: u64,
}

/// A process on a chip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChipProcess {
    pub(super) npu: u32,
    pub(super) chip: u32,
    /// As seen in this container where the table says so, else as the host counts it.
    pub(super) pid: u32,
    pub(super) memory_mib: Option<u64>,
}

/// Reads the tables. Rows that are not understood are passed over; no text makes it fail.
pub(super) fn parse(text: &str) -> Tables {
    let mut tables = Tables::default();
    let mut in_processes = false;
    // The first row of a device, until its second comes.
    let mut first: Option<(u32, String)> = None;
    for line in text.lines() {
        let Some(row) = line.trim().strip_prefix('|') else {
            continue;
        };
        let row = row.strip_suffix('|').unwrap_or(row);
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if row.contains("Process id") {
            in_processes = true;
        } else if row.contains("Version:") {
            tables.version = word_after(row, "Version:");
        } else if row.contains("Bus-Id") || row.contains("Health") {
            // The head of the first table.
        } else if in_processes {
            tables.processes.extend(process(&cells));
        } else if let Some((npu, name)) = first.take() {
            tables.chips.extend(chip(npu, name, &cells));
        } else {
            first = card(&cells);
        }
    }
    tables
}

/// The map from card and chip to the logical number, of `npu-smi info -m`: columns NPU ID, Chip ID, Chip Logic ID, and
/// the name, the logical number being `-` for what is no accelerator.
pub(super) fn parse_map(text: &str) -> Vec<(u32, u32, u32)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().map(str::parse);
            Some((
                words.next()?.ok()?,
                words.next()?.ok()?,
                words.next()?.ok()?,
            ))
        })
        .collect()
}

/// `2     910B3 | OK | 92.3  32  0 / 0`; the 950 has a column of its own for the name.
fn card(cells: &[&str]) -> Option<(u32, String)> {
    let mut words = cells.first()?.split_ascii_whitespace();
    let npu = words.next()?.parse().ok()?;
    let name = words.collect::<Vec<_>>().join(" ");
    let name = match (name.is_empty(), cells) {
        (false, _) => name,
        (true, [_, name, _, ..]) => (*name).to_owned(),
        _ => return None,
    };
    Some((npu, name))
}

/// `0 | 0000:81:00.0 | 0  0 / 0  41052/ 65536`, with a second number in the first cell where the chip has a logical one.
/// The last pair is the device's memory: HBM where there is a column for it, the only one otherwise.
fn chip(npu: u32, name: String, cells: &[&str]) -> Option<Chip> {
    let [numbers, .., bus, usage] = cells else {
        return None;
    };
    let mut numbers = numbers
        .split_ascii_whitespace()
        .map_while(|word| word.parse().ok());
    let (used_mib, total_mib) = pairs(usage).into_iter().rfind(|&(_, total)| total > 0)?;
    Some(Chip {
        npu,
        number: numbers.next().unwrap_or(0),
        logical: numbers.next(),
        name,
        bus: (!matches!(*bus, "" | "NA" | "-")).then(|| (*bus).to_owned()),
        used_mib,
        total_mib,
    })
}

/// `2  0 | 1333928 | name | 37709`, since release 26 with the number inside the container as a fifth cell.
fn process(cells: &[&str]) -> Option<ChipProcess> {
    let [place, pid, _, memory, rest @ ..] = cells else {
        return None;
    };
    let mut place = place.split_ascii_whitespace();
    let npu = place.next()?.parse().ok()?;
    let chip = place.next().map_or(Some(0), |chip| chip.parse().ok())?;
    let inside = rest.first().and_then(|pid| pid.parse().ok());
    Some(ChipProcess {
        npu,
        chip,
        pid: inside.or_else(|| pid.parse().ok())?,
        memory_mib: memory.parse().ok(),
    })
}

/// All `a / b` in a text, with or without blanks around the stroke.
fn pairs(text: &str) -> Vec<(u64, u64)> {
    text.match_indices('/')
        .filter_map(|(at, _)| {
            let before = text[..at].split_ascii_whitespace().next_back()?;
            let after = text[at + 1..].split_ascii_whitespace().next()?;
            Some((before.parse().ok()?, after.parse().ok()?))
        })
        .collect()
}

fn word_after(text: &str, key: &str) -> Option<String> {
    let (_, rest) = text.split_once(key)?;
    rest.split_ascii_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The layouts are those of real tools; every value in them is invented.

    const ONE_CHIP_A_CARD: &str = "
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.0                   Version: 24.1.0                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 2     910B3               | OK            | 92.3        32                0    / 0             |
| 0                         | 0000:81:00.0  | 0           0    / 0          41052/ 65536         |
+===========================+===============+====================================================+
| 3     910B3               | Alarm         | 90.0        31                0    / 0             |
| 0                         | 0000:82:00.0  | 17          0    / 0          3401 / 65536         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 2       0                 | 4711          |                          | 37709                   |
| 2       0                 | 4712          | python3                  | 123                     |
+===========================+===============+====================================================+
| No running processes found in NPU 3                                                            |
+===========================+===============+====================================================+
";

    const TWO_CHIPS_A_CARD: &str = "
| npu-smi 26.0.rc2                            Version: 26.0.rc2                                                    |
+---------------------------+---------------+----------------------------------------------------------------------+
| NPU   Name                | Health        | Power(W)             Temp(C)                 Hugepages-Usage(page)   |
| Chip  Phy-ID              | Bus-Id        | AICore(%)            Memory-Usage(MB)        HBM-Usage(MB)           |
+===========================+===============+======================================================================+
| 7     Ascend910           | OK            | 172.0                53                      0    / 0                |
| 0     14                  | 0000:81:00.0  | 0                    0    / 0                15503/ 65536            |
+------------------------------------------------------------------------------------------------------------------+
| 7     Ascend910           | OK            | -                    52                      0    / 0                |
| 1     15                  | 0000:83:00.0  | 0                    0    / 0                2874 / 65536            |
+===========================+===============+======================================================================+
+---------------------------+---------------+----------------------------------------------------------------------+
| NPU     Chip              | Process id    | Process name       | Process memory(MB)    | Process id in container |
+===========================+===============+======================================================================+
| 7       0                 | 692318        | python3            | 12417                 | NA                      |
| 7       1                 | 692319        | python3            | 11                    | 88                      |
+===========================+===============+======================================================================+
";

    const WITHOUT_HBM: &str = "
| npu-smi 25.2.0                                   Version: 25.2.0                                       |
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===============================+=================+======================================================+
| 2       310P3                 | OK              | NA           45                0     / 0             |
| 0       0                     | 0000:01:00.0    | 0            1529 / 44280                            |
+-------------------------------+-----------------+------------------------------------------------------+
| 2       310P3                 | OK              | NA           43                0     / 0             |
| 1       1                     | 0000:01:00.0    | 0            1412 / 43693                            |
+===============================+=================+======================================================+
| NPU     Chip                  | Process id      | Process name             | Process memory(MB)        |
+===============================+=================+======================================================+
| No running processes found in NPU 2                                                                    |
";

    const WITHOUT_CHIPS: &str = "
| npu-smi 27.0.1                            Version: 27.0.1                                       |
| NPU ID | Name        | Health | Power(W)     Temp(C)           Hugepages-Usage(page) |
|        |             | Bus-Id | NPU Util(%)  Memory-Usage(MB)  HBM-Usage(MB)         |
+========+=============+========+======================================================+
| 0      | Ascend950DT | OK     | 100.0        40                0 / 0                 |
|        |             | NA     | 20           0 / 0             1024 / 8192           |
+========+=============+========+======================================================+
| 3      | Ascend950DT | Alarm  | 120.0        45                0 / 0                 |
|        |             | NA     | 0            0 / 0             2048 / 8192           |
| NPU ID | Process id  | Process name | Process memory(MB) | Process id in container |
| 0      | 1001        | python       | 256                | NA                      |
| 0      | 1002        | python       | 512                | 101                     |
| No running processes found in NPU 3 |
";

    fn chips(text: &str) -> Vec<String> {
        parse(text)
            .chips
            .iter()
            .map(|c| {
                format!(
                    "{}/{} {:?} {} {} {}/{}",
                    c.npu,
                    c.number,
                    c.logical,
                    c.name,
                    c.bus.as_deref().unwrap_or("?"),
                    c.used_mib,
                    c.total_mib
                )
            })
            .collect()
    }

    fn processes(text: &str) -> Vec<(u32, u32, u32, Option<u64>)> {
        parse(text)
            .processes
            .iter()
            .map(|p| (p.npu, p.chip, p.pid, p.memory_mib))
            .collect()
    }

    #[test]
    fn one_chip_a_card() {
        assert_eq!(parse(ONE_CHIP_A_CARD).version.as_deref(), Some("24.1.0"));
        insta::assert_debug_snapshot!(chips(ONE_CHIP_A_CARD), @r#"
        [
            "2/0 None 910B3 0000:81:00.0 41052/65536",
            "3/0 None 910B3 0000:82:00.0 3401/65536",
        ]
        "#);
        assert_eq!(
            processes(ONE_CHIP_A_CARD),
            [(2, 0, 4711, Some(37709)), (2, 0, 4712, Some(123))]
        );
    }

    #[test]
    fn two_chips_a_card_with_logical_numbers_and_numbers_inside_the_container() {
        insta::assert_debug_snapshot!(chips(TWO_CHIPS_A_CARD), @r#"
        [
            "7/0 Some(14) Ascend910 0000:81:00.0 15503/65536",
            "7/1 Some(15) Ascend910 0000:83:00.0 2874/65536",
        ]
        "#);
        assert_eq!(
            processes(TWO_CHIPS_A_CARD),
            [(7, 0, 692_318, Some(12417)), (7, 1, 88, Some(11))]
        );
    }

    #[test]
    fn without_hbm_the_memory_is_the_devices() {
        insta::assert_debug_snapshot!(chips(WITHOUT_HBM), @r#"
        [
            "2/0 Some(0) 310P3 0000:01:00.0 1529/44280",
            "2/1 Some(1) 310P3 0000:01:00.0 1412/43693",
        ]
        "#);
        assert_eq!(processes(WITHOUT_HBM), []);
    }

    #[test]
    fn cards_without_chips() {
        insta::assert_debug_snapshot!(chips(WITHOUT_CHIPS), @r#"
        [
            "0/0 None Ascend950DT ? 1024/8192",
            "3/0 None Ascend950DT ? 2048/8192",
        ]
        "#);
        assert_eq!(
            processes(WITHOUT_CHIPS),
            [(0, 0, 1001, Some(256)), (0, 0, 101, Some(512))]
        );
    }

    #[test]
    fn the_map_of_logical_numbers() {
        let text = "
        NPU ID                         Chip ID                        Chip Logic ID                  Chip Name
        4                              0                              0                              Ascend 910B3
        4                              1                              -                              Mcu
        5                              0                              1                              Ascend 910B3
";
        assert_eq!(parse_map(text), [(4, 0, 0), (5, 0, 1)]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = (parse(&text), parse_map(&text));
        }

        #[test]
        fn no_cut_and_no_change_of_a_byte_makes_it_panic(
            which in 0_usize..4,
            cut in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            at in any::<prop::sample::Index>(),
        ) {
            let text = [ONE_CHIP_A_CARD, TWO_CHIPS_A_CARD, WITHOUT_HBM, WITHOUT_CHIPS][which];
            let mut bytes = text.as_bytes()[..cut.index(text.len())].to_vec();
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn what_a_row_says_is_what_is_read(
            npu in 0_u32..64, chip in 0_u32..2, logical in prop::option::of(0_u32..128),
            used in 0_u64..200_000, total in 1_u64..200_000, pad in 0_usize..6,
        ) {
            let gap = " ".repeat(pad);
            let numbers = logical.map_or(format!("{chip}"), |l| format!("{chip}  {gap}{l}"));
            let text = format!(
                "| {npu} {gap} 910B3 | OK | 1.0 30 0 / 0 |\n| {numbers} | 0000:81:00.0 | 0 0 / 0 {used}{gap}/ {total}{gap}|\n"
            );
            // Glued to its stroke or not.
            let chips = parse(&text).chips;
            prop_assert_eq!(chips.len(), 1);
            prop_assert_eq!((chips[0].npu, chips[0].number, chips[0].logical), (npu, chip, logical));
            prop_assert_eq!((chips[0].used_mib, chips[0].total_mib), (used, total));
        }
    }
}

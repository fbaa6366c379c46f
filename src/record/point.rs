//! Places in a sweep. What was measured at two of them is never put into one number: for statistics, a cell at a point
//! is a cell of its own.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::cell::CellRecord;
use super::start::EngineStart;
use super::step::{Role, Step};

/// How the requests of a step were sent; all absent means "all at once".
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Point {
    /// Requests per second.
    pub rate: Option<f64>,
    /// Requests in flight at most.
    pub concurrency: Option<u32>,
    /// A rate that grew over the step; absent where there was one rate or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
}

/// From one rate to another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ramp {
    /// Requests per second at first.
    pub from: f64,
    /// Requests per second at last.
    pub to: f64,
    /// By equal ratios rather than by equal amounts.
    pub exponential: bool,
}

impl fmt::Display for Ramp {
    /// `1:20` or `1:20:exponential`, as on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.from, self.to)?;
        if self.exponential {
            f.write_str(":exponential")?;
        }
        Ok(())
    }
}

impl Point {
    /// Whether everything was due at once and in flight at once.
    pub fn is_all_at_once(&self) -> bool {
        *self == Self::default()
    }

    /// Without a rate after every rate, as in `1,2,inf`.
    fn key(&self) -> [f64; 5] {
        let ramp = self.ramp.map_or([-1.0, -1.0, -1.0], |r| {
            [r.from, r.to, f64::from(u8::from(r.exponential))]
        });
        let rate = self.rate.unwrap_or(f64::INFINITY);
        let concurrency = self.concurrency.map_or(f64::INFINITY, f64::from);
        [ramp[0], ramp[1], ramp[2], rate, concurrency]
    }
}

impl Ord for Point {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.key().into_iter().zip(other.key());
        pairs
            .map(|(a, b)| a.total_cmp(&b))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Point {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Point {}

impl fmt::Display for Point {
    /// `2 requests/s, at most 8 at a time`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ramp, self.rate) {
            (Some(ramp), _) => {
                write!(f, "{} to {} requests/s", ramp.from, ramp.to)?;
                if ramp.exponential {
                    f.write_str(" exponentially")?;
                }
            }
            (None, Some(rate)) => write!(f, "{rate} requests/s")?,
            (None, None) => f.write_str("all at once")?,
        }
        match self.concurrency {
            Some(limit) => write!(f, ", at most {limit} at a time"),
            None => Ok(()),
        }
    }
}

impl CellRecord {
    /// The points of its measured steps, in the order in which they were measured. A step that names none was sent all
    /// at once.
    pub fn points(&self) -> Vec<Option<Point>> {
        let mut points = Vec::new();
        let steps = self.starts.iter().flat_map(|start| &start.steps);
        for step in steps.filter(|step| step.role == Role::Measured) {
            if !points.contains(&step.point) {
                points.push(step.point);
            }
        }
        points
    }

    /// The record taken apart by points: each part is a whole record with the steps of one point, in the order in
    /// which these were measured, its warm-up among them. One part, the record itself, outside a sweep.
    pub fn by_point(&self) -> impl Iterator<Item = (Option<Point>, Cow<'_, Self>)> {
        let mut points = self.points();
        let sweep = points.len() > 1;
        if points.is_empty() {
            points.push(None);
        }
        let first = points[0];
        points.into_iter().map(move |point| {
            let part = if sweep {
                Cow::Owned(self.at(point, point == first))
            } else {
                Cow::Borrowed(self)
            };
            (point, part)
        })
    }

    fn at(&self, point: Option<Point>, first: bool) -> Self {
        let is_here = |step: &&Step| match step.role {
            Role::Measured => step.point == point,
            // Earlier versions warmed up at the first point alone.
            Role::Warmup => step.point == point || (step.point.is_none() && first),
            Role::Profiled => first,
        };
        let part = |start: &EngineStart| {
            start.with_steps(start.steps.iter().filter(is_here).cloned().collect())
        };
        Self {
            starts: self.starts.iter().map(part).collect(),
            schema: self.schema.clone(),
            session: self.session.clone(),
            cell: self.cell.clone(),
            settings: self.settings.clone(),
            fingerprint: self.fingerprint.clone(),
            workloads: self.workloads.clone(),
            skip: self.skip.clone(),
            status: self.status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::builder::{done, planned};

    fn at(rate: Option<f64>, concurrency: Option<u32>) -> Point {
        Point {
            rate,
            concurrency,
            ramp: None,
        }
    }

    #[test]
    fn points_read_well_and_sort_as_they_are_written() {
        let ramp = Ramp {
            from: 1.0,
            to: 20.0,
            exponential: false,
        };
        let mut points = [
            at(None, None),
            at(Some(2.0), Some(8)),
            at(Some(0.5), None),
            at(None, Some(4)),
            Point {
                ramp: Some(ramp),
                ..Point::default()
            },
        ];
        points.sort_unstable();
        let shown = points.map(|p| p.to_string()).join("\n");
        insta::assert_snapshot!(shown, @r"
        0.5 requests/s
        2 requests/s, at most 8 at a time
        all at once, at most 4 at a time
        all at once
        1 to 20 requests/s
        ");
        assert!(points[3].is_all_at_once() && !points[4].is_all_at_once());
    }

    #[test]
    fn a_point_reads_what_it_wrote() {
        for point in [at(None, None), at(Some(0.1), Some(3))] {
            let text = serde_json::to_string(&point).unwrap();
            assert_eq!(serde_json::from_str::<Point>(&text).unwrap(), point);
        }
    }

    #[test]
    fn a_sweep_falls_into_one_record_a_point() {
        let mut record = done("demo", "bf16", &[&[1.0, 2.0], &[3.0, 4.0]]);
        for start in &mut record.starts {
            start.steps[0].point = Some(at(Some(1.0), None));
            start.steps[1].point = Some(at(Some(1.0), None));
            start.steps[2].point = Some(at(None, None));
        }
        let parts: Vec<_> = record.by_point().collect();
        let steps = |part: &CellRecord| {
            part.starts
                .iter()
                .map(|s| s.steps.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].0, Some(at(Some(1.0), None)));
        assert_eq!(steps(&parts[0].1), [2, 2]);
        assert_eq!(steps(&parts[1].1), [1, 1]);
        assert_eq!(parts[1].1.starts[1].steps[0].makespan_ns, 4_000_000_000);
    }

    #[test]
    fn outside_a_sweep_a_record_stays_whole() {
        let none = planned("demo", "bf16");
        assert_eq!(none.by_point().count(), 1);
        let one = done("demo", "bf16", &[&[1.0]]);
        let parts: Vec<_> = one.by_point().collect();
        assert!(matches!(parts.as_slice(), [(None, Cow::Borrowed(_))]));
    }
}

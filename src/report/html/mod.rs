//! The summary as one page with pictures: static SVG and tables, no script, nothing fetched. The same bytes wherever the
//! same records are read.

mod by_running;
mod cards;
mod completion;
mod fidelity;
mod figure;
mod forest;
mod page;
mod running;
mod session;
mod steps;
mod style;
mod svg;
mod sweep;
mod tables;
mod view;
mod words;

pub(super) use page::{FIRST_LINE, page, pictures, sets};
pub use words::Language;

//! Scales, axes and marks. Coordinates have one decimal, so that the same numbers give the same bytes everywhere.

use std::fmt::Write as _;

use super::style::SERIES;

/// Text of others, as text of a page or of an attribute: no character of it is markup, and none is forbidden in XML.
pub(super) fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            '\t' | '\n' | '\r' => shown.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}

/// About how wide `text` is drawn, in units of the drawing: digits and Latin letters are narrow, others are squares.
pub(super) fn width(text: &str) -> f64 {
    let of = |c: char| if c.is_ascii() { 6.7 } else { 12.0 };
    text.chars().map(of).sum()
}

/// From values to places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    pub(super) fn linear(from: f64, to: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self {
            from,
            to,
            log: false,
        }
    }

    /// Both ends positive.
    pub(super) fn log(from: f64, to: f64) -> Self {
        let from = from.max(f64::MIN_POSITIVE);
        let to = if to > from { to } else { from * 2.0 };
        Self {
            from,
            to,
            log: true,
        }
    }

    /// 0 at the beginning, 1 at the end; beyond both at these.
    fn share(self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        share.clamp(0.0, 1.0)
    }

    /// Round values within it, about `count` of them.
    pub(super) fn ticks(self, count: usize) -> Vec<f64> {
        if self.log && self.to / self.from > 8.0 {
            return self.decades();
        }
        let mut exponent = ((self.to - self.from) / count as f64).log10().floor();
        loop {
            for part in [1.0, 2.0, 5.0] {
                let step = part * 10f64.powf(exponent);
                if (self.to - self.from) / step <= count as f64 {
                    return self.multiples(step);
                }
            }
            exponent += 1.0;
        }
    }

    fn multiples(self, step: f64) -> Vec<f64> {
        // Plus 0, so that there is no -0.
        let mut tick = (self.from / step - 1e-9).ceil() + 0.0;
        let mut ticks = Vec::new();
        while tick * step <= self.to + 1e-9 * step {
            ticks.push(tick * step);
            tick += 1.0;
        }
        ticks
    }

    /// 1, 2 and 5 of each power of ten; the powers alone where there are many.
    fn decades(self) -> Vec<f64> {
        let powers = self.from.log10().floor()..=self.to.log10().ceil();
        let (mut power, last) = powers.into_inner();
        let parts: &[f64] = match self.to / self.from {
            wide if wide > 1e4 => &[1.0],
            _ => &[1.0, 2.0, 5.0],
        };
        let mut ticks = Vec::new();
        while power <= last {
            ticks.extend(parts.iter().map(|part| part * 10f64.powf(power)));
            power += 1.0;
        }
        ticks.retain(|tick| (self.from..=self.to).contains(tick));
        ticks
    }
}

/// A tick as it is written: no digit that the step does not need.
pub(super) fn tick_label(value: f64) -> String {
    let rounded: f64 = format!("{value:.6e}").parse().unwrap_or(value);
    let plain = rounded.to_string();
    match plain.strip_suffix("000000") {
        Some(millions) if millions.parse::<f64>().is_ok_and(|m| m >= 1.0) => format!("{millions}M"),
        _ => plain,
    }
}

/// Where a text begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Space around the plot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Margins {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Default for Margins {
    fn default() -> Self {
        Self {
            left: 58.0,
            right: 14.0,
            bottom: 42.0,
        }
    }
}

/// A plot that is being drawn.
#[derive(Debug)]
pub(super) struct Drawing {
    width: f64,
    height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    x: Scale,
    y: Scale,
    body: String,
}

const LINE_OF_LEGEND: f64 = 18.0;

impl Drawing {
    /// A plot `height` high below its legend: number and name of each series.
    pub(super) fn new(
        (width, height): (f64, f64),
        margins: Margins,
        legend: &[(usize, String)],
        x: Scale,
        y: Scale,
    ) -> Self {
        let mut drawing = Self {
            width,
            height,
            left: margins.left,
            right: width - margins.right,
            top: 10.0,
            bottom: 0.0,
            x,
            y,
            body: String::new(),
        };
        drawing.legend(legend);
        drawing.height = height + drawing.top - 10.0;
        drawing.bottom = drawing.height - margins.bottom;
        drawing
    }

    fn legend(&mut self, series: &[(usize, String)]) {
        let mut at = (self.left, 12.0);
        for (number, name) in series {
            let takes = 34.0 + width(name) + 14.0;
            if at.0 > self.left && at.0 + takes > self.right {
                at = (self.left, at.1 + LINE_OF_LEGEND);
            }
            let class = format!("{} plain", stroke(*number));
            self.line(at, (at.0 + 28.0, at.1), &class);
            self.mark((at.0 + 14.0, at.1), *number, 4.0, "", "");
            self.text((at.0 + 34.0, at.1 + 4.0), Anchor::Start, "", name);
            at.0 += takes;
        }
        if !series.is_empty() {
            self.top = at.1 + LINE_OF_LEGEND;
        }
    }

    pub(super) fn x(&self, value: f64) -> f64 {
        self.left + self.x.share(value) * (self.right - self.left)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        self.bottom - self.y.share(value) * (self.bottom - self.top)
    }

    pub(super) fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x(x), self.y(y))
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let _ = write!(
            self.body,
            r#"<line x1="{}" y1="{}" x2="{}" y2="{}" class="{class}"/>"#,
            px(from.0),
            px(from.1),
            px(to.0),
            px(to.1)
        );
    }

    pub(super) fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let class = classes(class);
        let _ = write!(
            self.body,
            r#"<text x="{}" y="{}" text-anchor="{anchor}"{class}>{}</text>"#,
            px(at.0),
            px(at.1),
            escape(text)
        );
    }

    /// A bar; it is never too short to be seen.
    pub(super) fn rect(&mut self, from: (f64, f64), size: (f64, f64), class: &str, tip: &str) {
        let _ = write!(
            self.body,
            r#"<rect x="{}" y="{}" width="{}" height="{}" class="{class}">{}</rect>"#,
            px(from.0),
            px(from.1),
            px(size.0.max(0.8)),
            px(size.1),
            title(tip)
        );
    }

    /// A line through values; where it is `stepped`, each holds until the next.
    pub(super) fn path(&mut self, values: &[(f64, f64)], stepped: bool, class: &str, tip: &str) {
        let mut d = String::new();
        let mut last = (String::new(), String::new());
        for value in values {
            let (x, y) = self.at(*value);
            let place = (px(x), px(y));
            let _ = match (d.is_empty(), stepped) {
                (true, _) => write!(d, "M{} {}", place.0, place.1),
                _ if place == last => Ok(()),
                (_, true) if place.0 == last.0 => write!(d, "V{}", place.1),
                (_, true) if place.1 == last.1 => write!(d, "H{}", place.0),
                (_, true) => write!(d, "H{}V{}", place.0, place.1),
                (_, false) => write!(d, "L{} {}", place.0, place.1),
            };
            last = place;
        }
        let _ = write!(
            self.body,
            r#"<path d="{d}" class="{class}" stroke-linejoin="round">{}</path>"#,
            title(tip)
        );
    }

    /// A marker in the shape and colour of a series; `class` `hollow` draws its outline alone.
    pub(super) fn mark(
        &mut self,
        (x, y): (f64, f64),
        series: usize,
        r: f64,
        class: &str,
        tip: &str,
    ) {
        let colour = series % SERIES;
        let class = match class {
            "hollow" => format!(r#" class="s{colour} plain""#),
            class => classes(format!("f{colour} {class}").trim_end()),
        };
        let tip = title(tip);
        let _ = match series % 5 {
            1 => write!(
                self.body,
                r#"<rect x="{}" y="{}" width="{}" height="{}"{class}>{tip}</rect>"#,
                px(x - r),
                px(y - r),
                px(2.0 * r),
                px(2.0 * r)
            ),
            2 => self.shape(
                &[(0.0, -1.2), (1.15, 1.0), (-1.15, 1.0)],
                (x, y),
                r,
                &class,
                &tip,
            ),
            3 => self.shape(
                &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
                (x, y),
                r,
                &class,
                &tip,
            ),
            4 => self.shape(
                &[(0.0, 1.2), (1.15, -1.0), (-1.15, -1.0)],
                (x, y),
                r,
                &class,
                &tip,
            ),
            _ => write!(
                self.body,
                r#"<circle cx="{}" cy="{}" r="{}"{class}>{tip}</circle>"#,
                px(x),
                px(y),
                px(r)
            ),
        };
    }

    fn shape(
        &mut self,
        corners: &[(f64, f64)],
        (x, y): (f64, f64),
        r: f64,
        class: &str,
        tip: &str,
    ) -> std::fmt::Result {
        let corners = corners
            .iter()
            .map(|(dx, dy)| (px(x + dx * r), px(y + dy * r)));
        let d: Vec<String> = corners.map(|(x, y)| format!("{x} {y}")).collect();
        write!(
            self.body,
            r#"<path d="M{}Z"{class}>{tip}</path>"#,
            d.join("L")
        )
    }

    /// Vertical lines at `ticks` with their labels, and the axis.
    pub(super) fn x_axis(&mut self, ticks: &[(f64, String)], label: &str) {
        for (value, words) in ticks {
            let x = self.x(*value);
            self.line((x, self.top), (x, self.bottom), "grid");
            self.text((x, self.bottom + 15.0), Anchor::Middle, "dim", words);
        }
        self.baseline(label);
    }

    /// The axis without ticks.
    pub(super) fn baseline(&mut self, label: &str) {
        self.line((self.left, self.bottom), (self.right, self.bottom), "axis");
        let middle = f64::midpoint(self.left, self.right);
        self.text((middle, self.height - 7.0), Anchor::Middle, "", label);
    }

    /// Horizontal lines at `ticks` with their labels.
    pub(super) fn y_axis(&mut self, ticks: &[(f64, String)], label: &str) {
        for (value, words) in ticks {
            let y = self.y(*value);
            self.line((self.left, y), (self.right, y), "grid");
            self.text((self.left - 6.0, y + 4.0), Anchor::End, "dim", words);
        }
        let middle = f64::midpoint(self.top, self.bottom);
        let _ = write!(
            self.body,
            r#"<text transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>"#,
            px(middle),
            escape(label)
        );
    }

    /// The whole picture. `id` is unique in the page; `style` is that of a file of its own.
    pub(super) fn svg(
        &self,
        id: &str,
        title: &str,
        description: &str,
        style: Option<&str>,
    ) -> String {
        let style = style
            .map(|css| format!("<style>{css}</style>"))
            .unwrap_or_default();
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-labelledby="{id}t {id}d"><title id="{id}t">{}</title><desc id="{id}d">{}</desc>{style}{}</svg>"#,
            px(self.width),
            px(self.height),
            escape(title),
            escape(description),
            self.body
        )
    }
}

/// The classes of a line of a series.
pub(super) fn stroke(series: usize) -> String {
    format!("s{} d{}", series % SERIES, series % 5)
}

/// The classes of a bar of a series.
pub(super) fn fill(series: usize) -> String {
    format!("f{}", series % SERIES)
}

fn classes(class: &str) -> String {
    if class.is_empty() {
        String::new()
    } else {
        format!(r#" class="{class}""#)
    }
}

fn title(tip: &str) -> String {
    if tip.is_empty() {
        String::new()
    } else {
        format!("<title>{}</title>", escape(tip))
    }
}

/// A coordinate.
fn px(value: f64) -> String {
    let shown = format!("{value:.1}");
    let shown = shown.strip_suffix(".0").unwrap_or(&shown);
    if shown == "-0" { "0" } else { shown }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_lie_within_the_scale() {
        let shown = |scale: Scale, count| -> Vec<String> {
            scale.ticks(count).into_iter().map(tick_label).collect()
        };
        assert_eq!(
            shown(Scale::linear(0.0, 44.0), 5),
            ["0", "10", "20", "30", "40"]
        );
        assert_eq!(shown(Scale::linear(0.93, 1.07), 4), ["0.95", "1", "1.05"]);
        assert_eq!(
            shown(Scale::log(0.8, 1.7), 6),
            ["0.8", "1", "1.2", "1.4", "1.6"]
        );
        assert_eq!(
            shown(Scale::log(0.5, 30.0), 6),
            ["0.5", "1", "2", "5", "10", "20"]
        );
        assert_eq!(shown(Scale::linear(0.0, 2e7), 2), ["0", "10M", "20M"]);
        // Without extent.
        assert_eq!(shown(Scale::linear(3.0, 3.0), 2), ["3", "3.5", "4"]);
    }

    #[test]
    fn words_of_others_are_no_markup() {
        assert_eq!(
            escape("</svg><script x='1'>&\u{0}\n\"é"),
            "&lt;/svg&gt;&lt;script x=&#39;1&#39;&gt;&amp;\u{fffd} &quot;é"
        );
    }
}

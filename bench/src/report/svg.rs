//! Plots: axes, lines, bars with whiskers. Coordinates are pixels of the drawing, y downwards.
//!
//! Colours are classes that the page's style sheet knows, so that a page follows its reader's choice
//! of light or dark.

use std::fmt::Write as _;

pub(super) const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// Colours that the style sheet has; more series take them again.
pub(super) const COLOURS: usize = 8;

/// Text as HTML and SVG take it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A number as people read it: three digits that mean something, and a unit of thousands.
pub(super) fn human(number: f64) -> String {
    let size = number.abs();
    let (part, unit) = match size {
        1e9.. => (number / 1e9, "G"),
        1e6.. => (number / 1e6, "M"),
        1e3.. => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let digits = match part.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ if part == 0.0 => 0,
        _ => 2,
    };
    let text = format!("{part:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

/// How values become places along one axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) title: String,
    low: f64,
    high: f64,
    /// Values and their words.
    ticks: Vec<(f64, String)>,
    is_logarithmic: bool,
}

impl Axis {
    /// From 0 to `high`, with round steps.
    pub(super) fn linear(title: &str, high: f64) -> Self {
        let high = if 0.0 < high { high * 1.05 } else { 1.0 };
        let step = round_step(high / 5.0);
        let count = (high / step).floor() as u32;
        let ticks = (0..=count).map(|index| f64::from(index) * step);
        Self {
            title: title.to_owned(),
            low: 0.0,
            high,
            ticks: ticks.map(|value| (value, human(value))).collect(),
            is_logarithmic: false,
        }
    }

    /// From the power of ten at or below `low` to the one at or above `high`.
    pub(super) fn logarithmic(title: &str, low: f64, high: f64) -> Self {
        let low = low.max(1e-3).log10().floor();
        let high = high.max(1e-3).log10().ceil().max(low + 1.0);
        let powers = (low as i32)..=(high as i32);
        let ticks = powers.map(|power| 10_f64.powi(power));
        Self {
            title: title.to_owned(),
            low: 10_f64.powf(low),
            high: 10_f64.powf(high),
            ticks: ticks.map(|value| (value, human_small(value))).collect(),
            is_logarithmic: true,
        }
    }

    /// Percentiles by how many nines they have: `nines` is the largest number of them.
    pub(super) fn nines(title: &str, nines: u32) -> Self {
        let names = [
            "0 %",
            "90 %",
            "99 %",
            "99.9 %",
            "99.99 %",
            "99.999 %",
            "99.9999 %",
        ];
        let nines = nines.clamp(1, names.len() as u32 - 1);
        let ticks = (0..=nines).zip(names);
        Self {
            title: title.to_owned(),
            low: 0.0,
            high: f64::from(nines),
            ticks: ticks
                .map(|(value, name)| (f64::from(value), name.to_owned()))
                .collect(),
            is_logarithmic: false,
        }
    }

    /// Where a value lies, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let part = if self.is_logarithmic {
            let (low, high) = (self.low.ln(), self.high.ln());
            (value.max(self.low).ln() - low) / (high - low)
        } else {
            (value - self.low) / (self.high - self.low)
        };
        part.clamp(0.0, 1.0)
    }
}

fn human_small(value: f64) -> String {
    if value < 1.0 {
        let text = format!("{value:.3}");
        return text.trim_end_matches('0').to_owned();
    }
    human(value)
}

/// The nearest of 1, 2 and 5 times a power of ten that is not below.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0];
    let found = times
        .into_iter()
        .find(|times| least <= times * power * 1.000_001);
    found.unwrap_or(10.0) * power
}

/// A drawing with both axes.
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    body: String,
    legend: Vec<(usize, String)>,
}

impl Plot {
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        let mut plot = Self {
            x,
            y,
            body: String::new(),
            legend: Vec::new(),
        };
        plot.draw_axes();
        plot
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let width = WIDTH - LEFT - RIGHT;
        let height = HEIGHT - TOP - BOTTOM;
        (
            LEFT + width * self.x.part(x),
            TOP + height * (1.0 - self.y.part(y)),
        )
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.body.write_fmt(text).expect("text grows as needed");
    }

    fn draw_axes(&mut self) {
        let (floor, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, name) in self.y.ticks.clone() {
            let (_, y) = self.place(self.x.low, value);
            self.put(format_args!(
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                LEFT - 6.0,
                y + 4.0
            ));
        }
        for (value, name) in self.x.ticks.clone() {
            let (x, _) = self.place(value, self.y.low);
            self.put(format_args!(
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{floor}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                floor + 16.0
            ));
        }
        let (middle, half) = (f64::midpoint(LEFT, right), f64::midpoint(TOP, floor));
        let (x, y) = (escape(&self.x.title), escape(&self.y.title));
        self.put(format_args!(
            "<text x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\">{x}</text>\
             <text transform=\"translate(14 {half}) rotate(-90)\" text-anchor=\"middle\">{y}</text>",
            HEIGHT - 8.0
        ));
    }

    /// A stretch of the x axis in which something happened.
    pub(super) fn band(&mut self, from: f64, until: f64) {
        let ((left, _), (right, _)) = (self.place(from, self.y.low), self.place(until, self.y.low));
        self.put(format_args!(
            "<rect class=\"band\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"/>",
            right - left,
            HEIGHT - TOP - BOTTOM
        ));
    }

    /// A line through points; a thin one is a repetition of one that has a name.
    pub(super) fn line(&mut self, colour: usize, points: &[(f64, f64)], is_thin: bool) {
        if points.is_empty() {
            return;
        }
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let (x, y) = self.place(*x, *y);
            let letter = if index == 0 { 'M' } else { 'L' };
            write!(path, "{letter}{x:.1} {y:.1}").expect("text grows as needed");
        }
        let colour = colour % COLOURS;
        let thin = if is_thin { " thin" } else { "" };
        self.put(format_args!(
            "<path class=\"line c{colour}{thin}\" d=\"{path}\"/>"
        ));
    }

    pub(super) fn name(&mut self, colour: usize, name: &str) {
        self.legend.push((colour % COLOURS, name.to_owned()));
    }

    pub(super) fn draw(self, title: &str) -> String {
        let mut legend = String::new();
        for (colour, name) in &self.legend {
            let name = escape(name);
            write!(legend, "<span><i class=\"b{colour}\"></i>{name}</span>")
                .expect("text grows as needed");
        }
        figure(title, HEIGHT, &self.body, &legend)
    }
}

/// One bar: its name, its length, half the width of its interval.
pub(super) struct Bar {
    pub(super) colour: usize,
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) margin: Option<f64>,
    /// The single values, as points.
    pub(super) points: Vec<f64>,
}

/// Bars that lie one below the other, with whiskers where there is an interval.
pub(super) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    const ROW: f64 = 34.0;
    const NAMES: f64 = 300.0;
    let reach = |bar: &Bar| {
        let points = bar.points.iter().copied();
        points.fold(bar.value + bar.margin.unwrap_or(0.0), f64::max)
    };
    let axis = Axis::linear(unit, bars.iter().map(reach).fold(0.0, f64::max));
    let width = WIDTH - NAMES - RIGHT - 60.0;
    let at = |value: f64| NAMES + width * axis.part(value);
    let floor = ROW * bars.len() as f64 + 8.0;
    let mut body = String::new();
    for (value, name) in &axis.ticks {
        let x = at(*value);
        write!(
            body,
            "<path class=\"grid\" d=\"M{x:.1} 4V{floor}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
            floor + 16.0
        )
        .expect("text grows as needed");
    }
    for (index, bar) in bars.iter().enumerate() {
        body += &draw_bar(bar, 8.0 + ROW * index as f64, NAMES, &at);
    }
    write!(
        body,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        NAMES + width / 2.0,
        floor + 34.0,
        escape(unit)
    )
    .expect("text grows as needed");
    figure(title, floor + 42.0, &body, "")
}

/// A name's end, where it is too long: what differs stands there most often.
fn shortened(name: &str) -> String {
    const LETTERS: usize = 46;
    let letters = name.chars().count();
    if letters <= LETTERS {
        return name.to_owned();
    }
    let end: String = name.chars().skip(letters - LETTERS + 1).collect();
    format!("…{end}")
}

fn draw_bar(bar: &Bar, top: f64, names: f64, at: &dyn Fn(f64) -> f64) -> String {
    let middle = top + 11.0;
    let colour = bar.colour % COLOURS;
    let end = at(bar.value);
    let mut out = format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <rect class=\"b{colour}\" x=\"{names}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"22\"/>",
        names - 8.0,
        middle + 4.0,
        escape(&shortened(&bar.name)),
        (end - names).max(0.0)
    );
    let mut right = end;
    if let Some(margin) = bar.margin {
        let (low, high) = (at(bar.value - margin), at(bar.value + margin));
        right = right.max(high);
        write!(
            out,
            "<path class=\"whisker\" d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v10\
             M{high:.1} {:.1}v10\"/>",
            middle - 5.0,
            middle - 5.0
        )
        .expect("text grows as needed");
    }
    for point in &bar.points {
        let x = at(*point);
        right = right.max(x);
        write!(
            out,
            "<circle class=\"point\" cx=\"{x:.1}\" cy=\"{middle:.1}\" r=\"2.5\"/>"
        )
        .expect("text grows as needed");
    }
    out + &format!(
        "<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        right + 7.0,
        middle + 4.0,
        human(bar.value)
    )
}

fn figure(title: &str, height: f64, body: &str, legend: &str) -> String {
    let title = escape(title);
    format!(
        "<figure><figcaption>{title}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">{body}</svg>\
         <div class=\"legend\">{legend}</div></figure>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_with_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.25, "0.25"),
            (7.0, "7"),
            (12.5, "12.5"),
            (1_000.0, "1k"),
            (123_456.0, "123k"),
            (2_830_000.0, "2.83M"),
            (100.0, "100"),
        ];
        for (number, text) in cases {
            assert_eq!(human(number), text);
        }
    }

    #[test]
    fn ticks_are_round_and_reach_the_top() {
        let axis = Axis::linear("x", 930.0);
        let values: Vec<_> = axis.ticks.iter().map(|(value, _)| *value).collect();
        assert_eq!(values, [0.0, 200.0, 400.0, 600.0, 800.0]);
        let axis = Axis::logarithmic("x", 0.3, 45.0);
        let names: Vec<_> = axis.ticks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["0.1", "1", "10", "100"]);
        assert_eq!((axis.part(0.1), axis.part(100.0)), (0.0, 1.0));
        assert!((axis.part(1.0) - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_that_is_given_becomes_markup() {
        let bar = Bar {
            colour: 0,
            name: "<script>".to_owned(),
            value: 1.0,
            margin: Some(0.5),
            points: vec![0.5, 1.5],
        };
        let text = bars("a & b", "\"", &[bar]);
        assert!(!text.contains("<script>") && text.contains("&lt;script&gt;"));
        assert!(text.contains("a &amp; b"));
    }
}

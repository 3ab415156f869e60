//! Tables for the terminal, CSV and SVG for the documents.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A table with a name for each row and each column.
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<(String, Vec<f64>)>,
}

impl Table {
    pub(crate) fn print(&self) {
        println!("\n{}\n", self.title);
        println!("| | {} |", self.columns.join(" | "));
        println!("|---|{}", "---:|".repeat(self.columns.len()));
        for (name, cells) in &self.rows {
            let cells: Vec<_> = cells.iter().map(|cell| figure(*cell)).collect();
            println!("| {name} | {} |", cells.join(" | "));
        }
    }

    pub(crate) fn csv(&self) -> String {
        let mut text = format!("system,{}\n", self.columns.join(","));
        for (name, cells) in &self.rows {
            let cells: Vec<_> = cells.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "\"{name}\",{}", cells.join(","));
        }
        text
    }
}

fn figure(cell: f64) -> String {
    match cell {
        cell if cell.is_nan() => "–".to_owned(),
        cell if cell.fract() == 0.0 && cell.abs() >= 10.0 => format!("{cell:.0}"),
        cell if cell.abs() >= 100.0 => format!("{cell:.0}"),
        cell => format!("{cell:.3}"),
    }
}

/// Lines over seconds, one for each name.
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) y_label: &'static str,
    pub(crate) lines: Vec<(&'static str, Vec<f64>)>,
}

const COLORS: [&str; 8] = [
    "#999999", "#8c564b", "#e377c2", "#1f77b4", "#9467bd", "#bcbd22", "#2ca02c", "#d62728",
];
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 40.0;

impl Plot {
    pub(crate) fn csv(&self) -> String {
        let names: Vec<_> = self
            .lines
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let mut text = format!("second,{}\n", names.join(","));
        let seconds = self
            .lines
            .iter()
            .map(|(_, line)| line.len())
            .max()
            .unwrap_or_default();
        for second in 0..seconds {
            let cell = |line: &Vec<f64>| {
                line.get(second)
                    .map(ToString::to_string)
                    .unwrap_or_default()
            };
            let cells: Vec<_> = self.lines.iter().map(|(_, line)| cell(line)).collect();
            let _ = writeln!(text, "{second},{}", cells.join(","));
        }
        text
    }

    pub(crate) fn svg(&self) -> String {
        let points = self.lines.iter().flat_map(|(_, line)| line);
        let top = points.copied().fold(1.0, f64::max);
        let seconds = self
            .lines
            .iter()
            .map(|(_, line)| line.len())
            .max()
            .unwrap_or(1)
            .max(2);
        let x = |second: usize| LEFT + second as f64 / (seconds - 1) as f64 * WIDTH;
        let y = |value: f64| TOP + (1.0 - value / top) * HEIGHT;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
            LEFT + WIDTH + 160.0,
            TOP + HEIGHT + 40.0,
            self.title,
        );
        for step in 0..=4 {
            let value = top * f64::from(step) / 4.0;
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y1:.1}\" y2=\"{y1:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.2}</text>",
                LEFT + WIDTH,
                LEFT - 6.0,
                y(value) + 4.0,
                y1 = y(value),
            );
        }
        for ((name, line), color) in self.lines.iter().zip(COLORS) {
            let path: Vec<_> = line
                .iter()
                .enumerate()
                .map(|(second, value)| format!("{:.1},{:.1}", x(second), y(*value)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\" points=\"{}\"/>",
                path.join(" ")
            );
            let at = self
                .lines
                .iter()
                .position(|(other, _)| other == name)
                .unwrap_or_default();
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" fill=\"{color}\">{name}</text>",
                LEFT + WIDTH + 8.0,
                TOP + 14.0 * (at + 1) as f64
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\">seconds, 0 to {}; {}</text>\n</svg>",
            LEFT,
            TOP + HEIGHT + 24.0,
            seconds - 1,
            self.y_label
        );
        svg
    }
}

/// Writes a file of a name made of a title.
pub(crate) fn write(directory: &Path, title: &str, extension: &str, text: &str) {
    let name: String = title
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let path = directory.join(format!("{}.{extension}", name.trim_matches('-')));
    fs::create_dir_all(directory).expect("the directory for plots can be made");
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    println!("wrote {}", path.display());
}

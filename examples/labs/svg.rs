//! Charts as SVG, by `plotters`, which needs no fonts of the system for it.

use crate::BoxError;
use crate::table::count;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Of those that are not ours, in order.
const COLOURS: [RGBColor; 4] = [
    RGBColor(170, 170, 170),
    RGBColor(217, 150, 70),
    RGBColor(120, 90, 160),
    RGBColor(60, 140, 90),
];
const OURS: [RGBColor; 3] =
    [RGBColor(20, 90, 160), RGBColor(90, 150, 210), RGBColor(160, 200, 235)];

/// What is ours is blue on every chart.
fn colours(names: &[&str]) -> Vec<RGBColor> {
    let (mut ours, mut others) = (OURS.iter().cycle(), COLOURS.iter().cycle());
    let pick = |name: &&str| if name.starts_with("our") { ours.next() } else { others.next() };
    names.iter().filter_map(pick).copied().collect()
}

/// One panel.
#[derive(Debug)]
pub(crate) enum Chart {
    Bars(Bars),
    Lines(Lines),
}

/// Bars in groups, each from zero and with its number on top.
#[derive(Debug)]
pub(crate) struct Bars {
    pub(crate) title: String,
    /// What the axis counts, with its unit.
    pub(crate) unit: String,
    pub(crate) groups: Vec<String>,
    /// A name, and a value for each group.
    pub(crate) series: Vec<(String, Vec<f64>)>,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Marks {
    Line,
    Points,
}

/// A name, how it is drawn, and where.
pub(crate) type Series = (String, Marks, Vec<(f64, f64)>);

/// Lines and points over two axes; the upper one begins at zero.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) title: String,
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) series: Vec<Series>,
}

/// Writes the panels below each other.
pub(crate) fn write(file: &Path, charts: &[Chart]) -> Result<(), BoxError> {
    let root = SVGBackend::new(file, (900, 340 * charts.len().max(1) as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, chart) in root.split_evenly((charts.len().max(1), 1)).iter().zip(charts) {
        match chart {
            Chart::Bars(bars) => bars.draw(area)?,
            Chart::Lines(lines) => lines.draw(area)?,
        }
    }
    root.present()?;
    Ok(())
}

fn label(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

/// Names and colours, in one row; returns what is left of the area.
fn legend<'a>(area: &Area<'a>, title: &str, names: &[&str]) -> Result<Area<'a>, BoxError> {
    let (top, rest) = area.split_vertically(58);
    top.draw(&Text::new(title.to_owned(), (16, 12), label(18)))?;
    let mut x = 16;
    for (name, colour) in names.iter().zip(colours(names)) {
        top.draw(&Rectangle::new([(x, 40), (x + 12, 52)], colour.filled()))?;
        top.draw(&Text::new((*name).to_owned(), (x + 18, 39), label(14)))?;
        x += 40 + name.chars().count() as i32 * 7;
    }
    Ok(rest)
}

/// A number in as few digits as tell it apart.
fn short(value: f64) -> String {
    match value.abs() {
        whole if whole.fract() < 1e-9 => count(value),
        ..0.01 => format!("{value:.4}"),
        ..1.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => count(value),
    }
}

impl Bars {
    fn draw(&self, area: &Area<'_>) -> Result<(), BoxError> {
        let names: Vec<&str> = self.series.iter().map(|(name, _)| name.as_str()).collect();
        let area = legend(area, &self.title, &names)?;
        let values = || self.series.iter().flat_map(|(_, values)| values.iter().copied());
        let most = values().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let groups = self.groups.len().max(1);
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(86)
            .build_cartesian_2d(0.0..groups as f64, 0.0..most * 1.12)?;
        let place = |x: &f64| {
            let middle = (x.fract() - 0.5).abs() < 1e-6;
            self.groups.get(*x as usize).filter(|_| middle).cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_labels(0)
            .y_labels(6)
            .y_label_formatter(&|y| short(*y))
            .x_label_formatter(&place)
            .y_desc(self.unit.as_str())
            .label_style(label(13))
            .axis_desc_style(label(14))
            .draw()?;
        let width = 0.8 / self.series.len().max(1) as f64;
        let top = Pos::new(HPos::Center, VPos::Bottom);
        for (i, ((_, values), colour)) in self.series.iter().zip(colours(&names)).enumerate() {
            for (group, value) in values.iter().enumerate() {
                let left = group as f64 + 0.1 + i as f64 * width;
                let bar = [(left, 0.0), (left + width * 0.92, *value)];
                chart.draw_series([Rectangle::new(bar, colour.filled())])?;
                let at = chart.backend_coord(&(left + width * 0.46, *value));
                let base = area.get_base_pixel();
                let at = (at.0 - base.0, at.1 - base.1 - 3);
                area.draw(&Text::new(short(*value), at, label(12).pos(top)))?;
            }
        }
        for (group, name) in self.groups.iter().enumerate() {
            let at = chart.backend_coord(&(group as f64 + 0.5, 0.0));
            let base = area.get_base_pixel();
            let at = (at.0 - base.0, at.1 - base.1 + 8);
            let style = label(14).pos(Pos::new(HPos::Center, VPos::Top));
            area.draw(&Text::new(name.clone(), at, style))?;
        }
        Ok(())
    }
}

impl Lines {
    fn draw(&self, area: &Area<'_>) -> Result<(), BoxError> {
        let names: Vec<&str> = self.series.iter().map(|(name, ..)| name.as_str()).collect();
        let area = legend(area, &self.title, &names)?;
        let points = || self.series.iter().flat_map(|(.., points)| points.iter().copied());
        let right = points().map(|(x, _)| x).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let left = points().map(|(x, _)| x).fold(right, f64::min);
        let most = points().map(|(_, y)| y).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let margin = (right - left) * 0.02;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(86)
            .build_cartesian_2d(left - margin..right + margin, 0.0..most * 1.08)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_labels(10)
            .y_labels(6)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .x_desc(self.x.as_str())
            .y_desc(self.y.as_str())
            .label_style(label(13))
            .axis_desc_style(label(14))
            .draw()?;
        for ((_, marks, points), colour) in self.series.iter().zip(colours(&names)) {
            let points = points.iter().copied();
            match marks {
                Marks::Line => {
                    let style = ShapeStyle::from(colour).stroke_width(2);
                    chart.draw_series(LineSeries::new(points, style))?;
                }
                Marks::Points => {
                    chart.draw_series(points.map(|at| Circle::new(at, 5, colour.filled())))?;
                }
            }
        }
        Ok(())
    }
}

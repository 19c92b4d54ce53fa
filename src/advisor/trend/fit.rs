//! Robust statistics: medians, and a line that stays the same with up to a quarter of outliers.

use crate::advisor::trend::window::Window;

/// The ratio of standard deviation and median absolute deviation for normal noise.
const MAD_TO_SIGMA: f64 = 1.4826;

/// A steady rise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Slots per second.
    pub(super) slope: f64,
    /// Slots in use at the end of the window, on the line.
    pub(super) level: f64,
}

/// Returns the median; 0 for no values.
pub(super) fn median(values: &[f64]) -> f64 {
    median_of(&mut values.to_vec())
}

fn median_of(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    *median
}

/// Returns a robust standard deviation around the median.
pub(super) fn scatter(values: &[f64]) -> f64 {
    let middle = median(values);
    median_of(&mut values.iter().map(|value| (value - middle).abs()).collect::<Vec<_>>())
        * MAD_TO_SIGMA
}

/// Returns the line through the slots in use if they rise steadily: from each third of the window to the
/// next, without slowing down, not in one step, and by at least `least` of the level.
///
/// The cheap conditions are first: of a hundred windows without a rise, one needs the fit.
pub(super) fn steady_rise(window: &Window, share: f64, least: impl Fn(f64) -> f64) -> Option<Line> {
    let points = window.points();
    let third = points.len() / 3;
    let middle = |from: usize| {
        median_of(&mut points[from..from + third].iter().map(|p| p.1).collect::<Vec<_>>())
    };
    let m = [0, third, points.len() - third].map(middle);
    let (early, late) = (m[1] - m[0], m[2] - m[1]);
    // The outer medians are two thirds of the window apart.
    let rise = (early + late) * 1.5;
    if rise < least(m[1]) {
        return None;
    }
    // A step, a burst or a settling load rises fast at first and then slowly.
    let slows = late < early * 0.75;
    if early < rise * share || slows || best_step(&points) < residual(&points) {
        return None;
    }
    let line = line(&points);
    (line.slope > 0.0).then_some(line)
}

/// Fits a line: the median of the slopes, then the median of the offsets.
fn line(points: &[(f64, f64)]) -> Line {
    let slope = theil_sen(points);
    let mut starts: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
    let end = points.last().map_or(0.0, |(x, _)| *x);
    Line { slope, level: median_of(&mut starts) + slope * end }
}

/// Returns the scatter of the points around their line.
pub(super) fn scatter_round_line(points: &[(f64, f64)]) -> f64 {
    let slope = theil_sen(points);
    scatter(&points.iter().map(|(x, y)| y - slope * x).collect::<Vec<_>>())
}

/// Returns the sum of squares around the least-squares line.
fn residual(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / n;
    let (x0, y0) = (mean(|p| p.0), mean(|p| p.1));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in points {
        xx += (x - x0) * (x - x0);
        xy += (x - x0) * (y - y0);
        yy += (y - y0) * (y - y0);
    }
    if xx > 0.0 { yy - xy * xy / xx } else { yy }
}

/// Returns the smallest sum of squares around two levels, before and after a step.
fn best_step(points: &[(f64, f64)]) -> f64 {
    let total: f64 = points.iter().map(|p| p.1).sum();
    let squares: f64 = points.iter().map(|p| p.1 * p.1).sum();
    let n = points.len() as f64;
    let mut before = 0.0;
    let mut best = f64::INFINITY;
    for (i, (_, y)) in points.iter().enumerate().take(points.len().saturating_sub(1)) {
        before += y;
        let (k, after) = ((i + 1) as f64, total - before);
        best = best.min(squares - before * before / k - after * after / (n - k));
    }
    best
}

/// Returns the median of the slopes of all pairs of points (Theil–Sen).
fn theil_sen(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (i, (x, y)) in points.iter().enumerate() {
        for (x0, y0) in &points[..i] {
            if x > x0 {
                slopes.push((y - y0) / (x - x0));
            }
        }
    }
    median_of(&mut slopes)
}

#[cfg(test)]
mod tests {
    use crate::advisor::trend::fit::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(scatter(&[1.0, 1.0, 1.0, 50.0, 1.0]), 0.0);
        let sigma = scatter(&[-2.0, -1.0, 0.0, 1.0, 2.0]);
        assert!((sigma - 1.4826).abs() < 1e-12, "{sigma}");
    }

    #[test]
    fn a_step_is_told_from_a_line() {
        let points = |y: fn(f64) -> f64| -> Vec<(f64, f64)> {
            (0..60).map(|i| (f64::from(i), y(f64::from(i)))).collect()
        };
        let (ramp, step) = (points(|x| 2.0 * x), points(|x| if x < 25.0 { 3.0 } else { 9.0 }));
        assert!(residual(&ramp) < 1e-6 && best_step(&ramp) > 1000.0);
        assert!(best_step(&step) < 1e-6 && residual(&step) > 100.0);
    }

    #[test]
    fn outliers_do_not_turn_the_line() {
        let mut points: Vec<(f64, f64)> =
            (0..60).map(|i| (f64::from(i), 5.0 + 0.5 * f64::from(i))).collect();
        assert!((theil_sen(&points) - 0.5).abs() < 1e-12);
        for i in (0..60).step_by(5) {
            points[i].1 = 1000.0;
        }
        assert!((theil_sen(&points) - 0.5).abs() < 0.05, "{}", theil_sen(&points));
    }
}

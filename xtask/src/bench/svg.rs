//! The results as a picture: for each figure one group of bars.

use std::fmt::Write;

use super::figures::{Figure, Part, Results, Setup};

const WIDTH: f64 = 760.0;
const LABELS: f64 = 190.0;
const VALUES: f64 = 110.0;
const BAR: f64 = 18.0;
const GAP: f64 = 4.0;
const TITLE: f64 = 28.0;
const MARGIN: f64 = 16.0;

/// Draws all figures of all parts.
pub(crate) fn draw(results: &Results) -> String {
    let mut body = String::new();
    let mut top = MARGIN;
    for part in Part::ALL {
        let setups: Vec<(Figure, Setup)> = results.of(part).collect();
        if setups.is_empty() {
            continue;
        }
        top += TITLE;
        text(&mut body, MARGIN, top - 8.0, "part", part.title());
        for group in setups.chunk_by(|(left, _), (right, _)| left == right) {
            top = figure(&mut body, results, part, group, top);
        }
        top += MARGIN;
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" font-family="system-ui, sans-serif" font-size="12">
<style>.part {{ font-size: 15px; font-weight: 600 }} .figure {{ font-weight: 600 }} .value {{ font-variant-numeric: tabular-nums }}</style>
<rect width="100%" height="100%" fill="#fff"/>
{body}</svg>
"##
    )
}

/// Draws one figure below `top` and returns where it ends.
fn figure(body: &mut String, results: &Results, part: Part, group: &[(Figure, Setup)], top: f64) -> f64 {
    let median =
        |(figure, setup): &(Figure, Setup)| results.median(part, *figure, *setup).unwrap_or_default();
    let longest = group.iter().map(median).fold(0.0, f64::max);
    let Some((figure, _)) = group.first() else {
        return top;
    };
    text(body, MARGIN, top + 16.0, "figure", figure.name());
    let mut top = top + TITLE - 4.0;
    for one in group {
        let value = median(one);
        let share = if longest > 0.0 {
            value.max(0.0) / longest
        } else {
            0.0
        };
        let length = (WIDTH - LABELS - VALUES - MARGIN) * share;
        let colour = colour(one.1);
        text(body, MARGIN, top + 13.0, "way", one.1.name());
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            body,
            r#"<rect x="{LABELS}" y="{top}" width="{length:.1}" height="{BAR}" rx="2" fill="{colour}"/>"#
        );
        text(
            body,
            LABELS + length + 6.0,
            top + 13.0,
            "value",
            &figure.format(value),
        );
        top += BAR + GAP;
    }
    top + GAP
}

fn text(body: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _infallible = writeln!(
        body,
        r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{words}</text>"#
    );
}

fn colour(setup: Setup) -> &'static str {
    match setup {
        Setup::Direct | Setup::BarePod => "#b8c0cc",
        Setup::Torsocks | Setup::KubectlPortForward => "#e0a458",
        Setup::Kinject | Setup::KinjectProxy => "#2f6fbb",
        Setup::KinjectPortForward => "#7aa7d9",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_bar_fills_the_width_and_text_is_escaped() {
        let mut results = Results::for_test();
        results.add(Part::Direct, Figure::Connect, Setup::Direct, 4000.0);
        results.add(Part::Direct, Figure::Connect, Setup::Kinject, 1000.0);
        let svg = draw(&results);
        assert!(svg.contains(r#"width="444.0""#), "{svg}");
        assert!(svg.contains(r#"width="111.0""#), "{svg}");
        let mut body = String::new();
        text(&mut body, 0.0, 0.0, "way", "a < b & c");
        assert!(body.contains("a &lt; b &amp; c"));
    }
}

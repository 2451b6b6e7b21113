//! The results as tables, which read well in a terminal and are Markdown too.

use std::fmt::Write;

use super::figures::{Part, Results, Setup};
use super::targets::Verdict;

/// The table of a part, each value beside its ratios; none without values.
pub(crate) fn of_part(results: &Results, part: Part) -> Option<String> {
    let bases = part.bases();
    let mut header = vec!["figure".to_owned(), "way".to_owned(), "median".to_owned()];
    header.extend(bases.iter().map(|base| format!("× {}", base.name())));
    let mut rows = Vec::new();
    let mut before = None;
    for (figure, setup) in results.of(part) {
        let name = if before == Some(figure) { "" } else { figure.name() };
        before = Some(figure);
        let median = results
            .median(part, figure, setup)
            .map(|value| figure.format(value));
        let mut row = vec![
            name.to_owned(),
            setup.name().to_owned(),
            median.unwrap_or_default(),
        ];
        row.extend(
            bases
                .iter()
                .map(|base| ratio(results, part, figure, setup, *base)),
        );
        rows.push(row);
    }
    (!rows.is_empty()).then(|| render(&header, &rows))
}

fn ratio(results: &Results, part: Part, figure: super::figures::Figure, setup: Setup, base: Setup) -> String {
    // A difference in percent has no ratio worth reading.
    if setup == base || figure == super::figures::Figure::StalledCost {
        return String::new();
    }
    let ratio = results.ratio(part, figure, setup, base);
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
}

/// The table of targets and results.
pub(crate) fn of_targets(verdicts: &[Verdict]) -> String {
    let header = ["figure", "target", "reached", ""].map(str::to_owned);
    let rows: Vec<Vec<String>> = verdicts
        .iter()
        .map(|verdict| {
            let status = match (&verdict.reached, verdict.met) {
                (None, _) => "",
                (_, true) => "met",
                (_, false) => "missed",
            };
            vec![
                verdict.what.to_owned(),
                verdict.wanted.clone(),
                verdict
                    .reached
                    .clone()
                    .unwrap_or_else(|| "not measured".to_owned()),
                status.to_owned(),
            ]
        })
        .collect();
    render(&header, &rows)
}

fn render(header: &[String], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().map(|row| &row[column]).chain([&header[column]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for (cell, width) in cells.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
    };
    line(header);
    line(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>());
    for row in rows {
        line(row);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::figures::Figure;
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut results = Results::for_test();
        results.add(Part::Direct, Figure::RoundTrip, Setup::Direct, 60.0);
        results.add(Part::Direct, Figure::RoundTrip, Setup::Kinject, 120.0);
        let table = of_part(&results, Part::Direct).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(
            lines[2].starts_with("| 1-byte round trip | direct  | 60.0 µs |"),
            "{table}"
        );
        assert!(lines[3].contains("| 2.00"), "{table}");
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() == lines[0].chars().count())
        );
        assert!(of_part(&results, Part::Exec).is_none());
    }
}

//! The table, and the verdict.

use kinject_tests::proofs::page::{self, Page};
use kinject_tests::proofs::today;

use crate::runs::Compared;

/// The final report.
pub(crate) struct Verdict {
    /// Whether there are no differences but those that the page lists.
    pub(crate) good: bool,
    /// The page's part.
    pub(crate) text: String,
    /// The lines that differ.
    pub(crate) details: String,
}

/// The result of a program, as one line while the others run.
pub(crate) fn line(compared: &Compared) -> String {
    let name = compared.prepared.row.name;
    match &compared.prepared.program {
        Err(why) => format!("{name}: not run: {why}"),
        Ok(_) => format!(
            "{name}: {} lines, {} differ, {:.1} s bare, {:.1} s injected{}",
            lines(compared),
            compared.differences().len(),
            compared.took[0].as_secs_f64(),
            compared.took[1].as_secs_f64(),
            if compared.is_shown() {
                ""
            } else {
                ", did not do its work bare"
            }
        ),
    }
}

/// Evaluates all programs.
pub(crate) fn evaluate(all: &[Compared], page: &Page) -> Verdict {
    let mut good = true;
    let mut details = String::new();
    let mut rows = Vec::new();
    for compared in all {
        let name = compared.prepared.row.name;
        let Ok(start) = &compared.prepared.program else {
            rows.push([name, "not run", "", ""].map(str::to_owned).to_vec());
            continue;
        };
        if !compared.is_shown() {
            good = false;
            details += &format!(
                "{name}: the output bare lacks {:?}\n",
                compared.prepared.row.shows
            );
            details += &compared.words();
        }
        let differences = compared.differences();
        let known = |line: &str| page.knows(name, line.get(2..).unwrap_or_default());
        let unknown = differences.iter().filter(|line| !known(line)).count();
        good &= unknown == 0;
        for line in &differences {
            let mark = if known(line) { " (known)" } else { "" };
            details += &format!("{name}: {line}{mark}\n");
        }
        let words = match (differences.len(), unknown) {
            (0, _) => "same",
            (_, 0) => "known to differ",
            _ => "differs",
        };
        rows.push(vec![
            name.to_owned(),
            start.version.clone(),
            lines(compared).to_string(),
            words.to_owned(),
        ]);
    }
    let head = ["program", "version", "lines", "injected"];
    let text = format!(
        "{}: {} programs.\n\n{}",
        today(),
        all.len(),
        page::table(&head, &rows)
    );
    Verdict { good, text, details }
}

fn lines(compared: &Compared) -> usize {
    compared.outputs.as_ref().map_or(0, |[bare, _]| bare.len())
}

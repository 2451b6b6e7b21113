//! One line of the trace: whole where it goes to a file or a pipe, fitted into the window where it goes to a terminal.

/// The widths of the columns but the last, where there is room.
const WIDTHS: [usize; 5] = [8, 40, 24, 8, 24];

/// The columns whose width is what the window leaves, and which are cut if need be.
const TARGET: usize = 1;
const RULE: usize = 2;
const RESULT: usize = 4;

/// What the others take in a window: the call, the way and the time, with a space each.
const FIXED: usize = 9 + 8 + 9;

/// What stands for the rest of a text that was cut.
const CUT: char = '…';

/// The columns of a line: call, target, rule, way, result, time.
pub(super) struct Row(pub(super) [String; 6]);

impl Row {
    /// The line for a window of so many columns; the whole of it where that is none.
    pub(super) fn line(self, window: Option<usize>) -> String {
        let whole = self.at(&WIDTHS, 0);
        match window {
            Some(columns) if length(&whole) > columns => self.fitted(columns),
            Some(_) | None => whole,
        }
    }

    /// Columns that fit the window; where a text does not fit its column, those behind it make room, and where that is not
    /// enough, the longest text is cut.
    fn fitted(mut self, columns: usize) -> String {
        let room = columns.saturating_sub(FIXED);
        let (target, result) = (room * 5 / 9, room * 3 / 10);
        let rule = room - target - result;
        let widths = [9, target, rule, 8, result].map(|width| width.saturating_sub(1));
        let line = self.at(&widths, columns);
        if length(&line) <= columns {
            return line;
        }
        loop {
            let line = self.at(&[WIDTHS[0], 0, 0, 0, 0], columns);
            if length(&line) <= columns || !self.shorten() {
                return line;
            }
        }
    }

    /// The texts in columns of these widths, the last one ending where the window does. A text that is longer than its column
    /// takes from the next ones what they do not need.
    fn at(&self, widths: &[usize; 5], columns: usize) -> String {
        let Self(texts) = self;
        let [.., time] = texts;
        let (mut line, mut used, mut stop) = (String::new(), 0, 0);
        for (text, width) in texts.iter().zip(widths) {
            line.push_str(text);
            used += length(text);
            stop += width + 1;
            let padding = stop.saturating_sub(used).max(1);
            line.extend(std::iter::repeat_n(' ', padding));
            used += padding;
        }
        let left = columns.saturating_sub(used + length(time));
        line.extend(std::iter::repeat_n(' ', left));
        line.push_str(time);
        line
    }

    /// Cuts a character off the longest text; says whether there was one to cut.
    fn shorten(&mut self) -> bool {
        let Self(texts) = self;
        let longest = [TARGET, RULE, RESULT]
            .into_iter()
            .max_by_key(|index| length(&texts[*index]));
        let Some(text) = longest
            .map(|index| &mut texts[index])
            .filter(|text| length(text) > 1)
        else {
            return false;
        };
        if text.ends_with(CUT) {
            text.pop();
        }
        text.pop();
        text.push(CUT);
        true
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(target: &str, rule: &str, result: &str) -> Row {
        Row(["connect", target, rule, "cluster", result, "0.9 ms"].map(str::to_owned))
    }

    #[test]
    fn a_line_for_a_file_is_whole() {
        assert_eq!(
            row("10.96.10.3:7005", "default", "connected").line(None),
            "connect  10.96.10.3:7005                          default                  cluster  connected                0.9 ms"
        );
        let long = "x".repeat(300);
        assert!(
            row(&long, "default", &long)
                .line(None)
                .ends_with(&format!("{long} 0.9 ms"))
        );
    }

    #[test]
    fn columns_stand_below_each_other_in_a_window_and_long_texts_take_room_from_the_next_ones() {
        for (target, rule, result, expected) in [
            (
                "10.96.10.3:7005",
                "default",
                "connected",
                "connect  10.96.10.3:7005               default cluster connected          0.9 ms",
            ),
            (
                "web.default.svc.cluster.local",
                "default",
                "10.96.10.1",
                "connect  web.default.svc.cluster.local default cluster 10.96.10.1         0.9 ms",
            ),
            (
                "api.office.example.com:443 (api)",
                "default",
                "connected",
                "connect  api.office.example.com:443 (api) default cluster connected       0.9 ms",
            ),
            (
                "missing.external.test",
                "--local *.external.test",
                "EAI_NONAME",
                "connect  missing.external.test --local *.external.test cluster EAI_NONAME 0.9 ms",
            ),
            (
                "web.default.svc.cluster.local",
                "--remote *.svc.cluster.local",
                "10.96.10.1",
                "connect  web.default.svc.clust… --remote *.svc.cluste… cluster 10.96.10.1 0.9 ms",
            ),
        ] {
            assert_eq!(row(target, rule, result).line(Some(80)), expected);
        }
    }

    #[test]
    fn no_line_is_wider_than_its_window() {
        for window in 20..200 {
            for target in ["a", "10.96.10.3:7005", &"name.".repeat(60)] {
                for rule in ["default", "--local *.external.test", &"r".repeat(100)] {
                    for result in [
                        "connected",
                        "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4",
                        &"é".repeat(99),
                    ] {
                        let line = row(target, rule, result).line(Some(window));
                        let least = "connect  … … cluster … 0.9 ms".chars().count();
                        assert!(length(&line) <= window.max(least), "{window}: {line}");
                        assert!(
                            line.starts_with("connect ") && line.ends_with(" 0.9 ms"),
                            "{line}"
                        );
                    }
                }
            }
        }
    }
}

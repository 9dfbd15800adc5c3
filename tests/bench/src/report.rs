//! What was measured, as a table and as JSON.

use serde_json::{Value, json};

/// Something that was measured a few times.
pub(crate) struct Figure {
    /// What.
    pub(crate) name: String,
    /// `s` or `KiB`.
    pub(crate) unit: &'static str,
    /// One value for each run, in order.
    pub(crate) values: Vec<f64>,
}

impl Figure {
    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The middle value, or the mean of the two in the middle.
    pub(crate) fn median(&self) -> Option<f64> {
        let values = self.sorted();
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            count if count % 2 == 1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        }
    }

    fn shown(&self, value: f64) -> String {
        if self.unit == "s" { format!("{value:.3}") } else { format!("{value:.0}") }
    }
}

/// All figures.
#[derive(Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Adds a value to the figure of this name.
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.values.push(value),
            None => {
                self.figures.push(Figure { name: name.to_owned(), unit, values: vec![value] });
            }
        }
    }

    /// Lines with median, lowest and highest value.
    pub(crate) fn table(&self) -> String {
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max();
        let width = width.unwrap_or_default();
        let mut text = format!(
            "{:width$}  {:>4}  {:>9}  {:>9}  {:>9}  {:>4}\n",
            "", "unit", "median", "lowest", "highest", "runs"
        );
        for figure in &self.figures {
            let values = figure.sorted();
            let (Some(median), [lowest, ..], [.., highest]) =
                (figure.median(), &values[..], &values[..])
            else {
                continue;
            };
            let [median, lowest, highest] = [median, *lowest, *highest].map(|v| figure.shown(v));
            text.push_str(&format!(
                "{:width$}  {:>4}  {median:>9}  {lowest:>9}  {highest:>9}  {:>4}\n",
                figure.name,
                figure.unit,
                values.len()
            ));
        }
        text
    }

    /// The same with all values.
    pub(crate) fn json(&self) -> Value {
        let figure = |figure: &Figure| {
            json!({
                "name": figure.name,
                "unit": figure.unit,
                "median": figure.median(),
                "values": figure.values,
            })
        };
        json!({ "figures": self.figures.iter().map(figure).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn medians_and_bounds() {
        let mut report = Report::default();
        for value in [3.0, 1.0, 2.0] {
            report.add("odd", "s", value);
        }
        for value in [10.0, 40.0, 20.0, 30.0] {
            report.add("even", "KiB", value);
        }
        assert_eq!(report.figures[0].median(), Some(2.0));
        assert_eq!(report.figures[1].median(), Some(25.0));
        let words: Vec<String> =
            report.table().lines().nth(2).unwrap().split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["even", "KiB", "25", "10", "40", "4"]);
        assert_eq!(report.json()["figures"][0]["values"][1], 1.0);
    }
}

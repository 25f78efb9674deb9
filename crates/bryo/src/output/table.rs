// SPDX-License-Identifier: Apache-2.0
//! Tables as Docker prints them: upper-case titles, columns three blanks apart, nothing around them.

use comfy_table::{ContentArrangement, Table, presets};

use super::escape::line;

/// Lays rows out under their titles. Every cell is escaped; the result ends with a line end.
pub fn table(titles: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if !titles.is_empty() {
        table.set_header(titles.iter().copied());
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| line(cell).into_owned()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let mut text = table.trim_fmt();
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long name".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "SIZE"], rows), "NAME        SIZE\na           1\nlong name\n");
        assert_eq!(table(&["NAME"], []), "NAME\n");
    }

    #[test]
    fn a_cell_cannot_make_a_line() {
        let text = table(&["A"], [vec!["x\ny\u{1b}[2J".to_owned()]]);
        assert_eq!(text, "A\nx\\ny\\u{1b}[2J\n");
    }
}

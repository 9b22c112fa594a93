//! Tables `file,label` in CSV.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::list::{List, is_synset};
use super::{Class, DataError, Entry, Trouble};

const FILE: [&str; 4] = ["file", "image", "path", "filename"];
const LABEL: [&str; 5] = ["label", "index", "class_index", "imagenet_index", "class"];
const SYNSET: [&str; 2] = ["wnid", "synset"];
const NAME: [&str; 2] = ["name", "class_name"];

/// One line of a table.
pub(super) struct Row {
    line: usize,
    file: String,
    label: String,
    synset: Option<String>,
    name: Option<String>,
}

/// A table with a header that names its columns: `file`, then `label` (an index from 0 or a class's name) or `wnid`, and
/// if it likes `name`.
pub(super) fn read(path: &Path) -> Result<(List, Vec<Row>), DataError> {
    let list = List::read(path)?;
    let text: String = list.lines().map(|(_, line)| format!("{line}\n")).collect();
    let numbers: Vec<usize> = list.lines().map(|(number, _)| number).collect();
    let mut table = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let fault = |at: usize, e: &csv::Error| {
        let line = e.position().map_or(at, |p| p.line() as usize);
        let number = numbers.get(line.saturating_sub(1)).copied().unwrap_or(line);
        list.fault(
            number,
            format_args!("not a line of this table: {e}; mend it"),
        )
    };
    let header = table.headers().map_err(|e| fault(1, &e))?.clone();
    let column = |names: &[&str]| {
        let mut found = names.iter().filter_map(|name| {
            header
                .iter()
                .position(|title| title.eq_ignore_ascii_case(name))
        });
        found.next()
    };
    let (Some(file), Some(label)) = (column(&FILE), column(&LABEL).or(column(&SYNSET))) else {
        return Err(list.fault(
            numbers.first().copied().unwrap_or(1),
            "the first line must name the columns, file and label at least, as in file,label",
        ));
    };
    let (synset, name) = (column(&SYNSET), column(&NAME));
    let mut rows = Vec::new();
    for (at, record) in table.records().enumerate() {
        let record = record.map_err(|e| fault(at + 2, &e))?;
        let line = numbers.get(at + 1).copied().unwrap_or(at + 2);
        let cell = |at: usize| record.get(at).unwrap_or_default().to_owned();
        rows.push(Row {
            line,
            file: list.relative(line, &cell(file))?,
            label: cell(label),
            synset: synset.map(cell),
            name: name.map(cell),
        });
    }
    Ok((list, rows))
}

/// Labels of the rows: indices as they are, names by `known` classes or else in sorted order.
pub(super) fn label(
    list: &List,
    rows: &[Row],
    known: Option<Vec<Class>>,
) -> Result<(Vec<Entry>, Vec<Class>), DataError> {
    let indexed = rows
        .first()
        .is_some_and(|row| row.label.parse::<u32>().is_ok());
    let fixed = known.is_some();
    let mut classes = known.unwrap_or_default();
    if !indexed && !fixed {
        let keys: BTreeSet<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        classes = keys
            .into_iter()
            .map(|key| Class {
                key: key.to_owned(),
                name: key.to_owned(),
            })
            .collect();
    }
    let places: HashMap<String, u32> = classes
        .iter()
        .enumerate()
        .flat_map(|(at, class)| [&class.name, &class.key].map(|name| (name.clone(), at as u32)))
        .collect();
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let label = if indexed {
            list.number(row.line, &row.label)?
        } else {
            let place = places.get(&row.label).copied();
            place.ok_or_else(|| unknown(list, row.line, &row.label))?
        };
        if label as usize >= classes.len() {
            if fixed || label > 1_000_000 {
                return Err(unknown(list, row.line, &row.label));
            }
            for at in classes.len()..=label as usize {
                let key = at.to_string();
                let name = format!("class {key}");
                classes.push(Class { key, name });
            }
        }
        let class = &mut classes[label as usize];
        if !fixed && let Some(synset) = row.synset.as_ref().filter(|key| is_synset(key)) {
            class.key.clone_from(synset);
        }
        if !fixed && let Some(name) = row.name.as_ref().filter(|name| !name.is_empty()) {
            class.name = name.replace('_', " ");
        }
        entries.push(Entry::new(&row.file, Some(label)));
    }
    Ok((entries, classes))
}

/// The error for a class that nobody names.
pub(super) fn unknown(list: &List, line: usize, class: &str) -> DataError {
    list.trouble(
        Trouble::Class,
        line,
        format_args!("class \"{class}\" is not one of the data set's; mend the line or name a list of classes that holds it"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<(Vec<Entry>, Vec<Class>), DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.csv");
        std::fs::write(&path, text).unwrap();
        let (list, rows) = read(&path)?;
        label(&list, &rows, None)
    }

    #[test]
    fn indices_and_names_both_label() {
        let (entries, classes) =
            table("file,imagenet_index,wnid,name\n\"a, b.jpg\",2,n01440764,a_fish\nc.jpg,0,,\n")
                .unwrap();
        assert_eq!((&*entries[0].id, entries[0].label), ("a, b.jpg", Some(2)));
        assert_eq!(classes.len(), 3);
        assert_eq!(
            (&*classes[2].key, &*classes[2].name),
            ("n01440764", "a fish")
        );
        let (entries, classes) = table("label,file\nwren,a.jpg\nauk,b.jpg\n").unwrap();
        assert_eq!(
            (entries[0].label, entries[1].label, classes.len()),
            (Some(1), Some(0), 2)
        );
    }

    #[test]
    fn faults_name_their_line() {
        let fault = |text: &str| table(text).unwrap_err().to_string();
        assert!(fault("a.jpg,1\n").contains("labels.csv:1: the first line must name"));
        assert!(fault("file,label\na.jpg,1\n\nb.jpg,x\n").contains("labels.csv:4: \"x\""));
        assert!(fault("file,label\na.jpg,1\n\nb.jpg\n").contains("labels.csv:4: "));
        assert!(fault("file,label\n/etc/a.jpg,1\n").contains("labels.csv:2: "));
    }
}

//! What can be the matter with a data set, for people and for the program that decides what to do about it.

use std::fmt;
use std::path::Path;

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The folder is not there, or is not a data set of this format.
    Root,
    /// A list or a folder that the format needs is missing or can't be read.
    Missing,
    /// A line of a list can't be understood.
    Line,
    /// A class is not known, or labels can't be told.
    Class,
    /// One picture can't be used; the others may.
    Photo,
    /// One mask can't be used; the others may.
    Mask,
}

/// Why a data set or one of its samples can't be used: one line with where, what and the mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataError {
    trouble: Trouble,
    message: String,
}

impl DataError {
    pub(super) fn new(trouble: Trouble, message: impl fmt::Display) -> DataError {
        let message = message.to_string().replace(char::is_control, " ");
        DataError { trouble, message }
    }

    /// `path what`.
    pub(super) fn at(trouble: Trouble, path: &Path, what: impl fmt::Display) -> DataError {
        DataError::new(trouble, format_args!("{} {what}", path.display()))
    }

    /// What kind of thing is wrong.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// What is wrong in a few words that are the same on every machine.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.trouble {
            Trouble::Root | Trouble::Missing | Trouble::Line | Trouble::Class => {
                "the data set is damaged"
            }
            Trouble::Photo => "the picture cannot be read",
            Trouble::Mask => "the mask cannot be used",
        }
    }

    /// Whether only one sample is affected, which a run may skip and count.
    #[must_use]
    pub fn concerns_one_sample(&self) -> bool {
        matches!(self.trouble, Trouble::Photo | Trouble::Mask)
    }
}

impl std::error::Error for DataError {}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

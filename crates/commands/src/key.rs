//! Family key.

use crate::Row;

/// The family's rows.
pub static ROWS: &[Row] = &[];

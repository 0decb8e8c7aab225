//! node

pub mod settings;

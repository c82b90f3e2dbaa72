//! The log: one line an event, as text or JSON.
//!
//! Lines name studies, series and instances by UID, peers by title and address, files by name.
//! Nothing that a patient is called stands in them, for the service reads no such thing.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::time;

/// How much an event matters to who looks after the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What only somebody looks for who seeks a fault; not written.
    Debug,
    /// What the service does day by day.
    Info,
    /// What somebody should look at when there is time.
    Warning,
    /// What did not work.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Writes events; clones write to the same place.
#[derive(Clone)]
pub struct Log {
    json: bool,
    out: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("json", &self.json).finish_non_exhaustive()
    }
}

impl Log {
    /// A log that goes to standard error, where systemd's journal takes it.
    #[must_use]
    pub fn stderr(json: bool) -> Self {
        Self::new(json, io::stderr())
    }

    /// A log that goes elsewhere.
    #[must_use]
    pub fn new(json: bool, out: impl Write + Send + 'static) -> Self {
        Self { json, out: Arc::new(Mutex::new(Box::new(out))) }
    }

    /// Writes one line. A line that cannot be written is lost: the log stops nothing.
    pub fn event(&self, level: Level, event: &str, fields: &[(&str, &dyn ToString)]) {
        if level == Level::Debug {
            return;
        }
        let line = if self.json { json(level, event, fields) } else { text(level, event, fields) };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }

    /// Writes what happened day by day.
    pub fn info(&self, event: &str, fields: &[(&str, &dyn ToString)]) {
        self.event(Level::Info, event, fields);
    }

    /// Writes what somebody should look at.
    pub fn warning(&self, event: &str, fields: &[(&str, &dyn ToString)]) {
        self.event(Level::Warning, event, fields);
    }

    /// Writes what did not work.
    pub fn error(&self, event: &str, fields: &[(&str, &dyn ToString)]) {
        self.event(Level::Error, event, fields);
    }
}

fn json(level: Level, event: &str, fields: &[(&str, &dyn ToString)]) -> String {
    let mut map = Map::new();
    map.insert("time".into(), time::rfc3339(time::now_s()).into());
    map.insert("level".into(), level.name().into());
    map.insert("event".into(), event.into());
    map.extend(fields.iter().map(|(name, value)| ((*name).into(), value.to_string().into())));
    format!("{}\n", Value::Object(map))
}

fn text(level: Level, event: &str, fields: &[(&str, &dyn ToString)]) -> String {
    let mut line = format!("{} {:7} {event}", time::rfc3339(time::now_s()), level.name());
    for (name, value) in fields {
        line += &format!(" {name}={}", quoted(&value.to_string()));
    }
    line + "\n"
}

/// A value as it is, or in quotation marks where it would not stay one word of one line.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '=' && c != '\\';
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        let escape = |c: char| match c {
            '"' | '\\' => c.escape_default().to_string(),
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        };
        format!("\"{}\"", value.chars().map(escape).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_within_its_line() {
        let line = text(Level::Info, "stored", &[("peer", &"CT 1"), ("uid", &"1.2"), ("x", &"")]);
        assert!(line.ends_with(" info    stored peer=\"CT 1\" uid=1.2 x=\"\"\n"), "{line}");
        let line = text(Level::Error, "refused", &[("reason", &"a\n\"b\"\u{1b}[31m")]);
        assert!(line.ends_with(" reason=\"a\\n\\\"b\\\"\\u{1b}[31m\"\n"), "{line}");
        let line = json(Level::Warning, "refused", &[("reason", &"a\n\"b\"")]);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["reason"], &value["level"]), (&"a\n\"b\"".into(), &"warning".into()));
        assert_eq!(line.matches('\n').count(), 1);
    }
}

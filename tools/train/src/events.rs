//! A run's curves as a TensorBoard event file.
//!
//! A file is a row of records: length, its checksum, the message, its checksum
//! (`tensorflow/core/lib/io/record_writer.h`); a message is an `Event`
//! (`tensorboard/compat/proto/event.proto`), of which only scalars are written here.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use prost::Message;

use crate::checkpoint;

/// Name of the file in a run's folder; TensorBoard knows it by the part before the last dot.
pub const FILE: &str = "events.out.tfevents.0.monet-train";

/// First message of a file.
const VERSION: &str = "brain.Event:2";

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

/// Begins the file at `path`, or cuts off what was written after `step`.
///
/// # Errors
/// Where it cannot be written.
pub fn begin(path: &Path, step: u64) -> Result<()> {
    let version =
        Event { wall_time: now(), file_version: Some(VERSION.into()), ..Event::default() };
    let mut kept = record(&version);
    for event in read(&fs::read(path).unwrap_or_default()) {
        if event.summary.is_some() && event.step <= step as i64 {
            kept.extend(record(&event));
        }
    }
    checkpoint::write(path, kept)
}

/// Adds one point to each curve.
///
/// # Errors
/// Where it cannot be written.
pub fn add(path: &Path, step: u64, values: &[(String, f64)]) -> Result<()> {
    let value =
        |(tag, value): &(String, f64)| Value { tag: tag.clone(), simple_value: *value as f32 };
    let summary = Some(Summary { value: values.iter().map(value).collect() });
    let event = Event { wall_time: now(), step: step as i64, summary, file_version: None };
    let file = fs::OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(&record(&event)))
        .with_context(|| path.display().to_string())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn record(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(&length).to_le_bytes());
    out.extend(&message);
    out.extend(masked(&message).to_le_bytes());
    out
}

/// The events of a file, up to the first damaged record.
fn read(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((event, rest)) = next(bytes) {
        events.push(event);
        bytes = rest;
    }
    events
}

fn next(bytes: &[u8]) -> Option<(Event, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*check) != masked(length) {
        return None;
    }
    let (message, rest) =
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    let whole = u32::from_le_bytes(*check) == masked(message);
    Some((whole.then(|| Event::decode(message).ok()).flatten()?, rest))
}

/// The checksum as records store it: turned and offset, so that a checksum of data with checksums
/// is no special case.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: a run writes kilobytes.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnoli_s() {
        // RFC 3720, B.4, and the check value of the CRC catalogue.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_resumed_file_ends_at_the_checkpoint_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        begin(&path, 0).unwrap();
        for step in [10, 20, 30] {
            add(&path, step, &[("loss".into(), step as f64)]).unwrap();
        }
        // A record torn by a kill.
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        begin(&path, 10).unwrap();
        add(&path, 20, &[("loss".into(), 0.5)]).unwrap();
        let events = read(&fs::read(&path).unwrap());
        let points: Vec<(i64, f32)> = events
            .iter()
            .filter_map(|e| Some((e.step, e.summary.as_ref()?.value.first()?.simple_value)))
            .collect();
        assert_eq!(points, [(10, 10.0), (20, 0.5)]);
        assert_eq!(events[0].file_version.as_deref(), Some(VERSION));
    }
}

//! What each thread of a job did when, for a picture of the pipeline.

use serde_json::{Value, json};

use super::{Clock, Stage, StageTimes};

/// Most spans that a thread keeps, for 4,096 slices at two stages a slice. Later ones are counted.
pub const MAX_SPANS: usize = 1 << 13;

/// The time that one thread spent in its stages, and when that was where a trace is wanted.
#[derive(Debug, Clone, Default)]
pub struct Track {
    name: &'static str,
    times: StageTimes,
    trace: Option<Spans>,
}

/// When a thread did something. Of [`MAX_SPANS`] spans, allocated before the first.
#[derive(Debug, Clone)]
struct Spans {
    /// The beginning of the trace.
    since: Clock,
    kept: Vec<Span>,
    left_out: u64,
}

#[derive(Debug, Clone)]
struct Span {
    what: &'static str,
    /// Along the third axis of the model's orientation, where it concerns one.
    slice: Option<usize>,
    /// Microseconds since the beginning of the trace.
    start: f64,
    /// Microseconds.
    duration: f64,
}

impl Track {
    /// Of a thread of that name. `since` is the beginning of the trace, where one is wanted.
    #[must_use]
    pub fn new(name: &'static str, since: Option<Clock>) -> Self {
        let spans = |since| Spans { since, kept: Vec::with_capacity(MAX_SPANS), left_out: 0 };
        Self { name, times: StageTimes::default(), trace: since.map(spans) }
    }

    /// Adds what passed since `clock` in a stage, of a slice where it concerns one, and begins the
    /// next measurement.
    pub fn add(&mut self, stage: Stage, slice: impl Into<Option<usize>>, clock: Clock) -> Clock {
        let now = self.times.add(stage, clock);
        self.keep(stage.name(), slice.into(), clock, now);
        now
    }

    /// Names what passed from one clock to another, which belongs to no stage.
    pub fn mark(&mut self, what: &'static str, from: Clock, to: Clock) {
        self.keep(what, None, from, to);
    }

    fn keep(&mut self, what: &'static str, slice: Option<usize>, from: Clock, to: Clock) {
        let Some(spans) = &mut self.trace else { return };
        if spans.kept.len() == MAX_SPANS {
            spans.left_out += 1;
            return;
        }
        let start = from.since(spans.since).as_secs_f64() * 1e6;
        let duration = to.since(from).as_secs_f64() * 1e6;
        spans.kept.push(Span { what, slice, start, duration });
    }

    /// Seconds in each stage, of all threads together.
    #[must_use]
    pub fn total(tracks: &[Self]) -> StageTimes {
        tracks.iter().fold(StageTimes::default(), |mut sum, track| {
            sum.merge(track.times);
            sum
        })
    }

    /// The threads' spans in the Trace Event Format of Chromium's tracing, which chrome://tracing
    /// and ui.perfetto.dev show: complete events in microseconds, a row a thread.
    #[must_use]
    pub fn trace(tracks: &[Self]) -> String {
        let mut left_out = 0;
        let mut events = Vec::new();
        for (row, track) in tracks.iter().enumerate() {
            let Some(spans) = &track.trace else { continue };
            left_out += spans.left_out;
            let args = json!({ "name": track.name });
            events.push(json!({
                "name": "thread_name", "ph": "M", "pid": 1, "tid": row, "args": args,
            }));
            events.extend(spans.kept.iter().map(|span| span.event(row)));
        }
        super::json(&json!({
            "traceEvents": events,
            "displayTimeUnit": "ms",
            "otherData": { "spans left out": left_out },
        }))
    }
}

impl Span {
    fn event(&self, row: usize) -> Value {
        let args = self.slice.map_or(json!({}), |slice| json!({ "slice": slice }));
        trace_event(self.what, row, [self.start, self.duration], args)
    }
}

/// A complete event of the Trace Event Format in a row of it: its beginning and how long it took,
/// microseconds.
#[must_use]
pub fn trace_event(name: &str, row: usize, [start, duration]: [f64; 2], args: Value) -> Value {
    json!({
        "name": name, "ph": "X", "pid": 1, "tid": row, "ts": start, "dur": duration, "args": args,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_trace_times_alone_are_kept() {
        let mut track = Track::new("reader", None);
        track.add(Stage::Read, 3, Clock::start());
        assert!(track.trace.is_none());
        assert!(Track::total(&[track.clone()]).read_s > 0.0);
        let read: Value = serde_json::from_str(&Track::trace(&[track])).unwrap();
        assert_eq!(read["traceEvents"], json!([]));
    }

    #[test]
    fn spans_over_the_most_are_counted() {
        let since = Clock::start();
        let mut track = Track::new("worker", Some(since));
        for slice in 0..MAX_SPANS + 5 {
            track.add(Stage::Infer, slice, since);
        }
        let read: Value = serde_json::from_str(&Track::trace(&[Track::default(), track])).unwrap();
        let events = read["traceEvents"].as_array().unwrap();
        assert_eq!(events.len(), 1 + MAX_SPANS);
        assert_eq!(events[0]["args"]["name"], "worker");
        assert_eq!(events[2]["args"]["slice"], 1);
        assert_eq!((&events[2]["name"], &events[2]["tid"]), (&json!("infer"), &json!(1)));
        assert_eq!(read["otherData"]["spans left out"], 5);
    }
}

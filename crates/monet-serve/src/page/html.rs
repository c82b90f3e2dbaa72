//! The pages themselves.

use std::fmt::Write;
use std::io;

use super::chart;
use crate::case::Made;
use crate::depart::{self, Tally, Wait};
use crate::folders::Stage;
use crate::service::Shown;
use crate::status::{self, Counts, Entry};
use crate::time;

/// Most studies of a stage that the page lists.
const LISTED: usize = 20;
/// Most results in the chart.
const CHARTED: usize = 100;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--accent:#e0662f;--ok:#2e8b57}\
body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem}\
h1{font-size:1.4rem;margin:.2rem 0;overflow-wrap:anywhere}\
h2{font-size:1.1rem;margin:1.4rem 0 .4rem}\
.counts{display:grid;grid-template-columns:repeat(auto-fit,minmax(6.5rem,1fr));gap:.5rem}\
.counts div{border:1px solid var(--line);border-radius:.5rem;padding:.4rem .7rem}\
.counts b{display:block;font-size:1.5rem}\
.bad b{color:var(--accent)}\
ul{list-style:none;padding:0;margin:0}\
li{border-top:1px solid var(--line);padding:.45rem 0;overflow-wrap:anywhere}\
small{opacity:.75;display:block}\
img{max-width:100%;border-radius:.4rem;background:#000}\
svg{width:100%;height:auto;border:1px solid var(--line);border-radius:.5rem}\
circle{fill:var(--ok)}circle.over{fill:var(--accent)}\
line.budget{stroke:var(--accent);stroke-dasharray:6 4}\
pre{white-space:pre-wrap;overflow-wrap:anywhere}\
a{color:inherit}\
.warn{border:1px solid var(--accent);border-radius:.5rem;padding:.5rem .8rem;margin:.6rem 0}";

/// Text as HTML shows it.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() && c != '\n' => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

fn page(title: &str, refresh: bool, body: &str) -> String {
    let refresh = if refresh { "<meta http-equiv=\"refresh\" content=\"10\">" } else { "" };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">{refresh}\
         <title>{}</title><style>{STYLE}</style></head><body>{body}</body></html>",
        escape(title)
    )
}

/// How many studies are where, what is wrong, latency, and the newest studies.
pub(super) fn overview(shown: &Shown) -> io::Result<String> {
    let counts = Counts::of(&shown.folders)?;
    let mut body = format!("<h1>MoNet box</h1><small>version {}</small>", shown.version);
    let wrong = shown.stuck().map(|what| format!("{what} shows no sign of life."));
    let full = shown.gate.full().map(|full| format!("Nothing new is taken: {full}."));
    let tally = depart::tally(&shown.folders, &shown.config.destination)?;
    let troubles = tally.iter().filter_map(|(to, tally)| trouble(to, tally));
    for text in wrong.into_iter().chain(full).chain(troubles) {
        let _ = write!(body, "<p class=\"warn\">{}</p>", escape(&text));
    }
    let running = shown.running();
    body += &tiles(&counts, running.len());
    body += &latency(shown)?;
    let (used, free_mib) = shown.folders.space()?;
    let _ = write!(
        body,
        "<p>Disk {used:.0} % used, {:.1} GiB free; {} associations open.</p>",
        free_mib as f64 / 1024.0,
        shown.associations()
    );
    let to = &shown.config.destination;
    for (stage, title) in [
        (Stage::Failed, "Failed"),
        (Stage::Waiting, "Waiting"),
        (Stage::Outgoing, "On their way"),
        (Stage::Done, "Done"),
    ] {
        let mut entries = status::entries(&shown.folders, to, stage, LISTED)?;
        // What waits is shown in its order, everything else with the newest first.
        if stage != Stage::Waiting {
            entries.reverse();
        }
        if !entries.is_empty() {
            let _ = write!(body, "<h2>{title}</h2><ul>");
            entries.iter().for_each(|entry| body += &item(entry, &running));
            body += "</ul>";
        }
    }
    Ok(page("MoNet box", true, &body))
}

/// What is wrong with a destination, if something is.
fn trouble(to: &str, tally: &Tally) -> Option<String> {
    let waiting = tally.waiting;
    if !tally.known {
        return Some(format!("{waiting} studies wait for {}.", depart::gone(to)));
    }
    let attempt = tally.attempt.as_ref()?;
    let [last, next] = [attempt.last_s, attempt.next_s].map(time::rfc3339);
    let error = &attempt.error;
    Some(format!(
        "{waiting} studies wait for {to}, which could not be reached at {last} and is tried again \
         at {next}: {error}"
    ))
}

fn tiles(counts: &Counts, running: usize) -> String {
    let mut body = String::from("<div class=\"counts\">");
    for (what, count, bad) in [
        ("incoming", counts.incoming, false),
        ("growing", counts.growing, false),
        ("waiting", counts.waiting, false),
        ("running", running, false),
        ("on their way", counts.outgoing, false),
        ("done", counts.done, false),
        ("failed", counts.failed, counts.failed > 0),
    ] {
        let class = if bad { " class=\"bad\"" } else { "" };
        let _ = write!(body, "<div{class}><b>{count}</b>{what}</div>");
    }
    body + "</div>"
}

/// A chart of the newest results.
fn latency(shown: &Shown) -> io::Result<String> {
    let (mut all, to) = (Vec::new(), &shown.config.destination);
    for stage in [Stage::Done, Stage::Outgoing] {
        for entry in status::entries(&shown.folders, to, stage, CHARTED)? {
            // Files of one run bear its time each.
            let made = entry.summary.iter().flat_map(|summary| &summary.results);
            let mut times: Vec<f64> = made.map(|made| made.slice_ms).collect();
            times.dedup();
            all.extend(times.into_iter().map(|ms| (entry.case.complete_s, ms)));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all.drain(..all.len().saturating_sub(CHARTED));
    let Some((_, last)) = all.last() else { return Ok(String::new()) };
    let budget = shown.config.jobs.slice_budget_ms;
    let over = all.iter().filter(|(_, ms)| budget.is_some_and(|budget| *ms > budget)).count();
    let told = match budget {
        Some(budget) => format!(", budget {budget} ms, {over} of {} over it", all.len()),
        None => String::new(),
    };
    let slice_ms: Vec<f64> = all.iter().map(|(_, ms)| *ms).collect();
    let chart = chart::latency(&slice_ms, budget);
    Ok(format!("<h2>Latency</h2><p>Last result: {last:.1} ms a slice{told}.</p>{chart}"))
}

fn item(entry: &Entry, running: &[String]) -> String {
    let from: Vec<&str> = entry.case.from.iter().map(String::as_str).collect();
    let results = entry.summary.as_ref().map_or(0, |summary| summary.results.len());
    let state = if running.contains(&entry.name) { ", running" } else { "" };
    let reason = entry.reason.as_deref().and_then(|reason| reason.lines().next());
    let said = reason.map(str::to_owned).into_iter().chain(entry.waits.iter().map(Wait::told));
    let said: String = said.map(|line| format!("<small>{}</small>", escape(&line))).collect();
    let name = escape(&entry.name);
    format!(
        "<li><a href=\"/study/{name}\">{name}</a><small>{}, {} instances from {}, {results} \
         results{state}</small>{said}</li>",
        time::rfc3339(entry.case.complete_s),
        entry.case.instances,
        escape(&from.join(", "))
    )
}

/// All about one study.
pub(super) fn study(entry: &Entry) -> String {
    let name = escape(&entry.name);
    let from: Vec<&str> = entry.case.from.iter().map(String::as_str).collect();
    let mut body = format!(
        "<p><a href=\"/\">All studies</a></p><h1>{name}</h1><p>{}: {} instances from {}, complete \
         at {}.</p>",
        entry.stage,
        entry.case.instances,
        escape(&from.join(", ")),
        time::rfc3339(entry.case.complete_s)
    );
    if let Some(reason) = &entry.reason {
        let _ = write!(body, "<pre class=\"warn\">{}</pre>", escape(reason));
    }
    for wait in &entry.waits {
        let _ = write!(body, "<p>Waits: {}</p>", escape(&wait.told()));
    }
    for (what, names) in
        [("Sent to", &entry.sent), ("Given up", &entry.given_up), ("Dropped", &entry.dropped)]
    {
        if !names.is_empty() {
            let _ = write!(body, "<p>{what}: {}.</p>", escape(&names.join(", ")));
        }
    }
    if let Some(summary) = &entry.summary {
        body += &pictures(&name, &summary.results);
        for made in &summary.results {
            let (file, package) = (escape(&made.file), escape(&made.package));
            let _ = write!(body, "<small>{file} by {package}, {:.2} s</small>", made.seconds);
        }
        for skipped in &summary.skipped {
            let series = skipped.series.as_deref().unwrap_or("the study");
            let _ = write!(
                body,
                "<p>Not segmented by {}: {}<small>{}</small></p>",
                escape(&skipped.package),
                escape(series),
                escape(&skipped.reason)
            );
        }
    }
    page(&entry.name, false, &body)
}

fn pictures(name: &str, results: &[Made]) -> String {
    let mut previews: Vec<&str> = results.iter().filter_map(|m| m.preview.as_deref()).collect();
    previews.dedup();
    previews
        .iter()
        .map(|file| {
            let file = escape(file);
            format!("<p><img src=\"/preview/{name}/{file}\" alt=\"{file}\"></p>")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;

    #[test]
    fn what_others_say_is_no_html() {
        let evil = "<script>alert('x')</script>&\"\u{7}";
        let case = Case { from: [evil.to_owned()].into(), ..Case::default() };
        let entry = Entry {
            name: evil.into(),
            stage: "failed",
            case,
            summary: None,
            sent: vec![evil.into()],
            given_up: vec![],
            dropped: vec![],
            waits: vec![Wait { to: evil.into(), known: false, attempt: None, asked_s: None }],
            apart: 0,
            reason: Some(evil.into()),
        };
        for page in [study(&entry), item(&entry, &[])] {
            assert!(!page.contains("<script") && !page.contains('\u{7}'), "{page}");
            assert!(page.contains("&lt;script&gt;"));
        }
    }
}

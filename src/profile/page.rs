//! A profile as one self-contained page: figures, roofline, steps, histogram. Opens offline, in
//! light and dark.

use super::plot::{Axis, Svg, mark, number};
use super::{Kind, Profile, StepProfile, date};
use crate::measure::escape;

const STYLE: &str = include_str!("page.css");
pub(super) const WIDTH: f64 = 1000.0;

/// A profile as HTML.
#[must_use]
pub fn page(p: &Profile) -> String {
    let title = format!("{} on {}", p.model, place(p));
    let mut body = head(p) + &cards(p) + &verdict(p);
    if p.steps.is_empty() {
        body += "<section><h2>Steps</h2><p>tract ran the net, which tells no steps; <code>monet \
            inspect</code> says why.</p></section>\n";
    } else {
        body += &section("Where the time goes", &bars_note(p), &(key(p) + &bars(p)));
        body += &section("Roofline", &roofline_note(p), &(key_kinds() + &roofline(p)));
    }
    if !p.histogram.counts.is_empty() {
        let note = format!(
            "{} slices, each timed on its own, without the steps' timing.",
            p.runs * p.threads
        );
        body += &section("Latency of a slice", &note, &latency(p));
    }
    if !p.steps.is_empty() {
        let note = p.uncounted.as_ref().map(|why| format!("Counters of the processor: {why}."));
        body += &section("All steps", &note.unwrap_or_default(), &table(p));
    }
    if p.steps.iter().any(|step| step.counts.is_some()) {
        let note = "A slice on average, one thread, in user mode.";
        body += &section("What the processor counted", note, &counted(p));
    }
    document(&title, &body)
}

pub(super) fn document(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

pub(super) fn section(title: &str, note: &str, content: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!("<p>{}</p>\n", escape(note)) };
    format!("<section>\n<h2>{}</h2>\n{note}{content}</section>\n", escape(title))
}

pub(super) fn place(p: &Profile) -> &str {
    p.cpu.as_deref().unwrap_or("an unnamed processor")
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{} ms", number(s * 1e3)),
        s if s < 100.0 => format!("{} s", number(s)),
        s if s < 6000.0 => format!("{} min {} s", (s / 60.0) as u64, (s % 60.0).round() as u64),
        s => format!("{} h {} min", (s / 3600.0) as u64, (s % 3600.0 / 60.0).round() as u64),
    }
}

fn head(p: &Profile) -> String {
    let class = match p.kind {
        Kind::Measured => "pill",
        Kind::Predicted => "pill predicted",
    };
    let word = p.kind.told();
    let total = p.volume.total_s;
    let mut answer = format!("{} slices in {}", p.volume.slices, duration(total));
    let mut notes = format!(
        "{} on {}: {} at the net, {}, {} thread{}, {}.",
        p.model,
        place(p),
        p.size,
        p.engine,
        p.threads,
        if p.threads == 1 { "" } else { "s" },
        date(p.unix_s)
    );
    if let Some(prediction) = &p.prediction {
        let [low, high] = bar(p, total);
        answer += &format!(", between {} and {}", duration(low), duration(high));
        notes += &format!(" Error bar \u{b1}{} %: {}.", prediction.error_percent, prediction.basis);
        if !prediction.nearest_classes.is_empty() {
            notes += &format!(
                " The bar does not cover that {:.0} % of a slice are in classes of steps without \
                 costs of their own, for which the nearest class's stand: {}.",
                prediction.nearest_percent,
                prediction.nearest_classes.join(", ")
            );
        }
    } else {
        notes += " The volume's time is that of the nets alone.";
    }
    format!(
        "<span class=\"{class}\">{word}</span>\n<h1>{}</h1>\n<p>{}</p>\n",
        escape(&answer),
        escape(&notes)
    )
}

/// The ends of a prediction's error bar around a value.
fn bar(p: &Profile, value: f64) -> [f64; 2] {
    let part = p.prediction.as_ref().map_or(0.0, |q| q.error_percent / 100.0);
    [value * (1.0 - part), value * (1.0 + part)]
}

fn cards(p: &Profile) -> String {
    let mut out = String::from("<div class=\"cards\">\n");
    let mut card = |value: String, name: &str| {
        out += &format!("<div><b>{}</b><span>{}</span></div>\n", escape(&value), escape(name));
    };
    let l = p.latency_ms;
    let [low, high] = bar(p, l.median);
    match p.kind {
        Kind::Measured => {
            card(format!("{} ms", number(l.median)), "a slice, median");
            card(format!("{} ms", number(l.p99)), "99th percentile");
            card(format!("{} ms", number(l.deviation)), "jitter (standard deviation)");
        }
        Kind::Predicted => {
            card(
                format!("{} ms", number(l.median)),
                &format!("a slice on one core, {} to {}", number(low), number(high)),
            );
            let memory: f64 = p.steps.iter().map(|s| s.memory_ms).sum();
            card(format!("{} %", number(100.0 * memory / l.median)), "of it waiting for memory");
            card(duration(p.volume.infer_s), "the nets of the volume");
            card(
                p.volume.other_s.map_or("-".into(), duration),
                "reading, preparing, restoring, writing, beside them",
            );
        }
    }
    if p.macs > 0 {
        card(
            number(p.gmac_per_s),
            &format!("GMAC/s of {} that the instruction can", number(p.peak_gmac_per_s)),
        );
    }
    if let Some(start) = p.start {
        card(
            format!("{} ms", number(start.cold_ms)),
            &format!("to the first slice; {} ms warm", number(start.warm_ms)),
        );
    }
    if let Some(bytes) = p.peak_memory_bytes {
        card(format!("{} MB", number(bytes as f64 / f64::from(1 << 20))), "resident at most");
    }
    if let Some([before, after]) = p.frequency_mhz {
        card(format!("{after:.0} MHz"), &format!("after, {before:.0} before"));
    }
    if let Some(energy) = &p.energy {
        card(
            format!("{} J", number(energy.joules_per_slice)),
            &format!("a slice, {} W: {}", number(energy.watts), energy.meters.join(", ")),
        );
    }
    if let Some(overhead) = p.overhead {
        card(format!("{:.2} %", overhead.percent), "cost of timing the steps");
    }
    out + "</div>\n"
}

fn verdict(p: &Profile) -> String {
    let Some(v) = &p.verdict else { return String::new() };
    let mut rows =
        String::from("<table><tr><th>demand</th><th>found</th><th>at most</th><th></th></tr>\n");
    for c in &v.checks {
        let (class, word) = if c.passed { ("good", "holds") } else { ("bad", "exceeded") };
        rows += &format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{class}\">{word}</td></tr>\n",
            escape(&c.what),
            number(c.found),
            number(c.limit)
        );
    }
    section(&format!("Budget of {}", v.target), "", &(rows + "</table>\n"))
}

/// Colour of a step.
fn class(s: &StepProfile) -> &'static str {
    match s.kind.as_str() {
        "convolve" => "conv",
        "convolve+add" => "add",
        "transpose" => "up",
        _ => "other",
    }
}

fn key_kinds() -> String {
    "<div class=\"key\"><span><i class=\"conv\"></i>convolution</span><span><i \
     class=\"add\"></i>convolution and addition</span>\
     <span><i class=\"up\"></i>transposed convolution</span><span><i \
     class=\"other\"></i>other</span></div>\n"
        .into()
}

fn key(p: &Profile) -> String {
    let memory = "<span><i class=\"memory\"></i>waiting for memory</span></div>\n";
    match p.kind {
        Kind::Measured => key_kinds(),
        Kind::Predicted => key_kinds().replace("</div>\n", memory),
    }
}

fn bars_note(p: &Profile) -> String {
    let total: f64 = p.steps.iter().map(|s| s.median_ms).sum();
    let mut classes: Vec<(String, f64)> = Vec::new();
    for s in &p.steps {
        match classes.iter_mut().find(|c| c.0 == s.kind) {
            Some(c) => c.1 += s.median_ms,
            None => classes.push((s.kind.clone(), s.median_ms)),
        }
    }
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    let parts: Vec<String> = classes
        .iter()
        .take(4)
        .map(|(kind, ms)| format!("{kind} {:.0} %", 100.0 * ms / total))
        .collect();
    format!("{} ms in {} steps on one core: {}.", number(total), p.steps.len(), parts.join(", "))
}

fn bars(p: &Profile) -> String {
    let most = p.steps.iter().map(|s| s.median_ms).fold(0.0, f64::max).max(1e-9);
    let (row, top) = (20.0, 6.0);
    let height = top + row * p.steps.len() as f64 + 26.0;
    let x = Axis { low: 0.0, high: most, from: 190.0, to: WIDTH - 170.0, log: false };
    let mut svg = Svg::new(WIDTH, height, "Milliseconds of each step");
    for tick in x.ticks() {
        svg.line("grid", [x.at(tick), top], [x.at(tick), height - 22.0]);
        svg.text("soft mid", [x.at(tick), height - 6.0], &format!("{} ms", mark(tick)));
    }
    for (i, s) in p.steps.iter().enumerate() {
        let y = top + row * i as f64;
        let name: String = s.name.chars().take(26).collect();
        svg.text("end", [x.from - 8.0, y + 14.0], &name);
        let detail = format!(
            "{}: {} ms, {} GMAC/s, {} GB/s",
            s.name,
            number(s.median_ms),
            number(s.gmac_per_s),
            number(s.gb_per_s)
        );
        let width = (x.at(s.median_ms) - x.from).max(1.0);
        svg.bar(class(s), [x.from, y + 3.0, width, row - 6.0], s.median_ms, &detail);
        if s.memory_ms > 0.0 {
            let wait = width * s.memory_ms / s.median_ms;
            let title = format!("{}: of it {} ms waiting for memory", s.name, number(s.memory_ms));
            svg.bar(
                "memory",
                [x.from + width - wait, y + 3.0, wait, row - 6.0],
                s.memory_ms,
                &title,
            );
        }
        let rate = if s.macs > 0 {
            format!("{} ms  \u{b7}  {} GMAC/s", number(s.median_ms), number(s.gmac_per_s))
        } else {
            format!("{} ms", number(s.median_ms))
        };
        svg.text("soft", [x.from + width + 8.0, y + 14.0], &rate);
    }
    svg.finish()
}

fn roofline_note(p: &Profile) -> String {
    let speeds = match p.kind {
        Kind::Measured => "Dashed: what one core copies from each level of memory, measured.",
        Kind::Predicted => "Dashed: what one core is assumed to copy from each level of memory.",
    };
    let above = if p.steps.iter().any(|s| s.gmac_per_s > p.peak_gmac_per_s) {
        " A step above it saves products by Winograd's filtering: its multiply-accumulates are \
         those of the definition."
    } else {
        ""
    };
    format!(
        "Each point is a step; its area is its time. The red line is what the kernel's instruction \
         reaches on registers alone ({} GMAC/s).\
         {above} {speeds}",
        number(p.peak_gmac_per_s)
    )
}

fn roofline(p: &Profile) -> String {
    let steps: Vec<&StepProfile> = p.steps.iter().filter(|s| s.macs > 0 && s.bytes > 0).collect();
    let intensity = |s: &StepProfile| s.macs as f64 / s.bytes as f64;
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values
            .filter(|v| *v > 0.0)
            .fold([f64::INFINITY, 0.0], |[low, high], v| [low.min(v), high.max(v)])
    };
    let [left, right] = range(&mut steps.iter().map(|s| intensity(s)));
    let [bottom, top] = range(&mut steps.iter().map(|s| s.gmac_per_s).chain([p.peak_gmac_per_s]));
    let (x, y) = (
        Axis { low: left / 8.0, high: right * 2.0, from: 70.0, to: WIDTH - 30.0, log: true },
        Axis { low: bottom / 2.0, high: top * 1.6, from: 380.0, to: 14.0, log: true },
    );
    let mut svg = Svg::new(
        WIDTH,
        430.0,
        "Roofline: multiply-accumulates a second against multiply-accumulates a byte",
    );
    for tick in y.ticks() {
        svg.line("grid", [x.from, y.at(tick)], [x.to, y.at(tick)]);
        svg.text("soft end", [x.from - 8.0, y.at(tick) + 4.0], &mark(tick));
    }
    for tick in x.ticks() {
        svg.line("grid", [x.at(tick), y.to], [x.at(tick), y.from]);
        svg.text("soft mid", [x.at(tick), y.from + 18.0], &mark(tick));
    }
    svg.text(
        "soft mid",
        [(x.from + x.to) / 2.0, y.from + 38.0],
        "multiply-accumulates per byte moved",
    );
    svg.text("soft", [x.from + 6.0, y.to + 12.0], "GMAC/s");
    bands(&mut svg, p, x, y);
    if p.peak_gmac_per_s > 0.0 {
        let roof = y.at(p.peak_gmac_per_s);
        // On the side where fewer points are.
        let above = steps.iter().filter(|s| s.gmac_per_s > p.peak_gmac_per_s).count();
        let beside = if 2 * above > steps.len() { 16.0 } else { -6.0 };
        svg.path("roof", &[[x.from, roof], [x.to, roof]]);
        svg.text(
            "rooftext end",
            [x.to - 4.0, roof + beside],
            &format!("instruction: {} GMAC/s", number(p.peak_gmac_per_s)),
        );
    }
    let most = steps.iter().map(|s| s.median_ms).fold(1e-9, f64::max);
    for s in steps {
        let title = format!(
            "{} ({}): {} GMAC/s at {} MAC/byte, {} ms",
            s.name,
            s.class(),
            number(s.gmac_per_s),
            number(intensity(s)),
            number(s.median_ms)
        );
        let radius = 4.0 + 8.0 * (s.median_ms / most).sqrt();
        svg.point(class(s), [x.at(intensity(s)), y.at(s.gmac_per_s)], radius, s.gmac_per_s, &title);
    }
    svg.finish()
}

/// The slopes that memory allows, each up to the instruction's roof.
fn bands(svg: &mut Svg, p: &Profile, x: Axis, y: Axis) {
    let roof = p.peak_gmac_per_s;
    // Without a step that computes there is nothing to hold them against.
    let plotted = [x, y].iter().all(|axis| axis.low.is_finite() && axis.low < axis.high);
    let bands = p.bandwidth.iter().filter(|b| plotted && b.gb_per_s > 0.0);
    for (i, b) in bands.enumerate() {
        // GMAC/s = GB/s times MAC/byte.
        let knee = (roof / b.gb_per_s).clamp(x.low, x.high);
        let start = (y.low / b.gb_per_s).clamp(x.low, x.high);
        if start >= knee {
            continue;
        }
        svg.line(
            "band",
            [x.at(start), y.at(start * b.gb_per_s)],
            [x.at(knee), y.at(knee * b.gb_per_s)],
        );
        // Each name at a height of its own, the fastest highest, however close the slopes.
        let height = roof * (y.low / roof).powf(0.12 + 0.14 * i as f64);
        let height = height.max(start * b.gb_per_s);
        let text = format!("{} {} GB/s", b.level, number(b.gb_per_s));
        svg.text("soft", [x.at(height / b.gb_per_s) + 10.0, y.at(height) + 4.0], &text);
    }
}

fn latency(p: &Profile) -> String {
    let h = &p.histogram;
    let most = h.counts.iter().copied().max().unwrap_or(1).max(1);
    let high = h.low_ms + h.width_ms * h.counts.len() as f64;
    let x = Axis { low: h.low_ms, high, from: 70.0, to: WIDTH - 30.0, log: false };
    let y = Axis { low: 0.0, high: f64::from(most), from: 230.0, to: 30.0, log: false };
    let mut svg = Svg::new(WIDTH, 275.0, "Slices by their milliseconds");
    for tick in y.ticks().into_iter().filter(|t| t.fract() == 0.0) {
        svg.line("grid", [x.from, y.at(tick)], [x.to, y.at(tick)]);
        svg.text("soft end", [x.from - 8.0, y.at(tick) + 4.0], &format!("{tick:.0}"));
    }
    let width = (x.to - x.from) / h.counts.len() as f64;
    for (i, &count) in h.counts.iter().enumerate() {
        let from = h.low_ms + h.width_ms * i as f64;
        let title =
            format!("{count} slices of {} to {} ms", number(from), number(from + h.width_ms));
        let place = y.at(f64::from(count));
        svg.bar(
            "conv",
            [x.from + width * i as f64 + 1.0, place, (width - 2.0).max(1.0), y.from - place],
            f64::from(count),
            &title,
        );
    }
    for tick in x.ticks() {
        svg.text("soft mid", [x.at(tick), y.from + 18.0], &format!("{} ms", mark(tick)));
    }
    let l = p.latency_ms;
    for (i, (name, value)) in
        [("median", l.median), ("p95", l.p95), ("p99", l.p99)].into_iter().enumerate()
    {
        svg.line("roof", [x.at(value), 22.0], [x.at(value), y.from]);
        // Close percentiles would write over one another.
        let class = if x.at(value) > WIDTH - 190.0 { "rooftext end" } else { "rooftext" };
        let side = if class == "rooftext" { 5.0 } else { -5.0 };
        svg.text(
            class,
            [x.at(value) + side, 32.0 + 15.0 * i as f64],
            &format!("{name} {} ms", number(value)),
        );
    }
    svg.finish()
}

fn table(p: &Profile) -> String {
    let mut out = String::from(
        "<div class=\"wide\"><table><tr><th>step</th><th \
         class=\"left\">kind</th><th>result</th><th>ms</th><th>share</th><th>MMAC</th>\
         <th>GMAC/s</th><th>of peak</th><th>kB</th><th>GB/s</th></tr>\n",
    );
    let total: f64 = p.steps.iter().map(|s| s.median_ms).sum();
    for s in &p.steps {
        out += &format!(
            "<tr><td>{}</td><td class=\"left\">{}</td><td>{}</td><td>{:.4}</td><td>{:.1} \
             %</td><td>{:.2}</td><td>{:.1}</td><td>{:.0} %</td><td>{:.1}</td><td>{:.1}</td></tr>\n",
            escape(&s.name),
            escape(&s.kind),
            s.shape.map(|n| n.to_string()).join("\u{d7}"),
            s.median_ms,
            100.0 * s.median_ms / total,
            s.macs as f64 / 1e6,
            s.gmac_per_s,
            s.percent_of_peak,
            s.bytes as f64 / 1e3,
            s.gb_per_s
        );
    }
    out + "</table></div>\n"
}

/// Counts of each step that has some.
fn counted(p: &Profile) -> String {
    let mut out = String::from(
        "<div class=\"wide\"><table><tr><th>step</th><th>cycles</th><th>instructions</th>\
         <th>a cycle</th><th>cache misses</th><th>branch misses</th></tr>\n",
    );
    for (step, counts) in p.steps.iter().filter_map(|step| Some((step, step.counts?))) {
        let ([cycles, instructions, cache, branches], per_cycle) = counts.told();
        out += &format!(
            "<tr><td>{}</td><td>{cycles}</td><td>{instructions}</td><td>{per_cycle}</td>\
             <td>{cache}</td><td>{branches}</td></tr>\n",
            escape(&step.name),
        );
    }
    out + "</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn the_plotted_values_are_the_profiles() {
        let profile = sample();
        let html = page(&profile);
        for s in &profile.steps {
            assert!(html.contains(&format!("data-value=\"{}\"", s.median_ms)), "{}", s.name);
            assert!(html.contains(&format!("data-value=\"{}\"", s.gmac_per_s)), "{}", s.name);
        }
        for count in &profile.histogram.counts {
            assert!(html.contains(&format!("data-value=\"{count}\"")));
        }
        assert!(html.contains("a&lt;b&gt;&amp;&quot;c") && !html.contains("a<b>"));
        assert!(!html.contains("http"), "the page needs no network");
        assert!(!html.contains("NaN") && !html.contains("inf\""));
    }

    #[test]
    fn counts_and_energy_are_shown_where_there_are_some() {
        let mut profile = sample();
        let text = page(&profile);
        for shown in ["<td>1250</td><td>2.50</td><td>-</td><td>3</td>", "0.125 J", "package-0"] {
            assert!(text.contains(shown), "{shown}");
        }
        profile.steps.iter_mut().for_each(|step| step.counts = None);
        profile.uncounted = Some("the processor has <none>".into());
        let text = page(&profile);
        assert!(text.contains("the processor has &lt;none&gt;") && !text.contains("a cycle"));
    }

    #[test]
    fn a_net_without_steps_has_a_page_too() {
        let mut profile = sample();
        profile.steps.clear();
        (profile.macs, profile.peak_gmac_per_s) = (0, 0.0);
        assert!(page(&profile).contains("tract ran the net"));
    }

    #[test]
    fn durations_are_read_easily() {
        let all = [0.0123, 4.56, 99.0, 150.0, 9000.0].map(duration);
        assert_eq!(all, ["12.3 ms", "4.56 s", "99.0 s", "2 min 30 s", "2 h 30 min"]);
    }
}

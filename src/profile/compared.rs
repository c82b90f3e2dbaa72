//! Pages of several profiles: two against each other, and a figure over many runs.

use super::page::{self, WIDTH, document, section};
use super::plot::{Axis, Svg, mark, number};
use super::{Change, Kind, Profile, date, diff};
use crate::measure::escape;

/// The history of a figure as HTML: runs with the figure's milliseconds, oldest first. Only
/// measurements of one net by one engine on one processor are joined by a line.
#[must_use]
pub fn history_page(title: &str, runs: &[(&Profile, f64)]) -> String {
    let top = runs.iter().map(|r| r.1).fold(0.0, f64::max).max(1e-9);
    let x = Axis {
        low: 0.0,
        high: (runs.len().max(2) - 1) as f64,
        from: 90.0,
        to: WIDTH - 60.0,
        log: false,
    };
    let y = Axis { low: 0.0, high: top * 1.1, from: 300.0, to: 16.0, log: false };
    let mut svg = Svg::new(WIDTH, 340.0, title);
    for tick in y.ticks() {
        svg.line("grid", [x.from - 30.0, y.at(tick)], [x.to + 30.0, y.at(tick)]);
        svg.text("soft end", [x.from - 38.0, y.at(tick) + 4.0], &mark(tick));
    }
    let place = |i: usize| [x.at(i as f64), y.at(runs[i].1)];
    let alike = |a: &Profile, b: &Profile| {
        [a, b].iter().all(|p| p.kind == Kind::Measured)
            && (&a.model, &a.engine, &a.cpu) == (&b.model, &b.engine, &b.cpu)
    };
    for (i, run) in runs.iter().enumerate() {
        if let Some(before) = (0..i).rev().find(|&j| alike(runs[j].0, run.0)) {
            svg.path("curve", &[place(before), place(i)]);
        }
    }
    let every = runs.len().div_ceil(10).max(1);
    let mut rows = String::from(
        "<div class=\"wide\"><table><tr><th>date</th><th>ms</th><th class=\"left\">model</th><th \
         class=\"left\">engine</th>\
         <th class=\"left\">processor</th><th class=\"left\">kind</th></tr>\n",
    );
    for (i, &(p, ms)) in runs.iter().enumerate() {
        let class = match p.kind {
            Kind::Measured => "conv",
            Kind::Predicted => "up",
        };
        let kind = p.kind.told();
        let (day, cpu) = (date(p.unix_s), page::place(p));
        svg.point(
            class,
            place(i),
            5.0,
            ms,
            &format!("{day}: {} ms, {kind}, {} on {cpu}", number(ms), p.model),
        );
        if i % every == 0 {
            svg.text("soft mid", [place(i)[0], 322.0], &day);
        }
        let cells = [&p.model, &p.engine, cpu, kind]
            .map(|t| format!("<td class=\"left\">{}</td>", escape(t)));
        rows += &format!("<tr><td>{day}</td><td>{}</td>{}</tr>\n", number(ms), cells.concat());
    }
    let key = "<div class=\"key\"><span><i class=\"conv\"></i>measured</span><span><i \
        class=\"up\"></i>predicted, not measured</span></div>\n";
    let body = format!("<h1>{}</h1>\n", escape(title))
        + &section(
            "Milliseconds by run",
            "Each point is one run of the folder; a line joins measurements of one net by one \
             engine on one processor.",
            &(key.to_owned() + &svg.finish()),
        )
        + &section("All runs", "", &(rows + "</table></div>\n"));
    document(title, &body)
}

/// Two profiles against each other as HTML: classes of steps, then every step.
#[must_use]
pub fn diff_page(a: &Profile, b: &Profile) -> String {
    let d = diff(a, b);
    let [ms_a, ms_b] = [d.slice.a_ms, d.slice.b_ms].map(Option::unwrap_or_default);
    let mut body = format!(
        "<h1>A slice: {} ms, then {} ms{}</h1>\n",
        number(ms_a),
        number(ms_b),
        told(&d.slice)
    );
    for (name, p) in [("A", a), ("B", b)] {
        body += &format!("<p>{name}: {}</p>\n", escape(&p.told()));
    }
    let note = d.worst_class().map_or(String::new(), |(class, percent)| {
        format!(
            "Sums over steps that cost alike. The largest difference is that of {class}: \
             {percent:+.1} %."
        )
    });
    let key = [("A", a, SIDES[0]), ("B", b, SIDES[1])].map(|(name, p, class)| {
        format!("<span><i class=\"{class}\"></i>{name}, {}</span>", p.kind.told())
    });
    let key = format!("<div class=\"key\">{}</div>\n", key.concat());
    body += &section("By class of steps", &note, &(key + &pairs(&d.classes)));
    body += &section("All steps", "", &table(&d.steps));
    document(&format!("{} and {}", page::place(a), page::place(b)), &body)
}

/// Colours of the first and the second profile.
const SIDES: [&str; 2] = ["conv", "up"];

/// A change as it stands behind its times.
fn told(c: &Change) -> String {
    c.percent.map_or(String::new(), |p| format!(" ({p:+.1} %)"))
}

/// A pair of bars for each change.
fn pairs(changes: &[Change]) -> String {
    let most = changes.iter().flat_map(|c| [c.a_ms, c.b_ms]).flatten().fold(1e-9, f64::max);
    let (row, top) = (30.0, 6.0);
    let height = top + row * changes.len() as f64 + 26.0;
    let x = Axis { low: 0.0, high: most, from: 190.0, to: WIDTH - 190.0, log: false };
    let mut svg = Svg::new(WIDTH, height, "Milliseconds in both");
    for tick in x.ticks() {
        svg.line("grid", [x.at(tick), top], [x.at(tick), height - 22.0]);
        svg.text("soft mid", [x.at(tick), height - 6.0], &format!("{} ms", mark(tick)));
    }
    for (i, c) in changes.iter().enumerate() {
        let y = top + row * i as f64;
        svg.text("end", [x.from - 8.0, y + 19.0], &c.name);
        for (side, ms) in [c.a_ms, c.b_ms].into_iter().enumerate() {
            let Some(ms) = ms else { continue };
            let title = format!("{}, {}: {} ms", c.name, ["A", "B"][side], number(ms));
            svg.bar(
                SIDES[side],
                [x.from, y + 4.0 + 11.0 * side as f64, x.at(ms) - x.from, 10.0],
                ms,
                &title,
            );
        }
        let ms = |value: Option<f64>| value.map_or("-".into(), number);
        let end = x.at(c.a_ms.into_iter().chain(c.b_ms).fold(0.0, f64::max));
        let text = format!("{} \u{2192} {} ms{}", ms(c.a_ms), ms(c.b_ms), told(c));
        svg.text("soft", [end + 8.0, y + 19.0], &text);
    }
    svg.finish()
}

fn table(changes: &[Change]) -> String {
    let mut out = String::from(
        "<div class=\"wide\"><table><tr><th>step</th><th>A ms</th><th>B \
         ms</th><th>change</th></tr>\n",
    );
    for c in changes {
        let ms = |value: Option<f64>| value.map_or("-".into(), |ms| format!("{ms:.4}"));
        let percent = c.percent.map_or("-".into(), |p| format!("{p:+.1} %"));
        let name = escape(&c.name);
        out += &format!(
            "<tr><td>{name}</td><td>{}</td><td>{}</td><td>{percent}</td></tr>\n",
            ms(c.a_ms),
            ms(c.b_ms)
        );
    }
    out + "</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn a_difference_plots_both_times_of_each_class() {
        let (a, mut b) = (sample(), sample());
        b.kind = Kind::Predicted;
        b.steps[1].median_ms *= 1.5;
        let html = diff_page(&a, &b);
        for ms in [a.steps[0].median_ms, a.steps[1].median_ms, b.steps[1].median_ms] {
            assert!(html.contains(&format!("data-value=\"{ms}\"")), "{ms}");
        }
        assert!(html.contains("+50.0 %") && html.contains("predicted, not measured"));
        assert!(html.contains("a&lt;b&gt;&amp;&quot;c") && !html.contains("a<b>"));
    }
}

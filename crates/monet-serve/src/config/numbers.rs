//! Refuses numbers that cannot mean what they say, and tables that cannot work together.

use std::collections::BTreeSet;

use super::Config;
use super::check::{Refusal, refuse};
use crate::owner::overlap;

/// Most threads and processes that a configuration may ask for: more than any machine that this is
/// for has cores.
const MOST: u32 = 256;

/// Checks all numbers.
pub(super) fn validate(config: &Config) -> Result<(), Refusal> {
    let Config { listen, study, jobs, retry, keep, .. } = config;
    let any = 1..=u32::MAX;
    let few = 1..=MOST;
    let mut all = vec![
        ("study.longest_s", study.longest_s, any.clone(), "a number over 0"),
        (
            "study.quiet_s",
            study.quiet_s,
            1..=study.longest_s,
            "1 up to study.longest_s, which ends a study whatever still comes",
        ),
        ("jobs.parallel", jobs.parallel.into(), few.clone(), "1 to 256"),
        ("jobs.threads", jobs.threads.into(), few.clone(), "1 to 256"),
        ("jobs.seconds", jobs.seconds, any.clone(), "a number over 0"),
        ("jobs.tries", jobs.tries.into(), any.clone(), "a number over 0"),
        ("jobs.memory_mib", jobs.memory_mib, 64..=u32::MAX, "64 at least"),
        ("retry.first_s", retry.first_s, any.clone(), "a number over 0"),
        ("retry.idle_s", retry.idle_s, any.clone(), "a number over 0"),
        (
            "retry.longest_s",
            retry.longest_s,
            retry.first_s..=u32::MAX,
            "retry.first_s at least, which is the shortest pause",
        ),
        ("keep.full_percent", keep.full_percent.into(), 1..=100, "a share from 1 to 100"),
        ("keep.waiting", keep.waiting, any.clone(), "a number over 0: with 0 nothing is taken"),
    ];
    if let Some(listen) = listen {
        all.extend([
            ("listen.associations", listen.associations.into(), 1..=512, "1 to 512"),
            ("listen.per_address", listen.per_address.into(), any.clone(), "a number over 0"),
            ("listen.idle_s", listen.idle_s, any.clone(), "a number over 0"),
            ("listen.longest_s", listen.longest_s, any.clone(), "a number over 0"),
            ("listen.instance_mib", listen.instance_mib, any.clone(), "a number over 0"),
            ("listen.max_pdu", listen.max_pdu, 4 << 10..=256 << 10, "4096 to 262144 bytes"),
        ]);
    }
    let watched = config.watch.iter().map(|watch| {
        let expected = "a number over 0: a file that still grows is not to be taken";
        ("watch.quiet_s", watch.quiet_s, any.clone(), expected)
    });
    let asked = config
        .destination
        .iter()
        .map(|to| ("destination.commitment_s", to.commitment_s, any.clone(), "a number over 0"));
    let mut all = all.into_iter().chain(watched).chain(asked);
    if let Some((field, found, _, expected)) =
        all.find(|(_, found, range, _)| !range.contains(found))
    {
        return refuse(field, found, expected);
    }
    match jobs.slice_budget_ms {
        Some(ms) if !(ms.is_finite() && ms > 0.0) => {
            refuse("jobs.slice_budget_ms", ms, "milliseconds over 0")
        }
        _ => Ok(()),
    }
}

/// Checks where things come in, and that no two want the same.
pub(super) fn validate_inputs(config: &Config) -> Result<(), Refusal> {
    let listen = config.listen.as_ref().map(|listen| listen.address);
    if listen.is_none() && config.watch.is_empty() {
        return refuse("listen", "no [listen] and no [[watch]]", "one, or nothing ever arrives");
    }
    let mut names = BTreeSet::new();
    if let Some(watch) = config.watch.iter().find(|watch| !names.insert(watch.name.as_str())) {
        return refuse("watch.name", watch.name.as_str(), "names that differ");
    }
    let page = config.page_address();
    for (field, address) in [("listen.address", listen), ("page.address", page)] {
        if let Some(address) = address.filter(|address| address.port() == 0) {
            return refuse(field, address, "a port over 0: peers must know it");
        }
    }
    match (listen, page) {
        (Some(a), Some(b)) if overlap(a, b) => {
            refuse("page.address", b, "another port than the listener's")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Config;

    fn refusal(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("box.toml");
        fs::write(&path, format!("folder = \"data\"\n{text}\n[[rule]]\n")).unwrap();
        Config::load(&path).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        let watch = "[[watch]]\nfolder = \"in\"\nname = \"W\"\n";
        let listen = "[listen]\nae_titles = [\"M\"]\n";
        let to = "[[destination]]\nname = \"d\"\n";
        for (text, parts) in [
            (String::new(), ["listen: no [listen] and no [[watch]]", "nothing ever arrives"]),
            (format!("{watch}[jobs]\nthreads = 10000"), ["jobs.threads: 10000", "1 to 256"]),
            (format!("{watch}[jobs]\nparallel = 300"), ["jobs.parallel: 300", "1 to 256"]),
            (format!("{watch}[jobs]\nslice_budget_ms = -1.0"), ["jobs.slice_budget_ms", "-1"]),
            (format!("{watch}quiet_s = 0"), ["watch.quiet_s: 0", "still grows"]),
            (format!("{watch}{watch}"), ["watch.name: W", "differ"]),
            (format!("{watch}[keep]\nwaiting = 0"), ["keep.waiting: 0", "nothing is taken"]),
            (format!("{watch}[retry]\nlongest_s = 9"), ["retry.longest_s: 9", "first_s"]),
            (format!("{listen}address = \"10.0.0.1\""), ["\"10.0.0.1\"", "0.0.0.0:11112"]),
            (format!("{listen}address = \"0.0.0.0:0\""), ["listen.address", "a port over 0"]),
            (format!("{listen}associations = 9999"), ["listen.associations: 9999", "1 to 512"]),
            (format!("{listen}per_address = 0"), ["listen.per_address: 0", "over 0"]),
            (format!("{listen}instance_mib = 0"), ["listen.instance_mib: 0", "over 0"]),
            (
                format!("{listen}[page]\naddress = \"127.0.0.1:11112\""),
                ["page.address: 127.0.0.1:11112", "another port"],
            ),
            (
                format!("{watch}{to}folder = \"out\"\ncommitment = true"),
                ["destination d", "a folder commits itself to nothing"],
            ),
            (
                format!("{watch}{to}address = \"h:104\"\nae_title = \"P\"\ncommitment_s = 0"),
                ["destination.commitment_s: 0", "over 0"],
            ),
        ] {
            let found = refusal(&text);
            assert!(parts.iter().all(|part| found.contains(part)), "{text}: {found}");
        }
    }
}

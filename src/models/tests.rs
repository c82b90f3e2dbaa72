//! Every call that changes a name fails or is the last before a crash, in any sequence of what can
//! be done to a store: what was current is so still, or what was to be current is.

#[cfg(unix)]
mod power;

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::atomic::disk::fault::{self, Fault, UNNAMED};
use crate::engine::Against;
use crate::package::{Manifest, plan_file};

const NAME: &str = "tiny";

/// A file of the folder of signed packages.
fn given(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/integration/models").join(name)
}

/// A self-test that takes no time and is passed by what has the version of a good package.
fn quick(_: &Path, package: &Package) -> Result<PackageCheck, Cause> {
    let good = !package.manifest.version.starts_with('4');
    Ok(PackageCheck {
        engine: "none".to_owned(),
        labels_sha256: "0".to_owned(),
        against: Against::Nothing,
        expected_sha256: if good { "0" } else { "1" }.to_owned(),
        ms: 0.0,
    })
}

fn install(package: PathBuf, allow_older: bool) -> Install {
    Install { package, signed: Signed::Beside, allow_older }
}

/// A store in a folder, with the keys of all signed packages.
fn store(folder: &Path) -> Store {
    let keys = folder.join("keys");
    fs::create_dir(&keys).unwrap();
    for key in ["maker.pub", "next.pub"] {
        fs::copy(given(key), keys.join(key)).unwrap();
    }
    Store::open(folder.join("store"), keys)
}

fn put(store: &Store, package: &str) -> Result<Installed, StoreError> {
    store.install(&install(given(package), true), &mut quick)
}

/// The version that is current, which can be loaded.
fn version(store: &Store) -> Option<String> {
    let current = store.current(NAME).unwrap()?;
    let package = Package::load(&current.path).unwrap();
    assert_eq!(package.manifest.version, current.record.version);
    Some(current.record.version)
}

/// What can be done to a store.
#[derive(Debug, Clone)]
enum Deed {
    Install(&'static str, bool),
    Rollback,
    Use(SlotName),
    Start,
    Confirm,
}

impl Deed {
    fn run(&self, store: &Store) -> Result<(), StoreError> {
        match self {
            Self::Install(package, older) => {
                store.install(&install(given(package), *older), &mut quick).map(drop)
            }
            Self::Rollback => store.rollback(NAME, &mut quick).map(drop),
            Self::Use(slot) => store.choose(NAME, &Choice::Slot(*slot), &mut quick).map(drop),
            Self::Start => store.started(NAME).map(drop),
            Self::Confirm => match store.current(NAME)? {
                Some(current) => store.confirm(&current),
                None => Ok(()),
            },
        }
    }
}

fn deed() -> impl Strategy<Value = Deed> {
    let package = prop::sample::select(vec![
        "tiny-1.plan",
        "tiny-2.plan",
        "tiny-2b.plan",
        "tiny-3.plan",
        "tiny-4-wrong.plan",
    ]);
    prop_oneof![
        4 => (package, any::<bool>()).prop_map(|(package, older)| Deed::Install(package, older)),
        1 => Just(Deed::Rollback),
        1 => prop::sample::select(SlotName::ALL.to_vec()).prop_map(Deed::Use),
        2 => Just(Deed::Start),
        1 => Just(Deed::Confirm),
    ]
}

/// The versions of the slots that have a package.
fn slots(store: &Store) -> Vec<String> {
    let content = SlotName::ALL.map(|slot| store.content(NAME, slot));
    content.into_iter().flatten().map(|found| found.record.version).collect()
}

fn floor(store: &Store) -> u64 {
    store.floor(NAME).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 60 } else { 400 }))]

    #[test]
    fn whatever_is_done_and_wherever_it_breaks_off_something_current_can_be_loaded(
        deeds in prop::collection::vec(
            (deed(), prop::option::of((0usize..60, any::<bool>()))),
            1..14,
        )
    ) {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let mut lowest = 0;
        for (deed, broken) in deeds {
            let (before, beside) = (version(&store), slots(&store));
            let kinds = [Fault::Error, Fault::Crash];
            fault::plan(broken.map(|(at, crash)| (at, kinds[usize::from(crash)])));
            let done = deed.run(&store);
            fault::plan(None);
            let now = version(&store);
            let wanted = match &deed {
                Deed::Install(package, _) => {
                    vec![Package::load(&given(package)).unwrap().manifest.version]
                }
                Deed::Rollback | Deed::Use(_) | Deed::Start => beside,
                Deed::Confirm => vec![],
            };
            let good = now == before || now.as_ref().is_some_and(|now| wanted.contains(now));
            prop_assert!(good, "{deed:?}: {before:?}, then {now:?} ({done:?})");
            if let (Deed::Install(..), Ok(())) = (&deed, &done) {
                prop_assert_eq!(now.as_ref(), wanted.first());
            }
            prop_assert!(now.as_ref().is_none_or(|now| !now.starts_with('4')));
            prop_assert!(floor(&store) >= lowest, "the floor is never lowered");
            lowest = floor(&store);
        }
        put(&store, "tiny-3.plan").unwrap();
        prop_assert_eq!(version(&store).unwrap(), "3.0");
    }
}

/// Each call of an install over two packages, on file systems with and without unnamed files.
#[test]
fn an_install_that_breaks_off_at_any_call_costs_nothing_that_is_current() {
    let mut calls = 0;
    for lacking in [0, UNNAMED] {
        fault::lacking(lacking);
        for kind in [Fault::Error, Fault::Crash] {
            for at in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let store = store(folder.path());
                put(&store, "tiny-1.plan").unwrap();
                put(&store, "tiny-2.plan").unwrap();
                fault::plan(Some((at, kind)));
                let done = put(&store, "tiny-3.plan");
                let all = fault::calls() <= at;
                fault::plan(None);
                let now = version(&store).unwrap();
                assert!(["2.0", "3.0"].contains(&&*now), "call {at}: {now}");
                assert!(done.is_err() || now == "3.0", "call {at}");
                put(&store, "tiny-2b.plan").unwrap();
                assert_eq!(version(&store).unwrap(), "2.1", "call {at}");
                let left = fs::read_dir(store.new_folder()).unwrap().count();
                assert_eq!(left, 0, "call {at}");
                if all {
                    break;
                }
                calls += 1;
            }
        }
    }
    fault::lacking(0);
    assert!(calls > 100, "{calls}");
}

#[test]
fn a_package_that_nobody_confirms_is_left_after_three_starts() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    assert!(matches!(store.started(NAME), Err(StoreError::Unknown { .. })));
    put(&store, "tiny-1.plan").unwrap();
    let first = store.started(NAME).unwrap();
    store.confirm(&first.current).unwrap();
    put(&store, "tiny-2.plan").unwrap();
    for start in 1..=MAX_STARTS {
        let started = store.started(NAME).unwrap();
        assert_eq!((started.current.record.version.as_str(), started.fell_back), ("2.0", None));
        assert_eq!(started.current.record.starts, start);
    }
    let started = store.started(NAME).unwrap();
    assert_eq!(started.current.record.version, "1.0");
    let (slot, reason) = started.fell_back.unwrap();
    assert!(slot == SlotName::B && reason.contains("3 times"), "{reason}");
    let failed = store.content(NAME, slot).unwrap().record;
    assert_eq!((failed.state, failed.reason), (State::Failed, Some(reason)));
    // What was confirmed is not counted.
    for _ in 0..2 * MAX_STARTS {
        let started = store.started(NAME).unwrap();
        assert_eq!((&*started.current.record.version, started.current.record.starts), ("1.0", 0));
    }
    let refused = store.rollback(NAME, &mut quick);
    assert!(matches!(refused, Err(StoreError::Failed { .. })), "{refused:?}");
    // A person may try it again, and so may an install of the same file.
    store.choose(NAME, &Choice::Version("2.0".into()), &mut quick).unwrap();
    assert_eq!(store.started(NAME).unwrap().current.record.starts, 1);
}

#[test]
fn with_nothing_better_a_doubtful_package_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    put(&store, "tiny-1.plan").unwrap();
    let starts: Vec<_> = (0..5).map(|_| store.started(NAME).unwrap()).collect();
    assert!(starts.iter().all(|started| started.current.record.version == "1.0"));
    let doubts: Vec<_> = starts.iter().map(|started| started.doubt.is_some()).collect();
    assert_eq!(doubts, [false, false, false, true, true]);
    store.confirm(&starts[4].current).unwrap();
    assert!(store.started(NAME).unwrap().doubt.is_none());
}

#[test]
fn a_damaged_package_is_left_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    put(&store, "tiny-1.plan").unwrap();
    put(&store, "tiny-2.plan").unwrap();
    let current = store.current(NAME).unwrap().unwrap();
    fs::write(&current.path, "damaged").unwrap();
    assert!(matches!(store.current(NAME), Err(StoreError::Damaged { .. })));
    let started = store.started(NAME).unwrap();
    assert_eq!(started.current.record.version, "1.0");
    assert!(started.fell_back.unwrap().1.contains("install the package again"));
    fs::write(started.current.path, "damaged").unwrap();
    assert!(matches!(store.started(NAME), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_confirmation_that_comes_too_late_confirms_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    put(&store, "tiny-1.plan").unwrap();
    let started = store.started(NAME).unwrap();
    put(&store, "tiny-2.plan").unwrap();
    put(&store, "tiny-2b.plan").unwrap();
    store.confirm(&started.current).unwrap();
    for slot in SlotName::ALL {
        assert_eq!(store.content(NAME, slot).unwrap().record.state, State::Tested);
    }
}

#[test]
fn a_name_that_leads_out_of_the_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for name in ["..", "../..", ".hidden", "a\\b", "x y"] {
        let manifest = Manifest { name: name.into(), ..crate::package::manifest_for_tests() };
        let path = folder.path().join("bad.plan");
        fs::write(&path, plan_file::seal(&manifest, b"net")).unwrap();
        let request = Install { package: path, signed: Signed::Not, allow_older: false };
        assert!(store.install(&request, &mut quick).is_err(), "{name}");
    }
    assert_eq!(store.names().unwrap(), Vec::<String>::new());
}

#[test]
fn who_names_what_is_not_there_makes_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for found in [
        store.started(NAME).map(drop),
        store.current(NAME).map(drop),
        store.rollback(NAME, &mut quick).map(drop),
        store.choose(NAME, &Choice::Slot(SlotName::A), &mut quick).map(drop),
        store.remove(NAME),
    ] {
        assert!(matches!(found, Ok(()) | Err(StoreError::Unknown { .. })), "{found:?}");
    }
    let missing = folder.path().join("missing.plan");
    let error = store.install(&install(missing.clone(), true), &mut quick).unwrap_err();
    let of_the_package = matches!(&error, StoreError::File { path, .. } if *path == missing);
    assert!(of_the_package, "{error}");
    assert!(!store.folder().exists());
}

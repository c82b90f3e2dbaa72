//! Panics, which are faults in the library: they become text, and neither leave it nor print.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// What the work returns, or what its panic said.
///
/// After a panic the caller touches nothing that the work has changed, but what can stand it: a
/// session makes its engines anew after a volume that did not end well.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static SILENCE: Once = Once::new();
    // Rust's standard library prints each panic of each thread. The copy of that library in
    // `libmonet` serves no other code, so that its hook is ours.
    SILENCE.call_once(|| panic::set_hook(Box::new(|_| {})));
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| said(&*panic))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").into()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::caught;

    /// In a process of its own, where the test's own report does not replace the hook.
    #[test]
    fn a_panic_becomes_text_and_prints_nothing() {
        const CHILD: &str = "MONET_TEST_PANIC";
        if std::env::var_os(CHILD).is_some() {
            let said = caught(|| panic!("a {} panic", "formatted")).unwrap_err();
            assert_eq!(said, "a formatted panic");
            assert_eq!(caught(|| panic!("words")), Err::<(), _>("words".into()));
            assert_eq!(
                caught(|| std::panic::panic_any(7)),
                Err::<(), _>("a panic without words".into())
            );
            std::thread::spawn(|| panic!("of another thread")).join().unwrap_err();
            return;
        }
        let name = "panics::tests::a_panic_becomes_text_and_prints_nothing";
        let own = std::env::current_exe().unwrap();
        let child =
            Command::new(own).args(["--exact", name, "--nocapture"]).env(CHILD, "").output();
        let child = child.unwrap();
        assert!(child.status.success(), "{child:?}");
        assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "{child:?}");
        assert!(child.stderr.is_empty(), "{child:?}");
    }
}

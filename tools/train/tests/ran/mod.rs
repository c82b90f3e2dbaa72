//! What a command that was run said, where it ended otherwise than expected.

use std::process::{Command, Output};

/// Runs a command that must succeed.
pub fn succeed(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs a command that must fail, and gives its message.
pub fn refuse(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} was not refused");
    String::from_utf8(output.stderr).unwrap()
}

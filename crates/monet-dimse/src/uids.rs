//! The SOP classes and syntaxes that associations here are about (PS3.6, annex A).

/// Application context of every DICOM association.
pub const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Verification: C-ECHO.
pub const VERIFICATION: &str = "1.2.840.10008.1.1";
/// Storage Commitment Push Model.
pub const COMMITMENT: &str = "1.2.840.10008.1.20.1";
/// The one instance of Storage Commitment Push Model.
pub const COMMITMENT_INSTANCE: &str = "1.2.840.10008.1.20.1.1";

/// Whether a SOP class is one of storage: 1.2.840.10008.5.1.4.1.1 and what is under it.
#[must_use]
pub fn is_storage(class: &str) -> bool {
    class.starts_with("1.2.840.10008.5.1.4.1.1.")
}

/// Whether a SOP class is one that this crate answers: storage, verification, storage commitment.
#[must_use]
pub fn is_known(class: &str) -> bool {
    is_storage(class) || matches!(class, VERIFICATION | COMMITMENT)
}

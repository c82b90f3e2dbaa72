//! Transfer syntaxes: how a file's data set is coded and its pixels are compressed (PS3.5,
//! section 10 and annex A; identifiers in PS3.6, annex A).

use std::fmt;

macro_rules! syntaxes {
    ($($variant:ident = $uid:literal, $name:literal;)*) => {
        /// A transfer syntax.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Syntax {
            $(#[doc = $name] $variant,)*
            /// One that this crate cannot decode, by its UID.
            Other(String),
        }

        impl Syntax {
            /// The syntax that a UID names.
            #[must_use]
            pub fn from_uid(uid: &str) -> Self {
                match uid {
                    $($uid => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }

            /// The syntax's UID.
            #[must_use]
            pub fn uid(&self) -> &str {
                match self {
                    $(Self::$variant => $uid,)*
                    Self::Other(uid) => uid,
                }
            }

            /// The standard's name of the syntax.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(uid) => foreign(uid),
                }
            }
        }
    };
}

syntaxes! {
    ImplicitLittle = "1.2.840.10008.1.2", "Implicit VR Little Endian";
    ExplicitLittle = "1.2.840.10008.1.2.1", "Explicit VR Little Endian";
    Deflated = "1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian";
    DeflatedFrame = "1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression";
    ExplicitBig = "1.2.840.10008.1.2.2", "Explicit VR Big Endian";
    JpegBaseline = "1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1)";
    JpegExtended = "1.2.840.10008.1.2.4.51", "JPEG Extended (Process 2 & 4)";
    JpegLossless = "1.2.840.10008.1.2.4.57", "JPEG Lossless, Non-Hierarchical (Process 14)";
    JpegLosslessFirst = "1.2.840.10008.1.2.4.70",
        "JPEG Lossless, Non-Hierarchical, First-Order Prediction";
    JpegLs = "1.2.840.10008.1.2.4.80", "JPEG-LS Lossless";
    JpegLsNear = "1.2.840.10008.1.2.4.81", "JPEG-LS Lossy (Near-Lossless)";
    Jpeg2000Lossless = "1.2.840.10008.1.2.4.90", "JPEG 2000 (Lossless Only)";
    Jpeg2000 = "1.2.840.10008.1.2.4.91", "JPEG 2000";
    Htj2kLossless = "1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000 (Lossless Only)";
    Htj2kLosslessRpcl = "1.2.840.10008.1.2.4.202",
        "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)";
    Htj2k = "1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000";
    Rle = "1.2.840.10008.1.2.5", "RLE Lossless";
}

/// Names of syntaxes that this crate cannot decode.
fn foreign(uid: &str) -> &'static str {
    let Some(part) = uid.strip_prefix("1.2.840.10008.1.2.") else { return "unknown" };
    match part {
        "4.92" | "4.93" => "JPEG 2000 Part 2 Multi-component",
        "4.94" | "4.95" | "4.204" | "4.205" => "JPIP",
        "4.100" | "4.100.1" | "4.101" | "4.101.1" => "MPEG2",
        "4.102" | "4.102.1" | "4.103" | "4.103.1" | "4.104" | "4.104.1" | "4.105" | "4.105.1"
        | "4.106" | "4.106.1" => "MPEG-4",
        "4.107" | "4.108" => "HEVC",
        "4.110" | "4.111" | "4.112" => "JPEG XL",
        "6.1" => "RFC 2557 MIME",
        "6.2" => "XML",
        "7.1" | "7.2" | "7.3" => "SMPTE ST 2110",
        "1.98" => "Encapsulated Uncompressed Explicit VR Little Endian",
        _ if part.starts_with("4.") => "a retired JPEG process",
        _ => "unknown",
    }
}

impl Syntax {
    /// Whether elements carry their value representation.
    #[must_use]
    pub fn is_explicit(&self) -> bool {
        *self != Self::ImplicitLittle
    }

    /// Whether numbers are big-endian.
    #[must_use]
    pub fn is_big_endian(&self) -> bool {
        *self == Self::ExplicitBig
    }

    /// Whether frames lie as they are, one behind the other.
    #[must_use]
    pub fn is_native(&self) -> bool {
        matches!(
            self,
            Self::ImplicitLittle | Self::ExplicitLittle | Self::Deflated | Self::ExplicitBig
        )
    }
}

impl fmt::Display for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A UID comes from a file: what is no UID is not repeated.
        let uid = if crate::uid::is_valid(self.uid()) { self.uid() } else { "no valid UID" };
        write!(f, "{} ({uid})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_and_syntaxes_name_one_another() {
        for uid in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.3"] {
            assert_eq!(Syntax::from_uid(uid).uid(), uid);
        }
        let other = Syntax::from_uid("1.2.840.10008.1.2.4.110").to_string();
        assert_eq!(other, "JPEG XL (1.2.840.10008.1.2.4.110)");
        assert_eq!(Syntax::from_uid("Smith^John").to_string(), "unknown (no valid UID)");
    }
}

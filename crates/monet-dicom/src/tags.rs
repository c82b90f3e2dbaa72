//! The tags that this crate reads or writes, by the standard's keywords (PS3.6), shortened.

use super::dataset::Tag;

macro_rules! tags {
    ($($name:ident = $group:literal, $element:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: Tag = Tag($group, $element);)*
    };
}

tags! {
    TRANSFER_SYNTAX = 0x0002, 0x0010, "Transfer Syntax UID";
    CHARACTER_SET = 0x0008, 0x0005, "Specific Character Set";
    IMAGE_TYPE = 0x0008, 0x0008, "Image Type";
    SOP_CLASS = 0x0008, 0x0016, "SOP Class UID";
    SOP_INSTANCE = 0x0008, 0x0018, "SOP Instance UID";
    MODALITY = 0x0008, 0x0060, "Modality";
    STUDY_UID = 0x0020, 0x000d, "Study Instance UID";
    SERIES_UID = 0x0020, 0x000e, "Series Instance UID";
    INSTANCE_NUMBER = 0x0020, 0x0013, "Instance Number";
    IMAGE_POSITION = 0x0020, 0x0032, "Image Position (Patient)";
    IMAGE_ORIENTATION = 0x0020, 0x0037, "Image Orientation (Patient)";
    FRAME_OF_REFERENCE = 0x0020, 0x0052, "Frame of Reference UID";
    SAMPLES_PER_PIXEL = 0x0028, 0x0002, "Samples per Pixel";
    PHOTOMETRIC = 0x0028, 0x0004, "Photometric Interpretation";
    FRAMES = 0x0028, 0x0008, "Number of Frames";
    ROWS = 0x0028, 0x0010, "Rows";
    COLUMNS = 0x0028, 0x0011, "Columns";
    PIXEL_SPACING = 0x0028, 0x0030, "Pixel Spacing";
    BITS_ALLOCATED = 0x0028, 0x0100, "Bits Allocated";
    BITS_STORED = 0x0028, 0x0101, "Bits Stored";
    HIGH_BIT = 0x0028, 0x0102, "High Bit";
    PIXEL_REPRESENTATION = 0x0028, 0x0103, "Pixel Representation";
    PIXEL_DATA = 0x7fe0, 0x0010, "Pixel Data";
}

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
    SERIES_DESCRIPTION = 0x0008, 0x103e, "Series Description";
    BODY_PART = 0x0018, 0x0015, "Body Part Examined";
    SLICE_THICKNESS = 0x0018, 0x0050, "Slice Thickness";
    ECHO_TIME = 0x0018, 0x0081, "Echo Time";
    SLICE_SPACING = 0x0018, 0x0088, "Spacing Between Slices";
    TRIGGER_TIME = 0x0018, 0x1060, "Trigger Time";
    EFFECTIVE_ECHO_TIME = 0x0018, 0x9082, "Effective Echo Time";
    B_VALUE = 0x0018, 0x9087, "Diffusion b-value";
    ECHO_SEQUENCE = 0x0018, 0x9114, "MR Echo Sequence";
    DIFFUSION_SEQUENCE = 0x0018, 0x9117, "MR Diffusion Sequence";
    STUDY_UID = 0x0020, 0x000d, "Study Instance UID";
    SERIES_UID = 0x0020, 0x000e, "Series Instance UID";
    SERIES_NUMBER = 0x0020, 0x0011, "Series Number";
    ACQUISITION_NUMBER = 0x0020, 0x0012, "Acquisition Number";
    INSTANCE_NUMBER = 0x0020, 0x0013, "Instance Number";
    IMAGE_POSITION = 0x0020, 0x0032, "Image Position (Patient)";
    IMAGE_ORIENTATION = 0x0020, 0x0037, "Image Orientation (Patient)";
    FRAME_OF_REFERENCE = 0x0020, 0x0052, "Frame of Reference UID";
    TEMPORAL_POSITION = 0x0020, 0x0100, "Temporal Position Identifier";
    STACK_ID = 0x0020, 0x9056, "Stack ID";
    FRAME_CONTENT_SEQUENCE = 0x0020, 0x9111, "Frame Content Sequence";
    PLANE_POSITION = 0x0020, 0x9113, "Plane Position Sequence";
    PLANE_ORIENTATION = 0x0020, 0x9116, "Plane Orientation Sequence";
    TEMPORAL_INDEX = 0x0020, 0x9128, "Temporal Position Index";
    FRAME_ACQUISITION_NUMBER = 0x0020, 0x9156, "Frame Acquisition Number";
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
    PADDING_VALUE = 0x0028, 0x0120, "Pixel Padding Value";
    PADDING_LIMIT = 0x0028, 0x0121, "Pixel Padding Range Limit";
    RESCALE_INTERCEPT = 0x0028, 0x1052, "Rescale Intercept";
    RESCALE_SLOPE = 0x0028, 0x1053, "Rescale Slope";
    LOSSY = 0x0028, 0x2110, "Lossy Image Compression";
    PIXEL_MEASURES = 0x0028, 0x9110, "Pixel Measures Sequence";
    VALUE_TRANSFORMATION = 0x0028, 0x9145, "Pixel Value Transformation Sequence";
    SHARED = 0x5200, 0x9229, "Shared Functional Groups Sequence";
    PER_FRAME = 0x5200, 0x9230, "Per-Frame Functional Groups Sequence";
    PIXEL_DATA = 0x7fe0, 0x0010, "Pixel Data";
}

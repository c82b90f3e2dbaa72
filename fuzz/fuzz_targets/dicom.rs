#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    monet_dicom::fuzz::header(bytes);
    monet_dicom::fuzz::image(bytes);
});

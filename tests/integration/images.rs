//! Images, the plans that `monet compile --for` makes beforehand: the same labels as planned at
//! load, and one clear error for each that does not fit or is damaged.

use std::fs;
use std::path::Path;

use monet::core::prepare::normalise::ChannelStats;
use monet::core::prepare::{Fit, LEAST_BINS, RawSlices, Scaling};
use monet::core::{Buffer, Image, Kernel, Plan};
use monet::package::Package;
use monet::volume::{SliceSource, SourceOptions};
use monet_testing::{stderr, text};

use crate::monet;

const SAMPLE: &str = "models/sample/mni152-hippocampus.nii.gz";

fn compile(folder: &Path, kernel: Kernel, more: &[&str]) -> std::path::PathBuf {
    let image = folder.join(format!("{kernel}.image"));
    let args = ["compile", "--for", kernel.name(), "-o", text(&image)];
    let ran = monet(&[&args[..], more].concat());
    assert!(ran.status.success(), "{}", stderr(&ran));
    image
}

fn segment(folder: &Path, model: &[&str]) -> std::process::Output {
    let output = folder.join("mask.nii");
    let args = ["segment", SAMPLE, "-o", text(&output), "--force"];
    monet(&[&args[..], model].concat())
}

/// The height and width of the sample's slices in the net, as the refusal of another size says.
fn needed(folder: &Path) -> String {
    let image = compile(folder, Kernel::Scalar, &["--size", "16x24", "--force"]);
    let ran = segment(folder, &["--model", text(&image)]);
    let message = stderr(&ran);
    assert_eq!(ran.status.code(), Some(1), "{message}");
    assert!(message.contains("is planned for slices of 16x24"), "{message}");
    let (_, size) = message.split_once("--size ").expect("the size that would fit");
    size.trim_end().trim_end_matches('`').to_owned()
}

#[test]
fn an_image_of_each_kernel_gives_the_labels_of_the_package() {
    let folder = tempfile::tempdir().unwrap();
    let size = needed(folder.path());
    assert!(segment(folder.path(), &[]).status.success());
    let want = fs::read(folder.path().join("mask.nii")).unwrap();
    let orders: [&[&str]; 3] = [&[], &["--lines"], &["--twice"]];
    for (kernel, order) in Kernel::ALL.into_iter().flat_map(|kernel| orders.map(|o| (kernel, o))) {
        let size = ["--size", &size, "--force"];
        let image = compile(folder.path(), kernel, &[&size[..], order].concat());
        let ran = segment(folder.path(), &["--model", text(&image)]);
        if kernel.is_available() {
            assert!(ran.status.success(), "{kernel}: {}", stderr(&ran));
            assert!(
                fs::read(folder.path().join("mask.nii")).unwrap() == want,
                "{kernel} {order:?}"
            );
        } else {
            let message = stderr(&ran);
            assert!(message.contains("this CPU cannot run the kernel"), "{kernel}: {message}");
        }
    }
}

#[test]
fn a_kernel_other_than_the_images_own_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = compile(folder.path(), Kernel::Scalar, &[]);
    let best = Kernel::best();
    let ran = segment(folder.path(), &["--model", text(&image), "--kernel", best.name()]);
    let message = stderr(&ran);
    assert_eq!(ran.status.code(), Some(1), "{message}");
    assert!(message.contains(&format!("`monet compile --for {best}`")), "{message}");
}

#[test]
fn a_damaged_image_is_refused_and_so_is_one_to_be_planned_again() {
    let folder = tempfile::tempdir().unwrap();
    let image = compile(folder.path(), Kernel::Scalar, &[]);
    let again = folder.path().join("again.plan");
    let ran = monet(&["compile", text(&image), "-o", text(&again)]);
    assert!(stderr(&ran).contains("is planned already"), "{}", stderr(&ran));
    let whole = fs::read(&image).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&image, &damaged).unwrap();
        let ran = segment(folder.path(), &["--model", text(&image)]);
        assert_eq!(ran.status.code(), Some(1), "byte {at}: {}", stderr(&ran));
    }
    fs::write(&image, &whole[..whole.len() / 2]).unwrap();
    let ran = segment(folder.path(), &["--model", text(&image)]);
    assert!(stderr(&ran).contains("its header says"), "{}", stderr(&ran));
}

/// The whole sample as a board without operating system takes it: raw voxels of 16 bits, what the
/// image says, 2 KiB for percentiles, no allocation by the engine.
#[test]
fn a_board_finds_in_raw_slices_what_the_command_finds() {
    let folder = tempfile::tempdir().unwrap();
    let size = needed(folder.path());
    assert!(segment(folder.path(), &[]).status.success());
    let orientation = Package::embedded().manifest.orientation;
    let options = SourceOptions { orientation, ..SourceOptions::default() };
    let slices_of = |path: &Path| {
        let mut source = SliceSource::open(path, &options).unwrap();
        let (geometry, voxels) = (*source.geometry(), source.read_all().unwrap());
        (geometry, voxels.iter().map(|&voxel| voxel as i16).collect::<Vec<_>>())
    };
    let (geometry, voxels) = slices_of(Path::new(SAMPLE));
    let (_, want) = slices_of(&folder.path().join("mask.nii"));
    let slices: Vec<&[i16]> = voxels.chunks_exact(geometry.slice_size().area()).collect();

    let image = compile(folder.path(), Kernel::best(), &["--size", &size, "--force"]);
    let image = Buffer::from(&*fs::read(image).unwrap());
    let plan = Plan::try_from(Image::parse(&image).unwrap()).unwrap();
    let recipe = plan.recipe().unwrap();
    let [x, y, _] = geometry.spacing;
    let fit = Fit::new(recipe, 1, geometry.slice_size(), [x, y]).unwrap();
    let mut memory = [0_u32; LEAST_BINS];
    let mut stats = ChannelStats::new(recipe.normalise, &mut memory);
    while stats.wants_pass() {
        slices.iter().for_each(|slice| stats.add(Scaling::NONE.values(slice)));
        stats.end_pass();
    }
    let maps = [stats.map()];
    let (mut arena, mut net) = (vec![0; plan.arena_len()], vec![0; fit.net_size().area()]);
    let mut found = vec![0; voxels.len()];
    for (i, labels) in found.chunks_exact_mut(fit.size().area()).enumerate() {
        let last = slices.len() - 1;
        let around = [i.saturating_sub(1), i, (i + 1).min(last)].map(|i| slices[i]);
        let input = RawSlices::new(fit, &around, Scaling::NONE, &maps).unwrap();
        plan.run_input(&mut arena, &input, &mut net).unwrap();
        fit.restore(&net, labels).unwrap();
    }
    assert!(found.iter().any(|&label| label > 0), "labels were found");
    assert!(found.iter().zip(&want).all(|(&found, &want)| i16::from(found) == want));
}

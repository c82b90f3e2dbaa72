//! `monet segment`: volumes in, label volumes out.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use monet::package::Manifest;
use monet::paths::VolumeName;
use monet::pipeline::{FileJob, Report};
use monet::text::{plain, shown};

use super::archive::{self, ArchiveArgs, Entry};
use super::region::RegionArgs;
use super::reports::is_stdout;
use super::{Outcome, batch, terminal};

const EXAMPLES: &str = "\
Examples:
  monet segment scan.nii.gz -o mask.nii.gz --stats stats.json --preview preview.png
  monet segment incoming/*.nii.gz -o masks/ --model pancreas.toml --threads 4 --quiet
  monet segment head.nii.gz -o mask.nii.gz --region-mm -44:-6,-50:2,-31:5
  monet segment study/ -o result.dcm --model sarcoma.toml --preview preview.png   # a DICOM series
  monet segment scan.nii.gz -o mask.nii.gz --threads 2 --trace trace.json
  monet segment --list volumes.txt --shard 0/4 --skip-done -o masks/ --stats figures/

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some inputs of several failed, 130 interrupted.";

/// Why there is no trace of several volumes.
const ONE_TRACE: &str = "--trace is of a single volume: give one input that is one";

/// Segment volumes slice by slice: NIfTI files, DICOM series
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SegmentArgs {
    /// Volumes: .nii, .nii.gz, or .hdr/.img; DICOM: a folder, a .zip, a DICOMDIR, or a file
    #[arg(required_unless_present = "list", value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Labels to write (.nii or .nii.gz, or of DICOM .dcm); with several inputs a folder, where
    /// each output bears its input's name
    #[arg(short, long, value_name = "FILE|DIR")]
    output: PathBuf,
    /// Model: a package's manifest, or a plan; the embedded hippocampus package when not given
    #[arg(long, value_name = "FILE.toml|FILE.plan")]
    pub(super) model: Option<PathBuf>,
    /// Slices segmented at the same time
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub(super) threads: u16,
    /// Write figures (labels, times, memory) as JSON, with several inputs one array, in a folder
    /// one file a volume; - for standard output. File names are bytes: one that is no UTF-8 is
    /// told as \xff, and a backslash as \\
    #[arg(long, value_name = "FILE.json|DIR")]
    pub(super) stats: Option<PathBuf>,
    /// Write a picture of outlined slices; with several inputs the input's name is added, in a
    /// folder it is the picture's name
    #[arg(long, value_name = "FILE.png|DIR")]
    preview: Option<PathBuf>,
    /// Write what each thread did when as a Chrome trace, of a single volume; it opens in
    /// chrome://tracing and ui.perfetto.dev
    #[arg(long, value_name = "FILE.json")]
    pub(super) trace: Option<PathBuf>,
    /// Write names and colours of the labels, which masks tell, too, as a file: a colour table of
    /// 3D Slicer (.ctbl), or a label description of ITK-SNAP
    #[arg(long, value_name = "FILE.ctbl|FILE.txt")]
    pub(super) label_table: Option<PathBuf>,
    /// Replace existing outputs
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) archive: ArchiveArgs,
    #[command(flatten)]
    part: RegionArgs,
    #[command(flatten)]
    pub(super) engine: super::nets::EngineArgs,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[cfg(feature = "dicom")]
    #[command(flatten)]
    dicom: super::dicom::DicomArgs,
}

/// Runs the command.
///
/// # Errors
/// What concerns all inputs; what concerns one of several is reported and counted.
pub(super) fn run(args: SegmentArgs) -> Result<Outcome> {
    check(&args)?;
    batch::run(args)
}

/// What makes no sense, before anything is read.
fn check(args: &SegmentArgs) -> Result<()> {
    let folder = args.output.as_os_str().as_encoded_bytes().last();
    ensure!(
        args.output.is_dir() || !folder.is_some_and(|last| std::path::is_separator(*last as char)),
        "{}: no such folder: make it first",
        shown(&args.output)
    );
    ensure!(
        !is_several(args) || args.output.is_dir(),
        "{}: with several inputs -o must be an existing folder: make it, or give one input",
        shown(&args.output)
    );
    ensure!(
        !args.preview.as_deref().is_some_and(is_stdout),
        "a preview goes to a file, not to standard output: --preview FILE.png"
    );
    ensure!(
        !args.trace.as_deref().is_some_and(is_stdout),
        "a trace goes to a file, not to standard output: --trace FILE.json"
    );
    ensure!(args.trace.is_none() || !is_several(args), ONE_TRACE);
    #[cfg(feature = "dicom")]
    ensure!(
        !args.dicom.any()
            || args.archive.list.is_some()
            || args.inputs.iter().any(|input| super::dicom::is_dicom(input)),
        "--series, --format, --report, --capture and --allow-gaps are for DICOM: none of the \
         inputs is a folder, an archive or a file of it"
    );
    Ok(())
}

/// Whether the outputs are named after their inputs.
fn is_several(args: &SegmentArgs) -> bool {
    args.inputs.len() > 1 || args.archive.list.is_some()
}

/// What the inputs became.
pub(super) struct Jobs {
    /// A job a volume.
    pub(super) all: Vec<FileJob>,
    /// What is read, by processes with other shares as well.
    pub(super) read: Vec<PathBuf>,
    /// How many inputs became no job. Each was reported.
    pub(super) refused: usize,
    /// How many volumes were done before.
    pub(super) done: usize,
    /// Where the figures of all volumes go together; none where each has a file of its own.
    pub(super) figures: Option<PathBuf>,
}

impl Jobs {
    /// What the volumes write.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &PathBuf> {
        self.all.iter().flat_map(outputs)
    }

    /// Takes out what is done, and gives what is of a single volume to its job.
    ///
    /// # Errors
    /// A trace of several volumes.
    pub(super) fn settle(mut self, args: &SegmentArgs) -> Result<Self> {
        let all = self.all.len();
        self.all.retain(|job| !args.archive.is_done(&job.output));
        self.done = all - self.all.len();
        if let Self { all, refused: 0, done: 0, figures, .. } = &mut self
            && let [one] = &mut all[..]
            && let Some(path) = figures.take_if(|path| !is_stdout(path))
        {
            one.stats = Some(path);
        }
        if args.trace.is_some() {
            let [one] = &mut self.all[..] else { bail!(ONE_TRACE) };
            one.trace.clone_from(&args.trace);
        }
        Ok(self)
    }
}

/// What a job writes.
fn outputs(job: &FileJob) -> impl Iterator<Item = &PathBuf> {
    job.outputs().into_iter().chain(&job.stats).chain(&job.trace)
}

/// The jobs of all inputs, done or not. Where there are several volumes, the figures of all are one
/// report, which is not a job's.
///
/// # Errors
/// Of a single input: one without a name; DICOM without a series for the model. Of several, such
/// an input is reported and counted. A list that cannot be read, and an interrupt, are errors, too.
pub(super) fn jobs(
    args: &SegmentArgs,
    manifest: &Manifest,
    interrupted: &AtomicBool,
) -> Result<Jobs> {
    let several = is_several(args);
    let (entries, read) = args.archive.entries(&args.inputs)?;
    let figures = args.stats.clone().filter(|path| !path.is_dir());
    let mut jobs = Jobs { all: Vec::new(), read, refused: 0, done: 0, figures };
    for entry in &entries {
        match jobs_of(args, entry, several, manifest, interrupted) {
            Ok(found) => jobs.all.extend(found),
            Err(error) if several && !interrupted.load(Ordering::Relaxed) => {
                terminal::report(&error);
                jobs.refused += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(jobs)
}

fn jobs_of(
    args: &SegmentArgs,
    Entry { input, output }: &Entry,
    several: bool,
    manifest: &Manifest,
    interrupted: &AtomicBool,
) -> Result<Vec<FileJob>> {
    let RegionArgs { accept_any, .. } = args.part;
    let output = output.as_ref().map(|output| args.output.join(output));
    output.as_deref().map(archive::make_folder).transpose()?;
    let one_each = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_dir());
    let (pictures, figures) = (one_each(&args.preview), one_each(&args.stats));
    let job = FileJob {
        input: input.clone(),
        output: output.unwrap_or_else(|| args.output.clone()),
        preview: args.preview.clone().filter(|_| pictures.is_none()),
        overwrite: args.force,
        measure: args.stats.is_some(),
        region: args.part.region(),
        accept_any,
        ..FileJob::default()
    };
    let mut jobs = volumes(args, job, several, manifest, interrupted)?;
    for job in &mut jobs {
        let labels = job.output.strip_prefix(&args.output).ok();
        let labels = labels.filter(|path| path.file_name().is_some()).unwrap_or(&job.output);
        let beside = |folder: &PathBuf, ending| archive::beside_labels(folder, labels, ending);
        let picture = pictures.as_ref().map(|folder| beside(folder, ".png")).transpose()?;
        let figures = figures.as_ref().map(|folder| beside(folder, ".json")).transpose()?;
        job.preview = job.preview.take().or(picture);
        job.stats = figures;
    }
    Ok(jobs)
}

/// The jobs of one input: of DICOM one a series.
fn volumes(
    args: &SegmentArgs,
    job: FileJob,
    several: bool,
    manifest: &Manifest,
    interrupted: &AtomicBool,
) -> Result<Vec<FileJob>> {
    #[cfg(feature = "dicom")]
    if super::dicom::is_dicom(&job.input) {
        return args.dicom.jobs(&job, several, manifest, interrupted);
    }
    #[cfg(not(feature = "dicom"))]
    let _ = (args, manifest, interrupted);
    let name = output_name(&job.input)?;
    let output = if job.output.is_dir() { job.output.join(&name) } else { job.output.clone() };
    let preview = job.preview.as_ref();
    let preview = preview.map(|path| if several { beside(path, &name) } else { path.clone() });
    Ok(vec![FileJob { output, preview, ..job }])
}

/// The input's file name with an ending that can be written.
fn output_name(input: &Path) -> Result<OsString> {
    let name = input.file_name().with_context(|| format!("{}: expected a file", shown(input)))?;
    let lower = name.as_encoded_bytes().to_ascii_lowercase();
    if lower.ends_with(b".nii") || lower.ends_with(b".nii.gz") {
        return Ok(name.to_owned());
    }
    let mut name = bare(name).to_owned();
    name.push(".nii.gz");
    Ok(name)
}

/// A volume's name without the endings that it has.
fn bare(name: &OsStr) -> &OsStr {
    let parts = VolumeName::of(name);
    if parts.is_read() { parts.stem } else { name }
}

/// `dir/preview.png` for the input `scan.nii.gz` is `dir/preview-scan.png`.
fn beside(path: &Path, name: &OsStr) -> PathBuf {
    let mut own = path.file_stem().unwrap_or_default().to_owned();
    own.push("-");
    own.push(bare(name));
    own.push(".png");
    path.with_file_name(own)
}

/// Warnings as messages, figures as results, but where these go there as JSON.
pub(super) fn tell(report: &Report, job: &FileJob, stats: Option<&Path>) -> Result<()> {
    report
        .warnings
        .iter()
        .for_each(|warning| terminal::warn(format_args!("{}: {warning}", shown(&job.input))));
    if stats.is_some_and(is_stdout) {
        return Ok(());
    }
    terminal::print(&summary(report, job))
}

/// A volume's progress on the terminal.
pub(super) fn progress_bar(input: &Path) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} slices, {per_sec}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    let name = shown(input.file_name().unwrap_or_default()).to_string();
    ProgressBar::new(0).with_style(style).with_message(name)
}

/// Shows on a bar how many slices of how many are done.
pub(super) fn advance(bar: &ProgressBar) -> impl FnMut(usize, usize) {
    move |done, slices| {
        bar.set_length(slices as u64);
        bar.set_position(done as u64);
    }
}

/// What a person wants to see at once.
fn summary(report: &Report, job: &FileJob) -> String {
    let mut text = format!(
        "{}: {} slices in {:.2} s ({:.1} slices/s), {} {} by {}\n",
        shown(&job.output),
        report.slices,
        report.wall_s,
        report.slices_per_s,
        plain(&report.model.name),
        plain(&report.model.version),
        plain(&report.engine)
    );
    for label in &report.labels {
        let slices = label.slices.map_or("not found".into(), |[a, b]| format!("slices {a} to {b}"));
        text += &format!(
            "  {:<20} {:>10.3} ml  {:>9} voxels  {slices}\n",
            plain(&label.name),
            label.ml,
            label.voxels
        );
    }
    // What is written beside the labels.
    for path in job.outputs().into_iter().skip(1).chain(&job.stats).chain(&job.trace) {
        text += &format!("  {}\n", shown(path));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_named_after_their_inputs() {
        for (input, output) in [
            ("a/scan.nii.gz", "scan.nii.gz"),
            ("scan.nii", "scan.nii"),
            ("scan.hdr", "scan.nii.gz"),
            ("scan.img.gz", "scan.nii.gz"),
            ("scan", "scan.nii.gz"),
            ("SCAN.HDR", "SCAN.nii.gz"),
            ("a.b.IMG.GZ", "a.b.nii.gz"),
            ("scan.v2", "scan.v2.nii.gz"),
            ("scan.gz", "scan.nii.gz"),
            // What is refused when it is read takes no other volume's name before.
            ("scan.mgz", "scan.mgz.nii.gz"),
            ("scan.nii.zst", "scan.nii.zst.nii.gz"),
            (".nii.gz", ".nii.gz"),
        ] {
            assert_eq!(output_name(Path::new(input)).unwrap(), output);
        }
        assert!(output_name(Path::new("/")).is_err());
    }

    #[test]
    fn previews_of_several_inputs_differ() {
        assert_eq!(
            beside(Path::new("out/p.png"), OsStr::new("scan.nii.gz")),
            Path::new("out/p-scan.png")
        );
    }
}

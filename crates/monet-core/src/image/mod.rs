//! A plan's one form: bytes that are validated once and then executed where they lie.
//!
//! ```text
//! header │ tensors │ steps │ phases │ … │ names │ attachment │ weights, in the kernel's order
//! ```
//!
//! The planner writes an [`Image`] into memory; a file or a flash memory may hold one as well.
//! [`Image::parse`] proves every offset, reach and length in it, so that running it reads and
//! writes nothing else, whoever made it. `docs/plan-format.md` describes the bytes.

mod check;
mod error;
mod order;
mod reason;
mod recipe;
pub(crate) mod record;
pub(crate) mod turns;
mod view;

#[cfg(feature = "alloc")]
use alloc::sync::Arc;

#[cfg(feature = "alloc")]
use super::buffer::Buffer;
use super::kernels::Kernel;
use super::prepare::Recipe;
use super::size::Size;
use super::types::Output;
#[cfg(feature = "alloc")]
pub(crate) use check::{ARENA_LIMIT, LIMIT};
pub use error::ImageError;
#[cfg(feature = "alloc")]
pub(crate) use order::WAVES;
pub use reason::Reason;
use recipe::RecipeRecord;
use record::Header;
pub(crate) use view::{Taps, View};

/// Images, and their sections, begin at multiples of this.
pub const ALIGN: usize = 64;
/// First bytes of an image.
pub(crate) const MAGIC: [u8; 8] = *b"MONETPLN";
/// The version that this library makes and runs.
pub(crate) const VERSION: u32 = 5;
/// Where the bytes begin that the SHA-256 covers.
const DIGESTED: usize = 48;

/// A plan for one net, one slice size and one kernel, as bytes that have been validated. Clones
/// share the bytes.
#[derive(Debug, Clone)]
pub struct Image<'a>(Bytes<'a>);

/// Who holds the bytes.
#[derive(Debug, Clone)]
enum Bytes<'a> {
    Borrowed(&'a [u8]),
    #[cfg(feature = "alloc")]
    Owned(Arc<Buffer>),
}

/// What one step of a plan does, for people and profiles.
#[derive(Debug, Clone, PartialEq)]
pub struct StepInfo<'a> {
    /// The node's name in the net.
    pub name: &'a str,
    /// Kind of step, such as `convolve`.
    pub kind: &'static str,
    /// Channels, height and width of what it makes.
    pub shape: [usize; 3],
    /// Multiplications of the net (not counting padded channels).
    pub macs: u64,
    /// Weights and biases of the net (not counting padded channels).
    pub parameters: usize,
    /// Bytes of activations and weights that it reads or writes at least once.
    pub bytes: u64,
    /// Where in the arena its result lies; empty for the last step.
    pub arena: core::ops::Range<usize>,
}

impl<'a> Image<'a> {
    /// Validates bytes that lie at a multiple of [`ALIGN`], and uses them where they lie.
    ///
    /// The SHA-256 in the header is the caller's to compare, with whatever computes one best: see
    /// [`Image::sha256`] and [`Image::digested`].
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        check::check(&View::new(bytes)?)?;
        Ok(Self(Bytes::Borrowed(bytes)))
    }

    /// As [`Image::parse`]; the image keeps the bytes.
    ///
    /// # Errors
    /// [`ImageError`]
    #[cfg(feature = "alloc")]
    pub fn from_buffer(buffer: Buffer) -> Result<Image<'static>, ImageError> {
        check::check(&View::new(&buffer)?)?;
        Ok(Image(Bytes::Owned(Arc::new(buffer))))
    }

    /// Whether bytes begin as an image does.
    pub fn is_image(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Borrowed(bytes) => bytes,
            #[cfg(feature = "alloc")]
            Bytes::Owned(buffer) => buffer,
        }
    }

    /// The header.
    fn header(&self) -> Option<&Header> {
        let header = self.bytes().get(..size_of::<Header>());
        header.and_then(record::view).and_then(|headers| headers.first())
    }

    /// The sections. The same bytes were seen through when the image was made; should their memory
    /// have changed since, the image is empty.
    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.bytes()).unwrap_or(View::EMPTY)
    }

    /// SHA-256 as the header gives it: all 0 in an image that was never written to a file.
    pub fn sha256(&self) -> &[u8; 32] {
        self.header().map_or(&[0; 32], |header| &header.sha256)
    }

    /// The bytes that the SHA-256 covers: all but the first 48, which hold the mark, the version,
    /// the length and the SHA-256 itself.
    pub fn digested(&self) -> &[u8] {
        self.bytes().get(DIGESTED..).unwrap_or_default()
    }

    /// The image with its SHA-256 in the header, for a file.
    #[cfg(feature = "alloc")]
    pub fn sealed(self, sha256: [u8; 32]) -> Image<'static> {
        let mut buffer = match self.0 {
            Bytes::Borrowed(bytes) => Arc::new(Buffer::from(bytes)),
            Bytes::Owned(buffer) => buffer,
        };
        Arc::make_mut(&mut buffer)[DIGESTED - 32..DIGESTED].copy_from_slice(&sha256);
        Image(Bytes::Owned(buffer))
    }

    /// What its package says about preparing slices, where its maker put that in.
    pub fn recipe(&self) -> Option<Recipe> {
        self.view().recipe.first().and_then(RecipeRecord::recipe)
    }

    /// The image with its package's recipe, and without the SHA-256 of the one before.
    ///
    /// # Errors
    /// [`ImageError`] where the recipe is not for this net.
    #[cfg(feature = "alloc")]
    pub fn with_recipe(&self, recipe: &Recipe) -> Result<Image<'static>, ImageError> {
        Image::from_buffer(recipe::append(&self.view(), self.bytes(), recipe))
    }

    /// The kernel whose order the weights have.
    pub fn kernel(&self) -> Kernel {
        let kernel = self.header().and_then(|header| Kernel::from_code(header.kernel));
        kernel.unwrap_or(Kernel::Scalar)
    }

    /// Bytes of working memory that a run needs.
    pub fn arena_len(&self) -> usize {
        self.header().map_or(0, |header| header.arena as usize)
    }

    /// Channels of the input.
    pub fn channels(&self) -> usize {
        self.header().map_or(0, |header| header.input[0] as usize)
    }

    /// Height and width of the input.
    pub fn size(&self) -> Size {
        self.header().map_or(Size::new(0, 0), |header| size(header.input))
    }

    /// Values of an input slice: channels × height × width.
    pub fn input_len(&self) -> usize {
        self.channels() * self.size().area()
    }

    /// Height and width of the labels.
    pub fn output_size(&self) -> Size {
        self.header().map_or(Size::new(0, 0), |header| size(header.output))
    }

    /// Channels of the probabilities.
    pub fn classes(&self) -> usize {
        self.header().map_or(0, |header| header.output[0] as usize)
    }

    /// How logits become labels.
    pub fn output(&self) -> Output {
        self.view().output()
    }

    /// What its maker put beside the net: opaque here.
    pub fn attachment(&self) -> &[u8] {
        self.view().attachment
    }

    /// What each step does, in order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = StepInfo<'_>> {
        let view = self.view();
        view.steps.iter().map(move |step| view.info(step))
    }

    /// The steps of each pass, and how often they take turns: a pass of one step has one turn.
    pub fn passes(&self) -> impl ExactSizeIterator<Item = (core::ops::Range<usize>, usize)> {
        self.view().passes.iter().map(|pass| {
            let [first, count] = pass.steps.map(|n| n as usize);
            (first..first + count, pass.waves as usize)
        })
    }

    /// Multiplications of the net for one slice.
    pub fn macs(&self) -> u64 {
        self.steps().map(|step| step.macs).fold(0, u64::saturating_add)
    }
}

/// Height and width of channels, height and width.
fn size([_, height, width]: [u32; 3]) -> Size {
    Size::new(height as usize, width as usize)
}

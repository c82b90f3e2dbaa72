//! What can be wrong with a record of an image: a number in the program, a sentence for people. A
//! board that only counts errors does not carry the sentences.

use core::fmt;

macro_rules! reasons {
    ($($name:ident = $text:literal,)+) => {
        /// What is wrong with a record of an image.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Reason {
            $(#[doc = concat!("\"", $text, "\"")] $name,)+
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)+
                })
            }
        }
    };
}

reasons! {
    ScaleIsNotFinite = "the scale is not finite",
    Several = "there are several",
    SideIsOutOfRange = "a side is out of range",
    ArenaIsTooLarge = "the arena is too large",
    ListsOfTapsAreLongerThanTheArena = "the lists of taps are longer than the arena",
    TooManySteps = "there are too many steps",
    OutputIsNotOneOfTheKnownKinds = "the output is not one of the known kinds",
    NoInputTensor = "there is no input tensor",
    InputTensorHasAnotherSize = "the input tensor has another size",
    NoSteps = "there are no steps",
    FirstStepIsNotTheInput = "the first step is not the input's",
    ScaleIsNotAPositiveNumber = "the scale is not a positive number",
    ZeroPointIsAbove255 = "the zero point is above 255",
    ChannelsAreOutOfRange = "the channels are out of range",
    PixelHasNotTheBytesThatItsChannelsNeed = "a pixel has not the bytes that its channels need",
    BorderIsTooLarge = "the border is too large",
    HasMoreSlotsThanRowsOrNone = "it has more slots than rows, or none",
    EndsOutsideTheArena = "it ends outside the arena",
    SquaringsAreOutOfRange = "the squarings are out of range",
    RoundingFactorIsOutOfRange = "the rounding factor is out of range",
    ZeroPointIsOutOfRange = "the zero point is out of range",
    NamesATensorThatIsNotStored = "it names a tensor that does not exist or is not stored",
    NameLiesOutsideTheNames = "its name lies outside the names",
    ScratchMemoryLiesOutsideTheArena = "its scratch memory lies outside the arena",
    RowLiesOutsideTheArena = "its row lies outside the arena",
    BorderLiesOutsideTheArena = "its border lies outside the arena",
    HasTooManyRowsAtATime = "it has too many rows at a time",
    GoesOnTooFast = "it goes on too fast",
    HasPhasesAndIsNoConvolution = "it has phases and is no convolution",
    HasOtherRowsThanItMakes = "it has other rows than it makes",
    InputIsNotTheFirstTensor = "the input is not the first tensor",
    TensorsAreOfDifferentSizes = "the tensors are of different sizes",
    NumbersAreOutOfRange = "its numbers are out of range",
    NamesATableThatDoesNotExist = "it names a table that does not exist",
    WindowsAreOutOfRange = "its windows are out of range",
    TensorsHaveDifferentChannels = "the tensors have different channels",
    TensorIsNotOfTheLogitsSize = "its tensor is not of the logits' size",
    RowHasAnotherLength = "its row has another length",
    IsOfNoKnownKind = "it is of no known kind",
    LastStepAloneGivesTheLogits = "the last step alone gives the logits",
    PhasesDoNotExist = "its phases do not exist",
    HasNoPhases = "it has no phases",
    PhasesDifferInChannels = "its phases differ in channels",
    InputsDifferInSize = "its inputs differ in size",
    StageDoesNotExist = "its stage does not exist",
    ScalesDoNotExist = "its scales do not exist",
    StageAddsWhatTheStepDoesNot = "its stage adds what the step does not",
    HasOtherRowsThanItsPhases = "it has other rows than its phases",
    StopsWithinATile = "it stops within a tile",
    LacksTheBorderThatItReads = "it lacks the border that it reads",
    PhaseIsTooLarge = "a phase is too large",
    PhaseBeginsTooFarOut = "a phase begins too far out",
    PhaseHasBiasesThatDoNotExist = "a phase has biases that do not exist",
    PhaseHasWeightsThatDoNotExist = "a phase has weights that do not exist",
    WeightsAreNotAligned = "weights are not aligned",
    ListsOfTapsAreTooShort = "the lists of taps are too short",
    KernelHasNoTiles = "the kernel has no tiles",
    TilesMakeCountsAlone = "tiles make counts alone",
    PhaseIsComputedInNoKnownWay = "a phase is computed in no known way",
    PhaseHasAnotherCountOfWeights = "a phase has another count of weights",
    ScratchMemoryIsTooShort = "its scratch memory is too short",
    PhaseIsWrongAboutItsLowestWeight = "a phase is wrong about its lowest weight",
    PhaseHasTapsThatDoNotExist = "a phase has taps that do not exist",
    TapsReachFartherThanIsSaid = "taps reach farther than is said",
    TapsReachTooFar = "taps reach too far",
    InputHasTapsOfPartOfItsChannels = "an input has taps of part of its channels",
    PhaseReadsOutsideItsInput = "a phase reads outside its input",
    PhaseHasFeedsThatDoNotExist = "a phase has feeds that do not exist",
    PhaseHasTooManyFeedsOrNone = "a phase has too many feeds, or none",
    PhaseHasTapsTooFarApart = "a phase has taps too far apart",
    FeedHasNoInput = "a feed has no input",
    FeedHasPartOfABlockOfChannels = "a feed has part of a block of channels",
    FeedBeginsOutsideItsInput = "a feed begins outside its input",
    FeedsReachFartherThanIsSaid = "feeds reach farther than is said",
    RealValuesAreMadeInMoreThanOnePhase = "real values are made in more than one phase",
    SumsBecomeNothingKnown = "its sums become nothing known",
    MakesAnotherSizeThanItsOutputHas = "it makes another size than its output has",
    PhaseHasMoreChannelsThanItsOutput = "a phase has more channels than its output",
    AddsATensorOfAnotherSize = "it adds a tensor of another size",
    PhaseHasMoreChannelsThanItsResidual = "a phase has more channels than its residual",
    PhasesAreNotAllPixelsOfItsOutput = "its phases are not all pixels of its output",
    PassesAreNotAllSteps = "the passes are not all steps",
    DoesNotFollowThePassBeforeIt = "it does not follow the pass before it",
    HasTooManyWavesOrNone = "it has too many waves, or none",
    StepsDoNotExist = "its steps do not exist",
    LeavesRowsUndone = "it leaves rows undone",
    AnotherStepFillsItsOutputToo = "another step fills its output too",
    NobodyFillsItsInput = "nobody fills its input",
    ReadsWhatALaterStepFills = "it reads what a later step fills",
    ReadsRowsThatAreNotFilledYet = "it reads rows that are not filled yet",
    ReadsRowsThatOthersHaveReplaced = "it reads rows that others have replaced",
    NamesNoKnownKind = "it names no known kind",
    ChannelsOrNeighboursAreOutOfRange = "its channels or neighbours are out of range",
    SlicesHaveOtherChannelsThanTheNetInput = "its slices have other channels than the net's input",
    SizesAreOutOfRange = "its sizes are out of range",
    NormalisationIsNotFinite = "its normalisation is not finite",
    SpacingIsNotPositive = "its spacing is not positive",
}

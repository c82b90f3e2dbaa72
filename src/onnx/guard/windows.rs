//! Operators that move a window over a tensor or change its size: convolutions, pools, resizing,
//! borders; products of matrices.

use super::attributes::axis;
use super::elementwise::common;
use super::shapes::{Call, Fact, Made};

/// Largest factor by which a tensor is resized along an axis.
const MAX_FACTOR: f64 = 64.0;

/// A window as a node describes it.
struct Window {
    size: Vec<u64>,
    strides: Vec<u64>,
    dilations: Vec<u64>,
    /// Borders before and behind; none where they follow from the size of the result.
    borders: Option<Vec<[u64; 2]>>,
    /// Borders are such that the window keeps the tensor's size.
    same: bool,
}

impl Window {
    fn new(call: &Call, size: Vec<u64>) -> Result<Self, String> {
        let (attributes, axes) = (call.attributes, size.len());
        let pads = attributes.borders("pads", 2 * axes)?;
        let pads = (0..axes).map(|i| [pads[i], pads[i + axes]]).collect();
        let (borders, same) = match attributes.text("auto_pad", "NOTSET")? {
            "" | "NOTSET" => (Some(pads), false),
            "VALID" => (Some(vec![[0, 0]; axes]), false),
            "SAME_UPPER" | "SAME_LOWER" => (None, true),
            other => return Err(format!("its auto_pad is {other:?}")),
        };
        Ok(Self {
            strides: attributes.windows("strides", axes)?,
            dilations: attributes.windows("dilations", axes)?,
            size,
            borders,
            same,
        })
    }

    /// Rows or columns from its first tap to its last.
    fn span(&self, axis: usize) -> u64 {
        (self.size[axis] - 1) * self.dilations[axis] + 1
    }

    /// Places of the window along an axis of so many elements.
    fn places(&self, axis: usize, length: u64, ceil: bool) -> Result<u64, String> {
        let stride = self.strides[axis];
        let Some(borders) = &self.borders else { return Ok(length.div_ceil(stride)) };
        let [before, behind] = borders[axis];
        let (padded, span) = (length + before + behind, self.span(axis));
        let room = padded
            .checked_sub(span)
            .ok_or_else(|| format!("its window spans {span} of {padded} elements along an axis"))?;
        let places = if ceil { room.div_ceil(stride) } else { room / stride } + 1;
        // The last one begins within the tensor.
        Ok(if ceil && (places - 1) * stride >= length + before { places - 1 } else { places })
    }
}

/// Batch, channels and the axes over which windows move.
fn image<'a>(call: &Call<'a>) -> Result<(&'a Fact, u64, u64, &'a [u64]), String> {
    let input = call.operand(0)?;
    match &input.shape[..] {
        [batch, channels, rest @ ..] if (1..=3).contains(&rest.len()) && *batch > 0 => {
            Ok((input, *batch, *channels, rest))
        }
        other => {
            Err(format!("its input has shape {other:?}, expected [batch, channels, height, width]"))
        }
    }
}

/// The window of a node with weights. The weights give its size; attributes must agree.
fn weighted(call: &Call, weights: &Fact, axes: usize) -> Result<Window, String> {
    if weights.rank() != axes + 2 {
        return Err(format!("its weights have shape {:?} for {axes} axes", weights.shape));
    }
    let size = weights.shape[2..].to_vec();
    let named = call.attributes.windows("kernel_shape", axes)?;
    if call.attributes.has("kernel_shape") && named != size {
        return Err(format!(
            "its kernel_shape is {named:?}, and its weights have shape {:?}",
            weights.shape
        ));
    }
    Window::new(call, size)
}

fn check_bias(call: &Call, channels: u64) -> Result<(), String> {
    match call.maybe(2).map(|bias| &bias.shape[..]) {
        None => Ok(()),
        Some([n]) if *n == channels => Ok(()),
        Some(found) => Err(format!("its bias has shape {found:?}, expected [{channels}]")),
    }
}

pub(super) fn convolution(call: &Call) -> Result<Made, String> {
    let (_, batch, channels, rest) = image(call)?;
    let weights = call.operand(1)?;
    let window = weighted(call, weights, rest.len())?;
    let group = call.attributes.count("group", 1, channels)?;
    let made = weights.shape[0];
    if weights.shape[1].checked_mul(group) != Some(channels) || made % group != 0 {
        return Err(format!(
            "its weights have shape {:?} in {group} groups, and its input has {channels} channels",
            weights.shape
        ));
    }
    check_bias(call, made)?;
    let places = rest.iter().enumerate().map(|(axis, n)| window.places(axis, *n, false));
    let shape = [Ok(batch), Ok(made)].into_iter().chain(places).collect::<Result<Vec<_>, _>>()?;
    Made::one(Fact::new(shape)?, weights.elements() / made)
}

pub(super) fn transposed(call: &Call) -> Result<Made, String> {
    let (input, batch, channels, rest) = image(call)?;
    let weights = call.operand(1)?;
    let axes = rest.len();
    let window = weighted(call, weights, axes)?;
    let group = call.attributes.count("group", 1, channels)?;
    if weights.shape[0] != channels || channels % group != 0 {
        return Err(format!(
            "its weights have shape {:?} in {group} groups, and its input has {channels} channels",
            weights.shape
        ));
    }
    let each = weights.elements() / channels;
    let made = weights.shape[1].checked_mul(group).ok_or("it makes too many channels")?;
    check_bias(call, made)?;
    let more = call.attributes.borders("output_padding", axes)?;
    let asked = call.attributes.ints("output_shape")?;
    if asked.is_some_and(|asked| asked.len() != axes) {
        return Err(format!("its output_shape is {asked:?}, expected {axes} sizes"));
    }
    let mut shape = vec![batch, made];
    for (axis, &length) in rest.iter().enumerate() {
        let whole = (length - 1) * window.strides[axis] + window.span(axis) + more[axis];
        let borders = window.borders.as_ref().map_or(0, |borders| borders[axis].iter().sum());
        let fits = |n: &u64| (1..=whole).contains(n);
        let size = match asked.map(|asked| u64::try_from(asked[axis]).ok()) {
            Some(size) => size.filter(fits),
            None if window.same => Some(length * window.strides[axis]),
            None => whole.checked_sub(borders).filter(fits),
        };
        let wrong =
            || format!("it makes {whole} elements along an axis, less a border of {borders}");
        shape.push(size.ok_or_else(wrong)?);
    }
    let work = input.elements().saturating_mul(each);
    Ok(Made { outputs: vec![Fact::new(shape)?], work })
}

pub(super) fn pool(call: &Call) -> Result<Made, String> {
    let (_, batch, channels, rest) = image(call)?;
    no_channels_last(call)?;
    if !call.attributes.has("kernel_shape") {
        return Err("it has no kernel_shape".into());
    }
    let window = Window::new(call, call.attributes.windows("kernel_shape", rest.len())?)?;
    for (axis, borders) in window.borders.iter().flatten().enumerate() {
        if borders.iter().any(|n| *n >= window.span(axis)) {
            return Err(format!(
                "its border of {borders:?} is as large as its window of {}",
                window.span(axis)
            ));
        }
    }
    let ceil = call.attributes.flag("ceil_mode", false)?;
    let places = rest.iter().enumerate().map(|(axis, n)| window.places(axis, *n, ceil));
    let shape =
        [Ok(batch), Ok(channels)].into_iter().chain(places).collect::<Result<Vec<_>, _>>()?;
    let each = window.size.iter().product::<u64>();
    let made = Fact::new(shape)?;
    let work = made.elements().saturating_mul(each);
    Ok(Made { outputs: vec![made; call.outputs], work })
}

pub(super) fn global_pool(call: &Call) -> Result<Made, String> {
    let (input, batch, channels, rest) = image(call)?;
    no_channels_last(call)?;
    let shape = [batch, channels].into_iter().chain(rest.iter().map(|_| 1)).collect();
    Ok(Made { outputs: vec![Fact::new(shape)?], work: input.elements() })
}

fn no_channels_last(call: &Call) -> Result<(), String> {
    match call.attributes.flag("channels_last", false)? {
        true => Err("its channels come last: export the model with channels first".into()),
        false => Ok(()),
    }
}

/// Sizes or factors of a resize, of all axes or of those that it names.
pub(super) fn resize(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    match call.attributes.text("keep_aspect_ratio_policy", "stretch")? {
        "stretch" => {}
        other => {
            return Err(format!("its keep_aspect_ratio_policy is {other:?}, expected stretch"));
        }
    }
    let axes = match call.attributes.ints("axes")? {
        Some(axes) => axes.iter().map(|a| axis(*a, input.rank())).collect::<Result<Vec<_>, _>>()?,
        None => (0..input.rank()).collect(),
    };
    let given = |i: usize| call.maybe(i).is_some_and(|fact| fact.elements() > 0);
    let mut shape = input.shape.clone();
    let (sizes, factors) =
        if call.opset < 11 { (None, 1) } else { (Some(3).filter(|i| given(*i)), 2) };
    if sizes.is_some() && given(factors) {
        return Err("it has both sizes and factors".into());
    }
    // Older operator sets demand all these inputs, and leave unused ones empty.
    if (11..13).contains(&call.opset) && (1..3).any(|i| call.maybe(i).is_none()) {
        return Err(
            "it leaves out its region or its factors: give empty ones, or export with operator set \
             13".into(),
        );
    }
    match sizes {
        Some(i) => {
            let sizes = call.wholes(i)?;
            counted(sizes.len(), axes.len())?;
            for (axis, size) in axes.into_iter().zip(sizes) {
                shape[axis] = resized(input.shape[axis], size as f64)?;
            }
        }
        None => {
            let factors = call.values(factors)?;
            counted(factors.len(), axes.len())?;
            for (axis, factor) in axes.into_iter().zip(factors) {
                shape[axis] =
                    resized(input.shape[axis], (input.shape[axis] as f64 * factor).floor())?;
            }
        }
    }
    Made::one(Fact::new(shape)?, 16)
}

fn counted(found: usize, axes: usize) -> Result<(), String> {
    if found == axes {
        Ok(())
    } else {
        Err(format!("it has {found} sizes or factors for {axes} axes"))
    }
}

/// Checks the length that a resize makes of another.
fn resized(length: u64, size: f64) -> Result<u64, String> {
    let most = length as f64 * MAX_FACTOR;
    if (1.0..=most).contains(&size) {
        return Ok(size as u64);
    }
    Err(format!("it makes {size} of {length} elements, expected 1 to {most}"))
}

/// An upsampling of older operator sets: a resize whose factors are an attribute or an input.
pub(super) fn upsample(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let factors: Vec<f64> = match call.attributes.floats("scales")? {
        Some(factors) => factors.iter().map(|f| f64::from(*f)).collect(),
        None => call.values(1)?.to_vec(),
    };
    counted(factors.len(), input.rank())?;
    let sizes = input.shape.iter().zip(factors);
    let shape =
        sizes.map(|(n, f)| resized(*n, (*n as f64 * f).floor())).collect::<Result<_, _>>()?;
    Made::one(Fact::new(shape)?, 16)
}

/// Borders before and behind, negative ones cut.
pub(super) fn pad(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let older = if call.attributes.has("paddings") { "paddings" } else { "pads" };
    let pads = call.listed(older, 1)?.ok_or("it has no borders")?;
    let axes = match call.maybe(3) {
        Some(_) => call
            .wholes(3)?
            .into_iter()
            .map(|a| axis(a, input.rank()))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..input.rank()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("it has {} borders for {} axes", pads.len(), axes.len()));
    }
    let mode = call.attributes.text("mode", "constant")?;
    let mut shape = input.shape.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let length = i128::from(shape[axis]);
        let [before, behind] = [pads[i], pads[i + axes.len()]].map(i128::from);
        let size = length + before + behind;
        let mirrors = mode != "constant" && before.max(behind) >= length;
        let most = length * MAX_FACTOR as i128 + 4096;
        if mirrors || before < -length || behind < -length || !(1..=most).contains(&size) {
            return Err(format!(
                "it makes {size} of {length} elements by borders of {before} and {behind}"
            ));
        }
        shape[axis] = u64::try_from(size).map_err(|e| e.to_string())?;
    }
    Made::one(Fact::new(shape)?, 1)
}

pub(super) fn depth_to_space(call: &Call) -> Result<Made, String> {
    let (_, batch, channels, rest) = image(call)?;
    let block = call.attributes.count("blocksize", 0, 64)?;
    match rest {
        [h, w] if channels % (block * block) == 0 => {
            Made::one(Fact::new(vec![batch, channels / (block * block), h * block, w * block])?, 1)
        }
        _ => Err(format!("it takes blocks of {block} from {channels} channels")),
    }
}

pub(super) fn space_to_depth(call: &Call) -> Result<Made, String> {
    let (_, batch, channels, rest) = image(call)?;
    let block = call.attributes.count("blocksize", 0, 64)?;
    match rest {
        [h, w] if h % block == 0 && w % block == 0 => {
            Made::one(Fact::new(vec![batch, channels * block * block, h / block, w / block])?, 1)
        }
        _ => Err(format!("it takes blocks of {block} from {rest:?} elements")),
    }
}

pub(super) fn gemm(call: &Call) -> Result<Made, String> {
    let side = |i: usize, flipped: &str| {
        let shape = &call.operand(i)?.shape;
        let &[rows, columns] = &shape[..] else {
            return Err(format!("its input {i} has shape {shape:?}, expected a matrix"));
        };
        Ok(if call.attributes.flag(flipped, false)? { [columns, rows] } else { [rows, columns] })
    };
    let ([m, k], [other, n]) = (side(0, "transA")?, side(1, "transB")?);
    if k != other {
        return Err(format!("it multiplies {m} x {k} by {other} x {n}"));
    }
    if let Some(bias) = call.maybe(2)
        && common([&[m, n][..], &bias.shape])? != [m, n]
    {
        return Err(format!("its input 2 has shape {:?}, expected one for [{m}, {n}]", bias.shape));
    }
    Made::one(Fact::new(vec![m, n])?, k)
}

pub(super) fn matmul(call: &Call) -> Result<Made, String> {
    let (a, b) = (call.operand(0)?, call.operand(1)?);
    let wrong = || format!("it multiplies {:?} by {:?}", a.shape, b.shape);
    let ([left @ .., m, k], [right @ .., other, n]) = (&a.shape[..], &b.shape[..]) else {
        return Err(wrong());
    };
    if k != other {
        return Err(wrong());
    }
    let mut shape = common([left, right])?;
    shape.extend([*m, *n]);
    Made::one(Fact::new(shape)?, *k)
}

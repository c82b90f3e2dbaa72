//! Operators whose result has the shape of an input, or a shape broadcast from the inputs:
//! functions of an element, sums and products, normalisations, reductions.

use super::attributes::axis;
use super::shapes::{Call, Fact, Made};

/// A function of one value.
type Function = fn(f64) -> f64;

/// The first operand's shape.
pub(super) fn same(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let op = call.attributes.0.op_type.as_str();
    let function: Option<Function> = match op {
        "Identity" | "Dropout" => Some(|v| v),
        "Floor" => Some(f64::floor),
        "Ceil" => Some(f64::ceil),
        "Neg" => Some(|v| -v),
        "Abs" => Some(f64::abs),
        "Sqrt" => Some(f64::sqrt),
        "Not" => Some(|v| f64::from(v == 0.0)),
        _ => None,
    };
    let (function, whole) = if op == "Cast" { cast(call)? } else { (function, input.whole) };
    let values =
        function.and_then(|f| Some(input.values.as_ref()?.iter().map(|v| f(*v)).collect()));
    let made = Fact::new(input.shape.clone())?.with(values, whole);
    let work = made.elements();
    Ok(Made { outputs: vec![made; call.outputs], work })
}

/// What a cast does to values, and whether they are whole then.
fn cast(call: &Call) -> Result<(Option<Function>, bool), String> {
    Ok(match call.attributes.int("to", 0)? {
        1 | 11 => (Some(|v| v), false),
        2..=7 | 12 | 13 => (Some(f64::trunc), true),
        9 => (Some(|v| f64::from(v != 0.0)), true),
        to => {
            return Err(format!(
                "it casts to type number {to}, expected whole numbers, f32, f64 or bool"
            ));
        }
    })
}

/// The same, along an axis that is there.
pub(super) fn along(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let default =
        if call.opset < 13 && call.attributes.0.op_type != "LpNormalization" { 1 } else { -1 };
    // A tensor without axes has none to lose.
    call.attributes.axis("axis", if input.rank() == 1 { -1 } else { default }, input.rank())?;
    Made::one(Fact::new(input.shape.clone())?, 4)
}

/// The shape that all of these broadcast to.
pub(super) fn common<'a>(shapes: impl IntoIterator<Item = &'a [u64]>) -> Result<Vec<u64>, String> {
    let mut all: Vec<u64> = Vec::new();
    for shape in shapes {
        // From the last axis on.
        for (i, &n) in shape.iter().rev().enumerate() {
            match all.get(i).copied() {
                None => all.push(n),
                Some(1) => all[i] = n,
                Some(known) if known == n || n == 1 => {}
                Some(known) => {
                    return Err(format!(
                        "its inputs have {known} and {n} elements along the same axis"
                    ));
                }
            }
        }
    }
    all.reverse();
    Ok(all)
}

/// The common shape of all operands.
pub(super) fn broadcast(call: &Call) -> Result<Made, String> {
    let operands: Vec<&Fact> =
        (0..call.operands.len()).map(|i| call.operand(i)).collect::<Result<_, _>>()?;
    let shape = common(operands.iter().map(|fact| &fact.shape[..]))?;
    let op = call.attributes.0.op_type.as_str();
    let compares = matches!(
        op,
        "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "And" | "Or" | "Xor"
    );
    let whole = compares || operands.iter().rev().take(2).all(|fact| fact.whole);
    let made = Fact::new(shape)?;
    let values = arithmetic(op, &operands, &made, whole);
    Made::one(made.with(values, whole), operands.len() as u64)
}

/// Values of few elements: of scalars and tensors of one shape.
fn arithmetic(op: &str, operands: &[&Fact], made: &Fact, whole: bool) -> Option<Vec<f64>> {
    let count = usize::try_from(made.elements()).ok()?;
    let lists: Vec<&[f64]> = operands
        .iter()
        .map(|fact| fact.values.as_deref().filter(|v| v.len() == 1 || v.len() == count))
        .collect::<Option<_>>()?;
    let value = |i: usize| {
        let at = |k: usize| if lists[k].len() == 1 { lists[k][0] } else { lists[k][i] };
        let all = (0..lists.len()).map(at);
        Some(match op {
            "Add" => at(0) + at(1),
            "Sub" => at(0) - at(1),
            "Mul" => at(0) * at(1),
            "Div" if whole => (at(0) / at(1)).trunc(),
            "Div" => at(0) / at(1),
            "Pow" => at(0).powf(at(1)),
            "Min" => all.reduce(f64::min)?,
            "Max" => all.reduce(f64::max)?,
            "Sum" => all.sum(),
            "Equal" => f64::from(at(0) == at(1)),
            "Greater" => f64::from(at(0) > at(1)),
            "Less" => f64::from(at(0) < at(1)),
            "GreaterOrEqual" => f64::from(at(0) >= at(1)),
            "LessOrEqual" => f64::from(at(0) <= at(1)),
            "Where" => at(if at(0) == 0.0 { 2 } else { 1 }),
            _ => return None,
        })
    };
    if count > super::tensors::MAX_FOLLOWED { None } else { (0..count).map(value).collect() }
}

/// The first operand's shape, to which the second broadcasts.
pub(super) fn slope(call: &Call) -> Result<Made, String> {
    let (input, slope) = (call.operand(0)?, call.operand(1)?);
    if common([&input.shape[..], &slope.shape])? != input.shape {
        return Err(format!("its slope has shape {:?}, its input {:?}", slope.shape, input.shape));
    }
    Made::one(Fact::new(input.shape.clone())?, 2)
}

/// One scale, bias, mean or variance a channel.
pub(super) fn per_channel(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let channels = *input.shape.get(1).ok_or("its input has no channels")?;
    for i in 1..call.operands.len() {
        let found = &call.operand(i)?.shape;
        if *found != [channels] {
            return Err(format!(
                "its input {i} has shape {found:?}, expected one value for each of {channels} \
                 channels"
            ));
        }
    }
    let training = call.attributes.flag("training_mode", false)? || call.outputs > 1;
    if training {
        return Err("it is in training mode: export the model for inference".into());
    }
    Made::one(Fact::new(input.shape.clone())?, 2)
}

pub(super) fn layer_normalization(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let axis = call.attributes.axis("axis", -1, input.rank())?;
    for i in 1..call.operands.len() {
        let found = &call.operand(i)?.shape;
        if common([&input.shape[axis..], found])? != input.shape[axis..] {
            return Err(format!("its input {i} has shape {found:?}, its first {:?}", input.shape));
        }
    }
    if call.outputs > 1 {
        return Err("it has outputs for training: export the model for inference".into());
    }
    Made::one(Fact::new(input.shape.clone())?, 4)
}

pub(super) fn group_normalization(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let channels = *input.shape.get(1).ok_or("its input has no channels")?;
    let groups = call.attributes.count("num_groups", 0, channels)?;
    if channels % groups != 0 {
        return Err(format!("it has {groups} groups of {channels} channels"));
    }
    for i in 1..3 {
        let found = &call.operand(i)?.shape;
        if *found != [channels] && *found != [groups] {
            return Err(format!(
                "its input {i} has shape {found:?}, expected one value for each of {channels} \
                 channels"
            ));
        }
    }
    Made::one(Fact::new(input.shape.clone())?, 4)
}

pub(super) fn local_normalization(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let channels = *input.shape.get(1).ok_or("its input has no channels")?;
    let size = call.attributes.count("size", 0, channels)?;
    Made::one(Fact::new(input.shape.clone())?, size)
}

/// One scale for the tensor, or one along an axis.
pub(super) fn quantizer(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let scale = call.operand(1)?;
    match scale.shape[..] {
        [] | [1] => {}
        [n] if input.rank() > 0 => {
            let axis = call.attributes.axis("axis", 1, input.rank())?;
            if input.shape[axis] != n {
                return Err(format!(
                    "it has {n} scales for {} elements along axis {axis}",
                    input.shape[axis]
                ));
            }
        }
        _ => return Err(format!("its scales have shape {:?}, expected a list", scale.shape)),
    }
    if let Some(zero) = call.maybe(2)
        && zero.elements() != scale.elements()
    {
        return Err(format!(
            "it has {} zero points and {} scales",
            zero.elements(),
            scale.elements()
        ));
    }
    if call.attributes.int("block_size", 0)? != 0 {
        return Err("its scales are of blocks: quantize by tensor or by channel".into());
    }
    Made::one(Fact::new(input.shape.clone())?, 2)
}

/// A sum, mean or extreme over axes.
pub(super) fn reduce(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let kept = call.attributes.flag("keepdims", true)?;
    let axes = call.listed("axes", 1)?.filter(|axes| !axes.is_empty());
    let none = axes.is_none() && call.attributes.flag("noop_with_empty_axes", false)?;
    let mut reduced = vec![axes.is_none() && !none; input.rank()];
    for value in axes.iter().flatten() {
        reduced[axis(*value, input.rank())?] = true;
    }
    let shape = input.shape.iter().zip(reduced).filter(|(_, reduced)| kept || !reduced);
    let made = Fact::new(shape.map(|(n, reduced)| if reduced { 1 } else { *n }).collect())?;
    Ok(Made { outputs: vec![made], work: input.elements() })
}

/// The place of an extreme along an axis.
pub(super) fn arg_reduce(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let axis = call.attributes.axis("axis", 0, input.rank())?;
    let mut shape = input.shape.clone();
    if call.attributes.flag("keepdims", true)? {
        shape[axis] = 1;
    } else {
        shape.remove(axis);
    }
    Ok(Made { outputs: vec![Fact::new(shape)?.with(None, true)], work: input.elements() })
}

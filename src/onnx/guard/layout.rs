//! Operators that rearrange a tensor, cut or join tensors, or read and compute sizes.

use super::attributes::axis;
use super::elementwise::common;
use super::shapes::{self, Call, Fact, Made};
use super::tensors::{MAX_FOLLOWED, MAX_RANK};

/// The first operand in another shape. Values keep their order.
fn reordered(input: &Fact, shape: Vec<u64>) -> Result<Made, String> {
    Made::one(Fact::new(shape)?.with(input.values.clone(), input.whole), 1)
}

/// A shape given as values.
fn asked(values: &[i64]) -> Result<Vec<u64>, String> {
    if values.len() > MAX_RANK {
        return Err(format!(
            "it makes a tensor of {} axes, expected at most {MAX_RANK}",
            values.len()
        ));
    }
    let sizes = values.iter().map(|v| u64::try_from(*v).ok()).collect::<Option<_>>();
    sizes.ok_or_else(|| format!("it makes a tensor of shape {values:?}, expected positive sizes"))
}

pub(super) fn slice(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let [starts, ends] = [("starts", 1), ("ends", 2)].map(|(name, i)| call.listed(name, i));
    let (starts, ends) = (starts?.ok_or("it has no starts")?, ends?.ok_or("it has no ends")?);
    let axes = call.listed("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = call.listed("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        return Err("its starts, ends, axes and steps do not belong together".into());
    }
    let mut shape = input.shape.clone();
    let mut values = input.values.clone();
    for (i, value) in axes.iter().enumerate() {
        let axis = axis(*value, input.rank())?;
        let picked = picked(shape[axis], starts[i], ends[i], steps[i])?;
        shape[axis] = picked.0;
        values = values.filter(|_| input.rank() == 1).map(|all| {
            let at = |k: u64| picked.1 + k as i64 * steps[i];
            (0..picked.0).filter_map(|k| all.get(usize::try_from(at(k)).ok()?).copied()).collect()
        });
    }
    Made::one(Fact::new(shape)?.with(values, input.whole), 1)
}

/// Number of elements that a slice takes of an axis of this length, and the first of them.
fn picked(length: u64, start: i64, end: i64, step: i64) -> Result<(u64, i64), String> {
    let n = i64::try_from(length).map_err(|e| e.to_string())?;
    let counted = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    // Stepping backwards, -1 is the end before the first element.
    let [low, high] = if step > 0 { [0, n] } else { [-1, n - 1] };
    let (start, end) =
        (counted(start).clamp(low.max(0), high.max(0)), counted(end).clamp(low, high));
    let span = if step > 0 { end - start } else { start - end };
    Ok((span.max(0).unsigned_abs().div_ceil(step.unsigned_abs()), start))
}

pub(super) fn split(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let axis = call.attributes.axis("axis", 0, input.rank())?;
    let (length, parts) = (input.shape[axis], call.outputs as u64);
    let sizes = match call.listed("split", 1)? {
        Some(sizes) => asked_parts(&sizes)?,
        None => {
            let each = length.div_ceil(parts);
            (0..parts).map(|i| each.min(length.saturating_sub(i * each))).collect()
        }
    };
    if sizes.len() != call.outputs || sizes.contains(&0) || sizes.iter().sum::<u64>() != length {
        return Err(format!("it splits {length} elements into {} parts", call.outputs));
    }
    let part = |size: u64| {
        let mut shape = input.shape.clone();
        shape[axis] = size;
        Fact::new(shape).map(|fact| fact.with(None, input.whole))
    };
    let outputs = sizes.into_iter().map(part).collect::<Result<_, _>>()?;
    Ok(Made { outputs, work: input.elements() })
}

fn asked_parts(sizes: &[i64]) -> Result<Vec<u64>, String> {
    let parts = sizes
        .iter()
        .map(|v| u64::try_from(*v).ok().filter(|v| *v < 1 << 32))
        .collect::<Option<_>>();
    parts.ok_or_else(|| "it splits into parts of impossible sizes".into())
}

pub(super) fn concat(call: &Call) -> Result<Made, String> {
    let operands: Vec<&Fact> =
        (0..call.operands.len()).map(|i| call.operand(i)).collect::<Result<_, _>>()?;
    let first = operands.first().ok_or("it has no inputs")?;
    if !call.attributes.has("axis") {
        return Err("it has no axis".into());
    }
    let axis = call.attributes.axis("axis", 0, first.rank())?;
    let mut shape = first.shape.clone();
    for fact in &operands[1..] {
        let others = |shape: &[u64]| -> Vec<u64> {
            shape.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, n)| *n).collect()
        };
        if fact.rank() != first.rank() || others(&fact.shape) != others(&first.shape) {
            return Err(format!(
                "it joins {:?} and {:?} along axis {axis}",
                first.shape, fact.shape
            ));
        }
        shape[axis] = shape[axis].saturating_add(fact.shape[axis]);
    }
    let lists: Option<Vec<&[f64]>> = operands.iter().map(|fact| fact.values.as_deref()).collect();
    let values = lists.filter(|_| first.rank() == 1).map(|lists| lists.concat());
    Made::one(Fact::new(shape)?.with(values, operands.iter().all(|fact| fact.whole)), 1)
}

pub(super) fn reshape(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let wanted = call.wholes(1)?;
    let keeps_zeros = call.attributes.flag("allowzero", false)?;
    let wrong = || format!("it makes shape {wanted:?} of {:?}", input.shape);
    let mut shape = Vec::new();
    let mut open = None;
    for (i, &size) in wanted.iter().enumerate() {
        shape.push(match size {
            -1 if open.replace(i).is_none() => 1,
            0 if !keeps_zeros => *input.shape.get(i).ok_or_else(wrong)?,
            1.. => size.unsigned_abs(),
            _ => return Err(wrong()),
        });
    }
    let known = Fact::new(shape.clone())?.elements();
    if let Some(i) = open {
        shape[i] = input.elements().checked_div(known).ok_or_else(wrong)?;
    }
    if Fact::new(shape.clone())?.elements() != input.elements() {
        return Err(wrong());
    }
    reordered(input, shape)
}

pub(super) fn flatten(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let axis = call.attributes.int("axis", 1)?;
    let counted = if axis < 0 { axis + input.rank() as i64 } else { axis };
    let cut = usize::try_from(counted).ok().and_then(|axis| input.shape.split_at_checked(axis));
    let (left, right) = cut.ok_or_else(|| format!("its axis is {axis} of {}", input.rank()))?;
    reordered(input, vec![left.iter().product(), right.iter().product()])
}

pub(super) fn transpose(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let reversed: Vec<i64> = (0..input.rank() as i64).rev().collect();
    let order = call.attributes.ints("perm")?.unwrap_or(&reversed);
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if sorted != (0..input.rank() as i64).collect::<Vec<_>>() {
        return Err(format!(
            "its perm is {:?}, and the tensor has {} axes",
            &order[..order.len().min(8)],
            input.rank()
        ));
    }
    let order: Vec<usize> = order.iter().map(|axis| axis.unsigned_abs() as usize).collect();
    let shape: Vec<u64> = order.iter().map(|axis| input.shape[*axis]).collect();
    let values = input.values.as_ref().filter(|_| input.rank() == 2).map(|values| {
        let [rows, columns] = [input.shape[0] as usize, input.shape[1] as usize];
        let flipped = (0..columns).flat_map(|x| (0..rows).map(move |y| values[y * columns + x]));
        if order == [1, 0] { flipped.collect() } else { values.clone() }
    });
    let values = if input.rank() < 2 { input.values.clone() } else { values };
    Made::one(Fact::new(shape)?.with(values, input.whole), 1)
}

pub(super) fn squeeze(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let mut gone: Vec<bool> = input.shape.iter().map(|n| *n == 1).collect();
    if let Some(axes) = call.listed("axes", 1)? {
        gone = vec![false; input.rank()];
        for value in axes {
            let axis = axis(value, input.rank())?;
            if input.shape[axis] != 1 {
                return Err(format!("it drops axis {axis} of shape {:?}", input.shape));
            }
            gone[axis] = true;
        }
    }
    let shape = input.shape.iter().zip(gone).filter(|(_, gone)| !gone).map(|(n, _)| *n).collect();
    reordered(input, shape)
}

pub(super) fn unsqueeze(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let axes = call.listed("axes", 1)?.ok_or("it has no axes")?;
    let rank = input.rank() + axes.len();
    if rank > MAX_RANK {
        return Err(format!("it makes a tensor of {rank} axes, expected at most {MAX_RANK}"));
    }
    let mut new = vec![false; rank];
    for value in axes {
        if std::mem::replace(&mut new[axis(value, rank)?], true) {
            return Err("it names an axis twice".into());
        }
    }
    let mut old = input.shape.iter().copied();
    let shape = new.into_iter().map(|new| if new { 1 } else { old.next().unwrap_or(1) }).collect();
    reordered(input, shape)
}

pub(super) fn shape(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let rank = input.rank() as i64;
    let end = |name: &str, default: i64| -> Result<usize, String> {
        let value = call.attributes.int(name, default)?;
        let counted = if value < 0 { value.saturating_add(rank) } else { value };
        Ok(counted.clamp(0, rank) as usize)
    };
    let (start, end) = (end("start", 0)?, end("end", rank)?);
    let sizes = input.shape.get(start..end).unwrap_or(&[]);
    Made::one(Fact::list(sizes.iter().map(|n| *n as f64).collect()), 1)
}

pub(super) fn size(call: &Call) -> Result<Made, String> {
    let count = call.operand(0)?.elements() as f64;
    Made::one(Fact::new(Vec::new())?.with(Some(vec![count]), true), 1)
}

pub(super) fn gather(call: &Call) -> Result<Made, String> {
    let (input, indices) = (call.operand(0)?, call.operand(1)?);
    let axis = call.attributes.axis("axis", 0, input.rank())?;
    let length = input.shape[axis];
    let picks = indices.values.as_deref().ok_or("its indices cannot be told from the file")?;
    let place = |v: f64| if v < 0.0 { v + length as f64 } else { v };
    if let Some(v) = picks.iter().find(|v| !(0.0..length as f64).contains(&place(**v))) {
        return Err(format!("it picks element {v} of {length}"));
    }
    let mut shape = input.shape[..axis].to_vec();
    shape.extend(&indices.shape);
    shape.extend(&input.shape[axis + 1..]);
    let values = input.values.as_ref().filter(|_| input.rank() == 1);
    let values = values.map(|all| picks.iter().map(|v| all[place(*v) as usize]).collect());
    Made::one(Fact::new(shape)?.with(values, input.whole), 1)
}

pub(super) fn constant(call: &Call) -> Result<Made, String> {
    let attributes = call.attributes;
    let single =
        |value: f64, whole: bool| Ok(Fact::new(Vec::new())?.with(Some(vec![value]), whole));
    let fact = if let Some(tensor) = attributes.tensor("value")? {
        shapes::constant(tensor)
    } else if attributes.has("value_int") {
        single(attributes.int("value_int", 0)? as f64, true)
    } else if let Some(value) = attributes.float("value_float")? {
        single(value.into(), false)
    } else if let Some(values) = attributes.ints("value_ints")? {
        let list = values.iter().map(|v| *v as f64).collect();
        Ok(Fact::new(vec![values.len() as u64])?.with(Some(list), true))
    } else if let Some(values) = attributes.floats("value_floats")? {
        let list = values.iter().map(|v| f64::from(*v)).collect();
        Ok(Fact::new(vec![values.len() as u64])?.with(Some(list), false))
    } else {
        Err("it has no value of numbers".into())
    };
    Made::one(fact?, 1)
}

pub(super) fn constant_of_shape(call: &Call) -> Result<Made, String> {
    let shape = asked(&call.wholes(0)?)?;
    let (value, whole) = match call.attributes.tensor("value")?.map(shapes::constant).transpose()? {
        Some(fact) if fact.elements() == 1 => {
            (fact.values.and_then(|v| v.first().copied()), fact.whole)
        }
        Some(fact) => {
            return Err(format!("its value has shape {:?}, expected one element", fact.shape));
        }
        None => (Some(0.0), false),
    };
    let made = Fact::new(shape)?;
    let count = made.elements().min(MAX_FOLLOWED as u64 + 1) as usize;
    Made::one(made.with(value.map(|v| vec![v; count]), whole), 1)
}

pub(super) fn range(call: &Call) -> Result<Made, String> {
    let number = |i: usize| match call.values(i)? {
        [value] if value.is_finite() => Ok(*value),
        other => {
            Err(format!("its input {i} is {:?}, expected one number", &other[..other.len().min(4)]))
        }
    };
    let (start, end, step) = (number(0)?, number(1)?, number(2)?);
    let count = ((end - start) / step).ceil().max(0.0);
    if step == 0.0 || count > 1e9 {
        return Err(format!("it counts from {start} to {end} by {step}"));
    }
    let whole = call.operands.iter().flatten().all(|fact| fact.whole);
    let few = (count as usize).min(MAX_FOLLOWED + 1);
    let values = (0..few).map(|i| start + i as f64 * step).collect();
    Made::one(Fact::new(vec![count as u64])?.with(Some(values), whole), 1)
}

pub(super) fn expand(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let wanted = asked(&call.wholes(1)?)?;
    let made = Fact::new(common([&input.shape[..], &wanted])?)?;
    let count = made.elements().min(MAX_FOLLOWED as u64 + 1) as usize;
    let values = match input.values.as_deref() {
        Some([value]) => Some(vec![*value; count]),
        Some(values) if values.len() == count => Some(values.to_vec()),
        _ => None,
    };
    Made::one(made.with(values, input.whole), 1)
}

pub(super) fn tile(call: &Call) -> Result<Made, String> {
    let input = call.operand(0)?;
    let times = asked(&call.wholes(1)?)?;
    if times.len() != input.rank() || times.contains(&0) {
        return Err(format!("it repeats {:?} {times:?} times", input.shape));
    }
    let shape = input.shape.iter().zip(&times).map(|(n, times)| n.saturating_mul(*times)).collect();
    Made::one(Fact::new(shape)?.with(None, input.whole), 1)
}

//! Tensors that a file carries: shape against data, types, values.

use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

/// Most axes of a tensor.
pub(super) const MAX_RANK: usize = 8;

/// Most elements whose values are followed: sizes, borders, scales of a resize.
pub(super) const MAX_FOLLOWED: usize = 64;

/// Checks one of a file's tensors.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(tensor: &pb::TensorProto) -> Result<(), String> {
    if tensor.data_location == Some(DataLocation::External as i32)
        || !tensor.external_data.is_empty()
    {
        return Err("its data lies in another file: export the model as one file".into());
    }
    if tensor.segment.is_some() {
        return Err("it is stored in segments: export the model again".into());
    }
    let (size, stored) = layout(tensor)?;
    let elements = elements(&tensor.dims)?;
    let raw = tensor.raw_data.len() as u64;
    let typed = [
        tensor.float_data.len(),
        tensor.int32_data.len(),
        tensor.int64_data.len(),
        tensor.double_data.len(),
        tensor.uint64_data.len(),
        tensor.string_data.len(),
    ];
    let others = typed.iter().sum::<usize>() as u64 - stored as u64;
    let agrees = if raw > 0 {
        elements.checked_mul(size) == Some(raw) && stored == 0
    } else {
        stored as u64 == elements
    };
    if !agrees || others > 0 {
        return Err(format!(
            "its shape {:?} asks for {elements} elements of {size} bytes, and {raw} raw bytes and \
             {} elements follow: the file is damaged",
            tensor.dims,
            typed.iter().sum::<usize>()
        ));
    }
    finite(tensor, elements)
}

/// Bytes of an element, and the elements that are stored in the list meant for the type.
fn layout(tensor: &pb::TensorProto) -> Result<(u64, usize), String> {
    let unknown = || format!("its type is number {}, which ONNX does not know", tensor.data_type);
    let found = DataType::try_from(tensor.data_type).map_err(|_| unknown())?;
    Ok(match found {
        DataType::Float => (4, tensor.float_data.len()),
        DataType::Double => (8, tensor.double_data.len()),
        DataType::Int64 => (8, tensor.int64_data.len()),
        DataType::Int32 => (4, tensor.int32_data.len()),
        DataType::Int8 | DataType::Uint8 | DataType::Bool => (1, tensor.int32_data.len()),
        DataType::Int16 | DataType::Uint16 => (2, tensor.int32_data.len()),
        // Tract reads these types from raw bytes alone.
        DataType::Uint32 => (4, 0),
        DataType::Uint64 => (8, 0),
        other => {
            return Err(format!(
                "its elements are {other:?}, expected whole numbers, f32 or f64: export the model \
                 in single precision"
            ));
        }
    })
}

/// Elements of a tensor of this shape. Only a list may have none.
pub(super) fn elements(dims: &[i64]) -> Result<u64, String> {
    if dims.len() > MAX_RANK {
        return Err(format!("it has {} axes, expected at most {MAX_RANK}", dims.len()));
    }
    if dims.iter().any(|&n| n < 0 || (n == 0 && dims.len() > 1)) {
        return Err(format!("its shape is {dims:?}, expected positive sizes"));
    }
    let product = dims.iter().try_fold(1u64, |all, n| all.checked_mul(n.unsigned_abs()));
    product.ok_or_else(|| format!("its shape is {dims:?}, more elements than can be counted"))
}

/// NaN is damage everywhere. Infinity is damage among weights; a single infinity may be a bound.
fn finite(tensor: &pb::TensorProto, elements: u64) -> Result<(), String> {
    let bad = |value: f64| value.is_nan() || (value.is_infinite() && elements > 1);
    let single = |bytes: &[u8]| bytes.try_into().map(f32::from_le_bytes).unwrap_or(f32::NAN);
    let double = |bytes: &[u8]| bytes.try_into().map(f64::from_le_bytes).unwrap_or(f64::NAN);
    let raw = &tensor.raw_data;
    let found = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => {
            tensor.float_data.iter().any(|v| bad((*v).into()))
                || raw.chunks_exact(4).any(|v| bad(single(v).into()))
        }
        Ok(DataType::Double) => {
            tensor.double_data.iter().any(|v| bad(*v))
                || raw.chunks_exact(8).any(|v| bad(double(v)))
        }
        _ => false,
    };
    if found {
        Err("it holds NaN or infinity among its values: the file is damaged".into())
    } else {
        Ok(())
    }
}

/// Whether a type is one of whole numbers.
pub(super) fn is_whole(data_type: i32) -> bool {
    !matches!(DataType::try_from(data_type), Ok(DataType::Float | DataType::Double))
}

/// The values of a checked tensor, where they are few enough to be followed.
pub(super) fn values(tensor: &pb::TensorProto) -> Option<Vec<f64>> {
    let count = elements(&tensor.dims).ok()?;
    if count > MAX_FOLLOWED as u64 { None } else { all(tensor) }
}

/// All values of a tensor that was checked.
pub(super) fn all(tensor: &pb::TensorProto) -> Option<Vec<f64>> {
    let raw = &tensor.raw_data;
    fn each<const N: usize>(raw: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        raw.as_chunks::<N>().0.iter().map(|bytes| value(*bytes)).collect()
    }
    let listed = |values: &[i32]| values.iter().map(|v| f64::from(*v)).collect();
    let kind = DataType::try_from(tensor.data_type).ok()?;
    Some(match (kind, raw.is_empty()) {
        (DataType::Float, true) => tensor.float_data.iter().map(|v| f64::from(*v)).collect(),
        (DataType::Float, false) => each(raw, |b| f32::from_le_bytes(b).into()),
        (DataType::Double, true) => tensor.double_data.clone(),
        (DataType::Double, false) => each(raw, f64::from_le_bytes),
        (DataType::Int64, true) => tensor.int64_data.iter().map(|v| *v as f64).collect(),
        (DataType::Int64, false) => each(raw, |b| i64::from_le_bytes(b) as f64),
        (
            DataType::Int32
            | DataType::Int16
            | DataType::Int8
            | DataType::Uint8
            | DataType::Uint16
            | DataType::Bool,
            true,
        ) => listed(&tensor.int32_data),
        (DataType::Int32, false) => each(raw, |b| i32::from_le_bytes(b).into()),
        (DataType::Int16, false) => each(raw, |b| i16::from_le_bytes(b).into()),
        (DataType::Uint16, false) => each(raw, |b| u16::from_le_bytes(b).into()),
        (DataType::Int8, false) => each(raw, |b| i8::from_le_bytes(b).into()),
        (DataType::Uint8 | DataType::Bool, false) => each(raw, |b| u8::from_le_bytes(b).into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(dims: &[i64], values: &[f32]) -> pb::TensorProto {
        pb::TensorProto {
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            float_data: values.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn shape_and_data_must_agree() {
        assert_eq!(check(&floats(&[2, 1], &[1.0, 2.0])), Ok(()));
        assert_eq!(check(&floats(&[0], &[])), Ok(()));
        assert_eq!(check(&floats(&[], &[1.0])), Ok(()));
        for dims in [
            &[3][..],
            &[-2, -1],
            &[2, 0],
            &[1 << 40, 1 << 40, 1],
            &[1; 9],
            &[i64::MAX; 8],
            &[i64::MIN],
        ] {
            assert!(check(&floats(dims, &[1.0, 2.0])).is_err(), "{dims:?}");
        }
        let raw = pb::TensorProto { raw_data: vec![0; 8], float_data: vec![], ..floats(&[2], &[]) };
        assert_eq!(check(&raw), Ok(()));
        assert!(check(&pb::TensorProto { float_data: vec![0.0; 2], ..raw.clone() }).is_err());
        assert!(check(&pb::TensorProto { int64_data: vec![0; 2], ..raw }).is_err());
    }

    #[test]
    fn types_and_places_that_nothing_here_reads_are_refused() {
        for data_type in [0, 8, 10, 14, 16, 17, 22, 99, -1] {
            let tensor = pb::TensorProto { data_type, ..floats(&[1], &[1.0]) };
            assert!(check(&tensor).is_err(), "{data_type}");
        }
        let external = pb::TensorProto { data_location: Some(1), ..floats(&[1], &[]) };
        assert!(check(&external).unwrap_err().contains("another file"));
    }

    #[test]
    fn weights_are_finite() {
        assert!(check(&floats(&[2], &[1.0, f32::NAN])).is_err());
        assert!(check(&floats(&[2], &[1.0, f32::INFINITY])).is_err());
        assert!(check(&floats(&[], &[f32::NAN])).is_err());
        assert_eq!(check(&floats(&[], &[f32::NEG_INFINITY])), Ok(()));
        let raw =
            pb::TensorProto { raw_data: f32::NAN.to_le_bytes().repeat(2), ..floats(&[2], &[]) };
        assert!(check(&raw).is_err());
    }
}

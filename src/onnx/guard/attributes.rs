//! Attributes of a node, read with their types and ranges.

use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;

/// Largest window, stride, dilation or border.
const MAX_WINDOW: i64 = 4096;

/// A node's attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a pb::NodeProto);

impl<'a> Attributes<'a> {
    fn find(
        self,
        name: &str,
        kind: AttributeType,
    ) -> Result<Option<&'a pb::AttributeProto>, String> {
        let Some(found) = self.0.attribute.iter().find(|a| a.name == name) else { return Ok(None) };
        if found.r#type != kind as i32 {
            return Err(format!("its attribute {name} is of another type, expected {kind:?}"));
        }
        Ok(Some(found))
    }

    pub(super) fn int(self, name: &str, default: i64) -> Result<i64, String> {
        Ok(self.find(name, AttributeType::Int)?.map_or(default, |a| a.i))
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.0.attribute.iter().any(|a| a.name == name)
    }

    /// An int from 1 to a limit.
    pub(super) fn count(self, name: &str, default: i64, most: u64) -> Result<u64, String> {
        let value = self.int(name, default)?;
        u64::try_from(value)
            .ok()
            .filter(|value| (1..=most).contains(value))
            .ok_or_else(|| format!("its {name} is {value}, expected 1 to {most}"))
    }

    /// Whether an int that stands for true or false is set.
    pub(super) fn flag(self, name: &str, default: bool) -> Result<bool, String> {
        Ok(self.int(name, default.into())? != 0)
    }

    pub(super) fn ints(self, name: &str) -> Result<Option<&'a [i64]>, String> {
        Ok(self.find(name, AttributeType::Ints)?.map(|a| &a.ints[..]))
    }

    pub(super) fn floats(self, name: &str) -> Result<Option<&'a [f32]>, String> {
        Ok(self.find(name, AttributeType::Floats)?.map(|a| &a.floats[..]))
    }

    pub(super) fn float(self, name: &str) -> Result<Option<f32>, String> {
        Ok(self.find(name, AttributeType::Float)?.map(|a| a.f))
    }

    pub(super) fn tensor(self, name: &str) -> Result<Option<&'a pb::TensorProto>, String> {
        Ok(self.find(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }

    pub(super) fn text(self, name: &str, default: &'static str) -> Result<&'a str, String> {
        let Some(found) = self.find(name, AttributeType::String)? else { return Ok(default) };
        str::from_utf8(&found.s).map_err(|_| format!("its attribute {name} is no text"))
    }

    /// As many window sizes, strides or dilations as asked for; ones where the node does not say.
    pub(super) fn windows(self, name: &str, count: usize) -> Result<Vec<u64>, String> {
        self.sizes(name, count, 1)
    }

    /// As many borders as asked for; none where the node does not say.
    pub(super) fn borders(self, name: &str, count: usize) -> Result<Vec<u64>, String> {
        self.sizes(name, count, 0)
    }

    fn sizes(self, name: &str, count: usize, least: i64) -> Result<Vec<u64>, String> {
        let Some(found) = self.ints(name)?.filter(|found| !found.is_empty()) else {
            return Ok(vec![least.unsigned_abs(); count]);
        };
        if found.len() != count || found.iter().any(|n| !(least..=MAX_WINDOW).contains(n)) {
            let shown = &found[..found.len().min(8)];
            return Err(format!(
                "its {name} are {shown:?}, expected {count} from {least} to {MAX_WINDOW}"
            ));
        }
        Ok(found.iter().map(|n| n.unsigned_abs()).collect())
    }

    /// An axis of a tensor of so many, counted from the end where it is negative.
    pub(super) fn axis(self, name: &str, default: i64, rank: usize) -> Result<usize, String> {
        axis(self.int(name, default)?, rank)
    }
}

/// An axis of a tensor of so many, counted from the end where it is negative.
pub(super) fn axis(value: i64, rank: usize) -> Result<usize, String> {
    let counted = if value < 0 { value + rank as i64 } else { value };
    usize::try_from(counted)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| format!("its axis is {value}, and the tensor has {rank}"))
}

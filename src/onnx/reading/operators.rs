//! Rewrites operators that compute on counts (ONNX Runtime's QOperator form) as real-valued ones
//! between DequantizeLinear and QuantizeLinear.
//!
//! The specification defines the operators in this way. The importer turns the result into integer
//! arithmetic again.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;

use super::super::proto::{argument, constants, floats, integers, load, optional};

/// The domain of ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";

/// Whether an operator is standard ONNX, or one that [`separate`] makes so.
pub(super) fn is_known(node: &pb::NodeProto) -> bool {
    let rounding = matches!(&*node.op_type, "QuantizeLinear" | "DequantizeLinear");
    let quantized = node.op_type.starts_with('Q') && !rounding;
    if quantized {
        return Form::of(node).is_some();
    }
    // Its Gelu has become a standard operator.
    matches!(&*node.domain, "" | "ai.onnx")
        || node.domain == MICROSOFT && (rounding || node.op_type == "Gelu")
}

/// Which inputs of an operator on counts are what.
struct Form {
    /// The real-valued operator.
    op: &'static str,
    /// Where each input begins: counts, scale, zero point.
    inputs: Vec<usize>,
    /// Where scale and zero point of the output begin.
    output: usize,
}

impl Form {
    fn of(node: &pb::NodeProto) -> Option<Self> {
        let unary = |op| Some(Self { op, inputs: vec![0], output: 3 });
        let binary = |op| Some(Self { op, inputs: vec![0, 3], output: 6 });
        match &*node.op_type {
            "QLinearConv" => binary("Conv"),
            "QLinearMatMul" => binary("MatMul"),
            "QLinearAdd" => binary("Add"),
            "QLinearMul" => binary("Mul"),
            "QLinearSigmoid" => unary("Sigmoid"),
            "QLinearLeakyRelu" => unary("LeakyRelu"),
            "QLinearSoftmax" => unary("Softmax"),
            "QLinearAveragePool" => unary("AveragePool"),
            "QLinearGlobalAveragePool" => unary("GlobalAveragePool"),
            "QLinearConcat" => Some(Self {
                op: "Concat",
                inputs: (2..node.input.len()).step_by(3).collect(),
                output: 0,
            }),
            _ => None,
        }
    }
}

/// Rewrites all such operators of a net.
///
/// # Errors
/// One that lacks an input, or a bias that cannot be read.
pub(super) fn separate(graph: &mut pb::GraphProto) -> Result<(), String> {
    let named = |n: &pb::NodeProto| {
        [n.name.clone()].into_iter().chain(n.output.clone()).collect::<Vec<_>>()
    };
    let mut separator = Separator {
        constants: constants(graph)
            .into_iter()
            .map(|(name, t)| (name.to_owned(), t.clone()))
            .collect(),
        names: graph.node.iter().flat_map(named).collect(),
        nodes: Vec::new(),
        biases: Vec::new(),
        scales: HashMap::new(),
        reals: HashMap::new(),
    };
    for node in std::mem::take(&mut graph.node) {
        let named = format!("{} \"{}\"", node.op_type, node.name);
        separator.node(node).map_err(|reason| format!("{named}: {reason}"))?;
    }
    graph.node = separator.nodes;
    graph.initializer.extend(separator.biases);
    Ok(())
}

/// Scale and zero point of counts, by name; the zero point may be missing.
type Scale = [String; 2];

struct Separator {
    constants: HashMap<String, pb::TensorProto>,
    names: HashSet<String>,
    nodes: Vec<pb::NodeProto>,
    biases: Vec<pb::TensorProto>,
    /// Quantizations of tensors of counts.
    scales: HashMap<String, Scale>,
    /// Real values of counts, by the counts and their scale.
    reals: HashMap<(String, Scale), String>,
}

impl Separator {
    fn node(&mut self, mut node: pb::NodeProto) -> Result<(), String> {
        if let Some(form) = Form::of(&node) {
            return self.operator(&node, &form);
        }
        match &*node.op_type {
            "QuantizeLinear" | "DequantizeLinear" => {
                node.domain.clear();
                if node.op_type == "QuantizeLinear" && !node.output.is_empty() {
                    self.scales.insert(node.output[0].clone(), scale(&node, 1)?);
                }
            }
            // Standard operators that work on counts unchanged.
            "MaxPool" | "AveragePool" | "GlobalAveragePool" | "Resize" | "Upsample" => {
                if let [output] = &node.output[..]
                    && let Some(own) = self.scales.get(argument(&node, 0)?).cloned()
                {
                    let output = output.clone();
                    node.input[0] = self.dequantize(&node.input[0].clone(), &own, None);
                    return self.quantized(node, &output, own);
                }
            }
            "Transpose" | "Reshape" | "Squeeze" | "Unsqueeze" | "Slice" | "Identity" => {
                if let (Some(own), [output]) =
                    (self.scales.get(argument(&node, 0)?), &node.output[..])
                {
                    self.scales.insert(output.clone(), own.clone());
                }
            }
            _ => {}
        }
        self.nodes.push(node);
        Ok(())
    }

    fn operator(&mut self, node: &pb::NodeProto, form: &Form) -> Result<(), String> {
        let mut input = Vec::new();
        for &at in &form.inputs {
            // Weights have a scale for each output channel; the output channel is the first axis.
            let axis = (form.op == "Conv" && at == 3).then_some(0);
            input.push(self.dequantize(argument(node, at)?, &scale(node, at + 1)?, axis));
        }
        if form.op == "Conv" && optional(node, 8).is_some() {
            input.push(self.bias(node)?);
        }
        let own = ["opset", "channels_last"];
        let attribute =
            node.attribute.iter().filter(|a| !own.contains(&&*a.name)).cloned().collect();
        let [output] = &node.output[..] else { return Err("has not exactly one output".into()) };
        let real = pb::NodeProto {
            op_type: form.op.to_owned(),
            name: node.name.clone(),
            input,
            attribute,
            ..Default::default()
        };
        self.quantized(real, output, scale(node, form.output)?)
    }

    /// The real values of counts.
    fn dequantize(&mut self, counts: &str, scale: &Scale, axis: Option<i64>) -> String {
        let key = (counts.to_owned(), scale.clone());
        if let Some(reals) = self.reals.get(&key) {
            return reals.clone();
        }
        let output = self.fresh(format!("{counts}.real"));
        let int = pb::attribute_proto::AttributeType::Int as i32;
        let attribute =
            |i| pb::AttributeProto { name: "axis".into(), i, r#type: int, ..Default::default() };
        self.round("DequantizeLinear", counts, scale, output.clone(), axis.map(attribute));
        self.reals.insert(key, output.clone());
        output
    }

    /// A real-valued node whose result becomes the counts `output`.
    fn quantized(
        &mut self,
        mut node: pb::NodeProto,
        output: &str,
        scale: Scale,
    ) -> Result<(), String> {
        let real = self.fresh(format!("{output}.real"));
        node.output = vec![real.clone()];
        self.nodes.push(node);
        self.round("QuantizeLinear", &real, &scale, output.to_owned(), None);
        self.scales.insert(output.to_owned(), scale);
        Ok(())
    }

    fn round(
        &mut self,
        op: &str,
        input: &str,
        [scale, zero]: &Scale,
        output: String,
        axis: Option<pb::AttributeProto>,
    ) {
        let input = [input, scale, zero]
            .iter()
            .filter(|s| !s.is_empty())
            .map(ToString::to_string)
            .collect();
        let name = self.fresh(format!("{output}.{op}"));
        self.nodes.push(pb::NodeProto {
            op_type: op.to_owned(),
            name,
            input,
            output: vec![output],
            attribute: axis.into_iter().collect(),
            ..Default::default()
        });
    }

    /// The bias of a QLinearConv, whose counts have no scale of their own: they are in units of
    /// input scale × weight scale.
    fn bias(&mut self, node: &pb::NodeProto) -> Result<String, String> {
        let constant = |i| {
            let name = argument(node, i)?;
            load(
                self.constants
                    .get(name)
                    .ok_or_else(|| format!("its input \"{name}\" is not constant"))?,
            )
        };
        let (input, weights) = (floats(&constant(1)?)?, floats(&constant(4)?)?);
        let counts = integers(&constant(8)?)?;
        let (Some(&input), false) = (input.first(), weights.is_empty()) else {
            return Err("has no scale".into());
        };
        let scales = weights.iter().cycle().map(|&w| f64::from(input) * f64::from(w));
        let float_data: Vec<f32> =
            counts.iter().zip(scales).map(|(&n, s)| (f64::from(n) * s) as f32).collect();
        let name = self.fresh(format!("{}.real", argument(node, 8)?));
        self.biases.push(pb::TensorProto {
            name: name.clone(),
            dims: vec![float_data.len() as i64],
            data_type: pb::tensor_proto::DataType::Float as i32,
            float_data,
            ..Default::default()
        });
        Ok(name)
    }

    /// A name that nothing else has.
    fn fresh(&mut self, mut name: String) -> String {
        while self.constants.contains_key(&name) || !self.names.insert(name.clone()) {
            name.push('_');
        }
        name
    }
}

fn scale(node: &pb::NodeProto, at: usize) -> Result<Scale, String> {
    Ok([argument(node, at)?.to_owned(), optional(node, at + 1).unwrap_or_default().to_owned()])
}

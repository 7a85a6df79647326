//! Tensors of the Open Inference Protocol, in JSON and in binary.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::response::Response;
use bumpalo::Bump;
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::answer::{self, Failure};
use crate::predict::Columns;
use crate::rows::{Datum, Rows, WEIGHTS, list};

/// Length of the JSON in front of binary tensors, in requests and answers.
pub(crate) const LENGTH: &str = "inference-header-content-length";
/// The output that every model has.
pub(crate) const OUTPUT: &str = "probability";

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    inputs: Vec<Tensor<'a>>,
    #[serde(default)]
    outputs: Vec<Output>,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Tensor<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    shape: Vec<u64>,
    parameters: Option<Parameters>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    parameters: Option<Parameters>,
}

/// The parameters that mean something here.
#[derive(Deserialize, Default)]
struct Parameters {
    binary_data_size: Option<u64>,
    binary_data_output: Option<bool>,
    binary_data: Option<bool>,
    classification: Option<u64>,
    shared_memory_region: Option<String>,
}

/// How the answer is wanted.
pub(crate) struct Wanted {
    id: Option<String>,
    binary: bool,
}

/// Reads a request; `length` is that of its JSON, where binary tensors follow.
///
/// # Errors
/// 400, with the place.
pub(crate) fn read<'b>(
    body: &'b [u8],
    length: Option<usize>,
    columns: &Columns<'_>,
    bump: &'b Bump,
) -> Result<(Rows<'b>, Wanted), Failure> {
    let length = length.unwrap_or(body.len());
    let Some((json, mut binary)) = body.split_at_checked(length) else {
        let text =
            format!("Inference-Header-Content-Length is {length}, but the body has {} bytes", body.len());
        return Err(Failure::request(format!("{text}; send the length of the JSON in front of the tensors")));
    };
    let request: Request<'b> = serde_json::from_slice(json).map_err(|e| {
        Failure::request(format!("the request is no JSON of the Open Inference Protocol: {e}"))
    })?;
    let wanted = wanted(&request)?;
    let mut tensors = BTreeMap::new();
    for tensor in &request.inputs {
        let data = Data::of(tensor, &mut binary)?;
        if tensors.insert(&*tensor.name, data).is_some() {
            return Err(refused(&tensor.name, "it is there twice; keep one"));
        }
    }
    if !binary.is_empty() {
        let text = format!("{} bytes follow the last tensor", binary.len());
        return Err(Failure::request(format!("{text}; give each its binary_data_size")));
    }
    Ok((fill(&tensors, columns, bump)?, wanted))
}

/// The most rows that a tensor of a request has, by their shapes alone; none where the request cannot be read.
pub(crate) fn rows(body: &[u8], length: Option<usize>) -> Option<u64> {
    #[derive(Deserialize)]
    struct Shapes {
        inputs: Vec<Shape>,
    }
    #[derive(Deserialize)]
    struct Shape {
        shape: Vec<u64>,
    }
    let shapes: Shapes = serde_json::from_slice(body.get(..length.unwrap_or(body.len()))?).ok()?;
    shapes.inputs.iter().map(|tensor| tensor.shape.first().copied()).max().flatten()
}

fn wanted(request: &Request<'_>) -> Result<Wanted, Failure> {
    let mut binary = request.parameters.as_ref().and_then(|p| p.binary_data_output).unwrap_or(false);
    let ([] | [_]) = &*request.outputs else {
        return Err(Failure::request(format!("there are several outputs; ask for {OUTPUT} alone")));
    };
    for output in &request.outputs {
        if output.name != OUTPUT {
            return Err(Failure::request(format!(
                "output {:?}: there is none; ask for {OUTPUT}",
                output.name
            )));
        }
        if let Some(parameters) = &output.parameters {
            if parameters.classification.is_some_and(|n| n > 0) || parameters.shared_memory_region.is_some() {
                let text = "classification and shared memory are not served; ask for the values";
                return Err(Failure::request(format!("output {OUTPUT}: {text}")));
            }
            binary = parameters.binary_data.unwrap_or(binary);
        }
    }
    Ok(Wanted { id: request.id.as_ref().map(|id| id.clone().into_owned()), binary })
}

fn refused(tensor: &str, text: impl fmt::Display) -> Failure {
    Failure::request(format!("input '{tensor}': {text}"))
}

/// A type of a tensor's elements, with the bytes of one.
#[derive(Clone, Copy)]
enum Type {
    Bool,
    Int(usize),
    UInt(usize),
    Float(usize),
    Bytes,
}

impl Type {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "BOOL" => Self::Bool,
            "INT8" => Self::Int(1),
            "INT16" => Self::Int(2),
            "INT32" => Self::Int(4),
            "INT64" => Self::Int(8),
            "UINT8" => Self::UInt(1),
            "UINT16" => Self::UInt(2),
            "UINT32" => Self::UInt(4),
            "UINT64" => Self::UInt(8),
            "FP32" => Self::Float(4),
            "FP64" => Self::Float(8),
            "BYTES" => Self::Bytes,
            _ => return None,
        })
    }
}

/// A tensor whose elements are not read yet.
struct Data<'b> {
    kind: Type,
    /// `N` and `L`; none for `[N]`.
    shape: (usize, Option<usize>),
    elements: Elements<'b>,
}

#[derive(Clone, Copy)]
enum Elements<'b> {
    Binary(&'b [u8]),
    Json(&'b str),
}

impl<'b> Data<'b> {
    /// Takes the bytes of a binary tensor off `binary`.
    fn of(tensor: &Tensor<'b>, binary: &mut &'b [u8]) -> Result<Self, Failure> {
        let refused = |text: String| refused(&tensor.name, text);
        let kind = Type::of(&tensor.datatype).ok_or_else(|| {
            let there = "BOOL, INT8 to INT64, UINT8 to UINT64, FP32, FP64 and BYTES";
            refused(format!("datatype {:?} is not read; send one of {there}", tensor.datatype))
        })?;
        let size = |n: u64| usize::try_from(n).ok();
        let shape = match *tensor.shape {
            [n] => size(n).map(|n| (n, None)),
            [n, l] => {
                size(n).zip(size(l)).filter(|(n, l)| n.checked_mul(*l).is_some()).map(|(n, l)| (n, Some(l)))
            }
            _ => None,
        };
        let shape = shape.ok_or_else(|| {
            refused(format!("the shape is {:?}; send [N] or [N, 1], for lists [N, L]", tensor.shape))
        })?;
        let parameters = tensor.parameters.as_ref();
        if parameters.is_some_and(|p| p.shared_memory_region.is_some()) {
            return Err(refused("shared memory is not read; send the values".into()));
        }
        let declared = parameters.and_then(|p| p.binary_data_size);
        let elements = match (tensor.data, declared) {
            (Some(data), None) => Elements::Json(data.get()),
            (None, Some(declared)) => {
                let taken = size(declared).and_then(|n| binary.split_at_checked(n));
                let (taken, rest) = taken.ok_or_else(|| {
                    let left = binary.len();
                    refused(format!(
                        "binary_data_size is {declared}, but {left} bytes are left; send all of it"
                    ))
                })?;
                *binary = rest;
                Elements::Binary(taken)
            }
            (Some(_), Some(_)) => return Err(refused("it has data and binary_data_size; keep one".into())),
            (None, None) => {
                let fix = "send data, or binary_data_size with Inference-Header-Content-Length";
                return Err(refused(format!("it has no data; {fix}")));
            }
        };
        Ok(Self { kind, shape, elements })
    }

    /// Number of elements.
    fn len(&self) -> usize {
        // The product was checked with the shape.
        self.shape.0 * self.shape.1.unwrap_or(1)
    }

    /// The elements, as many as the shape has.
    fn read(&self, name: &str, bump: &'b Bump) -> Result<Vec<Datum<'b>>, Failure> {
        let expected = self.len();
        let count = |found: usize| {
            refused(name, format!("it has {found} values, but its shape {expected}; make them the same"))
        };
        let elements = match self.elements {
            Elements::Json(text) => {
                let mut json = serde_json::Deserializer::from_str(text);
                let mut elements = Vec::new();
                let flat = Flat { kind: self.kind, bump, most: expected, elements: &mut elements };
                match flat.deserialize(&mut json) {
                    Ok(()) => {}
                    Err(_) if elements.len() > expected => return Err(refused(name, more(expected))),
                    Err(e) => return Err(refused(name, format!("its data cannot be read: {e}"))),
                }
                elements
            }
            Elements::Binary(bytes) => match self.kind {
                Type::Bytes => texts(bytes, expected).map_err(|text| refused(name, text))?,
                kind => numbers(kind, bytes, expected).map_err(|text| refused(name, text))?,
            },
        };
        if elements.len() == expected { Ok(elements) } else { Err(count(elements.len())) }
    }
}

fn more(expected: usize) -> String {
    format!("it has more than the {expected} values of its shape; make them the same")
}

/// Texts, each with its length in front.
fn texts(mut bytes: &[u8], expected: usize) -> Result<Vec<Datum<'_>>, String> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let place = texts.len() + 1;
        if place > expected {
            return Err(more(expected));
        }
        let length = u32::from_le_bytes(*length);
        let Some((text, rest)) = usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n)) else {
            let left = rest.len();
            return Err(format!("value {place} has {length} bytes, but {left} are left; send all of it"));
        };
        let text = std::str::from_utf8(text).map_err(|e| format!("value {place}: {e}; send UTF-8"))?;
        texts.push(Datum::Text(text));
        bytes = rest;
    }
    if bytes.is_empty() { Ok(texts) } else { Err(format!("{} bytes follow its last value", bytes.len())) }
}

/// Numbers of a fixed size, little-endian.
fn numbers<'b>(kind: Type, bytes: &[u8], expected: usize) -> Result<Vec<Datum<'b>>, String> {
    let size = match kind {
        Type::Bool | Type::Bytes => 1,
        Type::Int(size) | Type::UInt(size) | Type::Float(size) => size,
    };
    if expected.checked_mul(size) != Some(bytes.len()) {
        return Err(format!(
            "{} bytes do not hold its {expected} values of {size}; make them the same",
            bytes.len()
        ));
    }
    let number = |(i, bytes): (usize, &[u8])| {
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        let unused = 64 - 8 * size as u32;
        Ok(match kind {
            Type::Bool if bits > 1 => return Err(format!("value {} is {bits}; send 0 or 1", i + 1)),
            Type::Bool => Datum::Bool(bits == 1),
            // Shifted left and back, so that the sign fills what is unused.
            Type::Int(_) => Datum::Int((bits << unused) as i64 >> unused),
            Type::UInt(_) => unsigned(bits),
            Type::Float(4) => Datum::Float(f32::from_bits(bits as u32).into()),
            Type::Float(_) | Type::Bytes => Datum::Float(f64::from_bits(bits)),
        })
    };
    bytes.chunks_exact(size).enumerate().map(number).collect()
}

fn unsigned<'b>(value: u64) -> Datum<'b> {
    i64::try_from(value).map_or(Datum::UInt(value), Datum::Int)
}

/// Elements of JSON, flat or as nested as their shape.
struct Flat<'v, 'b> {
    kind: Type,
    bump: &'b Bump,
    most: usize,
    elements: &'v mut Vec<Datum<'b>>,
}

impl<'b> Flat<'_, 'b> {
    fn push<E: Error>(self, value: Datum<'b>) -> Result<(), E> {
        self.elements.push(value);
        // The caller looks at the number first.
        if self.elements.len() > self.most { Err(E::custom("too many")) } else { Ok(()) }
    }
}

impl<'b> DeserializeSeed<'b> for Flat<'_, 'b> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'b>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Flat<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Type::Bool => "an array of true and false",
            Type::Int(_) | Type::UInt(_) => "an array of integers of its datatype",
            Type::Float(_) => "an array of numbers",
            Type::Bytes => "an array of texts",
        })
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { kind, bump, most, elements } = self;
        while seq.next_element_seed(Flat { kind, bump, most, elements: &mut *elements })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.kind {
            Type::Bool => self.push(Datum::Bool(value)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.kind {
            Type::Int(size) if value >= i64::MIN >> (64 - 8 * size) => self.push(Datum::Int(value)),
            Type::Float(_) => self.push(Datum::Float(value as f64)),
            _ => Err(E::invalid_value(serde::de::Unexpected::Signed(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match self.kind {
            Type::Int(size) if value <= (i64::MAX >> (64 - 8 * size)) as u64 => self.push(unsigned(value)),
            Type::UInt(size) if value <= u64::MAX >> (64 - 8 * size) => self.push(unsigned(value)),
            Type::Float(_) => self.push(Datum::Float(value as f64)),
            _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(value), &self)),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.kind {
            Type::Float(_) => self.push(Datum::Float(value)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
    }

    fn visit_borrowed_str<E: Error>(self, value: &'b str) -> Result<(), E> {
        match self.kind {
            Type::Bytes => self.push(Datum::Text(value)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Str("a text"), &self)),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let value = self.bump.alloc_str(value);
        self.visit_borrowed_str(value)
    }
}

/// Rows from tensors by name.
fn fill<'b>(
    tensors: &BTreeMap<&str, Data<'b>>,
    columns: &Columns<'_>,
    bump: &'b Bump,
) -> Result<Rows<'b>, Failure> {
    for name in tensors.keys() {
        let of = name.strip_suffix(WEIGHTS).filter(|of| tensors.contains_key(of));
        if columns.number(name).is_none() && of.and_then(|of| columns.number(of)).is_none() {
            return Err(refused(name, format!("the model has none; {}", columns.meant(name))));
        }
    }
    let Some((first, data)) = tensors.first_key_value() else {
        return Err(Failure::request("there is no input; send a tensor for each column of the model"));
    };
    let n = data.shape.0;
    if let Some((other, data)) = tensors.iter().find(|(_, data)| data.shape.0 != n) {
        let other_n = data.shape.0;
        return Err(refused(
            other,
            format!("it has {other_n} rows, but '{first}' has {n}; send as many of each"),
        ));
    }
    if n > columns.max_rows {
        return Err(columns.too_many("row"));
    }
    // Each is small, for its bytes were there; lists may declare more. A column of single values may be [N, 1] as well.
    let of_list = |name: &str| {
        let input = columns.number(name).or_else(|| columns.number(name.strip_suffix(WEIGHTS)?));
        input.is_some_and(|input| matches!(columns.inputs[input].kind, crate::Kind::List { .. }))
    };
    let values = tensors.iter().map(|(name, data)| match data.shape.1 {
        None => 0,
        Some(1) if !of_list(name) => 0,
        Some(_) => data.len(),
    });
    if values.fold(0, usize::saturating_add) > columns.max_values() {
        return Err(columns.too_many_values());
    }
    let mut rows = Rows::missing(columns.inputs.len(), n);
    for (i, input) in columns.inputs.iter().enumerate() {
        let Some(data) = tensors.get(&*input.name) else {
            if input.optional {
                continue;
            }
            return Err(refused(&input.name, "it is missing; send a tensor for each column of the model"));
        };
        let values = data.read(&input.name, bump)?;
        let weights = match tensors.get(&*format!("{}{WEIGHTS}", input.name)) {
            Some(weights) if weights.shape != data.shape => {
                return Err(refused(&input.name, "its weights have another shape; make them the same"));
            }
            Some(weights) => Some(weights.read(&input.name, bump)?),
            None => None,
        };
        match data.shape.1 {
            Some(length)
                if length != 1 || weights.is_some() || matches!(input.kind, crate::Kind::List { .. }) =>
            {
                if !matches!(input.kind, crate::Kind::List { .. }) {
                    let text =
                        format!("it has {length} values a row, but its column has one; send [N] or [N, 1]");
                    return Err(refused(&input.name, text));
                }
                for row in 0..n {
                    let place = row * length..(row + 1) * length;
                    let weights = weights.as_ref().map(|weights| &weights[place.clone()]);
                    rows.set(row, i, unpadded(bump, &values[place.clone()], weights));
                }
            }
            _ if weights.is_some() => {
                return Err(refused(&input.name, "it has weights, but no lists; send [N, L] of both"));
            }
            _ => values.into_iter().enumerate().for_each(|(row, value)| rows.set(row, i, value)),
        }
    }
    Ok(rows)
}

/// A list without the empty texts that fill it up.
fn unpadded<'b>(bump: &'b Bump, items: &[Datum<'b>], weights: Option<&[Datum<'b>]>) -> Datum<'b> {
    let kept = |i: &usize| !matches!(items[*i], Datum::Text(""));
    let kept: Vec<usize> = (0..items.len()).filter(kept).collect();
    let pick = |from: &[Datum<'b>]| kept.iter().map(|i| from[*i]).collect::<Vec<_>>();
    list(bump, &pick(items), weights.map(pick).as_deref())
}

#[derive(Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: [Filled<'a>; 1],
}

#[derive(Serialize)]
struct Filled<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: [usize; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a [f32]>,
}

#[derive(Serialize)]
struct Size {
    binary_data_size: usize,
}

/// The answer to a request of tensors.
pub(crate) fn write(model: &str, version: &str, wanted: &Wanted, probabilities: &[f32]) -> Response {
    let size = Size { binary_data_size: 4 * probabilities.len() };
    let output = Filled {
        name: OUTPUT,
        datatype: "FP32",
        shape: [probabilities.len()],
        parameters: wanted.binary.then_some(size),
        data: (!wanted.binary).then_some(probabilities),
    };
    let id = wanted.id.as_deref();
    let answer = Answer { model_name: model, model_version: version, id, outputs: [output] };
    if !wanted.binary {
        return answer::json(StatusCode::OK, &answer);
    }
    let mut body = match serde_json::to_vec(&answer) {
        Ok(json) => json,
        Err(e) => return answer::json(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    };
    let length = body.len();
    body.extend(probabilities.iter().flat_map(|p| p.to_le_bytes()));
    let mut response = answer::bytes(StatusCode::OK, "application/octet-stream", body.into());
    response.headers_mut().insert(LENGTH, HeaderValue::from(length));
    response
}

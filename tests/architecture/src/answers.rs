//! What an operation may answer when it is asked with an empty message.

use contracts_common::contract::v1::Exposure;
use runspine_rpc::Operation;
use tonic::Code;

use crate::Inspection;

/// Answers of a service that does not serve the operation, fails on it, or does not know the spine.
const WRONG: [Code; 6] = [
    Code::Unimplemented,
    Code::Internal,
    Code::Unknown,
    Code::Unauthenticated,
    Code::DataLoss,
    Code::Unavailable,
];

/// The spine asks a service: it answers, or refuses the empty message for a reason.
pub fn inside(seen: &mut Inspection, operation: &Operation, code: Code) {
    let fine = !WRONG.contains(&code) && code != Code::PermissionDenied;
    seen.require(fine, || format!("{} answers the spine with {code:?}", operation.name));
}

/// A client with a good key asks at the door: an ENTRY operation answers, a MESH operation is denied.
pub fn at_the_door(seen: &mut Inspection, operation: &Operation, code: Code) {
    let fine = match operation.exposure {
        Exposure::Mesh => code == Code::PermissionDenied,
        _ => !WRONG.contains(&code),
    };
    seen.require(fine, || format!("{} answers a client with {code:?}", operation.name));
}

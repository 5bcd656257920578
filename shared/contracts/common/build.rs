//! Generates `runspine.common.v1` and `runspine.contract.v1`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    runspine_codegen::generate(&["common", "contract"])
}

//! Generates `runspine.logs.v1`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    runspine_codegen::generate(&["logs"])
}

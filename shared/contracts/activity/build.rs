//! Generates `runspine.activity.v1`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    runspine_codegen::generate(&["activity"])
}

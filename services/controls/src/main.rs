//! The controls service as a process of its own.

fn main() -> std::process::ExitCode {
    runspine_boot::main(
        |settings| settings.section("controls"),
        |config, deps| async move { Ok(vec![runspine_controls::service(config, &deps).await?]) },
    )
}

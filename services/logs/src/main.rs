//! The logs service as a process of its own.

fn main() -> std::process::ExitCode {
    runspine_boot::main(
        |settings| settings.section("logs"),
        |config, deps| async move { Ok(vec![runspine_logs::service(config, &deps).await?]) },
    )
}

//! The activity service as a process of its own.

fn main() -> std::process::ExitCode {
    runspine_boot::main(
        |settings| settings.section("activity"),
        |config, deps| async move { Ok(vec![runspine_activity::service(config, &deps).await?]) },
    )
}

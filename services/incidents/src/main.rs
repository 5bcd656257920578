//! The incidents service as a process of its own.

fn main() -> std::process::ExitCode {
    runspine_boot::main(
        |settings| settings.section("incidents"),
        |config, deps| async move { Ok(vec![runspine_incidents::service(config, &deps).await?]) },
    )
}

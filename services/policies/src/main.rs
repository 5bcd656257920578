//! The policies service as a process of its own.

fn main() -> std::process::ExitCode {
    runspine_boot::main(
        |settings| settings.section("policies"),
        |config, deps| async move { Ok(vec![runspine_policies::service(config, &deps).await?]) },
    )
}

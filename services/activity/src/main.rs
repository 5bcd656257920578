//! The activity service as a process of its own.

fn main() -> std::process::ExitCode {
    runspine_boot::main(|deps| async move {
        let config = deps.settings.section("activity")?;
        Ok(vec![runspine_activity::service(config, &deps).await?])
    })
}

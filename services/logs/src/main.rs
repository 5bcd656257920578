//! The logs service as a process of its own.

fn main() -> std::process::ExitCode {
    runspine_boot::main(|deps| async move {
        let config = deps.settings.section("logs")?;
        Ok(vec![runspine_logs::service(config, &deps).await?])
    })
}

//! The incidents service as a process of its own.

fn main() -> std::process::ExitCode {
    runspine_boot::main(|deps| async move {
        let config = deps.settings.section("incidents")?;
        Ok(vec![runspine_incidents::service(config, &deps).await?])
    })
}

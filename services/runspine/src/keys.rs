//! `runspine keys`: who may call this mesh.

use std::{io::Write as _, path::PathBuf};

use clap::{Args, Subcommand};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use runspine_boot::default_data;
use runspine_spine::door::issue::{self, NewKey};
use runspine_types::new_id;

use crate::failure::Failure;

/// Flags of `runspine keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// The data folder of the mesh.
    #[arg(long = "data", id = "keys_data", value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key. It is printed once and stored as a hash.
    Create {
        /// The tenant, a UUID. Without one: that of the first key, or a new one.
        #[arg(long)]
        tenant: Option<String>,
        /// HUMAN, AGENT or SERVICE.
        #[arg(long, default_value = "SERVICE")]
        kind: String,
        /// The actor's id.
        #[arg(long)]
        actor: String,
        /// A role; can be given several times.
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// Only this project.
        #[arg(long, default_value = "")]
        project: String,
        /// Only this agent.
        #[arg(long, default_value = "")]
        agent: String,
        /// The person who owns the key.
        #[arg(long, default_value = "")]
        owner: String,
        /// When it ends, RFC 3339.
        #[arg(long, default_value = "")]
        expires_at: String,
    },
    /// List the keys.
    List,
    /// Revoke a key; a running mesh refuses it within a second.
    Revoke {
        /// The key's handle, as `list` shows it.
        id: String,
    },
}

/// Runs the command.
pub fn run(args: KeysArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Failure::system("no runtime", &e))?.block_on(act(args))
}

async fn act(args: KeysArgs) -> Result<(), Failure> {
    let data = args.data.unwrap_or_else(default_data);
    let mut out = std::io::stdout();
    match args.command {
        KeysCommand::Create { tenant, kind, actor, roles, project, agent, owner, expires_at } => {
            let tenant = match tenant {
                Some(tenant) => tenant,
                None => issue::list(&data).await?.into_iter().next().map_or_else(new_id, |k| k.tenant),
            };
            let new = NewKey {
                tenant: tenant.clone(),
                actor_kind: kind,
                actor,
                roles,
                project,
                agent,
                owner,
                expires_at,
            };
            let key = issue::issue(&data, new, false).await?;
            writeln!(out, "{key}\ntenant: {tenant}").map_err(Failure::output)
        }
        KeysCommand::List => {
            let mut table = Table::new();
            table
                .load_preset(UTF8_FULL_CONDENSED)
                .set_header(["id", "tenant", "actor", "roles", "expires", "state"]);
            for key in issue::list(&data).await? {
                let state = if key.revoked { "REVOKED" } else { "ACTIVE" };
                table.add_row([
                    key.id,
                    key.tenant,
                    key.actor,
                    key.roles.join(" "),
                    key.expires_at,
                    state.to_owned(),
                ]);
            }
            writeln!(out, "{table}").map_err(Failure::output)
        }
        KeysCommand::Revoke { id } => {
            if issue::revoke(&data, &id).await? {
                return writeln!(out, "{id} is revoked").map_err(Failure::output);
            }
            Err(Failure::work(format!("there is no key {id}")))
        }
    }
}

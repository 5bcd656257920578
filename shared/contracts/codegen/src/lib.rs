//! Generates the contract crates from `proto/` without `protoc`.
//!
//! Each contract crate holds the code of one package only: what it imports comes from the crate that owns it, which is
//! how the compiler keeps domains from naming each other's messages.

#![allow(clippy::print_stdout, reason = "a build script talks to cargo by what it prints")]

use std::{env, error::Error, fs, path::PathBuf};

/// Packages that a contract crate takes from `contracts-common` instead of generating them again.
const FROM_COMMON: [(&str, &str); 2] = [
    (".runspine.common.v1", "::contracts_common::common::v1"),
    (".runspine.contract.v1", "::contracts_common::contract::v1"),
];

/// Generates the messages, clients and servers of the named packages (`logs` stands for `runspine.logs.v1`) and writes
/// their descriptor set, imports included, to `descriptors.bin`.
///
/// # Errors
/// When a proto file does not compile or the output can't be written.
pub fn generate(packages: &[&str]) -> Result<(), Box<dyn Error>> {
    let proto = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../../proto").canonicalize()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut files = Vec::new();
    for package in packages {
        let folder = proto.join("runspine").join(package).join("v1");
        println!("cargo:rerun-if-changed={}", folder.display());
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "proto") {
                println!("cargo:rerun-if-changed={}", path.display());
                files.push(path);
            }
        }
    }
    for shared in ["common", "contract"] {
        println!("cargo:rerun-if-changed={}", proto.join("runspine").join(shared).display());
    }
    files.sort();
    let mut compiler = protox::Compiler::new([&proto])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    // The raw bytes keep custom options, which the typed descriptor would drop.
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    let set = compiler.file_descriptor_set();
    // Sorted maps give equal messages equal bytes, which the digests of requests rest on.
    let mut builder = tonic_prost_build::configure().bytes(".").btree_map(".").build_transport(false);
    if !packages.contains(&"common") {
        for (package, path) in FROM_COMMON {
            builder = builder.extern_path(package, path);
        }
    }
    builder.compile_fds(set)?;
    Ok(())
}

//! Protos as text, compiled where they are used.

use std::path::Path;

use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

pub const HEAD: &str = r#"
syntax = "proto3";
package runspine.demo.v1;
import "runspine/contract/v1/contract.proto";
message DemoRequest { string key = 1; string act = 2; }
message DemoResponse { string text = 1; }
"#;

/// The service of the tests.
pub const DEMO: &str = r#"
service DemoService {
  rpc Echo(DemoRequest) returns (DemoResponse) {
    option (runspine.contract.v1.operation) = {role: ROLE_OBSERVES exposure: EXPOSURE_MESH permission: "demo.read"
      commit: COMMIT_NONE idempotency: IDEMPOTENCY_NO_SIDE_EFFECTS deadline_ms: 300};
  }
  rpc Put(DemoRequest) returns (DemoResponse) {
    option (runspine.contract.v1.operation) = {role: ROLE_EXECUTES exposure: EXPOSURE_MESH permission: "demo.write"
      commit: COMMIT_OWNS idempotency: IDEMPOTENCY_KEYED key: "key" deadline_ms: 2000};
  }
  rpc Watch(DemoRequest) returns (stream DemoResponse) {
    option (runspine.contract.v1.operation) = {role: ROLE_OBSERVES exposure: EXPOSURE_MESH permission: "demo.read"
      commit: COMMIT_NONE idempotency: IDEMPOTENCY_NO_SIDE_EFFECTS deadline_ms: 300};
  }
}
"#;

struct Text {
    name: String,
    text: String,
}

impl FileResolver for Text {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == self.name {
            File::from_source(name, &self.text)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

/// The descriptor set of `text` under the file name `name`.
pub fn compile(name: &str, text: &str) -> Vec<u8> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut resolver = ChainFileResolver::new();
    resolver.add(Text { name: name.to_owned(), text: text.to_owned() });
    resolver.add(IncludeFileResolver::new(proto));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file(name).unwrap();
    compiler.encode_file_descriptor_set()
}

/// The demo's descriptors, for as long as the process lives.
pub fn demo() -> &'static [u8] {
    Box::leak(compile("demo.proto", &format!("{HEAD}{DEMO}")).into_boxed_slice())
}

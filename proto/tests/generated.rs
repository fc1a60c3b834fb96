//! The committed types are exactly what the generator makes of the `.proto` files.
//!
//! After a change of a `.proto` file: `RINGTAIL_PROTO_WRITE=1 cargo test -p ringtail-proto`, look
//! at the difference, commit both.

use std::path::Path;

const PROTO: &str = "raystack/raccoon/v1beta1/raccoon.proto";
const PACKAGE: &str = "raystack.raccoon.v1beta1";
const GENERATED: &str = "src/generated/raystack.raccoon.v1beta1.rs";

/// What the generator makes of the contract now.
fn generate(root: &Path) -> String {
    let descriptors =
        protox::compile([PROTO], [root.join("proto")]).expect("the contract compiles");
    let mut config = prost_build::Config::new();
    // A sorted map: equal answers have equal bytes.
    config.btree_map(["."]);
    let ours = prost_build::Module::from_protobuf_package_name(PACKAGE);
    let mut requests = Vec::new();
    for file in descriptors.file {
        let module = prost_build::Module::from_protobuf_package_name(file.package());
        requests.push((module, file));
    }
    let mut modules = config.generate(requests).expect("the contract generates");
    modules.remove(&ours).expect("the package is generated")
}

#[test]
fn the_committed_types_are_what_the_contract_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let generated = generate(root);
    let path = root.join(GENERATED);
    if std::env::var_os("RINGTAIL_PROTO_WRITE").is_some() {
        std::fs::write(&path, &generated).expect("write the generated types");
    }
    let committed = std::fs::read_to_string(&path).expect("read the committed types");
    assert!(
        generated == committed,
        "{GENERATED} is not what the contract generates; \
         rewrite it with RINGTAIL_PROTO_WRITE=1 cargo test -p ringtail-proto"
    );
}

//! The committed types are exactly what the generator makes of the `.proto` files.
//!
//! After a change of a `.proto` file: `RINGTAIL_PROTO_WRITE=1 cargo test -p ringtail-proto`, look
//! at the difference, commit both.

use prost::Message as _;
use std::collections::BTreeMap;
use std::path::Path;

const PROTOS: [&str; 5] = [
    "raystack/raccoon/v1beta1/raccoon.proto",
    "ringtail/v1/stream.proto",
    "grpc/health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
    "grpc/reflection/v1alpha/reflection.proto",
];
/// The older reflection has the same messages, so its types are not needed.
const PACKAGES: [&str; 3] = [
    "raystack.raccoon.v1beta1",
    "grpc.health.v1",
    "grpc.reflection.v1",
];
/// What the events of the measuring bench hold; no part of the contract.
const FLEET: (&str, &str) = ("ringtail/bench/v1/fleet.proto", "ringtail.bench.v1");
const DESCRIPTORS: &str = "src/generated/descriptors.binpb";

/// What the generator makes of the contract, and of the bench's events, now, by path.
fn generate(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut descriptors =
        protox::compile(PROTOS, [root.join("proto")]).expect("the contract compiles");
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let bytes = descriptors.encode_to_vec();
    let mut generated = BTreeMap::from([(DESCRIPTORS.to_owned(), bytes)]);
    generated.extend(types_of(descriptors, &PACKAGES));
    let (file, package) = FLEET;
    let fleet = protox::compile([file], [root.join("proto")]).expect("the events compile");
    generated.extend(types_of(fleet, &[package]));
    generated
}

/// The Rust types of these packages, by path.
fn types_of(
    descriptors: prost_types::FileDescriptorSet,
    packages: &[&str],
) -> BTreeMap<String, Vec<u8>> {
    let mut config = prost_build::Config::new();
    // A sorted map: equal answers have equal bytes.
    config.btree_map(["."]);
    let mut requests = Vec::new();
    for file in descriptors.file {
        let module = prost_build::Module::from_protobuf_package_name(file.package());
        requests.push((module, file));
    }
    let mut modules = config.generate(requests).expect("the contract generates");
    let of_package = |package: &&str| {
        let module = prost_build::Module::from_protobuf_package_name(package);
        let text = modules.remove(&module).expect("the package is generated");
        (format!("src/generated/{package}.rs"), text.into_bytes())
    };
    packages.iter().map(of_package).collect()
}

#[test]
fn the_committed_types_are_what_the_contract_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, generated) in generate(root) {
        let file = root.join(&path);
        if std::env::var_os("RINGTAIL_PROTO_WRITE").is_some() {
            std::fs::write(&file, &generated).expect("write what was generated");
        }
        let committed = std::fs::read(&file).expect("read what is committed");
        assert!(
            generated == committed,
            "{path} is not what the contract generates; \
             rewrite it with RINGTAIL_PROTO_WRITE=1 cargo test -p ringtail-proto"
        );
    }
}

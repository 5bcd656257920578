//! What tools such as grpcurl ask for.

use runspine_boot::{Deps, Service};
use runspine_rpc::Routes;
use tokio_stream::StreamExt;
use tonic_reflection::pb::{v1, v1alpha};

#[tokio::test]
async fn reflection_knows_services_and_error_details_in_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let deps = Deps::for_tests(dir.path()).unwrap();
    let service = Service::new("s", contracts_common::DESCRIPTORS, &Routes::new(), &deps).unwrap();
    let running = runspine_boot::start(vec![service], &deps).await.unwrap();
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{}", running.address())).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let symbols = [
        "google.rpc.BadRequest",
        "google.rpc.ErrorInfo",
        "runspine.common.v1.CallContext",
        "grpc.health.v1.Health",
    ];

    for symbol in symbols {
        let mut new = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
        let ask = v1::server_reflection_request::MessageRequest::FileContainingSymbol(symbol.into());
        let ask = v1::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
        let answer =
            new.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner().next().await;
        let answer = answer.unwrap().unwrap().message_response.unwrap();
        let found = v1::server_reflection_response::MessageResponse::FileDescriptorResponse;
        assert_eq!(
            std::mem::discriminant(&answer),
            std::mem::discriminant(&found(Default::default())),
            "{symbol}"
        );

        let mut old = v1alpha::server_reflection_client::ServerReflectionClient::new(channel.clone());
        let ask = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol.into());
        let ask = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
        let answer =
            old.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner().next().await;
        let answer = answer.unwrap().unwrap().message_response.unwrap();
        let found = v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse;
        assert_eq!(
            std::mem::discriminant(&answer),
            std::mem::discriminant(&found(Default::default())),
            "{symbol}"
        );
    }
    running.stop().await;
}

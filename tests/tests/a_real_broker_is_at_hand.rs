//! The promises about Kafka are held against Apache Kafka itself: it can be had here, keeps what it was
//! given through `kill -9`, and is read back by a client that is not ours.

use ringtail_tests::kafka::Cluster;
use ringtail_tests::scratch::Scratch;

#[test]
fn a_broker_starts_dies_and_starts_again_on_its_own_data() {
    let scratch = Scratch::new("broker");
    let mut cluster = Cluster::start(&scratch, 1);
    assert!(cluster.topics().is_empty());
    cluster.create("kept", 2, &[1]);
    cluster.kill(1);
    cluster.start_again(1);
    assert_eq!(cluster.topics().get("kept"), Some(&2));
    assert!(cluster.consume(&["kept"]).is_empty());
    cluster.delete("kept");
    assert!(cluster.topics().is_empty());
}

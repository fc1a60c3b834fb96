"""What the promises ask of Kafka from outside: topics made and removed, and everything read back.

    tool.py BOOTSTRAP create NAME PARTITIONS BROKER[,BROKER...]
    tool.py BOOTSTRAP delete NAME
    tool.py BOOTSTRAP topics
    tool.py BOOTSTRAP consume NAME...

`consume` prints one JSON object for each record of each partition that was committed, or is of no transaction, from
the first to the end as it is now.
"""

import base64
import concurrent.futures
import json
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE = 60
# For the answer to one question, which is asked so often.
ANSWER_SECONDS = 30
TRIES = 4


def admin(bootstrap):
    """A client that knows all brokers: it drops those that the cluster does not name yet, and what it asked them."""
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
    until = time.monotonic() + PATIENCE
    while len(again(lambda: client.list_topics(timeout=ANSWER_SECONDS)).brokers) < len(bootstrap.split(",")):
        # A broker that was killed or stands still is named no more, and nobody should wait for it.
        if until < time.monotonic():
            break
        time.sleep(0.1)
    return client


def again(ask, done=None):
    """Asks until there is an answer: a cluster that has just started may leave a question without one. `done` is the
    answer to a question that was heard before."""
    last = None
    for attempt in range(TRIES):
        try:
            return ask()
        except concurrent.futures.TimeoutError as error:
            last = error
        except KafkaException as error:
            code = error.args[0].code()
            if 0 < attempt and code == done:
                return None
            # Numbers below 0 are the client's own: the cluster said nothing.
            if 0 <= code and code != KafkaError.REQUEST_TIMED_OUT:
                raise
            last = error
        time.sleep(1)
    raise last


def settle(futures):
    for future in futures.values():
        future.result(ANSWER_SECONDS)


def create(bootstrap, name, partitions, brokers):
    brokers = [int(broker) for broker in brokers.split(",")]
    # Each partition on one broker after the other: a test knows who leads it.
    assignment = [[brokers[part % len(brokers)]] for part in range(int(partitions))]
    topic = NewTopic(name, int(partitions), replica_assignment=assignment)
    client = admin(bootstrap)
    again(
        lambda: settle(client.create_topics([topic], operation_timeout=ANSWER_SECONDS)),
        KafkaError.TOPIC_ALREADY_EXISTS,
    )


def delete(bootstrap, name):
    client = admin(bootstrap)
    again(
        lambda: settle(client.delete_topics([name], operation_timeout=ANSWER_SECONDS)),
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )


def topics(bootstrap):
    client = admin(bootstrap)
    known = again(lambda: client.list_topics(timeout=ANSWER_SECONDS)).topics
    # Kafka makes topics of its own as soon as a consumer asks for its group.
    ours = {name: topic for name, topic in known.items() if not name.startswith("__")}
    print(json.dumps({name: len(topic.partitions) for name, topic in ours.items()}))


def text(value):
    return None if value is None else base64.b64encode(value).decode()


def consume(bootstrap, *names):
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "promises",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            # The last offsets of a partition may be those of no record, but of a transaction's end.
            "enable.partition.eof": True,
            "log_level": 3,
        }
    )
    missing = {}
    for name in names:
        known = again(lambda: consumer.list_topics(name, timeout=ANSWER_SECONDS)).topics[name]
        if known.error is not None:
            raise KafkaException(known.error)
        for part in known.partitions:
            place = TopicPartition(name, part)
            low, high = again(lambda: consumer.get_watermark_offsets(place, timeout=ANSWER_SECONDS))
            if low < high:
                missing[name, part] = (low, high)
    consumer.assign([TopicPartition(name, part, low) for (name, part), (low, _) in missing.items()])
    while missing:
        record = consumer.poll(PATIENCE)
        if record is None:
            raise SystemExit(f"no record came in {PATIENCE} s; waiting for {missing}")
        place = record.topic(), record.partition()
        if record.error():
            if record.error().code() != KafkaError._PARTITION_EOF:
                raise KafkaException(record.error())
            if place in missing and missing[place][1] <= record.offset():
                del missing[place]
            continue
        headers = [[name, text(value)] for name, value in record.headers() or []]
        row = {
            "topic": place[0],
            "partition": place[1],
            "offset": record.offset(),
            "key": text(record.key()),
            "value": text(record.value()),
            "headers": headers,
        }
        print(json.dumps(row))
        if place in missing and missing[place][1] <= record.offset() + 1:
            del missing[place]
    consumer.close()


if __name__ == "__main__":
    _, bootstrap, verb, *rest = sys.argv
    {"create": create, "delete": delete, "topics": topics, "consume": consume}[verb](bootstrap, *rest)

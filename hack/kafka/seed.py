"""Fills a Kafka with what hack/kafka/kafka describes, or asks one whether it is ready.

    seed.py fill HOST:PORT      as admin: topics, records, what the group has read, rights
    seed.py ready HOST:PORT     returns as soon as `orders` has its leaders and `analytics` its coordinator, as the reader sees them
"""

import sys
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (AclBinding, AclOperation, AclPermissionType, AdminClient, NewTopic, ResourcePatternType,
                                   ResourceType)

TOPICS = {"orders": 2, "payments": 1}
RIGHTS = {
    "reader": "topic orders DESCRIBE READ, group analytics DESCRIBE READ",
    "writer": "topic orders DESCRIBE WRITE",
    "describer": "topic orders DESCRIBE",
    "loner": "topic orders DESCRIBE READ",
    "certuser": "topic orders DESCRIBE READ",
    "oauthreader": "topic orders DESCRIBE READ",
    "ANONYMOUS": "topic orders DESCRIBE READ",
}
PATIENCE = 60


def config(address, user):
    return {
        "bootstrap.servers": address,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": f"{user}-secret",
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 100,
        "retry.backoff.ms": 20,
        "client.id": "ready",
        "log_level": 0,
    }


def until(what, ask):
    """Asks until there is an answer."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if ask():
                return
            said = "no"
        except KafkaException as error:
            said = error
        if time.monotonic() > end:
            sys.exit(f"not within {PATIENCE} s: {what}: {said}")
        time.sleep(0.02)


def bindings():
    for user, rights in RIGHTS.items():
        for right in rights.split(", "):
            kind, name, *operations = right.split()
            for operation in operations:
                yield AclBinding(ResourceType[kind.upper()], name, ResourcePatternType.LITERAL, f"User:{user}", "*",
                                 AclOperation[operation], AclPermissionType.ALLOW)


def fill(address):
    admin = AdminClient(config(address, "admin"))
    topics = [NewTopic(name, partitions, 1) for name, partitions in TOPICS.items()]
    for future in admin.create_topics(topics, operation_timeout=PATIENCE).values():
        future.result()
    for future in admin.create_acls(list(bindings())).values():
        future.result()
    producer = Producer(config(address, "writer"))
    until("the writer may write", lambda: producer.list_topics("orders").topics["orders"].error is None)
    for order in range(3):
        producer.produce("orders", f"order {order}".encode(), partition=order % 2)
    if producer.flush(PATIENCE):
        sys.exit("the records were not written")
    # this makes the topic of the groups' offsets, too
    consumer = Consumer({**config(address, "reader"), "group.id": "analytics"})

    def commit():
        return consumer.commit(offsets=[TopicPartition("orders", 0, 1)], asynchronous=False)

    until("the group's offset is written", commit)


def ready(address):
    admin = AdminClient(config(address, "reader"))

    def leaders():
        found = admin.describe_topics(TopicCollection(["orders"]), request_timeout=5)["orders"].result().partitions
        return len(found) == TOPICS["orders"] and all(partition.leader for partition in found)

    def coordinator():
        asked = [ConsumerGroupTopicPartitions("analytics")]
        return all(future.result() for future in admin.list_consumer_group_offsets(asked, request_timeout=5).values())

    until("orders has its leaders", leaders)
    until("analytics has its coordinator", coordinator)


{"fill": fill, "ready": ready}[sys.argv[1]](sys.argv[2])

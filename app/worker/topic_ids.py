"""Which topic it is: a name may be deleted and given again, an id never (KIP-516)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from keepstream.app.config.settings import KafkaSettings
from keepstream.app.connect.client_config import librdkafka_settings

log = logging.getLogger(__name__)
ASK_TIMEOUT_S = 3.0
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""What a broker older than topic ids answers: an id of zeros."""


async def topic_ids(settings: KafkaSettings, topics: Collection[str]) -> dict[str, str]:
    """Ask the cluster for the ids of topics; aiokafka cannot. What it does not say is left out.

    Only the cluster's controller knows. Without one (an election, librdkafka's mock broker) nothing is taken for
    re-created now; the stored id stays, so the next assignment finds out.
    """
    return await asyncio.to_thread(_topic_ids, settings, topics)


def _topic_ids(settings: KafkaSettings, topics: Collection[str]) -> dict[str, str]:
    try:
        admin = AdminClient({**librdkafka_settings(settings), "log_level": 0})
    except KafkaException as error:  # no token for OAUTHBEARER
        log.warning("the ids of the topics are not known now: %s", error.args[0].str())
        return {}
    asked = admin.describe_topics(TopicCollection([*topics]), request_timeout=ASK_TIMEOUT_S)
    found = {}
    for topic, answer in asked.items():
        try:
            found[topic] = str(answer.result().topic_id)
        except KafkaException as error:
            log.warning("the id of topic %s is not known now: %s", topic, error.args[0].name())
    return {topic: topic_id for topic, topic_id in found.items() if topic_id != NO_ID}

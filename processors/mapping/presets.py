"""The mappings that have a name."""

from __future__ import annotations

from typing import Literal

from keepstream.processors.mapping.cloudevents import CLOUD_EVENTS, DAPR
from keepstream.processors.mapping.debezium import DEBEZIUM, DEBEZIUM_OUTBOX
from keepstream.processors.mapping.mapping import RecordMapping

Preset = Literal["cloudevents", "dapr", "debezium", "debezium-outbox"]
PRESETS: dict[Preset, RecordMapping] = {
    "cloudevents": CLOUD_EVENTS,
    "dapr": DAPR,
    "debezium": DEBEZIUM,
    "debezium-outbox": DEBEZIUM_OUTBOX,
}

"""How far each partition is behind."""

from __future__ import annotations

from typing import Any

from keepstream.app.connect.services import Services, kafka_errors


def lag_rows(services: Services) -> list[dict[str, Any]]:
    """Return one row per partition: settled, committed, end, lag, and when it last moved."""
    kafka = services.settings.kafka
    admin = services.admin()
    with kafka_errors():
        watermarks = admin.watermarks(kafka.topic)
        committed = admin.committed_offsets(kafka.group_id, kafka.topic, watermarks)
    with services.postgres() as connection:
        query = "SELECT partition, next_offset, updated_at FROM stream_offsets WHERE topic = %s"
        settled = {row[0]: row[1:] for row in connection.execute(query, [kafka.topic]).fetchall()}
    rows = []
    for partition, (start, end) in sorted(watermarks.items()):
        position, moved_at = settled.get(partition, (None, None))
        behind = end - (start if position is None else max(start, int(str(position))))
        rows.append({
            "partition": partition, "settled": position, "committed": committed.get(partition), "end": end,
            "lag": max(0, behind), "settled_at": moved_at,
        })  # fmt: skip
    return rows

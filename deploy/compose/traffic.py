"""Print events for ever, one JSON line each: the demo profile of docker-compose.yml. One of fifty is broken."""

import json
import random
import sys
import time
import uuid
from datetime import UTC, datetime

EVENTS_PER_S = float(sys.argv[1]) if len(sys.argv) > 1 else 50.0
BROKEN_SHARE = 0.02

while True:
    event = {
        "event_id": str(uuid.uuid4()),
        "payload": {"order_id": random.randrange(5_000), "amount": round(random.uniform(1, 500), 2)},
        "metadata": {"source": "compose-demo"},
        "timestamp": datetime.now(UTC).isoformat(),
    }
    if random.random() < BROKEN_SHARE:
        del event[random.choice(["event_id", "payload"])]
    print(json.dumps(event), flush=True)
    time.sleep(1 / EVENTS_PER_S)

"""Takes orders by HTTP and produces them as events."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from confluent_kafka import KafkaError, Message, Producer
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ValidationError

from keepstream import Event

TOPIC = "orders"
SERVERS = os.environ.get("KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9092")


class Order(BaseModel):
    """What a client sends."""

    number: int
    amount: float


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[None]:
    """Keep one producer, and serve its callbacks while the service runs."""
    api.state.producer = Producer({"bootstrap.servers": SERVERS, "enable.idempotence": True})
    polling = asyncio.create_task(poll(api.state.producer))
    yield
    polling.cancel()
    api.state.producer.flush(10)


async def poll(producer: Producer) -> None:
    while True:
        producer.poll(0)
        await asyncio.sleep(0.01)


api = FastAPI(lifespan=lifespan)


@api.post("/orders", status_code=202)
async def place(order: Order) -> dict[str, str]:
    """Produce the order, and answer once the broker has it."""
    now = datetime.now(UTC).isoformat()
    try:
        event = Event(event_id=f"order-{order.number}", payload=order.model_dump(), timestamp=now)
    except ValidationError as error:
        raise HTTPException(422, str(error)) from None
    await confirmed(api.state.producer, event)
    return {"event_id": event.event_id}


async def confirmed(producer: Producer, event: Event) -> None:
    """Wait for the broker's confirmation. The key keeps an order's versions in one partition, in order."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error:
            done.set_exception(HTTPException(503, f"Kafka did not take the order: {error.str()}"))
        else:
            done.set_result(None)

    value = event.model_dump_json(exclude_none=True).encode()
    producer.produce(TOPIC, value, event.event_id.encode(), on_delivery=delivered)
    await done

"""The settings that docs/managed-kafka.md shows are accepted, by both client libraries."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from keepstream.app.config.settings import Settings
from keepstream.app.connect.client_config import aiokafka_security, librdkafka_settings
from tests.unit.test_documentation import CHECKOUT

PAGE = (CHECKOUT / "docs" / "managed-kafka.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
KAFKA: dict[str, dict[str, Any]] = {
    f"{found['bootstrap_servers'].partition(':')[0]} {found['security']['mechanism']}": found
    for found in (tomllib.loads(block)["keepstream"]["kafka"] for block in BLOCKS)
}


@pytest.mark.parametrize("service", KAFKA)
def test_the_settings_of_a_service_are_accepted(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, secret = KAFKA[service], tmp_path / "secret"
    secret.write_text("Endpoint=sb://example/;SharedAccessKey=abc=\n")
    files = {name: str(secret) for name in given["security"] if name.endswith("_file")}
    monkeypatch.chdir(tmp_path)
    kafka = Settings(_env_file=None, kafka=given | {"security": given["security"] | files}).kafka
    told, arguments = librdkafka_settings(kafka), aiokafka_security(kafka.security)
    assert told["security.protocol"] == arguments["security_protocol"] == "SASL_SSL"
    assert told["sasl.mechanism"] == arguments["sasl_mechanism"]
    assert told["compression.type"] == given.get("compression", "lz4")
    if "password_file" in files:
        assert told["sasl.password"] == "Endpoint=sb://example/;SharedAccessKey=abc="


def test_each_service_of_the_page_has_settings() -> None:
    services = re.split(r"^## (?!What)", PAGE, flags=re.MULTILINE)[1:]
    assert len(services) == 4
    assert all("```toml" in service for service in services)
    assert len(KAFKA) == len(BLOCKS) == 6

"""Input that tries to do harm: values, texts for every field, key and header, whole records, bombs."""

from tests.malicious_input.values import HOSTILE, as_payload, corpus

__all__ = ["HOSTILE", "as_payload", "corpus"]

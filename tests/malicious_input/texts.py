"""Texts that have broken programs, written for this suite, to be put into every field, key and header."""

from __future__ import annotations

CONTROL = ["\0", "a\0b", "\x01", "\x07", "\x08", "\x1b[31mred\x1b[0m", "\x7f", "\x85", "\r\n", "a\nb", "\t", "\v\f"]
INVISIBLE = [
    "\u200b", "\u200d", "\ufeff", "\ufeffid", "\u00ad", "\u2028", "\u2029", "\u00a0", "\u3000", "\u180e", "\U000e0041",
]  # fmt: skip
DIRECTION = ["\u202eevil\u202c", "\u2066isolated\u2069", "\u05d0\u05d1 abc \u0661\u0662", "\u200f!\u200e"]
UNICODE = [
    "e\u0301", "\u00e9", "Z\u0351\u036b\u0343\u036a\u0302", "a" + "\u0300" * 200, "\U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u5348\u5f8c", "\u0130\u0131", "\u00df", "\ufb01", "\u2126", "\uffff", "\ufdd0", "\U0010ffff",
    "\U0001f1e9\U0001f1ea",
]  # fmt: skip
SURROGATES = ["\ud800", "\udfff", "a\udc00b", "\ud83d", "\udc00\ud800"]
"""Half pairs: Python and escaped JSON can write them, UTF-8 cannot."""
NUMBERS = ["0", "-0", "NaN", "Infinity", "-1", "1e400", "9" * 30, "0x10", "1_000", "\u0663", "1,5", "\u00bd"]
WORDS = ["null", "undefined", "true", "None", "__proto__", "constructor", "toString", "event_id", "@offset", "payload"]
INJECTION = [
    "'; DROP TABLE events; --", "' OR '1'='1", "$$; DELETE FROM events; $$", "\\'; --", "%s", "%(topic)s", "{0}",
    "{documents}",
    "${jndi:ldap://127.0.0.1/a}", "$(reboot)", "`id`", "| cat /etc/passwd", "../../etc/passwd", "C:\\nul", "CON",
    "<script>alert(1)</script>", "</td>", "&amp;", "]]>", "a\r\nSet-Cookie: x=1", "id\r\nkeepstream.dlq.step: validate",
    '"},"event_id":"injected","x":{"', '","event_id":"injected', "\\u0000", "\\", '"', "'", '{"event_id":"injected"}',
    "keepstream_events_received_total 1e9", 'a",topic="b', "# HELP x", "=1+1",
]  # fmt: skip
BLANK = ["", " ", "\u2003", "\n"]
LONG = ["x" * 255, "x" * 256, "\U0001f600" * 255, "\u00e9" * 255, "\0" * 255, "x" * 100_000]

TEXTS: tuple[str, ...] = (
    *CONTROL, *INVISIBLE, *DIRECTION, *UNICODE, *SURROGATES, *NUMBERS, *WORDS, *INJECTION, *BLANK, *LONG,
)  # fmt: skip

JSON_TYPES: tuple[object, ...] = (
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    10**30,
    1.5,
    -0.0,
    1e308,
    [],
    [1],
    {},
    {"a": {}},
    "x",
)

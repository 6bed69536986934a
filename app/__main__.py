"""``python -m keepstream.app`` is ``keepstream``."""

from __future__ import annotations

from keepstream.app.cli import main

if __name__ == "__main__":
    main()

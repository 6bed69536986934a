"""One jar from a Maven repository, through jgo, checked against its pin.

Which repositories: Maven Central as jgo knows it, or whatever jgo's configuration file says under
[repositories] (an entry named "central" replaces it: a mirror). Proxies and certificates come from
the environment (HTTPS_PROXY, REQUESTS_CA_BUNDLE), and jars already in ~/.m2 (M2_REPO) are reused.
"""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from keepstream.app.embedded.errors import KAFKA_HINT, missing_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keepstream.app.embedded.pins import Pin

PART = "Apache Kafka jars"
HTTP_TIMEOUT_S = 10


class Fetcher:
    """Puts one pinned jar into `folder`; jgo downloads to `staging` first.

    Staging is ours because jgo writes downloads in place, only warns of a wrong checksum, and later
    takes any file of the right name for whole: an interrupted download would poison its cache.
    `cancelled` ends running downloads at their next 8 KB.
    """

    def __init__(self, staging: Path, folder: Path) -> None:
        try:
            from jgo.config import GlobalSettings  # noqa: PLC0415  an extra; 0.3 s to import
            from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415
        except ImportError as error:
            raise missing_extra(PART, "jgo", KAFKA_HINT) from error
        settings = GlobalSettings.load()
        self._maven = MavenContext(
            resolver=PythonResolver(progress_callback=self._watch),
            repo_cache=staging,
            remote_repos={**MavenContext().remote_repos, **settings.repositories},
            timeout=HTTP_TIMEOUT_S,
        )
        self._local = Path(settings.repo_cache)
        self._staging, self._folder = staging, folder
        self.cancelled = threading.Event()

    def __call__(self, pin: Pin) -> None:
        """Put a whole jar into `folder`, or none and raise OSError (as requests does) or RuntimeError."""
        staged = self._staging / pin.file_name
        if not self._copy_local(pin, staged):
            shutil.move(self._download(pin), staged)
        if not pin.matches(staged):
            raise RuntimeError(f"{pin.file_name} is not what it should be (its sha256 differs)")
        staged.replace(self._folder / pin.file_name)

    def _copy_local(self, pin: Pin, target: Path) -> bool:
        source = self._local / pin.repository_path
        if not (source.is_file() and pin.matches(source)):
            return False
        shutil.copyfile(source, target)
        return True

    def _download(self, pin: Pin) -> Path:
        component = self._maven.project(pin.group, pin.artifact).at_version(pin.version)
        return Path(component.artifact().resolve())

    @contextmanager
    def _watch(self, name: str, _size_bytes: int) -> Iterator[Callable[[int], None]]:
        def received(_count_bytes: int) -> None:
            if self.cancelled.is_set():
                raise RuntimeError(f"the download of {name} was cancelled")

        yield received

"""``keepstream web``."""

from __future__ import annotations

import click

from keepstream.app.cli.output import load_settings, notify
from keepstream.app.errors import KeepstreamError

STOP_WITHIN_S = 4.0


@click.command(epilog="Example: KEEPSTREAM_WEB__TOKEN=$(openssl rand -hex 16) keepstream web --allow-replay")
@click.option("--host", envvar="KEEPSTREAM_WEB__HOST", show_envvar=True, help="Address; loopback by default.")
@click.option("--port", type=int, envvar="KEEPSTREAM_WEB__PORT", show_envvar=True, help="Port; 0 takes a free one.")
@click.option("--allow-replay", is_flag=True, default=None, envvar="KEEPSTREAM_WEB__ALLOW_REPLAY", show_envvar=True,
              help="Let those who logged in replay. Needs users or a token.")  # fmt: skip
@click.option(
    "--hash-password", is_flag=True, help="Ask for a password, print its hash for KEEPSTREAM_WEB__USERS, end."
)
def web(*, host: str | None, port: int | None, allow_replay: bool | None, hash_password: bool) -> None:
    """Serve the console: see the stream, find dead letters, replay them. Until SIGTERM or Ctrl-C.

    It reads, unless it is allowed to replay and there is a login. Without a login it binds loopback only (exit 5).
    """
    if hash_password:
        from keepstream.app.web.sessions import password_hash

        click.echo(password_hash(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)))
        return
    settings = load_settings({"web": {"host": host, "port": port, "allow_replay": allow_replay}})
    import asyncio
    import signal

    from keepstream.app.config.contract import load_contracts
    from keepstream.app.process.exit import exit_now, exit_within
    from keepstream.app.telemetry import logging as logs

    try:
        from keepstream.app.web.server import check_safety, serve
    except ImportError as error:
        hint = "pip install 'keepstream[console]'"
        raise KeepstreamError("extra_missing", f"the package {error.name} is not installed", hint) from None

    check_safety(settings.web)
    load_contracts(settings)  # one that cannot be imported is reported now, not by the first dry run
    logs.configure(settings)

    async def run() -> None:
        stop = asyncio.Event()

        def end_in_time() -> None:
            exit_within(STOP_WITHIN_S, 0)  # a page may be waiting for a server that does not answer
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end_in_time)
        await serve(settings, lambda url: notify(f"serving the console on {url}"), stop)

    try:
        asyncio.run(run())
    except OSError as error:
        where = f"{settings.web.host}:{settings.web.port}"
        raise KeepstreamError("not_bound", f"{where}: {error.strerror}") from None
    exit_now(0)

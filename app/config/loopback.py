"""Which addresses never leave this machine."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name; no name is looked up but ``localhost``'s own meaning."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def only_loopback(servers: str) -> bool:
    """Whether all of ``host:port,host:port`` are on loopback."""
    return all(is_loopback(host_of(server.strip())) for server in servers.split(","))


def host_of(server: str) -> str:
    """Return the host of ``[scheme://]host[:port]``; an IPv6 address stands in brackets."""
    place = server.rpartition("://")[2]
    return place.partition("]")[0].lstrip("[") if place.startswith("[") else place.partition(":")[0]

"""The addresses of a name: several servers have one name, such as that of a headless Service of Kubernetes.

This module sends no request to a server.
"""

import asyncio
import socket
from dataclasses import replace

from ..address import Address


async def look_up(address: Address) -> tuple[Address, ...]:
    """Return the servers that an address names.

    A name may have addresses of IPv4 and IPv6. Those of the family that has more of them are returned, because the
    others belong to the same servers. A name with one address of a family is returned as it is: gRPC and aiohttp try
    both families themselves.

    Args:
        address: the server as the URL says it.

    Returns:
        At least one server; none if the name cannot be looked up, now.
    """
    if not address.is_name:
        return (address,)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the second one if the name is longer than names may be
        return ()
    hosts: dict[int, dict[str, None]] = {}
    for family, _, _, _, where in found:
        hosts.setdefault(family, {})[str(where[0])] = None
    most = max(hosts.values(), key=len)  # the first of equal ones, which the system prefers
    if len(most) == 1:
        return (address,)
    return tuple(replace(address, host=host, name=address.host) for host in sorted(most))

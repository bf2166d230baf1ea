"""Download of an image over https that cannot be talked into reaching a private network.

A URL in a request is written by a stranger. Each hop's host name is resolved once, every address it gives must be
public, and the connection is made to the checked address itself: a second answer of the name server changes nothing.
"""

import contextlib
import functools
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from urllib.parse import quote, urljoin, urlsplit

from rfkernels.images.image import ImageOptions, refusal

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES = 1 << 16
# Not of the public internet, though older versions of `ipaddress` say so: documentation, retired relays of 6to4, and
# what was site-local once.
_NOT_PUBLIC = (
    ipaddress.ip_network("3fff::/20"),
    ipaddress.ip_network("fec0::/10"),
    ipaddress.ip_network("192.88.99.0/24"),
)
# A name server would be asked for an IPv4 address inside these, and a gateway would send us there.
_TRANSLATED_IPV4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


def download(url: str, options: ImageOptions) -> bytes:
    """The body behind an https URL.

    Proxies named in the environment are not used: they would do the name resolution that has to be checked here.

    Raises:
        InputImageLoadError: not https; a host that is, or redirects to, an address that is not public; no answer
            within `options.url_timeout`; more than `options.url_max_bytes` or `options.url_max_redirects`; a status
            other than 200.
    """
    deadline = time.monotonic() + options.url_timeout
    for _ in range(options.url_max_redirects + 1):
        try:
            body, location = _get(url, deadline, options)
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() >= deadline:
                raise refusal(f"the URL was not downloaded within {options.url_timeout:g} seconds.") from error
            raise refusal(f"the URL could not be downloaded ({type(error).__name__}: {error}).") from error
        if location is None:
            return body
        try:
            url = urljoin(url, location)
        except ValueError as error:
            raise refusal(f"the URL was redirected to one that is malformed ({error}).") from error
    raise refusal(f"the URL was redirected more than {options.url_max_redirects} times.")


def _get(url: str, deadline: float, options: ImageOptions) -> tuple[bytes, str | None]:
    """One request: the body, or where it is redirected to."""
    host, port, target = _split(url)
    addresses = _public_addresses(host, port)
    connection = _PinnedConnection(host, port, addresses, deadline)
    # A socket's time-out starts anew with each byte that arrives; this ends the whole transfer.
    watchdog = threading.Timer(max(deadline - time.monotonic(), 0.001), connection.abort)
    watchdog.daemon = True
    watchdog.start()
    try:
        headers = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "rfkernels"}
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        location = response.getheader("Location")
        if response.status in _REDIRECTS and location:
            return b"", location
        if response.status != http.client.OK:
            raise refusal(f"the URL answered with status {response.status}.")
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise refusal("the URL answered with a content encoding that was not asked for.")
        body = _read(response, options.url_max_bytes)
        if connection.aborted:
            raise TimeoutError("the transfer was ended at its deadline")
        return body, None
    finally:
        watchdog.cancel()
        connection.close()


def _split(url: str) -> tuple[str, int, str]:
    """Host name, port and request target of an https URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or 443
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except ValueError as error:
        raise refusal(f"the URL is malformed ({error}).") from error
    if parts.scheme != "https":
        raise refusal(f"only https URLs are allowed, got scheme {parts.scheme!r}.")
    if not host:
        raise refusal("the URL names no host.")
    if parts.username is not None or parts.password is not None:
        raise refusal("the URL contains a user name or a password, which is not allowed.")
    try:
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        if parts.query:
            target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    except UnicodeEncodeError as error:
        raise refusal(f"the URL is malformed ({error}).") from error
    return host, port, target


def _public_addresses(host: str, port: int) -> list[str]:
    """Resolve `host` once. One address that is not public is enough to refuse: the host is then not to be trusted."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise refusal(f"the host {host!r} of the URL could not be resolved.") from error
    addresses = [str(answer[4][0]) for answer in answers]
    if not addresses or not all(is_public(address) for address in addresses):
        raise refusal(f"the host {host!r} of the URL has an address that is not public.")
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also the IPv4 address hidden in a translated IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        # 6to4 and Teredo carry an IPv4 address too; nobody serves images there.
        if parsed.sixtofour is not None or parsed.teredo is not None or parsed.scope_id is not None:
            return False
        if parsed.ipv4_mapped is not None:
            return is_public(str(parsed.ipv4_mapped))
        if any(parsed in network for network in _TRANSLATED_IPV4):
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
    if any(parsed in network for network in _NOT_PUBLIC):  # False for a network of the other version
        return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved)


def _read(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    too_large = refusal(f"the content is larger than the {max_bytes} bytes allowed (ImageOptions.url_max_bytes).")
    if response.length is not None and response.length > max_bytes:
        raise too_large
    expected = response.length
    body = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    if expected is not None and len(body) != expected:
        raise http.client.IncompleteRead(bytes(body), expected - len(body))
    return bytes(body)


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    return ssl.create_default_context()


class _PinnedConnection(http.client.HTTPSConnection):
    """A connection to one of the addresses that were checked, which speaks TLS with, and asks for, the host name."""

    def __init__(self, host: str, port: int, addresses: list[str], deadline: float) -> None:
        super().__init__(host, port, timeout=max(deadline - time.monotonic(), 0.001), context=_ssl_context())
        self._addresses = addresses
        self._deadline = deadline
        # `self.sock` does not do for `abort`: http.client forgets it once a response reads up to the connection's end.
        self._transport: socket.socket | None = None
        self.aborted = False

    def connect(self) -> None:
        plain = self._connect_to_first_reachable()
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The handshake is done apart, so that `abort` can already reach the socket that takes over the connection.
            encrypted = _ssl_context().wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = self._transport = encrypted
            if not self.aborted:
                encrypted.do_handshake()
        except BaseException:
            plain.close()
            raise
        if self.aborted:
            raise TimeoutError("the connection was ended at its deadline")

    def _connect_to_first_reachable(self) -> socket.socket:
        problem: OSError = OSError("there is no address to connect to")
        for address in self._addresses:
            # A name may have hundreds of addresses, none of which answers: they share the time.
            remaining = self._deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("no address of the host answered in time")
            try:
                return socket.create_connection((address, self.port), remaining)
            except OSError as error:
                problem = error
        raise problem

    def abort(self) -> None:
        """End the transfer from another thread."""
        self.aborted = True
        transport = self._transport
        if transport is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: that turns off decryption under the reading thread's feet.
                socket.socket.shutdown(transport, socket.SHUT_RDWR)

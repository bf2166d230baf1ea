"""Downloads: from a server of the test's own, with the name server and the TLS layer replaced by recording ones."""

import http.server
import ipaddress
import socket
import threading
import time

import numpy as np
import pytest
from image_files import encode, scene

from rfkernels.errors import InputImageLoadError
from rfkernels.images import ImageOptions, load_image, url

PNG = encode(scene(), "PNG")
PUBLIC_ADDRESS = "93.184.215.14"
ALLOWED = ImageOptions(allow_url=True, url_timeout=5.0)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append((self.headers["Host"], self.path))
        self.server.answers[self.path.partition("?")[0]](self)

    def log_message(self, *_arguments):
        """The test's output stays clean."""


def answer(body=PNG, status=200, **headers):
    def send(handler):
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def redirect(location, status=302):
    return answer(b"", status, Location=location)


def chunked(body):
    def send(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    return send


def silent_after(sent, released):
    """Send some bytes of an answer, then nothing until the client has gone."""

    def send(handler):
        handler.wfile.write(sent)
        handler.wfile.flush()
        released.wait(30)

    return send


class PlainSocket(socket.socket):
    def do_handshake(self):
        """Nothing is encrypted here."""


class FakeTls:
    """Stands in for the TLS layer: lets the bytes through and notes which host name a certificate would be for."""

    def __init__(self):
        self.server_names = []

    def wrap_socket(self, plain, server_hostname, do_handshake_on_connect):
        assert not do_handshake_on_connect
        self.server_names.append(server_hostname)
        timeout = plain.gettimeout()
        wrapped = PlainSocket(fileno=plain.detach())
        wrapped.settimeout(timeout)
        return wrapped


class Network:
    """The internet of a test: names and their addresses, and one server behind every public address."""

    def __init__(self, server):
        self.server = server
        self.names = {"images.example": [PUBLIC_ADDRESS], "other.example": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c"]}
        self.resolved = []
        self.connected = []
        self.unreachable = set()
        self.tls = FakeTls()

    def getaddrinfo(self, host, port, **_options):
        self.resolved.append(host)
        if host not in self.names:
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
        addresses = self.names.get(host, [host])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    def create_connection(self, address, timeout):
        self.connected.append(address)
        if address[0] in self.unreachable:
            raise OSError("Network is unreachable")
        plain = socket.socket()
        plain.settimeout(timeout)
        plain.connect(self.server.server_address)
        return plain


@pytest.fixture
def network(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.answers = {"/a.png": answer()}
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    internet = Network(server)

    class SocketModule:
        def __getattr__(self, name):
            return getattr(internet if name in ("getaddrinfo", "create_connection") else socket, name)

    monkeypatch.setattr(url, "socket", SocketModule())
    monkeypatch.setattr(url, "_ssl_context", lambda: internet.tls)
    monkeypatch.setattr(url.http.client.HTTPSConnection, "__init__", plain_init)
    yield internet
    server.shutdown()
    thread.join()
    server.server_close()


def plain_init(connection, host, port, *, timeout, context):
    """HTTPSConnection without the demand for a real TLS context."""
    assert isinstance(context, FakeTls)
    url.http.client.HTTPConnection.__init__(connection, host, port, timeout=timeout)
    connection.default_port = 443


def refusal_of(text, options=ALLOWED):
    with pytest.raises(InputImageLoadError, match=r"^Could not load input image\. Cause: ") as raised:
        load_image(text, options=options)
    return str(raised.value)


@pytest.mark.parametrize("declared", [False, True])
def test_an_image_is_downloaded(network, declared):
    text = "https://images.example/a.png?size=1&name=ü#part"
    image = load_image({"type": "url", "value": text} if declared else text, options=ALLOWED)
    np.testing.assert_array_equal(image.pixels, scene())
    assert network.resolved == ["images.example"]
    assert network.connected == [(PUBLIC_ADDRESS, 443)]
    assert network.tls.server_names == ["images.example"]
    assert network.server.requests == [("images.example", "/a.png?size=1&name=%C3%BC")]


def test_the_next_checked_address_is_tried_where_one_is_unreachable(network):
    first, second = "2606:4700::1111", PUBLIC_ADDRESS
    network.names["images.example"] = [first, second]
    network.unreachable = {first}
    load_image("https://images.example/a.png", options=ALLOWED)
    assert [address for address, _ in network.connected] == [first, second]
    assert network.resolved == ["images.example"]
    network.unreachable = {first, second}
    assert "Network is unreachable" in refusal_of("https://images.example/a.png")


def test_addresses_that_do_not_answer_share_the_time(network, monkeypatch):
    network.names["images.example"] = [f"93.184.215.{number}" for number in range(1, 200)]
    now = [1000.0]
    waits = []

    def create_connection(address, timeout):
        waits.append(timeout)
        now[0] += min(timeout, 2.0)
        raise TimeoutError("timed out")

    monkeypatch.setattr(url.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(network, "create_connection", create_connection)
    assert "not downloaded within 5 seconds" in refusal_of("https://images.example/a.png")
    assert waits == [5.0, 3.0, 1.0]


def test_a_chunked_answer_is_read(network):
    network.server.answers["/a.png"] = chunked(PNG)
    np.testing.assert_array_equal(load_image("https://images.example/a.png", options=ALLOWED).pixels, scene())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["https://other.example/a.png", "//other.example/a.png"])
def test_redirects_are_followed_and_each_host_is_resolved_once(network, status, location):
    network.server.answers["/old.png"] = redirect(location, status)
    np.testing.assert_array_equal(load_image("https://images.example/old.png", options=ALLOWED).pixels, scene())
    assert network.resolved == ["images.example", "other.example"]
    assert [address for address, _ in network.connected] == [PUBLIC_ADDRESS, network.names["other.example"][0]]
    assert network.tls.server_names == ["images.example", "other.example"]


def test_a_relative_redirect_stays_on_its_host(network):
    network.server.answers["/old.png"] = redirect("/a.png")
    load_image("https://images.example/old.png", options=ALLOWED)
    assert network.tls.server_names == ["images.example", "images.example"]


def test_redirects_are_counted(network):
    network.server.answers["/loop.png"] = redirect("/loop.png")
    limited = ImageOptions(allow_url=True, url_max_redirects=3)
    assert "redirected more than 3 times" in refusal_of("https://images.example/loop.png", limited)
    assert len(network.server.requests) == 4


NOT_PUBLIC = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2001:db8::1",
    "3fff::1",
    "fec0::1",
    "192.88.99.1",
    "not an address",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address):
    assert not url.is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_that_are_public(address):
    assert url.is_public(address)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], [PUBLIC_ADDRESS, "10.0.0.1"], ["::1"], []])
def test_a_host_with_an_address_that_is_not_public_is_not_connected_to(network, addresses):
    network.names["images.example"] = addresses
    assert "not public" in refusal_of("https://images.example/a.png")
    assert network.connected == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]"])
def test_an_address_in_place_of_a_host_is_checked_too(network, host):
    assert "not public" in refusal_of(f"https://{host}/a.png")
    assert network.connected == []


@pytest.mark.parametrize(
    "location", ["https://inside.example/a.png", "https://127.0.0.1/a.png", "//169.254.169.254/latest/meta-data"]
)
def test_a_redirect_into_a_private_network_is_refused(network, location):
    network.names["inside.example"] = ["192.168.0.10"]
    network.server.answers["/old.png"] = redirect(location)
    assert "not public" in refusal_of("https://images.example/old.png")
    assert network.connected == [(PUBLIC_ADDRESS, 443)]


@pytest.mark.parametrize(
    "location", ["http://images.example/a.png", "file:///etc/passwd", "ftp://images.example/a.png"]
)
def test_a_redirect_away_from_https_is_refused(network, location):
    network.server.answers["/old.png"] = redirect(location)
    assert "only https URLs are allowed" in refusal_of("https://images.example/old.png")
    assert len(network.connected) == 1


@pytest.mark.parametrize("location", ["https://[bad/", "//[::1"])
def test_a_redirect_to_a_malformed_url_is_refused(network, location):
    network.server.answers["/old.png"] = redirect(location)
    assert "redirected to one that is malformed" in refusal_of("https://images.example/old.png")


MALFORMED = {
    "http://images.example/a.png": "only https",
    "https://": "names no host",
    "https:///a.png": "names no host",
    "https://user:secret@images.example/a.png": "user name",
    "https://images.example:99999/a.png": "malformed",
    "https://[::1/a.png": "malformed",
    "https://" + "a" * 70 + ".example/a.png": "malformed",
    "https://no-such-host.example/a.png": "could not be resolved",
    "https://images.example/\ud800": "malformed",
    "https://images.example/?\ud800": "malformed",
    "https://images.example/\r\nX-Injected: 1": "status 404",
}


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_urls(network, text):
    network.server.answers["/X-Injected:%201"] = answer(b"", 404)
    assert MALFORMED[text] in refusal_of(text)


@pytest.mark.parametrize("status", [204, 304, 401, 404, 500])
def test_other_statuses_are_refused(network, status):
    network.server.answers["/a.png"] = answer(b"", status)
    assert f"status {status}" in refusal_of("https://images.example/a.png")


@pytest.mark.parametrize("send", [answer, chunked])
def test_the_size_is_limited(network, send):
    network.server.answers["/a.png"] = send(PNG)
    limited = ImageOptions(allow_url=True, url_max_bytes=len(PNG) - 1)
    assert "larger than" in refusal_of("https://images.example/a.png", limited)
    exact = ImageOptions(allow_url=True, url_max_bytes=len(PNG))
    assert load_image("https://images.example/a.png", options=exact).height == scene().shape[0]


def test_an_answer_shorter_than_it_says_is_refused(network):
    def send(handler):
        answer(PNG[:500], Content_Length=str(len(PNG)))(handler)
        handler.close_connection = True

    network.server.answers["/a.png"] = send
    assert "could not be downloaded" in refusal_of("https://images.example/a.png")


def test_a_content_encoding_that_was_not_asked_for_is_refused(network):
    network.server.answers["/a.png"] = answer(Content_Encoding="gzip")
    assert "content encoding" in refusal_of("https://images.example/a.png")


def test_an_answer_that_is_not_http_is_refused(network):
    network.server.answers["/a.png"] = lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert "could not be downloaded" in refusal_of("https://images.example/a.png")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nGIF8"])
def test_a_server_that_falls_silent_is_given_up(network, sent):
    released = threading.Event()
    network.server.answers["/a.png"] = silent_after(sent, released)
    try:
        assert "not downloaded within 0.3 seconds" in refusal_of(
            "https://images.example/a.png", ImageOptions(allow_url=True, url_timeout=0.3)
        )
    finally:
        released.set()


def test_a_server_that_drips_is_given_up_at_the_deadline(network):
    released = threading.Event()

    def send(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        # Each byte comes well within the time a single read may take.
        while not released.wait(0.05):
            handler.wfile.write(b"G")

    network.server.answers["/a.png"] = send
    start = time.monotonic()
    try:
        assert "not downloaded within" in refusal_of(
            "https://images.example/a.png", ImageOptions(allow_url=True, url_timeout=0.5)
        )
    finally:
        released.set()
    # The server itself would go on for ever: any end proves the deadline.
    assert time.monotonic() > start


def test_a_download_that_is_not_an_image_is_refused(network):
    network.server.answers["/a.png"] = answer(b"<html>")
    assert "not an image of a known format" in refusal_of("https://images.example/a.png")


def test_certificates_are_verified():
    context = url._ssl_context()
    assert context.verify_mode == url.ssl.CERT_REQUIRED
    assert context.check_hostname

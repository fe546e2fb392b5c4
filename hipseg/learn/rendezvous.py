"""Where ranks meet: a small HTTP store that rank 0 serves, found by the others through a private file in the run's folder.

It speaks what Horovod's Gloo asks of a rendezvous (GET, PUT and DELETE of /scope/key), and is stricter than Horovod's own server:
it listens on one address of the job's network, it keeps strangers out of the ranks' own scope by a secret, and once all
ranks have met it answers nothing else. Horovod's ranks cannot send a secret, so until then their scopes are open.
"""

import contextlib
import http.client
import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from hipseg.errors import TrainError
from hipseg.fsio import write_json
from hipseg.learn.rank_env import Place

REQUEST_LIMIT_S = 5.0
POLL_S = 0.2
PRIVATE_MODE = 0o600
LOOPBACK = "127.0.0.1"
INTERFACE_VARIABLE = "HIPSEG_INTERFACE"
"""Names the network card to meet on, where a node has several and the wrong one is found."""
BODY_LIMIT_BYTES = 1 << 20
NOTHING_WRONG = b"null"
"""What rank 0 answers before it watches."""

Answer = Callable[[bytes], bytes]
"""What rank 0 answers to what another rank says."""


@dataclass(frozen=True)
class Meeting:
    """Where rank 0 serves.

    Args:
        address: IPv4.
        port: chosen by the operating system, so that no two runs of a node collide.
        secret: known to the ranks alone.
        server: of rank 0 itself; None elsewhere.
    """

    address: str
    port: int
    secret: str = field(repr=False)
    server: "StoreServer | None" = None

    @property
    def gloo_address(self) -> tuple[str, int]:
        """What Horovod has to know."""
        return self.address, self.port

    def close_doors(self) -> None:
        """Answer nobody but the ranks from here on."""
        if self.server is not None:
            self.server.is_open = False

    def say(self, message: bytes = b"") -> bytes:
        """Send a message to rank 0 and give its answer.

        Raises:
            OSError: rank 0 does not answer.
        """
        if self.server is not None:
            return self.server.answer(message)
        connection = http.client.HTTPConnection(self.address, self.port, timeout=REQUEST_LIMIT_S)
        try:
            connection.request("PUT", f"/{self.secret}/say", message)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise ConnectionRefusedError(f"rank 0 answers {response.status}")
            return response.read()
        except http.client.HTTPException as error:
            raise ConnectionResetError(f"rank 0 does not answer: {type(error).__name__}") from error
        finally:
            connection.close()


class StoreServer(ThreadingHTTPServer):
    """Rank 0's store."""

    daemon_threads = True

    def __init__(self, address: str) -> None:
        super().__init__((address, 0), _Handler)
        self.secret = secrets.token_hex(16)
        self.is_open = True
        self.answer: Answer = lambda _message: NOTHING_WRONG
        self.store: dict[str, bytes] = {}
        self.guard = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: StoreServer
    timeout = REQUEST_LIMIT_S

    def do_GET(self) -> None:
        with self.server.guard:
            value = self.server.store.get(self.path) if self.server.is_open else None
        self._reply(http.HTTPStatus.NOT_FOUND if value is None else http.HTTPStatus.OK, value or b"")

    def do_PUT(self) -> None:
        length = self.headers.get("Content-Length", "")
        is_own = secrets.compare_digest(self.path.encode(), f"/{self.server.secret}/say".encode())
        if not (is_own or self.server.is_open) or not length.isdigit() or int(length) > BODY_LIMIT_BYTES:
            self._reply(http.HTTPStatus.FORBIDDEN, b"")
            return
        body = self.rfile.read(int(length))
        if is_own:
            self._reply(http.HTTPStatus.OK, self.server.answer(body))
            return
        with self.server.guard:
            self.server.store[self.path] = body
        self._reply(http.HTTPStatus.OK, b"")

    def do_DELETE(self) -> None:
        # A rank says so that it has read what it needs; what others still need stays.
        self._reply(http.HTTPStatus.OK, b"")

    def log_message(self, *_words: object) -> None:
        """Print nothing."""

    def _reply(self, status: http.HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def open_meeting(folder: Path, place: Place, address: str) -> Iterator[Meeting]:
    """Serve the store while the block runs, and tell the other ranks where.

    Args:
        folder: of the run.
        place: of rank 0.
        address: IPv4, this node's own.
    Raises:
        ConfigError: the folder cannot be written.
        OSError: the address cannot be listened on.
    """
    path = meeting_file(folder, place)
    server = StoreServer(address)
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), name="rendezvous", daemon=True)
    thread.start()
    try:
        path.unlink(missing_ok=True)
        meeting = Meeting(address, server.server_address[1], server.secret, server)
        write_json(path, {"address": address, "port": meeting.port, "secret": meeting.secret}, PRIVATE_MODE)
        yield meeting
    finally:
        path.unlink(missing_ok=True)
        server.shutdown()
        server.server_close()


def find_meeting(folder: Path, place: Place, limit_s: float) -> Meeting:
    """Wait for rank 0 and give where it serves; a file left behind by an earlier start is passed over: nobody answers there.

    Raises:
        TrainError: rank 0 did not come within the limit.
    """
    path, deadline = meeting_file(folder, place), time.monotonic() + limit_s
    while time.monotonic() < deadline:
        meeting = _read_meeting(path)
        if meeting is not None:
            with contextlib.suppress(OSError):
                meeting.say()
                return meeting
        time.sleep(POLL_S)
    raise TrainError(
        f"rank {place.rank} of {place.size} waited {limit_s:g} s for rank 0, and found "
        f"{'a file that nobody answers for' if path.exists() else 'no file'} at {path}; all ranks need the same folder of "
        f"results, and {INTERFACE_VARIABLE} can name the network card that reaches the other nodes"
    )


def meeting_file(folder: Path, place: Place) -> Path:
    """Give the file by which the ranks of one start find each other."""
    return folder / f".meeting-{re.sub(r'[^A-Za-z0-9]+', '-', place.meeting)}.json"


def own_address(place: Place, environment: Mapping[str, str]) -> str:
    """Choose the address that rank 0 serves on: loopback on one node, else one of the job's network.

    Args:
        place: of rank 0.
        environment: may name the card in HIPSEG_INTERFACE; Slurm names the address that started the job.
    Raises:
        TrainError: this node has no such card, or no address that another node could reach.
    """
    cards = {card: addresses for card, addresses in _cards().items() if addresses}
    wanted = environment.get(INTERFACE_VARIABLE)
    if wanted:
        if wanted not in cards:
            raise TrainError(f"{INTERFACE_VARIABLE} is {wanted!r}; this node's network cards are {', '.join(sorted(cards))}")
        return cards[wanted][0]
    if place.local_size == place.size:
        return LOOPBACK
    outside = [address for addresses in cards.values() for address in addresses if not address.startswith("127.")]
    for target in (socket.gethostname(), environment.get("SLURM_LAUNCH_NODE_IPADDR", "")):
        address = _address_towards(target)
        if address in outside:
            return address
    if not outside:
        raise TrainError("this node has no network address besides loopback; the ranks of several nodes cannot meet")
    return outside[0]


def interface_of(address: str) -> str:
    """Name this node's network card that reaches an address.

    Raises:
        TrainError: none does.
    """
    own = _address_towards(address)
    for card, addresses in _cards().items():
        if own in addresses:
            return card
    raise TrainError(f"no network card of this node reaches rank 0 at {address}; {INTERFACE_VARIABLE} of rank 0 can name another")


def _address_towards(target: str) -> str | None:
    if not target:
        return None
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a datagram socket sends nothing; it only chooses the way.
        probe.connect((target, 9))
        address: str = probe.getsockname()[0]
        return address
    return None


def _cards() -> dict[str, list[str]]:
    found = psutil.net_if_addrs().items()
    return {card: [one.address for one in addresses if one.family == socket.AF_INET] for card, addresses in found}


def _read_meeting(path: Path) -> Meeting | None:
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
        return Meeting(value["address"], int(value["port"]), value["secret"])
    except (OSError, ValueError, KeyError, TypeError):
        return None

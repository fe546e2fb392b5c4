"""Files written whole or not at all, digests, locks, and words of files made fit to be shown."""

import contextlib
import errno
import fcntl
import fnmatch
import hashlib
import json
import math
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from hipseg.errors import ConfigError, HipsegError

LOCK_POLL_S = 0.2
CURES = {
    errno.ENOSPC: "free some space and repeat the command",
    errno.EDQUOT: "free some of your own space, or ask for a larger quota, and repeat the command",
    errno.EFBIG: "raise the limit on the size of a file, which `ulimit -f` shows, or name a folder on another disk",
    errno.EIO: "check the disk and repeat the command",
}
"""What mends a failed write, where it is not another folder."""
HELD = (errno.EAGAIN, errno.EACCES)
"""What a lock answers that another process holds; anything else is no answer of a lock."""
IN_A_NAME = r"(?:[^/\n:;,'\"]|[:;,'\"](?=\w))"
"""A letter of a folder's name, which may have blanks and, within a word, punctuation; else that ends the path."""
FOLDERS = re.compile(rf"(?<![\w./~])(?:file://|~\w*|\.{{1,2}})?/(?:{IN_A_NAME}*(?![\s/]){IN_A_NAME}/)+")
"""The folders of a path from the root, a home or a folder above; what stands between two paths of one clause may go with them."""


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Give a temporary name beside `path`; what is written there takes `path`'s place when the block ends well.

    Args:
        path: the file to write; its folder is made.
        mode: permissions of the new file before the umask.
    Raises:
        ConfigError: the folder or the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> HipsegError:
    """Turn a failed write into the error that says which file, why and how to mend it."""
    cure = CURES.get(error.errno or 0, "name a folder that you may write to")
    # HDF5 puts a page of its own, with the time of day, in the place of the system's words.
    reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
    return ConfigError(f"cannot write {path}: {reason}; {cure}")


@contextlib.contextmanager
def naming_closed_paths() -> Iterator[None]:
    """Turn the system's refusal to look at a path into the error that names it; not for scans, whose names may name patients.

    Raises:
        ConfigError: a file may not be read, or a folder not be entered.
    """
    try:
        yield
    except PermissionError as error:
        if error.filename is None:
            raise
        raise ConfigError(f"cannot look at {error.filename}: {error.strerror}; name a folder that you may enter") from error


def find_named(folder: Path, pattern: str) -> Iterator[Path]:
    """Give the entries of a folder whose names match, as `Path.glob` does, which lists all of the folder in memory first.

    They come in no order, and none may be deleted before the last.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if fnmatch.fnmatchcase(entry.name, pattern):
                yield folder / entry.name


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with replacing(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, mode: int = 0o666) -> None:
    """Write a JSON file whole or not at all, readable and with sorted keys; NaN is written as null."""
    write_text(path, json.dumps(without_nan(value), indent=1, sort_keys=True, allow_nan=False) + "\n", mode)


def read_json(path: Path, error: type[HipsegError], what: str) -> Any:
    """Read a JSON file, with or without the mark of byte order that editors of Windows begin a text with.

    Args:
        path: the file.
        error: class of the error to raise.
        what: the file in words, for the message.
    Raises:
        HipsegError: of the class given, where the file is missing, cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as cause:
        raise error(f"no {what} at {path}") from cause
    except (OSError, ValueError, RecursionError) as cause:
        # The system's words would name the path once more.
        reason = cause.strerror if isinstance(cause, OSError) else cause
        raise error(f"cannot read {what} at {path}: {reason}") from cause


def without_nan(value: Any) -> Any:
    """Copy a JSON value with None in place of each NaN or infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def printable(text: str) -> str:
    """Take what a terminal would obey out of a file's words: controls and marks of direction become ?, runs of space one."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def hide_folders(text: str, roots: Iterable[Path] = ()) -> str:
    """Take the folders out of every path in a text that does not begin here, since they tell of the machine and of its users.

    Args:
        text: such as the message of an error. Where a path of unknown folders ends can only be guessed: words are lost, not names
            kept.
        roots: folders whose files keep their place within them, as `unet/fold_0/history.csv`.
    """
    forms = (form for root in roots for form in (root, root.absolute(), root.resolve()))
    known = {str(form) for form in forms if form.name and len(form.parts) > 1}
    for root in sorted(known, key=len, reverse=True):
        text = text.replace(f"{root}/", "").replace(root, Path(root).name)
    return FOLDERS.sub("", text)


def digest_json(value: Any) -> str:
    """Give the SHA-256 of a JSON value, whatever the order of its keys."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode())


def digest_bytes(data: bytes | memoryview) -> str:
    """Give the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal."""
    with path.open("rb", buffering=0) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextlib.contextmanager
def syncing(path: Path) -> Iterator[None]:
    """Bring a file that was just written to the disk while the block runs; it is there when the block ends.

    Raises:
        OSError: the disk is full or fails.
    """
    with path.open("rb") as handle, ThreadPoolExecutor(1, "sync") as worker:
        synced = worker.submit(os.fsync, handle.fileno())
        yield
        synced.result()


@contextlib.contextmanager
def locked(path: Path, what: str, *, is_shared: bool = False, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock on a file while the block runs.

    Args:
        path: the lock file; made where it is missing, and left behind.
        what: what is locked, for the message.
        is_shared: whether others may hold it at the same time, if they share it, too.
        wait_s: how long to wait for another process that holds it.
    Raises:
        ConfigError: another process holds it, the file cannot be written, or its file system keeps no locks.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.fdopen(_open_lock(path), "rb")
    except OSError as error:
        raise unwritable(path, error) from error
    with handle:
        _take(handle, what, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX, time.monotonic() + wait_s)
        yield


def _open_lock(path: Path) -> int:
    """Open a lock file for writing; where it is another user's, in a folder that both may write to, reading is enough."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError as error:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise error from None
    # NFS grants a lock to those alone who may write.
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o777 | path.parent.stat().st_mode & 0o020)
    return descriptor


def _take(handle: IO[bytes], what: str, kind: int, deadline_s: float) -> None:
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno == errno.EBADF:
                raise ConfigError(
                    f"cannot lock {what}: the lock file is another user's, and its file system asks for leave to write it; let "
                    "its owner delete it, or give that leave by `chmod g+w`"
                ) from error
            if error.errno not in HELD:
                raise ConfigError(
                    f"cannot lock {what}: its file system keeps no locks ({error.strerror}); mount it with locks, as Lustre with "
                    "`-o flock`, or name a folder on another one"
                ) from error
            if time.monotonic() >= deadline_s:
                raise ConfigError(f"another hipseg command is at work on {what}; wait for it or stop it") from error
        time.sleep(LOCK_POLL_S)

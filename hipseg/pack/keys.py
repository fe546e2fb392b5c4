"""Case and patient keys: salted digests of identifiers, and the private file that keeps the salt."""

import errno
import hashlib
import hmac
import os
import re
import secrets
import tempfile
from pathlib import Path

from hipseg.errors import ConfigError
from hipseg.fsio import naming_closed_paths, unwritable
from hipseg.runs import DatasetPaths

SALT_BYTES = 32
CASE_MARK = "c"
KEY_DIGITS = 12
"""48 bits: among 10,000 cases two share a key with a chance below 1 in 5 million; packing refuses if they do."""
OTHERS_MAY_READ = 0o077
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without hard links answer, as exFAT."""


def case_key(salt: bytes, patient_id: str, series_uid: str) -> str:
    """Give the key of a case, out of which the identifiers cannot be read."""
    return CASE_MARK + _digest(salt, f"case\0{patient_id}\0{series_uid}")


def patient_key(salt: bytes, patient_id: str) -> str:
    """Give the key of a patient, out of which the identifier cannot be read."""
    return "p" + _digest(salt, f"patient\0{patient_id}")


def salt_id(salt: bytes) -> str:
    """Give a name that tells this salt from others and does not give it away."""
    return _digest(salt, "salt")


def check_salt_file(path: Path, paths: DatasetPaths) -> None:
    """Refuse a salt that would travel with the shards.

    Raises:
        ConfigError: the path lies in the data set's folder.
    """
    if path.resolve().is_relative_to(paths.root.resolve()):
        raise ConfigError(f"salt file {path} would lie in {paths.root}, which is passed on; keep it in a private folder")


def create_salt(path: Path) -> bool:
    """Make a salt of random bytes, readable by its owner alone, where there is none yet.

    Args:
        path: the salt file; its folder is made.
    Returns:
        Whether a salt was made; False where there is one.
    Raises:
        ConfigError: the file cannot be written, or its folder not be entered.
    """
    with naming_closed_paths():
        if path.exists():
            return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".salt.") as handle:
            handle.write(secrets.token_hex(SALT_BYTES) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
            return _link_first(handle.name, path)
    except OSError as error:
        raise unwritable(path, error) from error


def read_salt(path: Path) -> bytes:
    """Read a salt.

    Returns:
        32 bytes.
    Raises:
        ConfigError: the file is missing, can be read by others, or holds anything but 64 hexadecimal digits.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read salt file {path}: {error}") from error
    if mode & OTHERS_MAY_READ:
        raise ConfigError(f"salt file {path} has mode {mode & 0o777:o} and is open to others; close it with `chmod 600 {path}`")
    if not re.fullmatch(rf"[0-9a-f]{{{2 * SALT_BYTES}}}", text):
        raise ConfigError(f"salt file {path} holds {len(text)} characters; {2 * SALT_BYTES} hexadecimal digits are needed")
    return bytes.fromhex(text)


def _link_first(temporary: str, path: Path) -> bool:
    """Give a file its name unless another has it: of two commands that start together, the second takes the first one's salt."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _copy_first(temporary, path)
    return True


def _copy_first(temporary: str, path: Path) -> bool:
    """Do so where the file system knows no second name; a command that comes just between finds too few digits, and says so."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(Path(temporary).read_bytes())
        handle.flush()
        os.fsync(descriptor)
    return True


def _digest(salt: bytes, text: str) -> str:
    # A folder that stands in for an identifier may have a name that is no UTF-8; Python keeps its bytes as surrogates.
    return hmac.new(salt, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:KEY_DIGITS]

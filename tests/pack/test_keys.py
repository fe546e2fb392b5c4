import errno
import hashlib
import hmac
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from hipseg.errors import ConfigError
from hipseg.pack.keys import case_key, check_salt_file, create_salt, patient_key, read_salt, salt_id
from hipseg.runs import DatasetPaths

SALT = bytes(range(32))


def test_keys_are_the_digests_that_the_format_describes():
    def digits(message):
        return hmac.new(SALT, message, hashlib.sha256).hexdigest()[:12]

    assert case_key(SALT, "Müller", "1.2.3") == "c" + digits("case\0Müller\0001.2.3".encode())
    assert patient_key(SALT, "Müller") == "p" + digits("patient\0Müller".encode())
    assert salt_id(SALT) == digits(b"salt")


def test_keys_tell_patients_series_and_salts_apart():
    keys = {
        case_key(SALT, "a", "b"),
        case_key(SALT, "ab", ""),
        case_key(SALT, "", "ab"),
        case_key(SALT, "b", "a"),
        case_key(bytes(32), "a", "b"),
    }
    assert len(keys) == 5
    assert patient_key(SALT, "a") != patient_key(bytes(32), "a")


def test_a_new_salt_is_private_and_stays(tmp_path):
    path = tmp_path / "config" / "hipseg" / "salt"
    assert create_salt(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    salt = read_salt(path)
    assert len(salt) == 32
    assert not create_salt(path)
    assert read_salt(path) == salt
    assert [one.name for one in path.parent.iterdir()] == ["salt"]


def test_a_salt_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"cannot write .*/salt: No space left on device"):
        create_salt(tmp_path / "salt")
    assert list(tmp_path.iterdir()) == []


def test_two_salts_differ(tmp_path):
    create_salt(tmp_path / "a")
    create_salt(tmp_path / "b")
    assert read_salt(tmp_path / "a") != read_salt(tmp_path / "b")


def test_commands_that_start_together_share_one_salt(tmp_path):
    path = tmp_path / "salt"

    def start(_):
        made = create_salt(path)
        return made, read_salt(path)

    with ThreadPoolExecutor(8) as threads:
        started = list(threads.map(start, range(16)))
    assert sum(made for made, _ in started) == 1
    assert len({salt for _, salt in started}) == 1


def test_a_salt_is_made_where_a_file_can_have_one_name_only(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert create_salt(tmp_path / "salt")
    assert stat.S_IMODE((tmp_path / "salt").stat().st_mode) == 0o600
    salt = read_salt(tmp_path / "salt")
    assert not create_salt(tmp_path / "salt")
    assert read_salt(tmp_path / "salt") == salt


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_salt_that_others_may_read_is_refused_with_its_cure(tmp_path, mode):
    create_salt(tmp_path / "salt")
    (tmp_path / "salt").chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:o} and is open to others; close it with `chmod 600"):
        read_salt(tmp_path / "salt")


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "a" * 63, "secret passphrase", "é"])
def test_another_file_is_no_salt_and_its_content_is_not_shown(tmp_path, text):
    path = tmp_path / "salt"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="salt file") as caught:
        read_salt(path)
    assert not text or text not in str(caught.value).replace(str(path), "")


def test_a_missing_salt_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read salt file"):
        read_salt(tmp_path / "salt")


def test_a_salt_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*salt"):
        create_salt(tmp_path / "file" / "salt")


def test_an_umask_that_opens_files_does_not_open_the_salt(tmp_path):
    before = os.umask(0)
    try:
        create_salt(tmp_path / "salt")
    finally:
        os.umask(before)
    read_salt(tmp_path / "salt")


def test_a_folder_whose_name_is_no_text_may_stand_in_for_an_identifier():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    digest = hmac.new(b"s", b"patient\0caf\xe9", hashlib.sha256).hexdigest()[:12]
    assert patient_key(b"s", name) == "p" + digest


def test_a_salt_among_the_shards_is_refused(tmp_path):
    paths = DatasetPaths(tmp_path / "shards")
    with pytest.raises(ConfigError, match=r"salt file .* would lie in .*shards, which is passed on; keep it in a private folder"):
        check_salt_file(tmp_path / "shards" / "salt", paths)
    check_salt_file(tmp_path / "salt", paths)

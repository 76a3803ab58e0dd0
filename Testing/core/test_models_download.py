"""Downloading from an address: broken connections, lying servers, proxies, mirrors; with a real local server."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core.file_server import Manners, serving
from core.job_testing import CORE
from meddl.errors import DownloadError, JobCancelled, ModelError, UsageError
from meddl.models import network_settings, package_source, url_source
from meddl.models.network_settings import NetworkSettings
from meddl.models.url_source import download_file

DATA = random.Random(7).randbytes(1_500_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Short pauses, and nothing of the user's own settings."""
    monkeypatch.setattr(url_source, "BACKOFF_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(url_source, "TIMEOUT_S", 2.0)
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("MEDDL_MIRROR", "MEDDL_CATALOGS"):
            monkeypatch.delenv(name)


@pytest.fixture
def manners() -> Manners:
    return Manners(DATA)


@pytest.fixture
def url(manners: Manners) -> Iterator[str]:
    with serving(manners) as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


def get(url: str, folder: Path, sha256: str = SHA256, size: int = len(DATA), **more: Any) -> Path:
    return download_file(url, sha256, size, folder, **more)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_file_arrives_whole_and_is_not_fetched_twice(url: str, folder: Path, manners: Manners) -> None:
    said: list[tuple[float, str]] = []
    path = get(url, folder, progress=lambda fraction, text: said.append((fraction, text)))
    assert path.read_bytes() == DATA and left(folder) == [SHA256]
    assert said[-1][0] == 1.0 and "net.bin" in said[0][1] and [one[0] for one in said] == sorted(one[0] for one in said)
    assert get(url, folder) == path and len(manners.requests) == 1


def test_a_broken_download_goes_on_where_it_stopped(url: str, folder: Path, manners: Manners) -> None:
    manners.break_after, manners.breaks = 400_000, 2
    assert get(url, folder).read_bytes() == DATA
    assert [request.get("Range") for request in manners.requests] == [None, "bytes=400000-", "bytes=800000-"]
    assert manners.requests[1]["If-Range"] == '"one"' and manners.sent == len(DATA)


def test_a_server_without_ranges_is_asked_from_the_start(url: str, folder: Path, manners: Manners) -> None:
    manners.break_after, manners.breaks, manners.ranges = 400_000, 2, False
    assert get(url, folder).read_bytes() == DATA


def test_a_file_that_changed_meanwhile_is_fetched_anew(url: str, folder: Path, manners: Manners) -> None:
    manners.data, manners.break_after, manners.breaks = bytes(len(DATA)), 300_000, 99
    with pytest.raises(JobCancelled):
        get(url, folder, cancelled=lambda: len(manners.requests) > 0 and manners.sent >= 300_000)
    manners.data, manners.etag, manners.breaks = DATA, '"two"', 0
    assert get(url, folder).read_bytes() == DATA


def test_a_wrong_beginning_without_etag_is_found_and_fetched_anew(url: str, folder: Path, manners: Manners) -> None:
    folder.mkdir()
    (folder / f"{SHA256}.part").write_bytes(bytes(500_000))
    manners.etag = ""
    assert get(url, folder).read_bytes() == DATA
    assert [request.get("Range") for request in manners.requests] == ["bytes=500000-", None]


def test_a_part_that_is_too_long_is_thrown_away(url: str, folder: Path) -> None:
    folder.mkdir()
    (folder / f"{SHA256}.part").write_bytes(bytes(len(DATA) + 5))
    assert get(url, folder).read_bytes() == DATA


def test_a_file_that_was_damaged_since_is_fetched_anew(url: str, folder: Path) -> None:
    path = get(url, folder)
    path.write_bytes(bytes(len(DATA)))
    assert get(url, folder).read_bytes() == DATA


def test_another_file_is_refused_and_leaves_nothing(url: str, folder: Path, manners: Manners) -> None:
    manners.data = bytes(len(DATA))
    with pytest.raises(DownloadError, match="SHA-256"):
        get(url, folder)
    assert left(folder) == []


@pytest.mark.parametrize("says", [10, len(DATA) + 1])
def test_a_file_of_another_size_is_refused_before_it_comes(url: str, folder: Path, manners: Manners, says: int) -> None:
    manners.data = bytes(says)
    with pytest.raises(DownloadError, match=f"{says} bytes"):
        get(url, folder)
    assert left(folder) == []


def test_a_server_that_lies_about_its_size_is_cut_off(url: str, folder: Path, manners: Manners) -> None:
    manners.extra = bytes(10_000_000)
    with pytest.raises(DownloadError, match="sends more"):
        get(url, folder)
    assert left(folder) == []


def test_a_server_that_keeps_breaking_is_given_up_and_the_part_kept(url: str, folder: Path, manners: Manners) -> None:
    manners.break_after, manners.breaks = 0, 99
    (folder).mkdir()
    (folder / f"{SHA256}.part").write_bytes(DATA[:1000])
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1.*goes on where it stopped"):
        get(url, folder)
    assert f"{SHA256}.part" in left(folder)
    manners.breaks = 0
    assert get(url, folder).read_bytes() == DATA


def test_a_busy_server_is_asked_again(url: str, folder: Path, manners: Manners) -> None:
    manners.status, manners.failures = 503, 2
    assert get(url, folder).read_bytes() == DATA
    assert len(manners.requests) == 3


@pytest.mark.parametrize(("status", "says"), [(404, "does not have it"), (403, "does not allow"), (407, "proxy")])
def test_a_refusal_is_final_and_said(url: str, folder: Path, manners: Manners, status: int, says: str) -> None:
    manners.status = status
    with pytest.raises(DownloadError, match=says):
        get(url, folder)
    assert len(manners.requests) == 1


def test_a_silent_server_is_left_after_a_while(url: str, folder: Path, manners: Manners, monkeypatch: Any) -> None:
    monkeypatch.setattr(url_source, "TIMEOUT_S", 0.2)
    manners.pause_s = 60
    start = time.monotonic()
    end = start + 1.0
    with pytest.raises(JobCancelled):
        get(url, folder, cancelled=lambda: time.monotonic() > end)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "FILE:///etc/passwd", "gopher://x/"]
)
def test_a_redirection_to_another_kind_of_address_is_refused(
    url: str, folder: Path, manners: Manners, location: str
) -> None:
    manners.location = location
    with pytest.raises(DownloadError, match="not followed"):
        get(url, folder)
    assert left(folder) == []


def test_a_redirection_is_followed_with_the_range(url: str, folder: Path, manners: Manners) -> None:
    manners.location = url.replace("/models/", "/there/")
    manners.break_after, manners.breaks = 400_000, 1
    assert get(url, folder).read_bytes() == DATA
    assert manners.requests[-1]["Range"] == "bytes=400000-"


def test_redirections_in_a_circle_end(url: str, folder: Path, manners: Manners) -> None:
    manners.location = url
    with pytest.raises(DownloadError):
        get(url, folder)


def test_an_unasked_encoding_is_refused(url: str, folder: Path, manners: Manners) -> None:
    manners.encoding = "gzip"
    with pytest.raises(DownloadError, match="encoding"):
        get(url, folder)


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "file:///etc/passwd", "ftp://example.org/x", "https://me:secret@example.org/x", "x"]
)
def test_only_https_is_opened(folder: Path, url: str) -> None:
    with pytest.raises(DownloadError) as caught:
        get(url, folder)
    assert "secret" not in caught.value.message + caught.value.details
    assert left(folder) == []


def test_the_disk_is_looked_at_first(url: str, folder: Path, manners: Manners, monkeypatch: Any) -> None:
    usage = shutil.disk_usage(folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=1_000_000))
    with pytest.raises(DownloadError, match="free disk space"):
        get(url, folder)
    assert manners.requests == []


def test_cancelling_keeps_the_part(url: str, folder: Path, manners: Manners) -> None:
    manners.pause_s = 0.02
    with pytest.raises(JobCancelled):
        get(url, folder, cancelled=lambda: manners.sent > 300_000)
    kept = (folder / f"{SHA256}.part").stat().st_size
    manners.pause_s = 0
    assert get(url, folder).read_bytes() == DATA
    assert manners.requests[-1]["Range"] == f"bytes={kept}-"


PROGRAM = """
import sys
from pathlib import Path
from meddl.models.url_source import download_file
print(download_file(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])), flush=True)
"""


def start(url: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, url, SHA256, str(len(DATA)), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(CORE), "NO_PROXY": "*"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_killed_download_is_resumed(url: str, folder: Path, manners: Manners) -> None:
    manners.pause_s = 0.1
    process = start(url, folder)
    end = time.monotonic() + 30
    while manners.sent < 400_000 and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = (folder / f"{SHA256}.part").stat().st_size
    assert 0 < kept < len(DATA)
    manners.pause_s = 0
    assert get(url, folder).read_bytes() == DATA
    assert manners.requests[-1]["Range"] == f"bytes={kept}-"


def test_two_processes_fetch_a_file_once(url: str, folder: Path, manners: Manners) -> None:
    manners.pause_s = 0.03
    processes = [start(url, folder), start(url, folder)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert outputs == [str(folder / SHA256)] * 2 and [process.returncode for process in processes] == [0, 0]
    assert manners.sent == len(DATA)


def test_a_proxy_is_used_and_none_when_told_so(url: str, folder: Path, manners: Manners, monkeypatch: Any) -> None:
    far = "http://127.0.0.1:9/models/net.bin"  # nobody listens there; a proxy is asked with the whole address
    proxy = url.removesuffix("/models/net.bin")
    assert get(far, folder, settings=NetworkSettings(proxy=proxy)).read_bytes() == DATA
    assert manners.requests[-1]["path"] == far
    (folder / SHA256).unlink()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert get(url, folder, settings=NetworkSettings(proxy="direct")).read_bytes() == DATA


def test_a_mirror_stands_for_an_address(url: str, folder: Path, manners: Manners) -> None:
    mirror = NetworkSettings(mirrors={"https://example.org/zoo": url.removesuffix("/models/net.bin")})
    assert get("https://example.org/zoo/models/net.bin", folder, settings=mirror).read_bytes() == DATA


@pytest.mark.parametrize("as_url", [False, True])
def test_a_mirror_may_be_a_folder(folder: Path, tmp_path: Path, as_url: bool) -> None:
    share = tmp_path / "share with spaces"
    (share / "host" / "a").mkdir(parents=True)
    (share / "host" / "a" / "net v1.bin").write_bytes(DATA)
    mirror = NetworkSettings(mirrors={"https://": share.as_uri() if as_url else str(share)})
    assert get("https://host/a/net%20v1.bin", folder, settings=mirror).read_bytes() == DATA
    (folder / SHA256).unlink()
    for wrong in ("https://host/a/other.bin", "https://host/a/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "https://host/a"):
        with pytest.raises((DownloadError, ModelError)):
            get(wrong, folder, settings=mirror)
    (share / "host" / "a" / "net v1.bin").write_bytes(bytes(len(DATA)))
    with pytest.raises(DownloadError, match="SHA-256"):
        get("https://host/a/net%20v1.bin", folder, settings=mirror)
    assert left(folder) == []


def test_the_longest_mirror_wins_and_hosts_are_whole() -> None:
    settings = NetworkSettings(mirrors={"https://": "https://all", "https://a.org": "https://b.org/m/"})
    assert settings.locate("https://a.org/x/y?z") == "https://b.org/m/x/y?z"
    assert settings.locate("https://a.org.evil/x") == "https://all/a.org.evil/x"
    assert (
        NetworkSettings(mirrors={"https://a.org": "https://b"}).locate("https://a.org.evil/x") == "https://a.org.evil/x"
    )


def test_settings_are_kept_and_joined_with_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert network_settings.load() == NetworkSettings()
    stored = NetworkSettings("http://me:secret@proxy:3128", {"https://a.org": "/mnt/a"}, (str(tmp_path / "c"),))
    network_settings.save(stored)
    assert network_settings.load() == stored and stored.shown_proxy == "http://***@proxy:3128"
    if os.name == "posix":
        assert network_settings.settings_path().stat().st_mode & 0o077 == 0
    monkeypatch.setenv("MEDDL_MIRROR", "https://a.org=https://m/a;https://b.org=file:///mnt/b")
    monkeypatch.setenv("MEDDL_CATALOGS", os.pathsep.join(["/mnt/share", str(tmp_path / "c")]))
    loaded = network_settings.load()
    assert loaded.mirrors == {"https://a.org": "https://m/a", "https://b.org": "file:///mnt/b"}
    assert loaded.catalogs == ("/mnt/share", str(tmp_path / "c"))
    assert network_settings.stored_settings() == stored


@pytest.mark.parametrize(
    "row",
    [
        {"proxy": 5},
        {"proxy": "ftp://x"},
        {"mirrors": []},
        {"mirrors": {"x": "y"}},
        {"catalogs": "x"},
        {"catalogs": ["x"]},
    ],
)
def test_broken_settings_are_an_error_and_not_no_settings(row: dict[str, Any]) -> None:
    network_settings.settings_path().parent.mkdir(parents=True)
    network_settings.settings_path().write_text(json.dumps(row))
    with pytest.raises(ModelError, match=r"network\.json"):
        network_settings.load()


@pytest.mark.parametrize("text", ["x", "https://a=b", "ftp://a=/b", "=", "https://a="])
def test_a_mirror_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        network_settings.parse_mirror(text)


def test_pip_gets_proxy_and_mirror_unless_it_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "PIP_PROXY", "PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    network_settings.save(NetworkSettings("http://p:1", {"https://pypi.org/simple": "https://nexus/pypi/simple"}))
    environment = package_source.pip_environment()
    assert (environment["PIP_PROXY"], environment["PIP_INDEX_URL"]) == ("http://p:1", "https://nexus/pypi/simple")
    monkeypatch.setenv("PIP_INDEX_URL", "https://own")
    assert package_source.pip_environment()["PIP_INDEX_URL"] == "https://own"
    network_settings.save(NetworkSettings("", {"https://pypi.org": "/mnt/wheels", "https://": "/mnt/all"}))
    assert package_source.pip_environment()["PIP_FIND_LINKS"] == str(Path("/mnt/wheels/simple"))
    network_settings.save(NetworkSettings("direct", {"https://": "/mnt/all"}))
    environment = package_source.pip_environment()
    assert "PIP_FIND_LINKS" not in environment and environment["NO_PROXY"] == "*"


def test_what_was_left_long_ago_is_swept(folder: Path) -> None:
    folder.mkdir()
    for name, age in (("a.part", 1e7), ("b.part", 10), ("a.part.json", 1e7), ("whole", 1e7)):
        (folder / name).write_text("x")
        os.utime(folder / name, (time.time() - age,) * 2)
    url_source.sweep(folder)
    assert left(folder) == ["b.part", "whole"]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of this computer that nobody has signed, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes its certificate with openssl, which is not here")
    path = tmp_path / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key.pem"), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + (tmp_path / "key.pem").read_text())
    return path


def test_https_goes_through_a_proxy_and_only_with_a_known_certificate(
    certificate: Path, folder: Path, manners: Manners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    between = Manners(b"")
    with serving(manners, certificate) as url, serving(between) as proxy:
        settings = NetworkSettings(proxy=proxy.removesuffix("/models/net.bin"))
        with pytest.raises(DownloadError, match="certificate"):
            get(url, folder, settings=settings)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert get(url, folder, settings=settings).read_bytes() == DATA
    assert len(between.requests) == 2 and all(url.split("/")[2] == one["path"] for one in between.requests)


def test_https_leads_to_no_http(
    certificate: Path, url: str, folder: Path, manners: Manners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(Manners(DATA, location=url), certificate) as safe, pytest.raises(DownloadError, match="not followed"):
        get(safe, folder)
    assert manners.requests == []

"""A batch over dask workers: the same bytes as here, and a worker that is lost costs at most its case."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core import tiny_bundle
from core.test_batch import CPU, batch, results, write_images
from meddl.batch import plan_batch, run_batch
from meddl.batch.spread import Spread, Tls
from meddl.cli import main
from meddl.errors import UsageError

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.write(tmp_path_factory.mktemp("model") / "bundle")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler with two worker processes on this computer."""
    os.environ["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as made,
    ):
        yield made


def test_two_worker_processes_make_the_same_bytes(cluster: Any, model: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 5)
    (images / "broken.nrrd").write_bytes(b"x")
    plan = plan_batch(images, [str(model)], tmp_path / "out", options=CPU)
    summary = run_batch(plan, seats=Spread(cluster.scheduler_address))
    assert summary.counts == {"done": 5, "failed": 1}
    assert "broken.nrrd" in summary.results[0].error
    assert batch(images, model, tmp_path / "out").counts == {"skipped": 5, "failed": 1}
    batch(images, model, tmp_path / "here")
    assert results(tmp_path / "out") == results(tmp_path / "here")


def test_the_command_line(
    cluster: Any, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", 2)
    words = ["infer", "--model", str(model), "--batch", "images", "--output", "out", "--device", "cpu"]
    assert main([*words, "--workers", cluster.scheduler_address]) == 0
    assert "2 cases: 2 done" in capsys.readouterr().out


def test_a_case_of_a_lost_worker_is_given_to_another(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "images", 3)
    plan = plan_batch(images, [str(model)], tmp_path / "out", options=CPU)
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as made,
    ):
        seats = Spread(made.scheduler_address)
        real = seats._client.submit

        def submit(function: Any, params: dict[str, Any], **more: Any) -> Any:
            deadly = {"case 0": 1, "case 1": 99}.get(params["case"], 0)
            return real(dying, params, str(tmp_path / "deaths"), deadly, **more)

        monkeypatch.setattr(seats._client, "submit", submit)
        summary = run_batch(plan, seats=seats)
    assert [result.status for result in summary.results] == ["done", "failed", "done"]
    assert "were lost" in summary.results[1].error and "other cases went on" in summary.results[1].error


def dying(params: dict[str, Any], marks: str, deadly: int) -> dict[str, Any]:
    """Kill this worker process as often as ``deadly`` says, then do the work."""
    folder = Path(marks) / params["case"]
    folder.mkdir(parents=True, exist_ok=True)
    deaths = len(list(folder.iterdir()))
    if deaths < deadly:
        (folder / str(deaths)).write_text("x")
        time.sleep(0.2)
        os._exit(9)
    from meddl.batch.spread import _work

    return _work(params)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")
def test_tls_is_spoken_and_insisted_on(model: Path, tmp_path: Path) -> None:
    ca, certificate, key = (tmp_path / name for name in ("ca.pem", "me.pem", "me.key"))
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout me.key -out me.pem"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    ca.write_bytes(certificate.read_bytes())
    security = distributed.Security(
        tls_ca_file=str(ca), require_encryption=True,
        **{f"tls_{who}_{what}": str(file) for who in ("scheduler", "worker", "client")
           for what, file in (("cert", certificate), ("key", key))},
    )  # fmt: skip
    images = write_images(tmp_path / "images", 1)
    with distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tls://", security=security, dashboard_address=None
    ) as made:
        with pytest.raises(UsageError, match="and TLS if it asks for that"):
            Spread(made.scheduler_address, patience=2)
        seats = Spread(made.scheduler_address, Tls(ca, certificate, key))
        assert seats.notes == ()
        plan = plan_batch(images, [str(model)], tmp_path / "out", options=CPU)
        assert run_batch(plan, seats=seats).counts == {"done": 1}


class TestRefusals:
    def test_nobody_answers(self) -> None:
        with pytest.raises(UsageError, match="No dask scheduler answers"):
            Spread("tcp://127.0.0.1:9", patience=1)
        with pytest.raises(UsageError, match="No dask scheduler answers"):
            Spread("nonsense://x", patience=1)

    def test_no_workers(self) -> None:
        with (
            distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as empty,
            pytest.raises(UsageError, match="no workers"),
        ):
            Spread(empty.scheduler_address, patience=1)

    def test_without_dask(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "distributed", None)
        with pytest.raises(UsageError, match="pip install dask distributed"):
            Spread("tcp://127.0.0.1:8786")

    def test_missing_certificates(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"no file ca\.pem"):
            Spread("tls://127.0.0.1:8786", Tls(ca=tmp_path / "ca.pem"))

"""What is handed to a job arrives as it was, and so does what it returns, in this process and in a worker."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from core.job_testing import TASKS, TESTING
from meddl.errors import UsageError
from meddl.jobs import InlineRunner, WorkerRunner, codec, frames
from meddl.volume import Volume

_RNG = np.random.default_rng(7)


@pytest.fixture(scope="module", params=["inline", "worker"])
def runner(request):
    with InlineRunner() if request.param == "inline" else WorkerRunner(extra_paths=[TESTING]) as runner:
        yield runner


@pytest.fixture(scope="module")
def worker():
    with WorkerRunner(extra_paths=[TESTING]) as runner:
        yield runner


def echo(runner, value):
    return runner.submit(TASKS + "echo", {"value": value}).wait(120)["value"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**80),
        0.1,
        -0.0,
        math.inf,
        "",
        "ünïcode ✓ 𐍈\n\0\udcff",
        [],
        [1, [2.5, None]],
        (),
        (1, ("a", [2])),
        {},
        {"a": {"b": [{"c": (1,)}]}},
        {"$": "array", "index": 0},
        {"$": {"$": 1}},
        {"": 1, "ü": 2},
        Path("/tmp/a folder/ünïcode.nii.gz"),
        [Path("relative"), (Path(),)],
    ],
    ids=repr,
)
def test_plain_values_arrive_as_they_were(runner, value):
    result = echo(runner, value)
    assert result == value and type(result) is type(value)
    assert repr(result) == repr(value)


def test_not_a_number_arrives(runner):
    assert math.isnan(echo(runner, math.nan))


def test_numpy_scalars_arrive_as_plain_numbers(runner):
    result = echo(runner, [np.float32(0.1), np.int16(-3), np.bool_(True), np.uint64(2**64 - 1)])
    assert result == [float(np.float32(0.1)), -3, True, 2**64 - 1]
    assert [type(x) for x in result] == [float, int, bool, int]


def _arrays():
    base = _RNG.integers(0, 255, (4, 5, 6), dtype=np.uint8)
    for code in ["?", "b", "B", "h", "H", "i", "I", "q", "Q", "e", "f", "d", "g", "F", "D", "G"]:
        yield f"dtype {code}", base.astype(code)
    for code in [">i2", ">u4", ">f4", ">f8", ">c16", "<u2"]:
        yield f"dtype {code}", base.astype(code)
    yield "nan payloads", np.frombuffer(_RNG.bytes(4096), ">f4")
    yield "signaling nan", np.array([0x7FA00001, 0xFFC12345, 0x80000000], np.uint32).view(np.float32)
    yield "texts", np.array(["", "ünï", "𐍈"])
    yield "bytes", np.array([b"a", b"bc\0d"])
    yield "times", np.array(["2024-02-29T12:00", "NaT"], "M8[ms]")
    yield "durations", np.array([1, -5], "m8[D]")
    yield "raw", np.frombuffer(_RNG.bytes(30), "V3")
    yield "no axes", np.array(3.5)
    yield "one voxel", np.ones((1, 1, 1, 1))
    yield "empty", np.empty((0,))
    yield "empty in one axis", np.empty((3, 0, 5), np.int16)
    yield "fortran", np.asfortranarray(base)
    yield "transposed", base.transpose(2, 0, 1)
    yield "reversed", base[::-1, :, ::-2]
    yield "slices", base[1:3, ::2, 1:]
    yield "broadcast", np.broadcast_to(base[:, :1], (4, 7, 6))
    yield "negative and swapped", base.astype(">f8").transpose(1, 2, 0)[:, ::-1]
    yield "unaligned", np.frombuffer(_RNG.bytes(33), np.uint8)[1:].view(np.float32)


@pytest.mark.parametrize("array", [pytest.param(array, id=name) for name, array in _arrays()])
def test_an_array_arrives_bit_for_bit(runner, array):
    result = echo(runner, array)
    assert type(result) is np.ndarray
    assert (result.dtype.str, result.shape) == (array.dtype.str, array.shape)
    assert result.tobytes() == array.tobytes()


def test_a_big_array_arrives_bit_for_bit_whatever_its_memory_order(worker):
    array = np.frombuffer(_RNG.bytes(4 * 1 * 150 * 200 * 210), np.uint32).reshape(1, 150, 200, 210)
    for view in (array, array.transpose(0, 3, 2, 1), array[:, ::-1, 3:, ::2]):
        result = echo(worker, view)
        assert np.array_equal(result, view)
        assert np.argsort(result.strides).tolist() == np.argsort(np.abs(view.strides)).tolist()


def test_many_arrays_arrive_each_in_its_place(worker):
    arrays = [np.full(i, i, np.int32) for i in range(300)]
    for result in (echo(worker, arrays), worker.submit(TASKS + "lots_of_arrays", {"count": 300}).wait(120)["arrays"]):
        assert [a.tolist() for a in result] == [a.tolist() for a in arrays]


def test_a_task_sees_its_arrays_read_only(runner):
    result = runner.submit(TASKS + "describe_arrays", {"array": np.ones((10, 10))}).wait(120)
    assert result == {"writeable": False, "owns": False, "sum": 100.0}


def test_arrays_of_a_result_belong_to_the_caller():
    array = np.arange(1000.0)
    with WorkerRunner(extra_paths=[TESTING]) as runner:
        results = [echo(runner, array + i) for i in range(5)]
        for i, result in enumerate(results):
            assert np.array_equal(result, array + i)
            result += 1  # writeable
    assert np.array_equal(results[4], array + 5)


def test_views_that_a_task_keeps_stay_valid():
    with WorkerRunner(extra_paths=[TESTING]) as runner:
        for i in range(4):
            array = np.full(300_000, float(i))
            result = runner.submit(TASKS + "keep_a_view", {"array": array}).wait(120)
    assert result == {"kept": 4, "first": [0.0, 1.0, 2.0, 3.0]}


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int16", ">f4", "float64"])
def test_a_volume_arrives_with_its_place(runner, dtype):
    array = _RNG.integers(0, 2, (2, 5, 4, 3)).astype(dtype).transpose(0, 3, 1, 2)
    affine = np.array([[0.1, 0.2, -1 / 3, 1e-7], [-0.9, 0.3, 0.1, -3.25], [0.2, 1.7, 0.3, 1e3], [0, 0, 0, 1]])
    volume = Volume(array, affine, "head ✓", {"modality": "MR"})
    result = echo(runner, {"volumes": [volume, (volume,)]})
    for got in (result["volumes"][0], result["volumes"][1][0]):
        assert isinstance(got, Volume)
        assert got.array.dtype.str == volume.array.dtype.str and np.array_equal(got.array, array)
        assert got.affine.tobytes() == volume.affine.tobytes()
        assert (got.name, dict(got.meta)) == ("head ✓", {"modality": "MR"})


def test_submit_snapshots_plain_values(worker):
    value = {"list": [1, 2]}
    job = worker.submit(TASKS + "echo", {"value": value})
    value["list"].append(3)
    assert job.wait(120)["value"] == {"list": [1, 2]}


class _Thing:
    pass


_CYCLE: list = []
_CYCLE.append(_CYCLE)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (_Thing(), "params.value is a _Thing"),
        ([1, {"a": _Thing()}], "params.value[1].a is a _Thing"),
        ({1: 2}, "key 1"),
        ({1, 2}, "set"),
        (b"bytes", "bytes"),
        (1j, "complex"),
        (np.array([object()]), "array of object"),
        (np.zeros(2, [("a", "f4")]), "array of"),
        (np.ma.masked_array([1, 2], [0, 1]), "masked array"),
        (_CYCLE, "nested too deeply"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_cannot_be_carried_is_refused_at_once_by_name(runner, value, names):
    with pytest.raises(UsageError, match="job") as caught:
        runner.submit(TASKS + "echo", {"value": value})
    assert names in caught.value.message


def test_a_result_that_cannot_be_carried_names_the_place(runner):
    job = runner.submit(TASKS + "returns_an_object", {})
    with pytest.raises(UsageError, match=r"result\.deep\[0\]\.thing is a object"):
        job.wait(120)


def test_large_texts_pass_without_blocking_either_side(worker):
    text = "ü" * 3_000_000
    assert echo(worker, [text, text]) == [text, text]


def test_frames_are_put_together_however_they_were_cut():
    messages = [{"a": "ü" * 100}, {}, {"n": math.inf}, {"x": list(range(1000))}]
    data = b"".join(map(frames.pack, messages))
    for step in (1, 3, 7, 1000, len(data)):
        reader, got = frames.FrameReader(), []
        for start in range(0, len(data), step):
            reader.feed(data[start : start + step])
            while (message := reader.next()) is not None:
                got.append(message)
        assert got == messages


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xffxxxx", b"\0\0\0\x02{]", b"\0\0\0\x01\xff", b"\0\0\0\x0212"])
def test_garbage_is_no_frame(garbage):
    reader = frames.FrameReader()
    reader.feed(garbage)
    with pytest.raises(frames.FrameError):
        reader.next()


def test_the_encoded_tree_is_json():
    tree = codec.encode({"a": np.ones(3), "p": Path("x"), "t": (1,)}, "params").tree
    assert json.loads(json.dumps(tree)) == tree

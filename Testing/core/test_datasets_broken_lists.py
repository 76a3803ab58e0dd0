"""Lists of cases that are damaged in any way: they are told of, and never end the check."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from core.prepared_cases import build, plan_of, real_cases, small
from meddl.datasets.formats.known import make_format
from meddl.datasets.options import ExportOptions

DEEP: Any = []
for _ in range(400):
    DEEP = [DEEP]
STRANGE = (None, True, 0, -1, 1e400, "", "../..", "a/b", "\ud800", [], {}, [[]], {"": {}}, [None], DEEP, {"case": []})


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something could be changed."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, each in entries for place in places(each, (*path, key)))]


def changed(data: Any, chance: random.Random) -> Any:
    """Return a copy with another value somewhere, or one value less."""
    copy = json.loads(json.dumps(data))
    *way, last = chance.choice(places(copy)[1:])
    holder = copy
    for key in way:
        holder = holder[key]
    if chance.random() < 0.3:
        del holder[last]
    else:
        holder[last] = chance.choice(STRANGE)
    return copy


@pytest.mark.parametrize("name", ["nnunet", "msd", "monai"])
def test_every_change_of_a_list_is_told_of(name: str, tmp_path: Path) -> None:
    form = make_format(name)
    cases = [small(case, 6) for case in real_cases()]
    plan = plan_of(cases, ExportOptions(format=name))
    root, records = build(form, plan, cases, tmp_path)
    lists = {path: json.loads(content) for path, content in form.index(plan, records).items() if content}
    chance = random.Random(0)
    for _ in range(120):
        path = chance.choice(sorted(lists))
        other = changed(lists[path], chance)
        (root / path).write_text(json.dumps(other))
        found = form.problems(root, plan, records)
        assert all(isinstance(problem, str) and str(tmp_path) not in problem for problem in found)
        if not found:
            assert other == lists[path] or _harmless(other, lists[path]), other
        (root / path).write_bytes(form.index(plan, records)[path])
    for content in (b"", b"\xff\xfe", b"[" * 100_000, b"1", b"null", b'"text"', b"NaN"):
        for path in lists:
            (root / path).write_bytes(content)
            assert form.problems(root, plan, records)
            (root / path).write_bytes(form.index(plan, records)[path])


def _harmless(other: Any, data: Any) -> bool:
    """Which of nnU-Net's readers is used is not looked at, nor folds that are empty."""
    if isinstance(other, list):
        return True
    return all(other.get(key) == data[key] for key in data if key != "overwrite_image_reader_writer")

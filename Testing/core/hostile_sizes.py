"""Attacks by size and depth, of expressions, configs and YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.hostile_bundles import NET, attack, config_attack, write_bundle, write_scripts

BOMBS: dict[str, Any] = {
    "power": "$9**9**9",
    "power_of_float": "$2.0**10**9",
    "power_steps": "$((((9**60)**60)**60)**60)",
    "long_text": "$'a'*10**10",
    "long_list": "$[0]*10**10",
    "long_list_left": "$10**9*[0]",
    "range": "$list(range(10**12))",
    "sum_of_range": "$sum(range(10**12))",
    "in_range": "$max(range(10**12))",
    "rounding": "$round(5, -10**9)",
    "rounding_float": "$round(0.5, 10**9)",
    "digits": "$int('9' * 4000 + '9' * 4000)",
    "huge_constant": "$" + "9" * 1900,
    "parentheses": "$" + "(" * 900 + "1" + ")" * 900,
    "minus_signs": "$" + "-" * 1900 + "1",
    "not_chain": "$" + "not " * 400 + "1",
    "plus_chain": "$" + "+".join(["1"] * 900),
    "comparison_chain": "$" + "<".join(["1"] * 900),
    "subscript_chain": "$[1]" + "[0]" * 600,
    "brackets": "$" + "[" * 190 + "]" * 190,
    "long_expression": "$" + "1+" * 200_000 + "1",
    "many_expressions": ["$" + "+".join(["1"] * 99)] * 3000,
}

for _name, _bomb in BOMBS.items():
    config_attack(f"bomb_{_name}", {"network_def": {**NET, "dropout": _bomb}, "loose": _bomb})

_doubling = {f"a{level}": [f"@a{level - 1}", f"@a{level - 1}"] for level in range(1, 50)}
config_attack(
    "bomb_shared_lists", {"a0": [1], **_doubling, "network_def": {**NET, "channels": "@a49"}, "loose": "$@a48 == @a49"}
)
config_attack(
    "bomb_doubling_text",
    {"b0": "aaaa", **{f"b{n}": f"$@b{n - 1} + @b{n - 1}" for n in range(1, 60)}, "network_def": "@b59"},
)
config_attack(
    "bomb_doubling_list",
    {"c0": "$[1, 2]", **{f"c{n}": f"$@c{n - 1} + @c{n - 1}" for n in range(1, 59)}, "network_def": "@c58"},
)
config_attack(
    "bomb_copies",
    {"d0": [1, 2], **{f"d{n}": [f"%d{n - 1}", f"%d{n - 1}"] for n in range(1, 40)}, "network_def": "@d39"},
)
config_attack(
    "bomb_doubling_path",
    {"p0": "aaaa", **{f"p{n}": f"$os.path.join(@p{n - 1}, @p{n - 1})" for n in range(1, 59)}, "network_def": "@p58"},
)
config_attack("bomb_relative_ids", {"k" * 200_000: {"a": {"b": "$" + "@##" * 20_000}}})
config_attack(
    "bomb_missing_references",
    {**{f"k{n}": 0 for n in range(20_000)}, "network_def": {**NET, "dropout": [f"@m{n}" for n in range(20_000)]}},
)
config_attack(
    "bomb_aliases",
    {
        "l": [[[[0] * 30_000]]],
        "network_def": {
            **NET,
            "dropout": [
                f"@l::{'0' * (n % 8 + 1)}::{'0' * (n // 8 % 8 + 1)}::{'0' * (n // 64 + 1)}" for n in range(512)
            ],
        },
    },
)
config_attack("bomb_blanks", {"network_def": "$@inferer" + " " * 100_000 + "!"})
config_attack(
    "bomb_steps",
    {
        "postprocessing": {"_target_": "Compose", "transforms": ["@s1"] * 500},
        **{f"s{n}": "$" + " + ".join([f"@s{n + 1}"] * 140) for n in range(1, 5)},
        "s5": [{"_target_": "EvilSaver", "output_dir": "{canary}"}],
    },
)
config_attack("bomb_copy_of_itself", {"network_def": {**NET, "dropout": "%network_def"}})
config_attack("bomb_circle", {"network_def": "@one", "one": "$@two", "two": ["@one"]})
config_attack("bomb_whole_config", {"network_def": "@", "loose": "$@", "other": "%"})
config_attack("bomb_chain", {**{f"e{n}": f"@e{n + 1}" for n in range(5000)}, "e5000": 1, "network_def": "@e0"})


@attack("bomb_json_depth")
def _json_depth(root: Path, canary: Path) -> Path:
    write_bundle(root)
    (root / "configs" / "inference.json").write_text('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    return root


@attack("bomb_json_number")
def _json_number(root: Path, canary: Path) -> Path:
    write_bundle(root)
    (root / "configs" / "inference.json").write_text('{"a": ' + "9" * 1_000_000 + "}")
    return root


@attack("bomb_json_size")
def _json_size(root: Path, canary: Path) -> Path:
    write_bundle(root)
    (root / "configs" / "inference.json").write_text('{"a": "' + "x" * (9 << 20) + '"}')
    return root


_YAMLS = {
    "python_tag": "network_def: !!python/object/apply:os.system ['touch {canary}']\n",
    "python_name": "network_def: !!python/name:os.system\n",
    "python_module": "network_def: !!python/module:scripts.evil\n",
    "python_new": "network_def: !!python/object/new:os.system ['touch {canary}']\n",
    "alias_bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{n}: &{n} [{','.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True))
    + "network_def: *i\n",
    "merge_bomb": "a: &a {x: 1}\n"
    + "".join(f"{n}: &{n} {{<<: [*{p}, *{p}]}}\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True))
    + "network_def: *i\n",
    "own_alias": "network_def: &a [*a]\n",
    "depth": "network_def: " + "[" * 5000 + "]" * 5000 + "\n",
    "binary": "network_def: !!binary aGVsbG8=\n",
    "set": "network_def: !!set {a, b}\n",
    "list_key": "network_def: {[1, 2]: 3}\n",
    "not_a_number": "network_def: .nan\n",
    "two_documents": "a: 1\n---\nb: 2\n",
    "expression": "network_def: \"$open('{canary}', 'w')\"\n",
}


def _yaml_attack(name: str, text: str) -> None:
    @attack(f"yaml_{name}")
    def build(root: Path, canary: Path) -> Path:
        write_bundle(root)
        write_scripts(root, canary)
        (root / "configs" / "inference.json").unlink()
        (root / "configs" / "inference.yaml").write_text(text.replace("{canary}", str(canary)))
        return root


for _name, _text in _YAMLS.items():
    _yaml_attack(_name, _text)

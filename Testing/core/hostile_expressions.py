"""Attacks by what a config's expression says."""

from __future__ import annotations

from pathlib import Path

from core.hostile_bundles import INFERENCE, attack, write_bundle, write_pickles, write_scripts

EXPRESSIONS: dict[str, str] = {
    "import_call": "$__import__('os').system('touch {canary}')",
    "open": "$open('{canary}', 'w')",
    "eval": "$eval(\"open('{canary}', 'w')\")",
    "exec": "$exec(\"open('{canary}', 'w')\")",
    "compile": "$compile('1', 'x', 'eval')",
    "dunder_chain": "$().__class__.__base__.__subclasses__()",
    "dunder_of_number": "$(1).__class__.__mro__[1].__subclasses__()[100].__init__.__globals__['sys']",
    "dunder_of_text": "$''.join.__self__.__class__.__base__.__subclasses__()",
    "lambda": "$(lambda: open('{canary}', 'w'))()",
    "lambda_argument": "$sorted([1, 2], key=lambda x: open('{canary}', 'w'))",
    "fstring": "$f\"{{open('{canary}', 'w')}}\"",
    "nested_fstring": "$f\"{{1:{{open('{canary}', 'w')}}}}\"",
    "format_method": "$'{{0.__class__.__init__.__globals__}}'.format(@network_def)",
    "percent_format": "$'%s' % @network_def",
    "walrus": "$(x := open('{canary}', 'w'))",
    "list_comprehension": "$[open(p, 'w') for p in ['{canary}']]",
    "generator": "$list(open(p, 'w') for p in ['{canary}'])",
    "dict_comprehension": "${{p: open(p, 'w') for p in ['{canary}']}}",
    "comprehension_shadow": "$[len for len in [1]]",
    "getattr": "$getattr(torch, 'hub')",
    "type": "$type('X', (), {{}})",
    "vars": "$vars(@network_def)",
    "starred": "$max(*[open('{canary}', 'w')])",
    "keyword_unpacking": "$dict(**{{'a': open('{canary}', 'w')}})",
    "dict_unpacking": "${{**{{'a': open('{canary}', 'w')}}}}",
    "conditional": "$1 if open('{canary}', 'w') else 2",
    "boolean": "$False or open('{canary}', 'w')",
    "subscript": "$[1][open('{canary}', 'w')]",
    "slice": "$[1][:open('{canary}', 'w')]",
    "dict_key": "${{open('{canary}', 'w'): 1}}",
    "torch_hub": "$torch.hub.load('{root}', 'run', source='local')",
    "torch_load": "$torch.load(@bundle_root + '/data/evil.pkl', weights_only=False)",
    "torch_save": "$torch.save(1, '{canary}')",
    "numpy_load": "$np.load(@bundle_root + '/models/evil.npy', allow_pickle=True)",
    "numpy_save": "$np.save('{canary}', 1)",
    "numpy_deep": "$np.float32.__class__",
    "monai_import": "$monai.utils.optional_import('os')[0].system('touch {canary}')",
    "monai_instantiate": "$monai.utils.module.instantiate('os.system', 'default', command='touch {canary}')",
    "os": "$os.system('touch {canary}')",
    "os_path_chain": "$os.path.os.system('touch {canary}')",
    "device_chain": "$torch.device('cpu').__class__",
    "import_statement": "$import scripts.evil",
    "from_import": "$from scripts.evil import run",
    "import_after_space": "$ import os",
    "full_width_letters": "$\uff45\uff56\uff41\uff4c(\"open('{canary}', 'w')\")",
    "full_width_underscores": "$\uff3f\uff3fimport\uff3f\uff3f('os').system('touch {canary}')",
    "reference_name_guess": "$ref_0.__class__.__init__.__globals__ if @device else 0",
    "reference_attribute": "$@network_def.__class__.__init__.__globals__['__builtins__']['open']('{canary}', 'w')",
    "reference_method": "$@network_def.apply(print)",
    "reference_called": "$@inferer(1, 2)",
    "to_chain": "$@network_def.to.__globals__",
    "to_of_no_network": "$@preprocessing.to('cpu')",
    "to_text_with_code": "$@network_def.to('open')",
    "reference_in_quotes": "$'@network_def'",
    "operator_on_object": "$@network_def + 1",
    "truth_of_object": "$1 if @network_def else 2",
    "part_of_object": "$@preprocessing[0]",
    "two_lines": "$1\nopen('{canary}', 'w')",
    "semicolon": "$1; open('{canary}', 'w')",
    "backslash": "$1 + \\\nopen('{canary}', 'w')",
    "yield": "$(yield open('{canary}', 'w'))",
    "await": "$(await open('{canary}', 'w'))",
    "matrix_product": "$[1] @ [2]",
    "bytes": "$b'abc'",
    "ellipsis": "$...",
    "shift": "$1 << 10**9",
    "invert": "$~1",
    "range_object": "$range.__class__",
    "debugger": "$breakpoint()",
    "input": "$input()",
    "exit": "$exit()",
    "locals": "$__local_refs",
}


def _expression_attack(name: str, text: str) -> None:
    @attack(f"expression_{name}")
    def build(root: Path, canary: Path) -> Path:
        write_scripts(root, canary)
        expression = text.format(canary=canary, root=root) if text.startswith("$") else text
        network = {**INFERENCE["network_def"], "dropout": expression}
        write_bundle(root, {"network_def": network, "loose": expression})
        write_pickles(root, canary)
        return root


for _name, _text in EXPRESSIONS.items():
    _expression_attack(_name, _text)

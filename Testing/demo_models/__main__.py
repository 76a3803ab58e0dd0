"""Trains demo models anew: `python -m demo_models [ID ...] [--list] [--check]`, all by default.

Writes configs, weights and README below `Resources/Models` and the rows of `catalog.json`. Each takes some minutes on
two cores. The seed is fixed; other versions of PyTorch and other processors still lead to other weights and figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo_models import recipes


def main() -> int:
    import numpy as np
    import torch
    from meddl.models import ModelBundle

    from demo_models.bundle import load_network, reference_of, save_catalog, save_configs, save_weights

    known = recipes()
    parser = argparse.ArgumentParser(prog="setup_dev.py train", description=(__doc__ or "").split(":")[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"of {', '.join(known)}")
    parser.add_argument("--list", action="store_true", help="tell what there is and train nothing")
    parser.add_argument("--check", action="store_true", help="train nothing, measure the weights there are")
    parser.add_argument("--threads", type=int, default=2, help="processor cores to use (%(default)s)")
    options = parser.parse_args()
    if unknown := [id for id in options.ids if id not in known]:
        parser.error(f"there is no demo model {', '.join(unknown)}; there are {', '.join(known)}")
    if options.list:
        for id, recipe in known.items():
            print(f"{id:20} {recipe.DEFINITION.metadata['description']}")
        return 0
    torch.set_num_threads(options.threads)
    for id in options.ids or known:
        recipe, started = known[id], time.monotonic()
        definition = recipe.DEFINITION
        print(f"== {id}", flush=True)
        if options.check:
            bundle = ModelBundle.open(definition.folder)
            kept = bundle.metadata["meddl"]
            extra = {name: kept[name] for name in ("calibration", "synthesis") if name in kept}
            network = load_network(definition)
        else:
            network, extra = recipe.train()
            size = save_weights(definition, network, torch.float16)
            print(f"{size / 1000:.0f} kB of weights", flush=True)
        if hasattr(recipe, "FEATURES"):
            variants = recipe.variants(np.random.default_rng(1))
            extra["reference"] = reference_of(network, recipe.FEATURES, variants, recipe.DATA)
        bundle = save_configs(definition, recipe.DATA, extra, "", {})
        figures = recipe.held_out(bundle)
        sentence = recipe.tell(figures)
        bundle = save_configs(definition, recipe.DATA, extra, sentence, figures)
        save_catalog(definition, bundle)
        for name, value in figures.items():
            print(f"  {name}: {value:g}")
        print(f"{sentence}\n{time.monotonic() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

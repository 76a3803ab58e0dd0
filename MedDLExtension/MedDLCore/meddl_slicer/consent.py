"""The user's consent to a model that brings program code of its own."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import slicer.util
from meddl.errors import UntrustedModelError

from meddl_slicer.i18n import tr as _

_MOST_SHOWN = 5


def ask(error: UntrustedModelError) -> bool:
    """Ask whether a model may run the code it brings; the reasons are shown."""
    text = _(
        "This model brings program code of its own, which could do anything on this computer that you can do.\n\n"
        "Run it only if you trust where it comes from. Your consent is stored with the model's fingerprint and "
        "asked for again when the model changes; it can be revoked in MedDL Setup.\n\n"
        "What needs your consent:\n{reasons}"
    )
    shown = [f"\N{BULLET} {reason}" for reason in error.reasons[:_MOST_SHOWN]]
    if len(error.reasons) > len(shown):
        shown.append(_("and {count} more").format(count=len(error.reasons) - len(shown)))
    return bool(
        slicer.util.confirmOkCancelDisplay(
            text.format(reasons="\n".join(shown)),
            windowTitle=_("Trust this model?"),
            detailedText="\n".join(error.reasons),
        )
    )


def record(models: str | Sequence[str], origin: str) -> None:
    """Store the user's consent to a model as it is now; of several, to the first one that still needs it.

    That is the one whose reasons were shown: each is asked for by itself.
    """
    from meddl.models import TrustStore, resolve_model

    store = TrustStore()
    bundles = [resolve_model(one) for one in ([models] if isinstance(models, str) else models)]
    asked = [bundle for bundle in bundles if bundle.check().needs_trust and not store.is_trusted(bundle)]
    store.record((asked or bundles)[0], origin=origin)

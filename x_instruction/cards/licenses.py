"""Licences as rows state them, and their identifiers on the Hub."""

from __future__ import annotations

import re

from x_instruction.cards.escaping import plain
from x_instruction.cards.facts import Tally
from x_instruction.engines.embedded import license_of

# Licences of text and data in the list at https://huggingface.co/docs/hub/repositories-licenses. The Hub refuses a card
# with an identifier that is not in the list.
HUB_LICENSES = frozenset(
    {
        "apache-2.0",
        "mit",
        "openrail",
        "c-uda",
        "cc",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cdla-sharing-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "gfdl",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "agpl-3.0",
        "lgpl",
        "lgpl-3.0",
        "mpl-2.0",
        "odc-by",
        "odbl",
        "pddl",
        "unlicense",
        "unknown",
    }
)
# Versions and spellings for which the list has one identifier.
SPELLINGS = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "cc0": "cc0-1.0", "pddl-1.0": "pddl", "": "unknown"}


def hub_license(stated: str) -> str | None:
    """The Hub's identifier for a licence, such as ``cc-by-sa-4.0`` for ``CC BY-SA 4.0``, or None if it has none."""
    name = re.sub(r"[\s_]+", "-", stated.strip().lower())
    name = SPELLINGS.get(name, name)
    return name if name in HUB_LICENSES else None


def license_metadata(licenses: Tally) -> dict[str, str]:
    """Card metadata for the licences of the rows: the one that all share, or ``other`` with their names.

    Args:
        licenses: Count of each licence, as stated.
    """
    identifiers = {hub_license(stated) for (stated,) in licenses.counts}
    if len(identifiers) == 1 and not licenses.beyond:
        (only,) = identifiers
        if only is not None:
            return {"license": only}
    names = "; ".join(plain(stated) or "unknown" for (stated,), _ in licenses.shown())
    more = f"; and others ({licenses.hidden()} rows)" if licenses.hidden() else ""
    is_one = len(licenses.counts) == 1 and not licenses.beyond
    return {
        "license": "other",
        "license_name": "as-the-source-states" if is_one else "mixed-see-column-license",
        "license_details": names + more,
    }


def model_terms(name: str) -> str:
    """The licence of a model that ships with the package, or where to find that of another model.

    An adapter, whose name is that of its base, a plus and its own, has the licence of its base.
    """
    base, plus, _ = name.partition("+")
    # The name of a rater begins with its kind, such as pmi:org/model.
    hub_id = base.rpartition(":")[2]
    if known := license_of(hub_id):
        return known
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", hub_id):
        return "unknown (a local folder, or a name on a server)"
    return f"as stated on {'the Hub page of its base' if plus else 'its Hub page'}"

"""Amounts of memory and cores as Kubernetes writes them."""

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?\Z")
_FACTORS: dict[str | None, Decimal] = {
    None: Decimal(1),
    "m": Decimal("0.001"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTP", start=1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTP", start=1)},
}


def quantity(text: str) -> Decimal:
    """Return the number that an amount like ``500m``, ``2``, ``64Mi`` or ``1.5G`` means.

    Raises:
        ValueError: it is none.
    """
    found = _QUANTITY.match(text.strip())
    if found is None:
        raise ValueError(f"'{text[:100]}' is no amount like 500m, 2 or 64Mi")
    return Decimal(found[1]) * _FACTORS[found[2]]

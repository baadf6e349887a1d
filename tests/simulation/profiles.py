"""The kinds of troubles that seeds draw from."""

PROFILES: dict[str, tuple[str, ...]] = {
    "calm": (),
    "owners": ("freeze owner",),
    "queue": (),
    "workers": ("kill worker", "freeze worker", "cut worker", "hole worker"),
    "broker": ("restart broker", "restart broker", "cut worker", "cut owner", "lose", "double"),
    "database": ("restart database", "hole database", "slow database", "full database"),
    "owners and more": ("kill owner", "freeze owner", "hole owner", "cut owner", "hole database"),
    "relay": ("kill outbox", "freeze outbox", "wipe broker", "restart broker", "kill owner"),
    "clock": ("clock worker", "clock worker", "clock owner"),
    "disk": ("full broker", "full database"),
    "mixed": (
        "kill owner", "kill worker", "kill outbox", "kill catalog", "freeze owner",
        "freeze worker", "restart broker", "wipe broker", "cut worker", "cut owner", "cut edge",
        "hole worker", "hole owner", "hole edge", "hole database", "restart database",
        "slow database", "lose", "double", "kill projector",
    ),
}  # fmt: skip
"""By name, the kinds of troubles that a seed draws from; a seed has the profile of its number."""

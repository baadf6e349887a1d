"""Plans that have found something, each with what: kept as they were, whatever seeds mean now."""

from tests.simulation.plan import Plan, Start, Trouble

FOUND: dict[str, Plan] = {
    # The outbox went round for good: a look was due while the broker was away.
    "outbox goes round": Plan(
        seed=26, profile="broker", orchestrators=1, workers=2, slots=4,
        starts=(
            Start(1.0613363104724156, "chain", "key-0", None),
            Start(0.7660286033401825, "chain", None, None),
            Start(0.04757450552474159, "long_chain", "key-2", None),
        ),
        troubles=(
            Trouble(
                0.28573590251493364, "restart", "broker", 2.7154134650035924, 1.6172729780258752
            ),
        ),
        tool_seconds=(0.001, 0.3), slowness=0.02, projector=False,
    ),
}  # fmt: skip
